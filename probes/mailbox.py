"""Whose mail is sent and read: a mailbox, where its servers are, and how it signs in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum


class Security(StrEnum):
    """How a connection is protected. There is no way to ask for none."""

    #: TLS from the first byte (RFC 8314): SMTP 465, IMAP 993.
    IMPLICIT = "implicit"
    #: Upgraded before anything secret is said; a server that does not offer it fails the run (never opportunistic).
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a mail system, and the trust it is met with."""

    host: str
    port: int
    security: Security
    #: Shared by all sessions to the same authority: making one costs 4 ms of CPU.
    tls: ssl.SSLContext = field(repr=False, compare=False)
    #: The name the certificate must carry when it is not `host` (a server met by its address).
    tls_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password sign-in. The secret never shows in a repr."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A mailbox that messages are sent from and arrive in."""

    #: Unique among all mailboxes; what logs and results call it ("jabatan-contoh", "reference-a").
    name: str
    address: str
    smtp: Server
    imap: Server
    login: Password
    #: Folders beside the SPECIAL-USE \Junk one (RFC 6154) where this provider puts suspected junk.
    junk_folders: tuple[str, ...] = ()
