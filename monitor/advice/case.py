"""A failed run (one execution of a probe) and the placeholders of the text that explains it. Pure."""

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

#: By key of a server: name of its protocol, and its ports for implicit TLS and for STARTTLS.
_PROTOCOLS = {"smtp": ("SMTP", 465, 587), "imap": ("IMAP", 993, 143), "pop3": ("POP3", 995, 110)}

#: Provider of a server, by its host or a parent domain of it.
_MAIL_PROVIDERS = {
    **{name: platform.capitalize() for platform, names in PLATFORM_SERVERS.items() for name in names},
    "google.com": "Google",
    "yahoo.com": "Yahoo",
}

#: End of an `openssl s_client` command: prints the certificate.
_PRINT_CERTIFICATE = "</dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -dates -ext subjectAltName"

#: Texts that YAML parses as strings without quotes. It would parse digits, or words such as "no", as another type.
_PLAIN_YAML = re.compile(r"(?!(?:no|yes|on|off|true|false|null|y|n)$)[A-Za-z][\w /.-]*(?<! )", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A failed run on a route, and questions about its failure that select the text."""

    route: Route
    result: ProbeResult
    failure: Failure

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox of the party, sender or recipient, at which the run failed."""
        return self.route.sender if self.failure.party is Party.SENDER else self.route.recipient

    @property
    def protocol(self) -> str:
        """The protocol of the failed server, by its key in the configuration: "smtp", "imap" or "pop3"."""
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
        """Whether the enhanced status code is one of *wanted*. An entry with a dot at its end, "5.7.", is a prefix."""
        status = self.failure.status or ""
        return any(status == entry or (entry.endswith(".") and status.startswith(entry)) for entry in wanted)

    def reply_contains(self, *words: str) -> bool:
        """Whether the server's reply, converted to lower case, contains one of *words*."""
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
        """Whether the server reports that the account has reached its sending limit, not the quota of a mailbox."""
        return refusal.is_over_daily_limit(self.failure.status, self.failure.detail)

    def is_full(self) -> bool:
        """Whether the server reports that a mailbox or a disk is full (RFC 3463 3.3, 3.4).

        Servers send the reply codes 452 and 552 for other reasons, too, so an enhanced status code overrides them.
        """
        if self.has_sent_too_much():
            return False
        failure = self.failure
        is_disk_full = self.has_status("5.3.1", "4.3.1") or (failure.status is None and failure.code == 452)
        return (
            is_disk_full
            or refusal.is_full(failure.code, failure.status, failure.detail)
            or self.reply_contains("insufficient")
        )

    def is_closing(self) -> bool:
        """Whether the server is shutting down or refuses all clients for now (RFC 5321 3.8, RFC 3463 3.4)."""
        return not self.is_limited() and (self.has_status("4.3.2", "5.3.2") or self.failure.code == 421)

    def is_blocked(self) -> bool:
        """Whether the server's reply mentions a block list."""
        return refusal.mentions_block_list(self.failure.detail) or self.reply_contains("blocked")

    def is_not_understood(self) -> bool:
        """Whether the server does not understand a command or its parameters (RFC 5321 4.2.1, RFC 3463 3.6)."""
        return self.failure.code in {500, 501, 502, 503, 504} or self.has_status("5.5.")

    def uses_public_address(self) -> bool:
        """Whether the message was sent to another address, which forwards to the mailbox or is an alias of it."""
        return self.route.to is not None

    def is_recipient_in_agency(self) -> bool:
        """Whether the mailbox in which the message is expected belongs to an agency (its name is "agency/key")."""
        return "/" in self.route.recipient.name

    @property
    def placeholders(self) -> dict[str, str]:
        """The placeholders of a text about a failure, besides those about its route.

        `section` and `setting` are keys of the configuration. `detail` and `mail_provider` may be empty.
        """
        server, protocol = self.server, self.protocol
        name, implicit, starttls = _PROTOCOLS[protocol]
        uses_starttls = server is not None and server.security is Security.STARTTLS
        host, port = (server.host, server.port) if server else ("the server", 0)
        tls_name = server.certificate_name if server else host
        agency, _, key = self.mailbox.name.rpartition("/")
        section = f"mailboxes.{key}" if agency else f"references.{key}"
        if self.mailbox.pooled:
            # Each process uses one mailbox of the pool. Each of these mailboxes has a section of its own.
            section = f"{section}.pool[{self.mailbox.address}]"
        starttls_option = f" -starttls {protocol}" if uses_starttls else ""
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
            # For a message in a folder that is not configured, the detail is the folder's name.
            "folder": _yaml_item(self.failure.detail),
            "username": self.mailbox.login.username,
            "section": section,
            "setting": f"{section}.{protocol}",
            "mail_provider": self.mail_provider or "",
            "openssl": openssl,
            "certificate": f"{openssl} {_PRINT_CERTIFICATE}",
            "detail": self.failure.detail,
            "reason": self.failure.reason,
        }


def _yaml_item(name: str) -> str:
    """Return the name of a folder as an item of a YAML list, quoted if necessary."""
    return name if _PLAIN_YAML.fullmatch(name) else json.dumps(name, ensure_ascii=False)
