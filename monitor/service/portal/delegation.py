"""Application that a mail administrator authorises to access mailboxes without their users: settings and tokens.

At Google it is a service account with domain-wide delegation, at Microsoft a client with its own credentials.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from monitor.config.agency.oauth import MICROSOFT_SCOPE, Flow, KnownAuthorizationServer, default_endpoint
from monitor.config.fields.listen import is_tenant
from monitor.config.fields.trust import Trust
from probes.credentials.oauth import Issuer
from probes.credentials.oauth_endpoint import Client, ClientCredentialsIssuer
from probes.credentials.service_account import (
    GOOGLE_SCOPE,
    BadServiceAccountError,
    ServiceAccount,
    ServiceAccountIssuer,
)
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform

#: Typed fields that are secret.
APPLICATION_SECRETS: Final = ("client_secret", "service_account")
#: Longest id and client secret, in characters.
_MAX_LENGTH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationProvider:
    """Token endpoint of a provider, and the servers that receive the tokens."""

    token_url: str
    #: Domains of the mail servers to which the tokens may be sent.
    servers: tuple[str, ...]
    tls: ssl.SSLContext = field(repr=False)


class BadApplicationError(Exception):
    """Error for invalid typed settings of an application. The message is a key of the portal's texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Application as a mail administrator has registered it at Google or Microsoft."""

    platform: MailPlatform
    client_id: str
    #: Microsoft only.
    tenant: str = ""
    #: Microsoft: the client secret; Google: the JSON of the service account's key.
    secret: str = field(repr=False)

    @classmethod
    def read(cls, platform: MailPlatform, typed: Mapping[str, str], domain: str) -> Self:
        """Read the typed "tenant", "client_id", "client_secret" and "service_account". Raise `BadApplicationError`.

        *domain*: the domain of the mailbox. It serves as the tenant if none is typed, because Microsoft accepts any
        domain of a tenant.
        """
        if platform is MailPlatform.GOOGLE:
            text = typed.get("service_account", "").strip()
            if not text:
                raise BadApplicationError("no_account")
            try:
                account = ServiceAccount.read(text)
            except BadServiceAccountError:
                raise BadApplicationError("bad_account") from None
            return cls(platform=platform, client_id=account.client_id, secret=json.dumps(json.loads(text)))
        tenant = typed.get("tenant", "").strip().lower() or domain
        client_id, secret = typed.get("client_id", "").strip(), typed.get("client_secret", "")
        if not is_tenant(tenant) or len(tenant) > _MAX_LENGTH:
            raise BadApplicationError("bad_tenant")
        if not client_id or not client_id.replace("-", "").isalnum() or len(client_id) > _MAX_LENGTH:
            raise BadApplicationError("bad_client_id")
        if not secret.strip():
            raise BadApplicationError("no_client_secret")
        if secret != secret.strip() or not secret.isprintable() or len(secret) > _MAX_LENGTH:
            raise BadApplicationError("bad_client_secret")
        return cls(platform=platform, client_id=client_id, tenant=tenant, secret=secret)

    @property
    def oauth_settings(self) -> Mapping[str, str]:
        """Return the settings of `login.oauth` of a mailbox, without the secret."""
        flow = Flow.SERVICE_ACCOUNT if self.platform is MailPlatform.GOOGLE else Flow.CLIENT_CREDENTIALS
        tenant = {"tenant": self.tenant} if self.tenant else {}
        return {"provider": str(self.platform), **tenant, "flow": str(flow), "client_id": self.client_id}

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return the secret, by the key under which `login.oauth` names it."""
        return {"service_account" if self.platform is MailPlatform.GOOGLE else "client_secret": self.secret}

    def issuer(self, provider: DelegationProvider, username: str) -> Issuer:
        """Return the issuer of tokens for the mailbox of *username*."""
        is_google = self.platform is MailPlatform.GOOGLE
        client = Client(
            token_url=provider.token_url,
            client_id=self.client_id,
            client_secret=None if is_google else self.secret,
            scope=GOOGLE_SCOPE if is_google else MICROSOFT_SCOPE,
            tls=provider.tls,
        )
        return (
            ServiceAccountIssuer(client, ServiceAccount.read(self.secret), username)
            if is_google
            else ClientCredentialsIssuer(client)
        )


def build_delegation_provider(application: Application, trust: Trust) -> DelegationProvider:
    """Return the provider where an application requests tokens."""
    return DelegationProvider(
        token_url=default_endpoint(KnownAuthorizationServer(application.platform), application.tenant) or "",
        servers=PLATFORM_SERVERS[application.platform],
        tls=trust.context(None, for_http=True),
    )
