"""HTTP API of the simulated authorization server.

It issues tokens (RFC 6749), device codes (RFC 8628) and authorization codes for a browser, and tells mail servers the
user of a token (RFC 7662).
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

#: Header of a response with a token (RFC 6749 5.1).
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def app(server: AuthorizationServer) -> Starlette:
    """Return the ASGI app of *server*: "/token", "/device", "/authorize" and "/introspect"."""
    api = _Api(server)
    return Starlette(
        routes=[
            Route("/token", api.token, methods=["POST"]),
            Route("/device", api.device, methods=["POST"]),
            Route("/authorize", api.authorize),
            Route("/introspect", api.introspect, methods=["POST"]),
        ]
    )


class _Api:
    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        self._server.requests.append(form)
        # `issue` raises the faults that are OAuth errors.
        match self._server.fault:
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
            error = {"error": refusal.error, "error_description": refusal.description}
            return JSONResponse(error, refusal.status, _NO_STORE)
        answer: dict[str, str | int] = {
            "access_token": grant.access_token,
            "token_type": "Bearer",
            # A number, as Microsoft sends it. Others send a string, which Pantau's client also accepts.
            "expires_in": int(self._server.access_token_lifetime.total_seconds()),
        }
        if grant.refresh_token is not None:
            answer["refresh_token"] = grant.refresh_token
        return JSONResponse(answer, 200, _NO_STORE)

    async def device(self, request: Request) -> Response:
        form = await _form(request)
        self._server.requests.append(form)
        try:
            return JSONResponse(self._server.begin_device_flow(form), 200, _NO_STORE)
        except OAuthError as refusal:
            return JSONResponse({"error": refusal.error, "error_description": refusal.description}, refusal.status)

    async def authorize(self, request: Request) -> Response:
        query = request.query_params
        answer = {"state": query["state"]}
        if self._server.consent_errors:
            answer["error"] = self._server.consent_errors.pop(0)
        else:
            answer["code"] = self._server.authorize(query)
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", status_code=302)

    async def introspect(self, request: Request) -> Response:
        username = self._server.username_of((await _form(request)).get("token", ""))
        answer = {"active": False} if username is None else {"active": True, "username": username}
        return JSONResponse(answer)


async def _form(request: Request) -> Mapping[str, str]:
    async with request.form() as form:
        return {key: value for key, value in form.items() if isinstance(value, str)}
