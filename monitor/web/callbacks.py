"""Listener for callbacks of telephone and fax providers.

It serves no other path, and reveals nothing to unauthenticated clients.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from urllib.parse import parse_qsl

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerts.model.gateway import CallbackRejectedError, CallbackRequest
from alerts.persistence.store import StoreUnavailable
from monitor.runtime.log_throttle import LogThrottle
from monitor.service.facade import ServiceFacade
from monitor.web.form import read_body

log = structlog.get_logger()

#: Octets. Providers send some hundred; a fax provider may add the transmitted page.
LARGEST_BODY = 8 * 1024 * 1024
#: A form is hashed field by field before it is authenticated.
LARGEST_FORM = 64 * 1024
MOST_FIELDS = 200
#: Limit of other bodies in memory at a time, because they are read before authentication and unauthenticated clients
#: may send them as well. Keypresses and SMS arrive as forms, which are not limited.
MOST_LARGE = 8


def callbacks(source: ServiceFacade) -> Starlette:
    """Build the callback listener."""
    places = asyncio.Semaphore(MOST_LARGE)
    throttle = LogThrottle()

    async def hear(request: Request) -> Response:
        base = source.callback_base(request.path_params["gateway"])
        if base is None:  # Check this before reading the body of an unauthenticated client.
            return PlainTextResponse("", status_code=404)
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if not is_form and places.locked():
            return PlainTextResponse("", status_code=503, headers={"Retry-After": "5"})
        async with nullcontext() if is_form else places:
            try:
                body = await read_body(request, LARGEST_FORM if is_form else LARGEST_BODY)
            except ClientDisconnect:
                return PlainTextResponse("", status_code=400)  # The client has disconnected.
            if body is None:
                return PlainTextResponse("", status_code=413)
            return await hand_on(request, base, body, is_form=is_form)

    async def hand_on(request: Request, base: str, body: bytes, *, is_form: bool) -> Response:
        gateway, path = request.path_params["gateway"], request.path_params["path"]
        # Use the URL that was given to the provider: an unauthenticated client controls Host and forwarding headers.
        url = f"{base}/{path}" + (f"?{request.url.query}" if request.url.query else "")
        form: dict[str, list[str]] = {}
        if is_form:
            try:
                fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
            except ValueError:
                return PlainTextResponse("", status_code=413)
            for name, value in fields:
                form.setdefault(name, []).append(value)
        peer = request.client.host if request.client else ""
        incoming = CallbackRequest(path=path, url=url, form=form, headers=dict(request.headers), body=body, peer=peer)
        try:
            answer = await source.hear(gateway, incoming)
        except CallbackRejectedError as refusal:
            # Unauthenticated clients may send a thousand requests per second, so the log is throttled. The metric
            # counts all.
            if throttle.admit((gateway, refusal.status, refusal.reason)) is not None:
                log.warning("callback rejected", gateway=gateway, status=refusal.status, reason=refusal.reason)
            return PlainTextResponse("", status_code=refusal.status)
        if answer is None:
            return PlainTextResponse("", status_code=404)
        return Response(answer.body, status_code=answer.status, media_type=answer.media_type or None)

    return Starlette(
        routes=[Route("/callbacks/{gateway}/{path:path}", hear, methods=["POST", "GET"])],
        exception_handlers={StoreUnavailable: _say_nothing},
    )


async def _say_nothing(_request: Request, _error: Exception) -> Response:
    """Ask an unauthenticated client to retry, without a reason."""
    return Response(status_code=503, headers={"Retry-After": "5"})
