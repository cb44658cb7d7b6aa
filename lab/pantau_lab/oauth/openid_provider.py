"""Simulated OpenID Connect provider (Core 1.0, code flow with PKCE), which can behave like a compromised one."""

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
    """Fault of the provider."""

    NONE = "none"
    #: The ID token is for another client (`aud`).
    ANOTHER_AUDIENCE = "another audience"
    #: Signs in the name of another issuer.
    ANOTHER_ISSUER = "another issuer"
    #: The metadata has another issuer.
    ANOTHER_METADATA = "another metadata"
    #: Hands on what it said to somebody else before.
    ANOTHER_NONCE = "another nonce"
    EXPIRED = "expired"
    #: The ID token is signed with a foreign key.
    FORGED = "forged"
    #: The ID token is signed with the client's secret.
    SHARED_SECRET = "shared secret"  # noqa: S105 - a fault
    #: Says nobody's name.
    NAMELESS = "nameless"
    #: 503, everywhere.
    AWAY = "away"
    #: 200 with a web page, as from a captive portal.
    PORTAL = "portal"
    #: Redirects the browser with an error, as when the user refuses.
    DENIED = "denied"


@cache
def _a_key(_whose: str) -> RSAKey:
    """Return the key with this name. It is cached, because generating one takes a third of a second."""
    return RSAKey.generate_key(2048, {"kid": "satu"})


@dataclass(slots=True, kw_only=True)
class OpenIdProvider:
    """One client, and whoever sits at the browser. `url` is where it is served, once that is known."""

    url: str = ""
    client_id: str = "pantau-ujian"
    client_secret: str = "rahsia-klien-openid"  # noqa: S105 - opens nothing
    #: Who sits there.
    subject: str = "a1b2-siti"
    fault: ProviderFault = ProviderFault.NONE
    key: RSAKey = field(default_factory=lambda: _a_key("own"))
    #: By code: what was asked for with it.
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

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
        if (page := self._trouble()) is not None:
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
        return self._trouble() or JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        back = {"state": asked["state"]}
        if self.fault is ProviderFault.DENIED:
            back["error"] = "access_denied"
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.codes[back["code"]] = dict(asked)
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        if (page := self._trouble()) is not None:
            return page
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (
            asked is None
            or asked.get("code_challenge") != challenge
            or asked.get("code_challenge_method") != "S256"
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(
            {
                "access_token": secrets.token_urlsafe(16),
                "token_type": "Bearer",
                "id_token": self._signed(asked["nonce"]),
            }
        )

    def _signed(self, nonce: str) -> str:
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
                key = _a_key("another")
            case ProviderFault.SHARED_SECRET:
                key, header = OctKey.import_key(self.client_secret), {"alg": "HS256"}
            case ProviderFault.NAMELESS:
                del claims["sub"]
        return jwt.encode(header, claims, key)

    def _trouble(self) -> Response | None:
        match self.fault:
            case ProviderFault.AWAY:
                return PlainTextResponse("Service Unavailable", 503)
            case ProviderFault.PORTAL:
                return PlainTextResponse("<h1>Sila log masuk ke rangkaian</h1>", 200)
            case _:
                return None
