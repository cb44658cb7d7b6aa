"""Section `login.oauth` of a mailbox: how access tokens are requested (OAuth 2.0, RFC 6749)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from pydantic import Field, SecretStr

from monitor.config.fields.listen import Tenant, TokenEndpoint
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.reading import source_keys, source_remedy
from monitor.config.files.secret import StoredSecret
from monitor.config.files.section import OneLine, RefreshedSecretFile, ResolvedPath, Section
from monitor.model.translatable import translatable
from probes.credentials.oauth import Issuer
from probes.credentials.oauth_endpoint import (
    Client,
    ClientCredentialsIssuer,
    RefreshTokenIssuer,
    RefreshTokenStore,
    RotationFactory,
)
from probes.credentials.service_account import (
    GOOGLE_SCOPE,
    BadServiceAccountError,
    ServiceAccount,
    ServiceAccountIssuer,
)

#: The only scope that Exchange Online accepts for the client's own credentials.
MICROSOFT_SCOPE = "https://outlook.office365.com/.default"


class KnownAuthorizationServer(StrEnum):
    """Authorization server (RFC 6749 1.1) whose endpoint and scope may be omitted."""

    MICROSOFT = "microsoft"
    GOOGLE = "google"


class Flow(StrEnum):
    """OAuth grant by which an access token is requested."""

    #: The client's own credentials (RFC 6749 4.4). There is no consent of a person that could expire.
    CLIENT_CREDENTIALS = "client_credentials"
    #: A refresh token, which the provider issued after a person's consent (RFC 6749 6).
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a grant
    #: An assertion signed by a service account (RFC 7523), to which the domain's administrator delegated access; used
    #: at Google.
    SERVICE_ACCOUNT = "service_account"


#: Scopes that need not be configured.
_DEFAULT_SCOPES: Mapping[tuple[KnownAuthorizationServer | None, Flow], str] = {
    (KnownAuthorizationServer.MICROSOFT, Flow.CLIENT_CREDENTIALS): MICROSOFT_SCOPE,
    (KnownAuthorizationServer.GOOGLE, Flow.SERVICE_ACCOUNT): GOOGLE_SCOPE,
}


def default_endpoint(provider: KnownAuthorizationServer, tenant: str | None) -> str | None:
    """Return the token endpoint of a known authorization server; `None` if it needs a *tenant* that is missing."""
    if provider is KnownAuthorizationServer.GOOGLE:
        return "https://oauth2.googleapis.com/token"
    return None if tenant is None else f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"


class OAuthSettings(Section):
    """How access tokens are requested."""

    provider: KnownAuthorizationServer | None = None
    """`microsoft` (with `tenant`) or `google`: sets `token_url` and `scope`."""
    tenant: Tenant | None = Field(default=None, examples=["jabatan-contoh.gov.my"])
    """Domain or id of the Microsoft tenant."""
    flow: Flow
    """client_credentials: the client's own access; refresh_token: by a person's consent; service_account: by
    delegation to the account in a Google domain.
    """
    token_url: TokenEndpoint | None = Field(default=None, examples=["https://log-masuk.jabatan-contoh.gov.my/token"])
    """Token endpoint; default: that of `provider`."""
    client_id: OneLine = Field(examples=["00000000-0000-0000-0000-000000000000"])
    """Client identifier (RFC 6749 2.2)."""
    client_secret: SecretStr | None = None
    """Secret of the client, by `client_secret_file:` or `client_secret_env:`."""
    scope: OneLine | None = None
    """Scopes, separated by spaces; default: that of `provider`."""
    refresh_token: SecretStr | None = None
    """Refresh token, by `refresh_token_file:` or `refresh_token_env:`; for the flow of that name."""
    service_account: SecretStr | None = None
    """Key of the service account as JSON, by `service_account_file:` or `service_account_env:`; for the flow of that
    name.
    """
    rotation_file: RefreshedSecretFile | None = None
    """File in which Pantau keeps the latest refresh token, if the provider accepts each token only once."""
    ca_file: ResolvedPath | None = None
    """Certificate authorities of the token endpoint, as PEM; default: the system's."""

    @property
    def endpoint(self) -> str | None:
        """Token endpoint: as configured, or that of `provider`."""
        if self.token_url is not None:
            return self.token_url
        return None if self.provider is None else default_endpoint(self.provider, self.tenant)

    def build(self, trust: Trust, username: str, rotations: RotationFactory | None = None) -> Issuer:
        """Return the issuer of access tokens for the mailbox of *username*.

        Raise `TrustStoreError` if `ca_file` cannot be used. *rotations*: by the name and the value of a refresh token
        from the portal, it returns the store for the tokens that replace it; `None`: they are kept only in memory.
        """
        client = Client(
            token_url=self.endpoint or "",
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value() if self.client_secret else None,
            # With a refresh token, no default scope is sent: that of the consent applies.
            scope=self.scope or _DEFAULT_SCOPES.get((self.provider, self.flow)),
            tls=trust.context(self.ca_file, for_http=True),
        )
        if self.service_account is not None:
            return ServiceAccountIssuer(client, ServiceAccount.read(self.service_account.get_secret_value()), username)
        if self.refresh_token is None:
            return ClientCredentialsIssuer(client)
        token = self.refresh_token.get_secret_value()
        if rotations is not None and isinstance(self.refresh_token, StoredSecret) and self.rotation_file is None:
            return RefreshTokenIssuer(client, rotations(self.refresh_token.name, token))
        return RefreshTokenIssuer(client, RefreshTokenStore(token, self.rotation_file))


#: Key of the secret that each flow needs.
_SECRET_KEYS = {
    Flow.CLIENT_CREDENTIALS: "client_secret",
    Flow.REFRESH_TOKEN: "refresh_token",
    Flow.SERVICE_ACCOUNT: "service_account",
}


def check_oauth(oauth: OAuthSettings, findings: Findings, trust: Trust) -> None:
    """Record missing keys that the flow or the provider needs, and keys that they do not use."""
    for key, message, instead in (*_provider_problems(oauth), *_flow_problems(oauth)):
        if not has_problem(findings, key):
            written_key = next((each for each in (key, *source_keys(key)) if findings[each].is_in_file), key)
            findings[written_key].error(message, instead)
    check_authorities(oauth.ca_file, trust, findings["ca_file"])


def has_problem(findings: Findings, key: str) -> bool:
    """Whether *key*, or for a secret one of its source keys such as `password_file`, has an invalid value."""
    return any(findings[each].is_broken for each in (key, *source_keys(key)))


def _provider_problems(oauth: OAuthSettings) -> Iterator[tuple[str, str, str]]:
    """Yield key, message and remedy of each problem with the provider."""
    microsoft = oauth.provider is KnownAuthorizationServer.MICROSOFT
    if microsoft and oauth.tenant is None and oauth.token_url is None:
        yield "tenant", "is missing", "tenant: jabatan-contoh.gov.my, or the id of the tenant"
    elif not microsoft and oauth.tenant is not None:
        yield "tenant", "belongs to Microsoft", "provider: microsoft"
    elif oauth.endpoint is None:
        yield "token_url", "is missing", "provider: microsoft | google, or token_url: https://..."


def _flow_problems(oauth: OAuthSettings) -> Iterator[tuple[str, str, str]]:
    """Yield key, message and remedy of each problem with the flow."""
    if oauth.flow is Flow.CLIENT_CREDENTIALS and oauth.provider is KnownAuthorizationServer.GOOGLE:
        yield "flow", "Google gives a client by itself no access to mailboxes", "service_account, or refresh_token"
    elif oauth.flow is Flow.SERVICE_ACCOUNT and oauth.provider is KnownAuthorizationServer.MICROSOFT:
        yield "flow", "Microsoft has no such accounts", "client_credentials"
        return
    required_key = _SECRET_KEYS[oauth.flow]
    if getattr(oauth, required_key) is None:
        yield required_key, "is missing", source_remedy(required_key)
    # A client secret may be set in any flow.
    for flow, key in ((Flow.REFRESH_TOKEN, "refresh_token"), (Flow.SERVICE_ACCOUNT, "service_account")):
        if oauth.flow is not flow and getattr(oauth, key) is not None:
            yield key, "is not used by this flow", f"flow: {flow}"
    if oauth.flow is not Flow.REFRESH_TOKEN and oauth.rotation_file is not None:
        yield "rotation_file", "is not used by this flow", "flow: refresh_token"
    if oauth.flow is Flow.SERVICE_ACCOUNT and oauth.service_account is not None:
        yield from _service_account_problems(oauth, oauth.service_account)


def _service_account_problems(oauth: OAuthSettings, key: SecretStr) -> Iterator[tuple[str, str, str]]:
    """Yield key, message and remedy of each problem with *key*, the JSON key of the service account."""
    if isinstance(key, StoredSecret) and key.unavailable_reason:
        return
    try:
        account = ServiceAccount.read(key.get_secret_value())
    except BadServiceAccountError as error:
        yield "service_account", str(error), source_remedy("service_account")
        return
    if account.client_id != oauth.client_id:
        yield "client_id", "is not that of the service account's key", account.client_id
    if oauth.scope is None and oauth.provider is None:
        yield (
            "scope",
            "is missing: the signed assertion must contain it",
            translatable("provider: google, or scope: {scope}", scope=GOOGLE_SCOPE),
        )
