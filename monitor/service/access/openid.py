"""Sign-in with an external account: OpenID Connect, authorization code flow with PKCE, state and nonce (implemented by Authlib).

A user must have linked the account before; it is identified by issuer and subject. An e-mail address or a name is no
identification, and creates no account.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.principal import User
from monitor.config.service.openid import OpenIdClient
from monitor.runtime.log_throttle import LogThrottle
from monitor.service.access.authenticator import Authenticator, NewPendingSession, NewSession, SignInFailedError
from monitor.service.access.secret import SessionKey
from monitor.store.admin.users import IdentityTakenError, Users

log = structlog.get_logger()

#: Time limit for the login at the provider.
_GOOD_FOR: Final = timedelta(minutes=10)
#: Maximum of pending logins; the oldest is dropped.
_AT_ONCE: Final = 1_000
#: In seconds, for each response of the provider.
_PATIENCE: Final = 10.0
#: Signatures that require the provider's private key: without "none" and shared secrets.
_SIGNATURES: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(slots=True, kw_only=True)
class _PendingLogin:
    """A login in progress at the provider."""

    until: datetime
    next: str
    #: The user who links the account; `None`: a sign-in.
    user: User | None
    #: State that Authlib keeps between redirect and callback.
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRedirect:
    """Redirect of a browser to the provider, and the key that identifies its callback."""

    address: str
    key: SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCallback:
    """Completed login at the provider."""

    next: str
    #: `None`: a signed-in user has linked an account.
    session: NewSession | NewPendingSession | None


class OpenIdLogin:
    """One provider.

    Raises `SignInFailedError`, whose message is a key of the portal's words, and `StoreUnavailable`.
    """

    def __init__(
        self, client: OpenIdClient, name: str, authenticator: Authenticator, users: Users, clock: Clock
    ) -> None:
        """*name*: the provider's name for users."""
        self.name = name
        self._issuer = client.issuer
        self._client_id = client.client_id
        self._redirect_uri = client.redirect_uri
        self._authenticator = authenticator
        self._users = users
        self._clock = clock
        self._throttle = LogThrottle()
        self._errands: OrderedDict[str, _PendingLogin] = OrderedDict()
        self._provider = OAuth().register(
            "openid",
            client_id=client.client_id,
            client_secret=client.client_secret,
            server_metadata_url=f"{client.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid",
                "code_challenge_method": "S256",
                "timeout": _PATIENCE,
                "trust_env": False,
                "verify": client.trust,
            },
        )

    async def depart(self, request: Request, to: str, user: User | None) -> LoginRedirect:
        """Redirect a browser to the provider, with the callback at *to*. *user*: the one who links the account."""
        errand = _PendingLogin(until=self._clock.now() + _GOOD_FOR, next=to, user=user)
        request.scope["session"] = errand.kept
        try:
            await self._metadata()
            answer = await self._provider.authorize_redirect(request, self._redirect_uri)
        except (AuthlibBaseError, httpx2.HTTPError, ValueError, KeyError, RuntimeError) as error:
            raise self._away(error) from None
        key = SessionKey.new()
        self._errands[key.digest] = errand
        while len(self._errands) > _AT_ONCE:
            self._errands.popitem(last=False)
        return LoginRedirect(address=answer.headers["location"], key=key)

    async def welcome(self, request: Request, key: SessionKey | None, address: str) -> LoginCallback:
        """Process the callback of a browser with its key. *address*: the client address."""
        errand = self._errands.pop(key.digest, None) if key else None
        if errand is None or self._clock.now() >= errand.until:
            raise SignInFailedError("openid_too_late")
        request.scope["session"] = errand.kept
        subject = await self._subject(request)
        now = self._clock.now()
        if errand.user is not None:
            detail = {"user": errand.user.name, "issuer": self._issuer, "address": address}
            entry = AuditEntry(at=now, actor=errand.user.by, event="account linked", detail=detail)
            try:
                await self._users.link(errand.user.id, self._issuer, subject, entry)
            except IdentityTakenError:
                raise SignInFailedError("openid_taken") from None
            return LoginCallback(next=errand.next, session=None)
        user = await self._users.identified(self._issuer, subject)
        if user is None:
            raise SignInFailedError("openid_unknown")
        session = await self._authenticator.enter(user, address, "signed in by openid")
        return LoginCallback(next=errand.next, session=session)

    async def is_linked(self, user: User) -> bool:
        """Whether a user has linked an account of this provider."""
        return self._issuer in await self._users.identities(user.id)

    async def _metadata(self) -> None:
        """Check that the provider is the configured one and uses permitted signatures."""
        metadata: dict[str, Any] = await self._provider.load_server_metadata()
        if metadata.get("issuer") != self._issuer:
            raise ValueError(f"its metadata names another issuer: {str(metadata.get('issuer'))[:200]!r}")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [each for each in offered if each in _SIGNATURES]

    async def _subject(self, request: Request) -> str:
        # Authlib compares neither the issuer with the configured one nor the audience.
        options: Mapping[str, Any] = {
            "iss": {"essential": True, "values": [self._issuer]},
            "aud": {"essential": True, "values": [self._client_id]},
            "sub": {"essential": True},
        }
        try:
            await self._metadata()
            token = await self._provider.authorize_access_token(request, claims_options=options)
            subject = token["userinfo"]["sub"]
        except (AuthlibBaseError, JoseError) as error:
            self._warn("identity provider response rejected", type(error).__name__)
            raise SignInFailedError("openid_refused") from None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise self._away(error) from None
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise SignInFailedError("openid_refused")
        return subject

    def _away(self, error: Exception) -> SignInFailedError:
        self._warn("identity provider unavailable", f"{type(error).__name__}: {error}"[:300])
        return SignInFailedError("openid_away")

    def _warn(self, what: str, why: str) -> None:
        # Anyone can request the callback address.
        if self._throttle.admit((what, why)) is not None:
            log.warning(what, issuer=self._issuer, reason=why)
