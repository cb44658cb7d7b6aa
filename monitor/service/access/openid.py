"""Sign-in with an account of an OpenID Connect provider: code flow with PKCE, state and nonce, by Authlib.

A signed-in user first links the external account. Issuer and subject identify the account; an e-mail address or a name
does not identify a user, and no sign-in creates a user.
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
_LOGIN_TIMEOUT: Final = timedelta(minutes=10)
#: Maximum number of pending logins; beyond it the oldest is dropped.
_MAX_PENDING: Final = 1_000
#: Time-out of each response of the provider, in seconds.
_RESPONSE_TIMEOUT: Final = 10.0
#: Algorithms of signatures that require the provider's private key; "none" and shared secrets are left out.
_SIGNATURES: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(slots=True, kw_only=True)
class _PendingLogin:
    """A login in progress at the provider."""

    expires_at: datetime
    #: Path of the page that is shown next.
    next_url: str
    #: The signed-in user who links the account; `None`: the login is a sign-in.
    user: User | None
    #: Data that Authlib stores between redirect and callback, as in a Starlette session.
    authlib_state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRedirect:
    """Redirect of a browser to the provider."""

    #: URL at the provider.
    url: str
    #: Key for a cookie of the browser. It identifies the login when the browser returns.
    key: SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCallback:
    """Completed login at the provider."""

    #: Path of the page that is shown next.
    next_url: str
    #: The session that has begun; `None`: a signed-in user has linked the account.
    session: NewSession | NewPendingSession | None


class OpenIdLogin:
    """Sign-in at one provider.

    Raises `SignInFailedError`, whose message is a key of the portal's texts, and `StoreUnavailable`.
    """

    def __init__(
        self, client: OpenIdClient, name: str, authenticator: Authenticator, users: Users, clock: Clock
    ) -> None:
        """Take *name*, the provider's name as users see it."""
        self.name = name
        self._issuer = client.issuer
        self._client_id = client.client_id
        self._redirect_uri = client.redirect_uri
        self._authenticator = authenticator
        self._users = users
        self._clock = clock
        self._throttle = LogThrottle()
        #: By digest of `LoginRedirect.key`, the oldest first.
        self._pending_logins: OrderedDict[str, _PendingLogin] = OrderedDict()
        self._provider = OAuth().register(
            "openid",
            client_id=client.client_id,
            client_secret=client.client_secret,
            server_metadata_url=f"{client.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid",
                "code_challenge_method": "S256",
                "timeout": _RESPONSE_TIMEOUT,
                "trust_env": False,
                "verify": client.tls,
            },
        )

    async def redirect(self, request: Request, next_url: str, user: User | None) -> LoginRedirect:
        """Return the redirect of a browser to the provider.

        *next_url*: the page after the login. *user*: the signed-in user who links the account; `None`: a sign-in.
        """
        login = _PendingLogin(expires_at=self._clock.now() + _LOGIN_TIMEOUT, next_url=next_url, user=user)
        request.scope["session"] = login.authlib_state
        try:
            await self._check_metadata()
            response = await self._provider.authorize_redirect(request, self._redirect_uri)
        except (AuthlibBaseError, httpx2.HTTPError, ValueError, KeyError, RuntimeError) as error:
            raise self._unavailable_error(error) from None
        key = SessionKey.new()
        self._pending_logins[key.digest] = login
        while len(self._pending_logins) > _MAX_PENDING:
            self._pending_logins.popitem(last=False)
        return LoginRedirect(url=response.headers["location"], key=key)

    async def handle_callback(self, request: Request, key: SessionKey | None, address: str) -> LoginCallback:
        """Complete the login that began with *key*: begin a session, or link the account.

        *address*: the client address, for the audit log.
        """
        login = self._pending_logins.pop(key.digest, None) if key else None
        if login is None or self._clock.now() >= login.expires_at:
            raise SignInFailedError("openid_too_late")
        request.scope["session"] = login.authlib_state
        subject = await self._fetch_subject(request)
        now = self._clock.now()
        if login.user is not None:
            detail = {"user": login.user.name, "issuer": self._issuer, "address": address}
            entry = AuditEntry(at=now, actor=login.user.by, event="account linked", detail=detail)
            try:
                await self._users.link(login.user.id, self._issuer, subject, entry)
            except IdentityTakenError:
                raise SignInFailedError("openid_taken") from None
            return LoginCallback(next_url=login.next_url, session=None)
        user = await self._users.user_by_identity(self._issuer, subject)
        if user is None:
            raise SignInFailedError("openid_unknown")
        session = await self._authenticator.sign_in_external(user, address, "signed in by openid")
        return LoginCallback(next_url=login.next_url, session=session)

    async def is_linked(self, user: User) -> bool:
        """Whether a user has linked an account of this provider."""
        return self._issuer in await self._users.identities(user.id)

    async def _check_metadata(self) -> None:
        """Raise `ValueError` if the provider's metadata names another issuer. Permit only asymmetric signatures."""
        metadata: dict[str, Any] = await self._provider.load_server_metadata()
        if metadata.get("issuer") != self._issuer:
            raise ValueError(f"its metadata names another issuer: {str(metadata.get('issuer'))[:200]!r}")
        algorithms = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [each for each in algorithms if each in _SIGNATURES]

    async def _fetch_subject(self, request: Request) -> str:
        """Exchange the code of the callback for tokens; return the subject (`sub`) of the account."""
        # Without these options Authlib checks neither the issuer nor the audience.
        options: Mapping[str, Any] = {
            "iss": {"essential": True, "values": [self._issuer]},
            "aud": {"essential": True, "values": [self._client_id]},
            "sub": {"essential": True},
        }
        try:
            await self._check_metadata()
            token = await self._provider.authorize_access_token(request, claims_options=options)
            subject = token["userinfo"]["sub"]
        except (AuthlibBaseError, JoseError) as error:
            self._warn("identity provider response rejected", type(error).__name__)
            raise SignInFailedError("openid_refused") from None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise self._unavailable_error(error) from None
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise SignInFailedError("openid_refused")
        return subject

    def _unavailable_error(self, error: Exception) -> SignInFailedError:
        self._warn("identity provider unavailable", f"{type(error).__name__}: {error}"[:300])
        return SignInFailedError("openid_away")

    def _warn(self, message: str, reason: str) -> None:
        # Log each reason rarely: anyone can request the callback address.
        if self._throttle.admit((message, reason)) is not None:
            log.warning(message, issuer=self._issuer, reason=reason)
