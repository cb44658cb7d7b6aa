"""Mailboxes that probe messages are sent from and read in: address, servers, sign-in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from probes.model.egress import EgressPolicy


class Security(StrEnum):
    """Encryption of a connection. Unencrypted connections are not supported."""

    #: TLS from the first byte (RFC 8314): SMTP 465, IMAP 993.
    IMPLICIT = "implicit"
    #: TLS starts before any secret is sent. If the server does not offer STARTTLS, the run fails (never opportunistic).
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a mail system, and the certificate authorities that are trusted for it."""

    host: str
    port: int
    security: Security
    #: TLS context with the trusted certificate authorities. Servers with the same authorities share one context,
    #: because creating one takes 4 ms of CPU, and because servers compare equal only if they have the same context.
    tls: ssl.SSLContext = field(repr=False)
    #: Name that the certificate must have; `None`: `host`. Set for a server that is configured by its IP address.
    tls_name: str | None = None
    #: Egress policy for connections to `host`. `None` allows any address: an operator configured the host.
    egress: EgressPolicy | None = None

    @property
    def certificate_name(self) -> str:
        """Name that the certificate must have (RFC 9525)."""
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
        """Return a token that is valid for at least some minutes. All sign-ins to one mailbox share it.

        Raise `probes.credentials.oauth.AccessTokenError`, with the authorization server's reason and no secret.
        """

    def reject(self, token: AccessToken) -> bool:
        """Record that a server has rejected *token*; return whether the caller may request another at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """A sign-in with an access token (SASL XOAUTH2), as Google Workspace and Microsoft 365 require."""

    username: str
    #: Source of the tokens. Sign-ins with the same user name and different sources do not compare equal.
    tokens: AccessTokens = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableLogin:
    """A sign-in whose secret is unavailable; its runs contact no server."""

    username: str
    #: The reason in one line, without a secret.
    reason: str


#: Share of the quota in use (0 to 1) from which a mailbox counts as nearly full.
NEARLY_FULL: Final = 0.9
#: KiB of free space that one more probe message needs, with the headers that servers add.
_MIN_FREE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxQuota:
    """Usage and limit of a mailbox (RFC 9208): in KiB, or as a number of messages."""

    used: int
    #: Above 0.
    limit: int
    #: `used` and `limit` are numbers of messages; otherwise KiB.
    in_messages: bool = False

    @property
    def share(self) -> float:
        """The share of the limit in use; may exceed 1."""
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
    #: Submission server; `None`: no message is sent from the mailbox.
    smtp: Server | None = None
    #: The mailbox is read over IMAP or over POP3. If both are `None`, it cannot be the recipient of a route.
    imap: Server | None = None
    pop3: Server | None = None
    #: The IMAP folder where mail arrives. A shared mailbox, which the login may read, has a name such as "shared/pro".
    inbox: str = "INBOX"
    #: Folders in which the mail provider puts suspected junk, besides the folder with the attribute \Junk (RFC 6154).
    junk_folders: tuple[str, ...] = ()
    #: The mailbox is from a pool that gives each process its own mailbox: no other process sends from this one.
    pooled: bool = False

    @property
    def can_send(self) -> bool:
        """Whether messages can be sent from the mailbox."""
        return self.smtp is not None

    @property
    def is_readable(self) -> bool:
        """Whether received messages can be read in the mailbox."""
        return self.imap is not None or self.pop3 is not None
