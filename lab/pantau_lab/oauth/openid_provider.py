"""Simulated OpenID Connect provider (Core 1.0, code flow with PKCE), with faults of a broken or compromised one."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route


class ProviderFault(StrEnum):
    """Fault of the provider. It lasts until a test sets another."""

    NONE = "none"
    #: The ID token is for another client (`aud`).
    ANOTHER_AUDIENCE = "another audience"
    #: The ID token is from another issuer (`iss`).
    ANOTHER_ISSUER = "another issuer"
    #: The metadata names another issuer.
    ANOTHER_METADATA = "another metadata"
    #: The ID token has the `nonce` of another sign-in, as a replayed one has.
    ANOTHER_NONCE = "another nonce"
    #: The ID token has expired (`exp`).
    EXPIRED = "expired"
    #: The ID token is signed with a foreign key.
    FORGED = "forged"
    #: The ID token is signed with the client's secret.
    SHARED_SECRET = "shared secret"  # noqa: S105 - a fault
    #: The ID token names no user (`sub`).
    NAMELESS = "nameless"
    #: 503 at all URLs but `/authorize`.
    AWAY = "away"
    #: 200 with a web page, as from a captive portal, at the same URLs.
    PORTAL = "portal"
    #: Redirects the browser with an error, as when the user refuses.
    DENIED = "denied"


@cache
def _cached_key(_name: str) -> RSAKey:
    """Return the key with this name. It is cached, because generating one takes a third of a second."""
    return RSAKey.generate_key(2048, {"kid": "satu"})


@dataclass(slots=True, kw_only=True)
class OpenIdProvider:
    """Provider with one client, and one user, who is signed in already."""

    #: Base URL at which the app is served; empty until a test sets it.
    url: str = ""
    client_id: str = "pantau-ujian"
    client_secret: str = "rahsia-klien-openid"  # noqa: S105 - opens nothing
    #: Identifier of the user (`sub`).
    subject: str = "a1b2-siti"
    fault: ProviderFault = ProviderFault.NONE
    #: Key that signs the ID tokens.
    key: RSAKey = field(default_factory=lambda: _cached_key("own"))
    #: Parameters of an authorization request, by the authorization code that was issued for it.
    authorization_requests: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def app(self) -> Starlette:
        """Return the ASGI app."""
        routes = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": self._keys,
            "/authorize": self._authorize,
        }
        return Starlette(
            routes=[
                *(Route(path, answer) for path, answer in routes.items()),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, _request: Request) -> Response:
        if (page := self._fault_page()) is not None:
            return page
        issuer = "https://lain.contoh.my" if self.fault is ProviderFault.ANOTHER_METADATA else self.url
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
            }
        )

    async def _keys(self, _request: Request) -> Response:
        return self._fault_page() or JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        answer = {"state": query["state"]}
        if self.fault is ProviderFault.DENIED:
            answer["error"] = "access_denied"
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self.authorization_requests[answer["code"]] = dict(query)
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        if (page := self._fault_page()) is not None:
            return page
        form = dict(parse_qsl((await request.body()).decode()))
        authorized = self.authorization_requests.pop(form.get("code", ""), None)
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (
            authorized is None
            or authorized.get("code_challenge") != challenge
            or authorized.get("code_challenge_method") != "S256"
            or form.get("redirect_uri") != authorized["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(
            {
                "access_token": secrets.token_urlsafe(16),
                "token_type": "Bearer",
                "id_token": self._id_token(authorized["nonce"]),
            }
        )

    def _id_token(self, nonce: str) -> str:
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": self.subject,
            "aud": self.client_id,
            "iat": now,
            "exp": now + timedelta(minutes=5),
            "nonce": nonce,
        }
        key: RSAKey | OctKey = self.key
        header = {"alg": "RS256", "kid": "satu"}
        match self.fault:
            case ProviderFault.ANOTHER_AUDIENCE:
                claims["aud"] = "klien-lain"
            case ProviderFault.ANOTHER_ISSUER:
                claims["iss"] = "https://lain.contoh.my"
            case ProviderFault.ANOTHER_NONCE:
                claims["nonce"] = secrets.token_urlsafe(16)
            case ProviderFault.EXPIRED:
                claims |= {"iat": now - timedelta(hours=2), "exp": now - timedelta(hours=1)}
            case ProviderFault.FORGED:
                key = _cached_key("another")
            case ProviderFault.SHARED_SECRET:
                key, header = OctKey.import_key(self.client_secret), {"alg": "HS256"}
            case ProviderFault.NAMELESS:
                del claims["sub"]
        return jwt.encode(header, claims, key)

    def _fault_page(self) -> Response | None:
        match self.fault:
            case ProviderFault.AWAY:
                return PlainTextResponse("Service Unavailable", 503)
            case ProviderFault.PORTAL:
                return PlainTextResponse("<h1>Sila log masuk ke rangkaian</h1>", 200)
            case _:
                return None
