"""Mailboxes that probe messages are sent from and read in: address, servers, sign-in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from probes.model.egress import EgressPolicy


class Security(StrEnum):
    """Encryption of a connection. An unencrypted connection is not possible."""

    #: TLS from the first byte (RFC 8314): SMTP 465, IMAP 993.
    IMPLICIT = "implicit"
    #: Upgraded before any secret is sent; a server that does not offer it fails the run (never opportunistic).
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a mail system, with the trust for its certificate."""

    host: str
    port: int
    security: Security
    #: Certificate authorities that are trusted. Servers with the same trust share the context: creating one takes 4 ms of
    #: CPU, and different contexts count as different trust.
    tls: ssl.SSLContext = field(repr=False)
    #: Name that the certificate must have when it is not `host` (a server configured by address).
    tls_name: str | None = None
    #: Egress policy for connections to `host`; `None`: an operator configured it, so that any address is allowed.
    egress: EgressPolicy | None = None

    @property
    def certificate_name(self) -> str:
        """Name that its certificate must have (RFC 9525)."""
        return self.tls_name or self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password sign-in. The secret never shows in a repr."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """OAuth access token (RFC 6749 1.4)."""

    secret: str = field(repr=False)
    #: `None`: the issuer states no expiry.
    expires_at: datetime | None = None


class AccessTokens(Protocol):
    """Source of access tokens: a token endpoint, a file, a command."""

    @property
    def expires_at(self) -> datetime | None:
        """Expiry of the last token returned by `get`; `None` without a token or a stated expiry."""

    async def get(self) -> AccessToken:
        """Return a token that is valid for the next minutes. Shared by all sign-ins to one mailbox.

        Raise `probes.credentials.oauth.AccessTokenError`, with the authorization server's reason and no secret.
        """

    def reject(self, token: AccessToken) -> bool:
        """Record that a server has rejected *token*; return whether to request another at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """A sign-in with an access token (SASL XOAUTH2), as Google Workspace and Microsoft 365 require."""

    username: str
    #: Source of the tokens. Two sign-ins with the same user name and different sources are different.
    tokens: AccessTokens = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableLogin:
    """A sign-in whose secret is unavailable: no server is contacted."""

    username: str
    #: The reason in one line, without a secret.
    reason: str


#: Used share from which a mailbox counts as nearly full.
NEARLY_FULL: Final = 0.9
#: KiB: room for another probe message, with the headers that servers add.
_MIN_FREE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxQuota:
    """Usage and limit of a mailbox's storage (RFC 9208): in KiB, or in messages."""

    used: int
    #: Above 0.
    limit: int
    in_messages: bool = False

    @property
    def share(self) -> float:
        """The used share; may exceed 1."""
        return self.used / self.limit

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another probe message."""
        return self.limit - self.used < (1 if self.in_messages else _MIN_FREE)

    @property
    def summary(self) -> str:
        """For people: "33 of 20 KiB"."""
        return f"{self.used} of {self.limit} {'messages' if self.in_messages else 'KiB'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Mailbox that messages are sent from or arrive in."""

    #: Unique among all mailboxes; used in logs and results ("jabatan-contoh", "reference-a").
    name: str
    address: str
    login: Password | OAuth | UnavailableLogin
    #: `None`: no message is sent from it.
    smtp: Server | None = None
    #: One of the two reads it; without either, it does not receive.
    imap: Server | None = None
    pop3: Server | None = None
    #: The IMAP folder where mail arrives; "shared/pro" for another mailbox's inbox that the login may read.
    inbox: str = "INBOX"
    #: Folders besides the SPECIAL-USE \Junk one (RFC 6154) where this mail provider puts suspected junk.
    junk_folders: tuple[str, ...] = ()
    #: One of a pool of mailboxes, of which each process uses its own: no other process sends from this one.
    pooled: bool = False

    @property
    def can_send(self) -> bool:
        """Whether messages can be sent from it."""
        return self.smtp is not None

    @property
    def is_readable(self) -> bool:
        """Whether received messages can be read in it."""
        return self.imap is not None or self.pop3 is not None
