"""Mailboxes as they are configured."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from monitor.config.agency.login import LoginSettings, check_login
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.section import File, Host, Line, MailAddress, Port, Section
from probes.model.mailbox import Mailbox, Security, Server

_SMTP_PORTS = {Security.IMPLICIT: 465, Security.STARTTLS: 587}
_IMAP_PORTS = {Security.IMPLICIT: 993, Security.STARTTLS: 143}
_POP3_PORTS = {Security.IMPLICIT: 995, Security.STARTTLS: 110}


class ServerSettings(Section):
    """Where a server is and how it is met."""

    host: Host = Field(examples=["mel.jabatan-contoh.gov.my"])
    """Host name; a name of Google or Microsoft is fine, only the address must be the agency's own."""
    port: Port | None = None
    """Default: the registered port for `security` (465 or 587, 993 or 143, 995 or 110)."""
    security: Security = Security.IMPLICIT
    """implicit: TLS from the first byte; starttls: upgraded before anything secret is said."""
    tls_name: Host | None = None
    """The name in the certificate, when it is not `host`."""

    def build(self, ports: dict[Security, int], trust: Trust, ca_file: Path | None) -> Server:
        """Return the server as probes meet it."""
        return Server(
            host=self.host,
            port=self.port or ports[self.security],
            security=self.security,
            tls=trust.context(ca_file),
            tls_name=self.tls_name,
        )


class MailboxSettings(Section):
    """A mailbox that probe messages are sent from and arrive in. Use one that nobody reads."""

    address: MailAddress = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    smtp: ServerSettings | None = None
    """Its submission server; without it, nothing is sent from here."""
    imap: ServerSettings | None = None
    """Its IMAP server; without it and `pop3`, nothing can be seen to arrive here."""
    pop3: ServerSettings | None = None
    """Its POP3 server, where there is no IMAP: slower, and blind to junk folders."""
    login: LoginSettings
    inbox: Line | None = Field(default=None, examples=["Kongsi/Pro"])
    """The IMAP folder where mail arrives, when it is not INBOX: of a shared mailbox, as the server shows it."""
    ca_file: File | None = None
    """Certificate authorities of the servers, as PEM; default: those this machine trusts."""
    junk_folders: tuple[Line, ...] = ()
    """Folders beside the announced junk folder where this provider puts suspected junk."""

    @property
    def sends(self) -> bool:
        """Whether messages can be sent from it."""
        return self.smtp is not None

    @property
    def is_read(self) -> bool:
        """Whether it can be seen what arrives in it."""
        return self.imap is not None or self.pop3 is not None

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts of its servers."""
        return frozenset(server.host for server in (self.smtp, self.imap, self.pop3) if server is not None)

    def build(self, name: str, trust: Trust) -> Mailbox:
        """Return the mailbox as probes use it, called *name*. Raise `NoTrust` when a `ca_file` cannot be used."""

        def built(server: ServerSettings | None, ports: dict[Security, int]) -> Server | None:
            return None if server is None else server.build(ports, trust, self.ca_file)

        return Mailbox(
            name=name,
            address=self.address,
            smtp=built(self.smtp, _SMTP_PORTS),
            imap=built(self.imap, _IMAP_PORTS),
            pop3=built(self.pop3, _POP3_PORTS),
            login=self.login.build(trust),
            inbox=self.inbox or "INBOX",
            junk_folders=self.junk_folders,
        )


def check_servers(mailbox: MailboxSettings, findings: Findings, trust: Trust) -> None:
    """Note a mailbox that is of no use, that is read in two ways, or that cannot be signed in to."""
    if any(findings[server].is_broken for server in ("smtp", "imap", "pop3")):
        return
    if not mailbox.sends and not mailbox.is_read:
        findings.error("has no server: nothing is sent from it, and nothing read", "smtp:, imap: or pop3:")
    if mailbox.imap is not None and mailbox.pop3 is not None:
        findings["pop3"].error("is a second way to read it beside imap", "imap: it sees junk folders, too")
    if mailbox.imap is None:
        for key, given in (("inbox", mailbox.inbox is not None), ("junk_folders", bool(mailbox.junk_folders))):
            if given:
                findings[key].error("names folders, and only IMAP has them", "imap:")
    check_login(mailbox.login, findings["login"], trust)
    check_authorities(mailbox.ca_file, trust, findings["ca_file"])
