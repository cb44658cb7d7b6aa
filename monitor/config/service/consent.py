"""Section `portal.mailbox_consent`: access to mailboxes at Microsoft or Google by consent, without a password.

The operator registers Pantau once at the provider. Then the officer of a mailbox consents on a page of the provider,
and Pantau gets a refresh token for this mailbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, SecretStr

from monitor.config.fields.listen import Tenant, TokenEndpoint
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.section import Host, OneLine, Section
from probes.credentials.oauth_endpoint import Client
from probes.credentials.service_account import GOOGLE_SCOPE
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform

#: Path in the portal to which the provider redirects browsers. It is registered at providers, so it must not change.
CONSENT_PATH = "/mailboxes/consent"

#: Permission to read and send for a user. "offline_access" adds a refresh token, so that access does not end after an
#: hour.
_MICROSOFT_SCOPE = (
    "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentProcedure:
    """Consent procedure for mailboxes of one domain: with a device code (RFC 8628) or by redirecting the browser."""

    client: Client
    #: Device authorization endpoint; "": the browser is redirected.
    device_url: str = ""
    #: Authorization endpoint; "": a device code is used.
    authorize_url: str = ""
    #: "https://pantau.kementerian-contoh.gov.my/mailboxes/consent"; "": a device code is used.
    redirect_uri: str = ""
    #: Mail servers, or domains with all hosts below them, that may receive the tokens. Others could misuse the tokens.
    servers: tuple[str, ...]
    #: Section `login.oauth` for the mailbox in the agency's document, without its secrets.
    oauth_settings: Mapping[str, str]


class MicrosoftConsentSettings(Section):
    """Registration of Pantau at Microsoft Entra for accounts of any organization, with public client flows enabled."""

    client_id: OneLine = Field(examples=["00000000-0000-0000-0000-000000000000"])
    """Client identifier of the registered application."""
    tenant: Tenant | None = Field(default=None, examples=["jabatan-contoh.gov.my"])
    """Tenant of all mailboxes; default: that of each mailbox's domain."""
    device_url: TokenEndpoint | None = None
    """Device authorization endpoint, if it is not that of Microsoft's public cloud."""
    token_url: TokenEndpoint | None = None
    """Token endpoint; set together with `device_url`."""
    servers: tuple[Host, ...] = PLATFORM_SERVERS[MailPlatform.MICROSOFT]
    """Mail servers that receive the tokens; a domain matches all hosts below it."""

    def build(self, domain: str, trust: Trust) -> ConsentProcedure:
        """Return the consent procedure for mailboxes of *domain*."""
        tenant = self.tenant or domain
        tenant_url = f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
        client = Client(
            token_url=self.token_url or f"{tenant_url}/token",
            client_id=self.client_id,
            scope=_MICROSOFT_SCOPE,
            tls=trust.context(None, for_http=True),
        )
        oauth_settings = _oauth_section("microsoft", self.client_id, self.token_url)
        if self.token_url is None:
            oauth_settings["tenant"] = tenant
        return ConsentProcedure(
            client=client,
            device_url=self.device_url or f"{tenant_url}/devicecode",
            servers=self.servers,
            oauth_settings=oauth_settings,
        )


class GoogleConsentSettings(Section):
    """Client of the type "Web application" in a Google project, with the portal's redirect URI."""

    client_id: OneLine = Field(examples=["000000000000-contoh.apps.googleusercontent.com"])
    """Client identifier of the registered application."""
    client_secret: SecretStr
    """Secret of the client, by `client_secret_file:` or `client_secret_env:`."""
    authorize_url: TokenEndpoint | None = None
    """Authorization endpoint, if it is not Google's."""
    token_url: TokenEndpoint | None = None
    """Token endpoint; set together with `authorize_url`."""
    servers: tuple[Host, ...] = PLATFORM_SERVERS[MailPlatform.GOOGLE]
    """Mail servers that receive the tokens; a domain matches all hosts below it."""

    def build(self, address: str, trust: Trust) -> ConsentProcedure:
        """Return the consent procedure, which redirects browsers back to the portal at the URL *address*."""
        client = Client(
            token_url=self.token_url or "https://oauth2.googleapis.com/token",
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value(),
            scope=GOOGLE_SCOPE,
            tls=trust.context(None, for_http=True),
        )
        return ConsentProcedure(
            client=client,
            authorize_url=self.authorize_url or "https://accounts.google.com/o/oauth2/v2/auth",
            redirect_uri=f"{address}{CONSENT_PATH}",
            servers=self.servers,
            oauth_settings=_oauth_section("google", self.client_id, self.token_url),
        )


class MailboxConsentSettings(Section):
    """Providers at which officers can consent.

    For other providers, the portal shows officers what their administrator can do instead.
    """

    microsoft: MicrosoftConsentSettings | None = None
    """Microsoft 365: the officer types a code on a page of Microsoft."""
    google: GoogleConsentSettings | None = None
    """Google Workspace: the officer is redirected to a page of Google; requires `portal.address`."""


def check_consent(settings: MailboxConsentSettings, address: str | None, findings: Findings) -> None:
    """Record a missing portal URL (*address*), and one of two endpoints that go together."""
    if settings.google is not None:
        provider_findings = findings["google"]
        if address is None and not provider_findings.is_broken:
            provider_findings.error(
                "needs portal.address, to which the provider redirects browsers",
                f"portal.address, and {CONSENT_PATH} below it as the redirect URI at Google",
            )
        _check_pair(settings.google.authorize_url, settings.google.token_url, "authorize_url", provider_findings)
    if settings.microsoft is not None:
        provider_findings = findings["microsoft"]
        _check_pair(settings.microsoft.device_url, settings.microsoft.token_url, "device_url", provider_findings)


def _check_pair(other_url: str | None, token_url: str | None, key: str, provider_findings: Findings) -> None:
    """Record that only one of *other_url*, which has the key *key*, and *token_url* is configured."""
    if (other_url is None) != (token_url is None):
        missing = key if other_url is None else "token_url"
        provider_findings[missing].error(
            f"is missing: {key} and token_url go together", "https://log-masuk.contoh.gov.my/token"
        )


def _oauth_section(provider: str, client_id: str, token_url: str | None) -> dict[str, str]:
    """Return the section `login.oauth` with the configured *token_url*; `None`: *provider* determines it."""
    oauth_settings = {"flow": "refresh_token", "client_id": client_id}
    return oauth_settings | ({"provider": provider} if token_url is None else {"token_url": token_url})
