"""A failed run that is to be explained, and the placeholders of its explanation. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from probes.model import refusal
from probes.model.domain import find_parent
from probes.model.mail_platform import PLATFORM_SERVERS
from probes.model.mailbox import Mailbox, OAuth, Security, Server
from probes.model.probe import Route
from probes.model.result import Failure, Party, ProbeResult

#: Name of each protocol, and its ports for implicit TLS and for STARTTLS.
_SERVICES = {"smtp": ("SMTP", 465, 587), "imap": ("IMAP", 993, 143), "pop3": ("POP3", 995, 110)}

#: Provider of a server, by its host name; includes subdomains.
_MAIL_PROVIDERS = {
    **{name: platform.capitalize() for platform, names in PLATFORM_SERVERS.items() for name in names},
    "google.com": "Google",
    "yahoo.com": "Yahoo",
}

#: Continuation of an `openssl s_client` command that prints the certificate.
_SHOW = "</dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -dates -ext subjectAltName"

#: Needs no quotes in a list in YAML. A name of digits, or such as "no", would be parsed as another type.
_PLAIN = re.compile(r"(?!(?:no|yes|on|off|true|false|null|y|n)$)[A-Za-z][\w /.-]*(?<! )", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A failed run on a route."""

    route: Route
    result: ProbeResult
    failure: Failure

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox at the end that failed."""
        return self.route.sender if self.failure.party is Party.SENDER else self.route.recipient

    @property
    def protocol(self) -> str:
        """The key of the failed server: "smtp", "imap" or "pop3"."""
        if self.failure.party is Party.SENDER:
            return "smtp"
        return "pop3" if self.mailbox.imap is None and self.mailbox.pop3 is not None else "imap"

    @property
    def server(self) -> Server | None:
        """The failed server."""
        return {"smtp": self.mailbox.smtp, "imap": self.mailbox.imap, "pop3": self.mailbox.pop3}[self.protocol]

    @property
    def mail_provider(self) -> str | None:
        """The provider, if the host name of the server identifies it."""
        name = None if self.server is None else find_parent(self.server.host, _MAIL_PROVIDERS)
        return None if name is None else _MAIL_PROVIDERS[name]

    def uses_token(self) -> bool:
        """Whether the sign-in uses an access token."""
        return isinstance(self.mailbox.login, OAuth)

    def has_status(self, *wanted: str) -> bool:
        """Whether the enhanced status code is one of these, or begins with one that ends with a dot."""
        status = self.failure.status or ""
        return any(status == one or (one.endswith(".") and status.startswith(one)) for one in wanted)

    def reply_contains(self, *words: str) -> bool:
        """Whether the server's reply contains one of these, in any case."""
        return any(word in self.failure.detail.lower() for word in words)

    def is_unknown_mailbox(self) -> bool:
        """Whether the server reports that the mailbox does not exist."""
        return self.has_status("5.1.1", "5.1.10", "5.1.6") or self.reply_contains(
            "user unknown", "no such user", "no such mailbox"
        )

    def is_limited(self) -> bool:
        """Whether the server's reply reports a limit on the amount or the rate of requests."""
        return refusal.mentions_limit(self.failure.detail)

    def has_sent_too_much(self) -> bool:
        """Whether the server reports that the account's sending limit is used up, as opposed to the quota of a mailbox."""
        return refusal.is_over_daily_limit(self.failure.status, self.failure.detail)

    def is_full(self) -> bool:
        """Whether the server reports that a mailbox or a disk is full (RFC 3463 3.3, 3.4).

        The codes 452 and 552 alone mean that, and are also used for much else: the enhanced status decides.
        """
        if self.has_sent_too_much():
            return False
        failure = self.failure
        disk = self.has_status("5.3.1", "4.3.1") or (failure.status is None and failure.code == 452)
        return (
            disk or refusal.is_full(failure.code, failure.status, failure.detail) or self.reply_contains("insufficient")
        )

    def is_closing(self) -> bool:
        """Whether the server is shutting down or refuses all clients for now (RFC 5321 3.8, RFC 3463 3.4)."""
        return not self.is_limited() and (self.has_status("4.3.2", "5.3.2") or self.failure.code == 421)

    def is_blocked(self) -> bool:
        """Whether the server's reply mentions a block list."""
        return refusal.mentions_block_list(self.failure.detail) or self.reply_contains("blocked")

    def is_not_understood(self) -> bool:
        """Whether the server reports a syntax error (RFC 5321 4.2.1: x0z is syntax)."""
        return self.failure.code in {500, 501, 502, 503, 504} or self.has_status("5.5.")

    def is_public(self) -> bool:
        """Whether the message was sent to another address than that of the mailbox in which it is expected.

        Mail to such a public address is forwarded to the mailbox.
        """
        return self.route.to is not None

    def is_internal(self) -> bool:
        """Whether the mailbox in which the message is expected belongs to an agency."""
        return "/" in self.route.recipient.name

    @property
    def placeholders(self) -> dict[str, str]:
        """The placeholders of a text about a failure, besides those of every route.

        `detail` and `mail_provider` may be empty.
        """
        server, protocol = self.server, self.protocol
        name, implicit, starttls = _SERVICES[protocol]
        upgraded = server is not None and server.security is Security.STARTTLS
        host, port = (server.host, server.port) if server else ("the server", 0)
        tls_name = server.certificate_name if server else host
        agency, _, key = self.mailbox.name.rpartition("/")
        section = f"mailboxes.{key}" if agency else f"references.{key}"
        if self.mailbox.pooled:
            # Each process has a limit of its own.
            section = f"{section}.pool[{self.mailbox.address}]"
        starttls_option = f" -starttls {protocol}" if upgraded else ""
        openssl = f"openssl s_client -connect {host}:{port}{starttls_option} -servername {tls_name}"
        return {
            "host": host,
            "port": str(port),
            "server": f"{host}:{port}",
            "tls_name": tls_name,
            "protocol": name,
            "implicit_port": str(implicit),
            "starttls_port": str(starttls),
            "security": server.security if server else Security.IMPLICIT,
            "address": self.mailbox.address,
            "inbox": self.mailbox.inbox,
            "folder": _yaml_item(self.failure.detail),
            "username": self.mailbox.login.username,
            "section": section,
            "setting": f"{section}.{protocol}",
            "mail_provider": self.mail_provider or "",
            "openssl": openssl,
            "certificate": f"{openssl} {_SHOW}",
            "detail": self.failure.detail,
            "reason": self.failure.reason,
        }


def _yaml_item(name: str) -> str:
    """Return the name of a folder as an item of a YAML list, quoted if necessary."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)
