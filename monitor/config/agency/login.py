"""How a mailbox is signed in to, as it is configured: with a password or with an access token."""

from __future__ import annotations

from typing import Final

from pydantic import Field, SecretStr

from monitor.config.agency.oauth import OAuthSettings, check_oauth, is_faulty
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.reading import by_source, sources
from monitor.config.files.section import File, Line, Section
from probes.credentials.oauth import KeptTokens
from probes.credentials.oauth_local import TokenCommand, TokenFile
from probes.model.mailbox import OAuth, Password

#: What a login has one of; secrets stand there by file or variable.
_WAYS: Final = ("password", "oauth", "token_file", "token_command")


class LoginSettings(Section):
    """How to sign in, the same for sending and reading: by one of password, oauth, token_file and token_command."""

    username: Line = Field(examples=["peti-pantau@jabatan-contoh.gov.my"])
    """With an access token, the address of the mailbox to open; a shared one is named here."""
    password: SecretStr | None = None
    """By `password_file:` or `password_env:`."""
    oauth: OAuthSettings | None = None
    """Access tokens from the provider (XOAUTH2), as Microsoft 365 and Google Workspace ask for."""
    token_file: File | None = None
    """A file whose first line is an access token that another program keeps fresh; read for each sign-in."""
    token_command: tuple[Line, ...] | None = None
    """A command that prints an access token, with its arguments: [oama, access, peti@jabatan-contoh.gov.my]."""

    def build(self, trust: Trust) -> Password | OAuth:
        """Return what probes sign in with. Raise `NoTrust` when a file of authorities cannot be used."""
        if self.oauth is not None:
            return OAuth(username=self.username, tokens=KeptTokens(self.oauth.build(trust)))
        if self.token_file is not None:
            return OAuth(username=self.username, tokens=TokenFile(self.token_file))
        if self.token_command is not None:
            return OAuth(username=self.username, tokens=KeptTokens(TokenCommand(self.token_command)))
        return Password(username=self.username, secret=self.password.get_secret_value() if self.password else "")


def check_login(login: LoginSettings, findings: Findings, trust: Trust) -> None:
    """Note a login with no way in, or with two."""
    ways = [way for way in _WAYS if getattr(login, way) is not None]
    # What was written and is wrong was noted as that.
    if not ways and not any(is_faulty(findings, way) for way in _WAYS):
        findings["password"].error("is missing", f"{by_source('password')}; or oauth, token_file or token_command")
    for way in ways[1:]:
        written = [source for source in sources(way) if findings[source].is_written]
        findings[(written or [way])[0]].error(f"is a second way to sign in beside {ways[0]}", "one of the two")
    if login.token_command == ():
        findings["token_command"].error("is empty", "[PROGRAM, ARGUMENT, ...]")
    if login.oauth is not None:
        check_oauth(login.oauth, findings["oauth"], trust)
