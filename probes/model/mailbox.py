"""Whose mail is sent and read: a mailbox, where its servers are, and how it signs in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from probes.model.egress import EgressPolicy


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
    #: Shared by all sessions to the same authority: making one costs 4 ms of CPU. Another one is another trust.
    tls: ssl.SSLContext = field(repr=False)
    #: The name the certificate must carry when it is not `host` (a server met by its address).
    tls_name: str | None = None
    #: Where its name may lead; `None`: whoever named it is trusted with our network.
    bounds: EgressPolicy | None = None

    @property
    def certificate_name(self) -> str:
        """The name that its certificate must carry (RFC 9525)."""
        return self.tls_name or self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password sign-in. The secret never shows in a repr."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What we are let in with for a while (RFC 6749 1.4)."""

    secret: str = field(repr=False)
    #: `None` when whoever issued it does not say.
    expires_at: datetime | None = None


class AccessTokens(Protocol):
    """Where access tokens come from: a token endpoint, a file, a command."""

    @property
    def expires_at(self) -> datetime | None:
        """When the token that `get` returned last expires; `None` when there is none or nobody says."""

    async def get(self) -> AccessToken:
        """Return a token that is good for the next minutes. Shared by all who sign in to one mailbox.

        Raise `probes.credentials.oauth.AccessTokenError`, with the authorization server's reason and no secret.
        """

    def reject(self, token: AccessToken) -> bool:
        """Note that a server has refused *token*, and return whether asking for another at once is worth a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """A sign-in with an access token (SASL XOAUTH2), as Google Workspace and Microsoft 365 ask for."""

    username: str
    #: Another source of them is another sign-in, though the name is the same.
    tokens: AccessTokens = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableLogin:
    """A sign-in that is not to be had: nobody is asked to let us in."""

    username: str
    #: In a line, without a secret.
    why: str


#: From here on a mailbox is nearly full.
NEARLY_FULL: Final = 0.9
#: In KiB: room for another message of ours, and what servers add to it.
_ROOM: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxQuota:
    """How much of what a mailbox may hold it holds (RFC 9208): in KiB, or in messages."""

    used: int
    #: Above 0.
    limit: int
    in_messages: bool = False

    @property
    def share(self) -> float:
        """The part that is used; a server may let it be more than the whole."""
        return self.used / self.limit

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another message of ours."""
        return self.limit - self.used < (1 if self.in_messages else _ROOM)

    @property
    def words(self) -> str:
        """For people: "33 of 20 KiB"."""
        return f"{self.used} of {self.limit} {'messages' if self.in_messages else 'KiB'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A mailbox that messages are sent from or arrive in."""

    #: Unique among all mailboxes; what logs and results call it ("jabatan-contoh", "reference-a").
    name: str
    address: str
    login: Password | OAuth | UnavailableLogin
    #: `None`: nothing is sent from it.
    smtp: Server | None = None
    #: It is read by the one or the other; with neither, nothing arrives in it.
    imap: Server | None = None
    pop3: Server | None = None
    #: The IMAP folder where mail arrives: another's inbox where the login may read that one ("shared/pro").
    inbox: str = "INBOX"
    #: Folders beside the SPECIAL-USE \Junk one (RFC 6154) where this mail provider puts suspected junk.
    junk_folders: tuple[str, ...] = ()
    #: One of several of this name, of which each process uses its own: what others have sent was not sent from here.
    pooled: bool = False

    @property
    def sends(self) -> bool:
        """Whether messages can be sent from it."""
        return self.smtp is not None

    @property
    def is_read(self) -> bool:
        """Whether it can be seen what arrives in it."""
        return self.imap is not None or self.pop3 is not None
