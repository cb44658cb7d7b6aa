"""The HTTP face of an authorization server: where tokens come from (RFC 6749), codes for another device (RFC 8628) and for a browser.

And where mail servers ask whom a token lets in (RFC 7662).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pantau_lab.oauth.authorization_server import AuthorizationServer, OAuthError, TokenEndpointFault

#: RFC 6749 5.1.
_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def app(server: AuthorizationServer) -> Starlette:
    """Return the ASGI app of *server*: "/token", "/device", "/authorize" and "/introspect"."""
    face = _Api(server)
    return Starlette(
        routes=[
            Route("/token", face.token, methods=["POST"]),
            Route("/device", face.device, methods=["POST"]),
            Route("/authorize", face.authorize),
            Route("/introspect", face.introspect, methods=["POST"]),
        ]
    )


class _Api:
    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        self._server.asked.append(form)
        match self._server.trouble:
            case TokenEndpointFault.ERROR:
                return PlainTextResponse("<h1>Internal Server Error</h1>", 500)
            case TokenEndpointFault.PORTAL:
                return PlainTextResponse("<h1>Sila log masuk ke rangkaian</h1>", 200)
            case TokenEndpointFault.EMPTY:
                return JSONResponse({"token_type": "Bearer", "expires_in": 3600})
            case TokenEndpointFault.SILENT:
                # Wait until the client disconnects, or the server is shut down.
                while not await request.is_disconnected():  # noqa: ASYNC110 - ASGI gives no notice of it
                    await asyncio.sleep(0.01)
                return Response()
        try:
            grant = self._server.issue(form)
        except OAuthError as refusal:
            answer = {"error": refusal.error, "error_description": refusal.description}
            return JSONResponse(answer, refusal.status, _NOT_KEPT)
        granted: dict[str, str | int] = {
            "access_token": grant.access_token,
            "token_type": "Bearer",
            # A number, as Microsoft sends it. Others send a text, which the client also accepts.
            "expires_in": int(self._server.lifetime.total_seconds()),
        }
        if grant.refresh_token is not None:
            granted["refresh_token"] = grant.refresh_token
        return JSONResponse(granted, 200, _NOT_KEPT)

    async def device(self, request: Request) -> Response:
        form = await _form(request)
        self._server.asked.append(form)
        try:
            return JSONResponse(self._server.device(form), 200, _NOT_KEPT)
        except OAuthError as refusal:
            return JSONResponse({"error": refusal.error, "error_description": refusal.description}, refusal.status)

    async def authorize(self, request: Request) -> Response:
        asked = request.query_params
        back = {"state": asked["state"]}
        if self._server.said:
            back["error"] = self._server.said.pop(0)
        else:
            back["code"] = self._server.authorize(asked)
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", status_code=302)

    async def introspect(self, request: Request) -> Response:
        username = self._server.holder((await _form(request)).get("token", ""))
        answer = {"active": False} if username is None else {"active": True, "username": username}
        return JSONResponse(answer)


async def _form(request: Request) -> Mapping[str, str]:
    async with request.form() as form:
        return {key: value for key, value in form.items() if isinstance(value, str)}
