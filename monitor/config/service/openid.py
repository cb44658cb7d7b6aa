"""Section `portal.openid`: sign-in with an account at an identity provider (OpenID Connect Core 1.0)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from monitor.config.fields.listen import parse_safe_url
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.section import File, InvalidValue, Line, Section, shape_error


def _check_issuer(text: str) -> str:
    url = parse_safe_url(text)
    if url is None or url.query or url.fragment:
        raise shape_error(
            "must be an https address, as the provider's metadata names it", "https://log-masuk.contoh.gov.my"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdClient:
    """Client data of the portal at the identity provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    #: "https://pantau.kementerian-contoh.gov.my/sign-in/openid/answer"
    redirect_uri: str
    trust: ssl.SSLContext


class OpenIdSettings(Section):
    """Identity provider at which Pantau is registered as a client."""

    issuer: Annotated[str, AfterValidator(_check_issuer), InvalidValue("https://x.invalid")] = Field(
        examples=["https://log-masuk.kementerian-contoh.gov.my/realms/kerajaan"]
    )
    """Issuer, exactly as in the metadata at `/.well-known/openid-configuration` below it."""
    name: Line = "OpenID"
    """Label of the sign-in button."""
    client_id: Line = Field(examples=["pantau"])
    """Client identifier at the provider."""
    client_secret: SecretStr
    """By `client_secret_file:` or `client_secret_env:`."""
    ca_file: File | None = None
    """Certificate authorities of the provider, as PEM; default: the system's."""

    def build(self, address: str) -> OpenIdClient:
        """Return the client data for a portal at *address*."""
        return OpenIdClient(
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value(),
            redirect_uri=f"{address}{ANSWER_PATH}",
            trust=ssl.create_default_context(cafile=self.ca_file),
        )


#: Path to which the provider redirects browsers; it is registered there.
ANSWER_PATH = "/sign-in/openid/answer"


def check_openid(settings: OpenIdSettings, address: str | None, findings: Findings, trust: Trust) -> None:
    """Record settings that prevent the redirect back to the portal, and unusable authorities."""
    if address is None and not findings.is_broken:
        findings.error(
            "has nowhere to send browsers back to: portal.address is missing",
            f"portal.address, and {ANSWER_PATH} below it as the redirect URI at the provider",
        )
    if settings.ca_file is not None:
        check_authorities(settings.ca_file, trust, findings["ca_file"])
