"""Section `portal.openid`: sign-in with an account at an identity provider (OpenID Connect Core 1.0)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from monitor.config.fields.listen import parse_safe_url
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.section import OneLine, ResolvedPath, Section, SubstituteIfInvalid, shape_error


def _check_issuer(text: str) -> str:
    url = parse_safe_url(text)
    if url is None or url.query or url.fragment:
        raise shape_error(
            "must be an https address, as the provider's metadata names it", "https://log-masuk.contoh.gov.my"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdClient:
    """Registration of the portal as a client at the identity provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    #: "https://pantau.kementerian-contoh.gov.my/sign-in/openid/answer"
    redirect_uri: str
    #: TLS context for connections to the provider.
    tls: ssl.SSLContext


class OpenIdSettings(Section):
    """Identity provider at which Pantau is registered as a client."""

    issuer: Annotated[str, AfterValidator(_check_issuer), SubstituteIfInvalid("https://x.invalid")] = Field(
        examples=["https://log-masuk.kementerian-contoh.gov.my/realms/kerajaan"]
    )
    """Issuer URL, exactly as in the provider's metadata, which are at `/.well-known/openid-configuration` below it."""
    name: OneLine = "OpenID"
    """Label of the sign-in button."""
    client_id: OneLine = Field(examples=["pantau"])
    """Client identifier at the provider."""
    client_secret: SecretStr
    """Secret of the client, by `client_secret_file:` or `client_secret_env:`."""
    ca_file: ResolvedPath | None = None
    """Certificate authorities of the provider, as PEM; default: the system's."""

    def build(self, address: str) -> OpenIdClient:
        """Return the registration of a portal with the URL *address*."""
        return OpenIdClient(
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value(),
            redirect_uri=f"{address}{ANSWER_PATH}",
            tls=ssl.create_default_context(cafile=self.ca_file),
        )


#: Path in the portal to which the provider redirects browsers. It is registered at providers, so it must not change.
ANSWER_PATH = "/sign-in/openid/answer"


def check_openid(settings: OpenIdSettings, address: str | None, findings: Findings, trust: Trust) -> None:
    """Record a missing portal URL, and unusable certificate authorities. *address*: the portal's URL."""
    if address is None and not findings.is_broken:
        findings.error(
            "needs portal.address, to which the provider redirects browsers",
            f"portal.address, and {ANSWER_PATH} below it as the redirect URI at the provider",
        )
    if settings.ca_file is not None:
        check_authorities(settings.ca_file, trust, findings["ca_file"])
