"""Section `mailboxes` of an agency, and the mailboxes of references: servers and logins.

A *stored secret* is one that a user entered in the portal. It is sent only to the recipients for which it was entered:
mail servers and a token endpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field, SecretStr, ValidationError

from monitor.config.agency.oauth import Flow, OAuthSettings, check_oauth, has_problem
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.reading import source_keys, source_remedy
from monitor.config.files.secret import StoredSecret
from monitor.config.files.section import Host, MailAddress, OneLine, Port, RefreshedSecretFile, ResolvedPath, Section
from monitor.model.mail_provider import KNOWN_PROVIDERS
from monitor.model.translatable import translatable
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import RotationFactory
from probes.credentials.oauth_local import TokenCommand, TokenFile
from probes.model.egress import EgressPolicy
from probes.model.mailbox import Mailbox, OAuth, Password, Security, Server, UnavailableLogin

#: Keys of a login. Exactly one of them must be set.
_LOGIN_METHODS: Final = ("password", "oauth", "token_file", "token_command")


class LoginSettings(Section):
    """Login for sending and reading, with one of password, oauth, token_file and token_command."""

    username: OneLine = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    """User name; with an access token, the address of the mailbox, which may be a shared one."""
    password: SecretStr | None = None
    """Password, by `password_file:` or `password_env:`; the portal writes `password_stored:`."""
    oauth: OAuthSettings | None = None
    """Access tokens from the provider (XOAUTH2), as Microsoft 365 and Google Workspace require."""
    token_file: RefreshedSecretFile | None = None
    """File whose first line is an access token that another program renews; read at each sign-in."""
    token_command: tuple[OneLine, ...] | None = None
    """Command that prints an access token, with its arguments: [oama, access, peti@jabatan-contoh.gov.my]."""

    @property
    def stored_secrets(self) -> Mapping[str, StoredSecret]:
        """Stored secrets, by their dotted path below `login`."""
        oauth = self.oauth
        secrets = {
            "password": self.password,
            "oauth.client_secret": oauth and oauth.client_secret,
            "oauth.refresh_token": oauth and oauth.refresh_token,
            "oauth.service_account": oauth and oauth.service_account,
        }
        return {key: secret for key, secret in secrets.items() if isinstance(secret, StoredSecret)}

    def build(self, trust: Trust, rotations: RotationFactory | None = None) -> Password | OAuth:
        """Return the login for probes. Raise `TrustStoreError` if `oauth.ca_file` cannot be used.

        *rotations* returns the store for refresh tokens that replace a stored one; `None`: memory only.
        """
        if self.oauth is not None:
            return OAuth(username=self.username, tokens=TokenCache(self.oauth.build(trust, self.username, rotations)))
        if self.token_file is not None:
            # The file is read at each sign-in. The other tokens are cached.
            return OAuth(username=self.username, tokens=TokenFile(self.token_file))
        if self.token_command is not None:
            return OAuth(username=self.username, tokens=TokenCache(TokenCommand(self.token_command)))
        return Password(username=self.username, secret=self.password.get_secret_value() if self.password else "")


def check_login(login: LoginSettings, findings: Findings, trust: Trust) -> None:
    """Record a login with no sign-in method, with several, or with an invalid one."""
    methods = [method for method in _LOGIN_METHODS if getattr(login, method) is not None]
    # A method with an invalid value is not missing, and its problem has been recorded.
    if not methods and not any(has_problem(findings, method) for method in _LOGIN_METHODS):
        findings["password"].error(
            "is missing",
            translatable("{source}; or oauth, token_file or token_command", source=source_remedy("password")),
        )
    for method in methods[1:]:
        written_keys = [source for source in source_keys(method) if findings[source].is_in_file]
        findings[(written_keys or [method])[0]].error(
            translatable("is a second way to sign in beside {way}", way=methods[0]), "one of the two"
        )
    if login.token_command == ():
        findings["token_command"].error("is empty", "[PROGRAM, ARGUMENT, ...]")
    elif login.token_command is not None and shutil.which(login.token_command[0]) is None:
        findings["token_command"].warning("no program of that name can be run here", "its whole path")
    if login.oauth is not None:
        check_oauth(login.oauth, findings["oauth"], trust)


#: Registered ports (RFC 8314, 7), by the server's key in a mailbox, which is also the protocol.
_PORTS = {
    "smtp": {Security.IMPLICIT: 465, Security.STARTTLS: 587},
    "imap": {Security.IMPLICIT: 993, Security.STARTTLS: 143},
    "pop3": {Security.IMPLICIT: 995, Security.STARTTLS: 110},
}
#: By port, its protocol and how a connection to it begins. Old servers accept submissions on port 25 as well.
_KNOWN_PORTS = {
    25: ("smtp", Security.STARTTLS),
    **{port: (key, security) for key, ports in _PORTS.items() for security, port in ports.items()},
}
_MICROSOFT = next(provider for provider in KNOWN_PROVIDERS if provider.name == "microsoft")


class ServerSettings(Section):
    """Address of a server, and how to connect to it."""

    host: Host = Field(examples=["mel.jabatan-contoh.gov.my"])
    """Host name or address. Hosts of Google or Microsoft are allowed: only the mail address must be official."""
    port: Port | None = None
    """Default: the registered port for `security` (465 or 587, 993 or 143, 995 or 110)."""
    security: Security = Security.IMPLICIT
    """implicit: TLS from the first byte; starttls: upgraded before credentials are sent."""
    tls_name: Host | None = None
    """Name in the server's certificate, if it is not `host`."""

    def port_of(self, key: str) -> int:
        """Return the port of the server, which has the key *key* ("smtp", "imap" or "pop3") in its mailbox."""
        return self.port or _PORTS[key][self.security]

    def recipient_id(self, key: str) -> str:
        """Return the text that identifies this server as a recipient of secrets: "mel.contoh.gov.my:993 implicit"."""
        name = f" ({self.tls_name.lower()})" if self.tls_name else ""
        return f"{self.host.lower()}:{self.port_of(key)} {self.security}{name}"

    def build(self, key: str, trust: Trust, ca_file: Path | None, egress: EgressPolicy | None) -> Server:
        """Return the server for probes. *key*: its key; *egress*: limits where it may be; `None`: anywhere."""
        return Server(
            host=self.host,
            port=self.port_of(key),
            egress=egress,
            security=self.security,
            tls=trust.context(ca_file),
            tls_name=self.tls_name,
        )


class MailboxSettings(Section):
    """Mailbox that sends and receives probe messages. Use one that nobody reads."""

    address: MailAddress = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    """Mail address."""
    smtp: ServerSettings | None = None
    """Submission server; without it, nothing is sent from this mailbox."""
    imap: ServerSettings | None = None
    """IMAP server; without it and `pop3`, nothing can arrive in this mailbox."""
    pop3: ServerSettings | None = None
    """POP3 server, if there is no IMAP: slower, and without junk folders."""
    login: LoginSettings
    """How Pantau signs in to the servers."""
    inbox: OneLine | None = Field(default=None, examples=["Kongsi/Pro"])
    """IMAP folder in which mail arrives, if it is not INBOX, such as that of a shared mailbox."""
    ca_file: ResolvedPath | None = None
    """Certificate authorities of the servers, as PEM; default: the system's."""
    junk_folders: tuple[OneLine, ...] = ()
    """Junk folders besides the one that the server marks as such."""

    @property
    def can_send(self) -> bool:
        """Whether messages can be sent from the mailbox."""
        return self.smtp is not None

    @property
    def is_readable(self) -> bool:
        """Whether messages that arrive in the mailbox can be read."""
        return self.imap is not None or self.pop3 is not None

    @property
    def servers(self) -> Mapping[str, ServerSettings]:
        """Servers of the mailbox, by key."""
        servers = {"smtp": self.smtp, "imap": self.imap, "pop3": self.pop3}
        return {key: server for key, server in servers.items() if server is not None}

    @property
    def hosts(self) -> frozenset[str]:
        """Hosts of the servers."""
        return frozenset(server.host for server in self.servers.values())

    @property
    def secret_recipients(self) -> frozenset[str]:
        """Recipients of the mailbox's secrets, as texts: its servers and the token endpoint.

        An application's secret, unlike a password or a person's refresh token, may open other mailboxes, too. For such
        a secret the set also contains the user name: a change of it requires that the secret is entered again.
        """
        oauth = self.login.oauth
        recipients = [server.recipient_id(key) for key, server in self.servers.items()]
        if oauth is not None and oauth.endpoint is not None:
            recipients.append(oauth.endpoint)
        if oauth is not None and oauth.flow is not Flow.REFRESH_TOKEN:
            recipients.append(f"username: {self.login.username.lower()}")
        return frozenset(recipients)

    def unauthorized_recipients(self, secret: StoredSecret) -> Sequence[str]:
        """Return the recipients of this mailbox for which *secret* was not entered."""
        return () if secret.unavailable_reason else sorted(self.secret_recipients - secret.allowed_recipients)

    def build(self, name: str, trust: Trust, egress: EgressPolicy, rotations: RotationFactory | None = None) -> Mailbox:
        """Return the mailbox for probes, named *name*. Raise `TrustStoreError` if a `ca_file` cannot be used.

        *egress*: policy for connections to servers that users of the portal configured. *rotations*: as in
        `LoginSettings.build`. A mailbox with an `UnavailableLogin` is not probed: no server is contacted.
        """
        stored_secrets = self.login.stored_secrets.values()
        # Users of the portal can configure servers only for mailboxes with stored secrets (ADR 0055).
        mailbox_egress = egress if stored_secrets else None

        def build_server(key: str) -> Server | None:
            server = self.servers.get(key)
            return None if server is None else server.build(key, trust, self.ca_file, mailbox_egress)

        unavailable_reason = next(
            (
                secret.unavailable_reason or "it was entered for other servers"
                for secret in stored_secrets
                if secret.unavailable_reason or self.unauthorized_recipients(secret)
            ),
            "",
        )
        login = (
            UnavailableLogin(username=self.login.username, reason=unavailable_reason)
            if unavailable_reason
            else self.login.build(trust, rotations)
        )

        return Mailbox(
            name=name,
            address=self.address,
            smtp=build_server("smtp"),
            imap=build_server("imap"),
            pop3=build_server("pop3"),
            login=login,
            inbox=self.inbox or "INBOX",
            junk_folders=self.junk_folders,
        )


def check_servers(mailbox: MailboxSettings, findings: Findings, trust: Trust) -> None:
    """Record a mailbox without servers or with two for reading, and invalid ports, folders, authorities and logins."""
    if any(findings[server].is_broken for server in ("smtp", "imap", "pop3")):
        return
    if not mailbox.can_send and not mailbox.is_readable:
        findings.error("has no server: nothing is sent from it, and nothing read", "smtp:, imap: or pop3:")
    if mailbox.imap is not None and mailbox.pop3 is not None:
        findings["pop3"].error("is a second way to read it beside imap", "imap: it sees junk folders, too")
    if mailbox.imap is None:
        for key, is_given in (("inbox", mailbox.inbox is not None), ("junk_folders", bool(mailbox.junk_folders))):
            if is_given:
                findings[key].error("names folders, and only IMAP has them", "imap:")
    for key, server in mailbox.servers.items():
        _check_port(key, server, findings[key])
    check_login(mailbox.login, findings["login"], trust)
    _check_secret_recipients(mailbox, findings["login"])
    _check_microsoft(mailbox, findings["login"])
    check_authorities(mailbox.ca_file, trust, findings["ca_file"])


def _check_secret_recipients(mailbox: MailboxSettings, findings: Findings) -> None:
    """Record stored secrets that would be sent to a recipient for which they were not entered.

    Without this check, a user could get a secret by changing the name of the server.
    """
    for key, secret in mailbox.login.stored_secrets.items():
        if unauthorized := mailbox.unauthorized_recipients(secret):
            source = source_keys(key)[-1]
            message = translatable(
                "was entered for {allowed_recipients}, and not for {others}",
                allowed_recipients=", ".join(sorted(secret.allowed_recipients)) or translatable("nobody"),
                others=", ".join(unauthorized),
            )
            findings[tuple(source.split("."))].error(
                message, "the previous servers; or the secret, entered again in the portal"
            )


def read_secret_recipients(mailbox: Mapping[str, Any]) -> frozenset[str]:
    """Return the recipients of the secrets of *mailbox*, which is its data in a document; empty if they are invalid."""
    try:
        return MailboxSettings.model_validate(_recipient_keys(mailbox)).secret_recipients
    except ValidationError:
        return frozenset()


def _recipient_keys(mailbox: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data of *mailbox* that determine the recipients of its secrets, without a secret or its source.

    Other required keys get placeholders.
    """
    login = mailbox.get("login")
    oauth = login.get("oauth") if isinstance(login, Mapping) else None
    oauth_keys = (
        {key: oauth[key] for key in ("provider", "tenant", "token_url", "flow") if key in oauth}
        if isinstance(oauth, Mapping)
        else None
    )
    username = login.get("username", "x") if isinstance(login, Mapping) else "x"
    login_keys = {
        "username": username,
        **({"oauth": {"flow": Flow.REFRESH_TOKEN, **oauth_keys, "client_id": "x"}} if oauth_keys else {}),
    }
    return {"address": "x@x.invalid", "login": login_keys, **{key: mailbox[key] for key in _PORTS if key in mailbox}}


def _check_port(key: str, server: ServerSettings, findings: Findings) -> None:
    """Record a port that is registered for another protocol than *key*, or for another start (TLS at once or later)."""
    if server.port not in _KNOWN_PORTS:
        return
    protocol, expected_security = _KNOWN_PORTS[server.port]
    usual_port = _PORTS[key][server.security]
    if protocol != key:
        findings["port"].warning(
            translatable("{port} is the port of {protocol}", port=server.port, protocol=protocol.upper()),
            f"port: {usual_port}",
        )
    elif expected_security is not server.security:
        pattern = (
            "a connection to port {port} begins with TLS, and security is {security}"
            if expected_security is Security.IMPLICIT
            else "a connection to port {port} begins without TLS, and security is {security}"
        )
        message = translatable(pattern, port=server.port, security=server.security)
        findings["port"].warning(
            message,
            translatable("security: {begins} beside it, or port: {usual}", begins=expected_security, usual=usual_port),
        )


def _check_microsoft(mailbox: MailboxSettings, findings: Findings) -> None:
    """Record a password for Microsoft's servers, which reject passwords or will do so (Microsoft's notice MC786329)."""
    if mailbox.login.password is None:
        return
    microsoft_servers = [
        key for key, server in mailbox.servers.items() if _MICROSOFT.sends_for(server.host, mailbox.address)
    ]
    written_key = next((source for source in source_keys("password") if findings[source].is_in_file), "password")
    instead = "oauth: or token_command: (docs/how-to/operator/mailbox-sign-in.md)"
    if microsoft_servers and microsoft_servers != ["smtp"]:
        findings[written_key].warning("Microsoft accepts no password for IMAP and POP3", instead)
    elif microsoft_servers:
        message = "Microsoft accepts no password for SMTP from the end of December 2026, unless the tenant allows it"
        findings[written_key].warning(message, instead)
