"""The HTTP face of an authorization server: a token endpoint (RFC 6749 5) and an introspection endpoint (RFC 7662), for mail servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pantau_lab.oauth.authorization_server import AuthorizationServer, OAuthError, TokenEndpointFault

#: RFC 6749 5.1.
_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def app(server: AuthorizationServer) -> Starlette:
    """Return the ASGI app of *server*: "/token" and "/introspect"."""
    face = _Face(server)
    return Starlette(
        routes=[
            Route("/token", face.token, methods=["POST"]),
            Route("/introspect", face.introspect, methods=["POST"]),
        ]
    )


class _Face:
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
                # Until the asker goes away, or the stand-in is shut down.
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
            # As Microsoft: a number; others send it as text, which the client takes, too.
            "expires_in": int(self._server.lifetime.total_seconds()),
        }
        if grant.refresh_token is not None:
            granted["refresh_token"] = grant.refresh_token
        return JSONResponse(granted, 200, _NOT_KEPT)

    async def introspect(self, request: Request) -> Response:
        username = self._server.holder((await _form(request)).get("token", ""))
        answer = {"active": False} if username is None else {"active": True, "username": username}
        return JSONResponse(answer)


async def _form(request: Request) -> Mapping[str, str]:
    async with request.form() as form:
        return {key: value for key, value in form.items() if isinstance(value, str)}
