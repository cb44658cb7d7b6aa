"""Where access tokens come from, as it is configured (RFC 6749)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pydantic import Field, SecretStr

from monitor.config.fields.listen import safe_url
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.reading import by_source, sources
from monitor.config.files.section import File, KeptFile, Line, Section
from monitor.model.said import said
from probes.credentials.oauth_endpoint import Client, ClientCredentials, RefreshToken, Rotation

#: Exchange Online takes no other for a service's own token.
_MICROSOFT_SCOPE = "https://outlook.office365.com/.default"


class KnownAuthorizationServer(StrEnum):
    """An authorization server (RFC 6749 1.1) whose endpoint and scope need not be written."""

    MICROSOFT = "microsoft"
    GOOGLE = "google"


class Flow(StrEnum):
    """What a token is asked for with."""

    #: The client's own credentials (RFC 6749 4.4): nobody's consent runs out.
    CLIENT_CREDENTIALS = "client_credentials"
    #: A token that a person consented to once (RFC 6749 6).
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a grant


class OAuthSettings(Section):
    """How access tokens are asked for."""

    provider: KnownAuthorizationServer | None = None
    """microsoft (with `tenant`) or google: fills in `token_url` and `scope`."""
    tenant: Line | None = Field(default=None, examples=["jabatan-contoh.gov.my"])
    """Microsoft's: the tenant's domain or id."""
    flow: Flow
    """client_credentials: the client's own; refresh_token: a person's consent."""
    token_url: Line | None = Field(default=None, examples=["https://log-masuk.jabatan-contoh.gov.my/token"])
    """The token endpoint, where no `provider` is named."""
    client_id: Line = Field(examples=["00000000-0000-0000-0000-000000000000"])
    client_secret: SecretStr | None = None
    """By `client_secret_file:` or `client_secret_env:`."""
    scope: Line | None = None
    """Separated by spaces; default: that of `provider`."""
    refresh_token: SecretStr | None = None
    """By `refresh_token_file:` or `refresh_token_env:`; with the flow of that name."""
    rotation_file: KeptFile | None = None
    """Where Pantau keeps the refresh token that came in exchange, where each is taken only once."""
    ca_file: File | None = None
    """Certificate authorities of the token endpoint, as PEM; default: those this machine trusts."""

    @property
    def endpoint(self) -> str | None:
        """The token endpoint: as written, or that of `provider`."""
        if self.token_url is not None:
            return self.token_url
        match self.provider:
            case KnownAuthorizationServer.MICROSOFT if self.tenant is not None:
                return f"https://login.microsoftonline.com/{self.tenant}/oauth2/v2.0/token"
            case KnownAuthorizationServer.GOOGLE:
                return "https://oauth2.googleapis.com/token"
            case _:
                return None

    def build(self, trust: Trust) -> ClientCredentials | RefreshToken:
        """Return who asks for tokens. Raise `NoTrust` when `ca_file` cannot be used."""
        ours = self.provider is KnownAuthorizationServer.MICROSOFT and self.flow is Flow.CLIENT_CREDENTIALS
        client = Client(
            token_url=self.endpoint or "",
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value() if self.client_secret else None,
            # With a refresh token, none means what was consented to.
            scope=self.scope or (_MICROSOFT_SCOPE if ours else None),
            tls=trust.context(self.ca_file),
        )
        if self.refresh_token is None:
            return ClientCredentials(client)
        return RefreshToken(client, Rotation(self.refresh_token.get_secret_value(), self.rotation_file))


def check_oauth(oauth: OAuthSettings, findings: Findings, trust: Trust) -> None:
    """Note what is missing for the flow, what does not belong to it, and an endpoint that is not met with TLS."""
    for key, message, instead in (*_of_provider(oauth), *_of_flow(oauth)):
        if not is_faulty(findings, key):
            findings[key].error(message, instead)
    check_authorities(oauth.ca_file, trust, findings["ca_file"])


def is_faulty(findings: Findings, key: str) -> bool:
    """Whether *key*, or the source of the secret of that name, has been found wrong already."""
    return any(findings[each].is_broken for each in (key, *sources(key)))


def _of_provider(oauth: OAuthSettings) -> Iterator[tuple[str, str, str]]:
    microsoft = oauth.provider is KnownAuthorizationServer.MICROSOFT
    if microsoft and oauth.tenant is None and oauth.token_url is None:
        yield "tenant", "is missing", "tenant: jabatan-contoh.gov.my, or the id of the tenant"
    elif not microsoft and oauth.tenant is not None:
        yield "tenant", "belongs to Microsoft", "provider: microsoft"
    elif oauth.endpoint is None:
        yield "token_url", "is missing", "provider: microsoft | google, or token_url: https://..."
    if oauth.tenant is not None and not all(part.isalnum() for part in oauth.tenant.replace(".", "-").split("-")):
        yield (
            "tenant",
            said("'{tenant}' is no tenant", tenant=oauth.tenant),
            "jabatan-contoh.gov.my, or the id of the tenant",
        )
    if oauth.token_url is not None and safe_url(oauth.token_url) is None:
        yield (
            "token_url",
            "must be https, without a login: secrets are sent there",
            "https://log-masuk.jabatan-contoh.gov.my/token",
        )


def _of_flow(oauth: OAuthSettings) -> Iterator[tuple[str, str, str]]:
    if oauth.flow is Flow.REFRESH_TOKEN:
        if oauth.refresh_token is None:
            yield "refresh_token", "is missing", by_source("refresh_token")
        return
    if oauth.provider is KnownAuthorizationServer.GOOGLE:
        yield (
            "flow",
            "Google opens no mailbox to a client by itself",
            "refresh_token, or a token_command instead of oauth",
        )
    if oauth.client_secret is None:
        yield "client_secret", "is missing", by_source("client_secret")
    if oauth.refresh_token is not None:
        yield "refresh_token", "is not used by this flow", "flow: refresh_token"
    if oauth.rotation_file is not None:
        yield "rotation_file", "is not used by this flow", "flow: refresh_token"
