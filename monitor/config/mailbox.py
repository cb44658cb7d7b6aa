"""Mailboxes as they are configured."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from monitor.config.section import Host, Line, MailAddress, Port, Section
from monitor.config.trust import Trust
from probes.mailbox import Mailbox, Password, Security, Server

_SMTP_PORTS = {Security.IMPLICIT: 465, Security.STARTTLS: 587}
_IMAP_PORTS = {Security.IMPLICIT: 993, Security.STARTTLS: 143}


class ServerSettings(Section):
    """Where a server is and how it is met."""

    host: Host = Field(examples=["mel.jabatan-contoh.gov.my"])
    """Host name; a name of Google or Microsoft is fine, only the address must be the agency's own."""
    port: Port | None = None
    """Default: the registered port for `security` (465 or 587, 993 or 143)."""
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


class LoginSettings(Section):
    """How to sign in, the same for sending and reading."""

    username: Line = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    password: SecretStr
    """By `password_file:` or `password_env:`."""


class MailboxSettings(Section):
    """A mailbox that probe messages are sent from and arrive in. Use one that nobody reads."""

    address: MailAddress = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    smtp: ServerSettings
    imap: ServerSettings
    login: LoginSettings
    ca_file: Path | None = None
    """Certificate authorities of the two servers, as PEM; default: those this machine trusts."""
    junk_folders: tuple[Line, ...] = ()
    """Folders beside the announced junk folder where this provider puts suspected junk."""

    def build(self, name: str, trust: Trust) -> Mailbox:
        """Return the mailbox as probes use it, called *name*. Raise `NoTrust` when `ca_file` cannot be used."""
        return Mailbox(
            name=name,
            address=self.address,
            smtp=self.smtp.build(_SMTP_PORTS, trust, self.ca_file),
            imap=self.imap.build(_IMAP_PORTS, trust, self.ca_file),
            login=Password(username=self.login.username, secret=self.login.password.get_secret_value()),
            junk_folders=self.junk_folders,
        )
