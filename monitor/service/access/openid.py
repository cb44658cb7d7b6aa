"""Signing in with an account elsewhere: OpenID Connect by the code flow with PKCE, state and nonce (Authlib does the protocol).

Whoever comes back is a user only if that user has linked the account before, by issuer and subject: an address of mail, or a
name, proves nothing, and no account is made of it.
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

#: So long may somebody take at the provider.
_GOOD_FOR: Final = timedelta(minutes=10)
#: So many may be there at once; the oldest begins anew.
_AT_ONCE: Final = 1_000
#: In seconds, for each answer of the provider.
_PATIENCE: Final = 10.0
#: Signatures that need the provider's private key; "none" and shared secrets are not among them.
_SIGNATURES: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(slots=True, kw_only=True)
class _PendingLogin:
    """Somebody who has gone to the provider."""

    until: datetime
    next: str
    #: Who wants to link the account that they come back with; `None`: somebody who signs in.
    user: User | None
    #: What Authlib keeps between going and coming back.
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRedirect:
    """Where a browser is sent, and the key by which its return is known."""

    address: str
    key: SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCallback:
    """Somebody who has come back and is known."""

    next: str
    #: `None`: an account was linked by somebody who is signed in already.
    session: NewSession | NewPendingSession | None


class OpenIdLogin:
    """One provider. Raises `SignInFailedError`, whose message is a key of the portal's words, and `StoreUnavailable`."""

    def __init__(
        self, client: OpenIdClient, name: str, authenticator: Authenticator, users: Users, clock: Clock
    ) -> None:
        """*name*: what people call the provider."""
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
        """Send a browser to the provider; it is to come back to *to*. *user*: who wants to link the account."""
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
        """Take in a browser that comes back, by the key that it was given. *address*: from where it comes."""
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
        """See to it that the provider is the one that was configured, and signs as nobody else can."""
        metadata: dict[str, Any] = await self._provider.load_server_metadata()
        if metadata.get("issuer") != self._issuer:
            raise ValueError(f"its metadata names another issuer: {str(metadata.get('issuer'))[:200]!r}")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [each for each in offered if each in _SIGNATURES]

    async def _subject(self, request: Request) -> str:
        # Authlib itself compares neither the issuer with what was configured nor for whom a token is.
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
            self._warn("a provider's word about somebody is not taken", type(error).__name__)
            raise SignInFailedError("openid_refused") from None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise self._away(error) from None
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise SignInFailedError("openid_refused")
        return subject

    def _away(self, error: Exception) -> SignInFailedError:
        self._warn("the provider of identities cannot be used", f"{type(error).__name__}: {error}"[:300])
        return SignInFailedError("openid_away")

    def _warn(self, what: str, why: str) -> None:
        # Anybody may come back from the provider, or pretend to.
        if self._throttle.admit((what, why)) is not None:
            log.warning(what, issuer=self._issuer, why=why)
