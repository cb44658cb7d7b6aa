"""HTTP application for callbacks of telephone and fax providers, on a listener of its own.

A callback is a provider's request, for instance with a delivery receipt or a pressed key. The gateway that uses the
provider authenticates each callback. Responses to unauthenticated clients contain only a status code.
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

#: Maximum size of a body in octets. Most providers send some hundred octets; a fax provider may include the
#: transmitted page.
MAX_BODY = 8 * 1024 * 1024
#: Maximum size of a form in octets. The limit is lower than for other bodies, because authentication hashes the fields
#: of a form one by one.
MAX_FORM = 64 * 1024
#: Maximum number of fields of a form.
MAX_FIELDS = 200
#: Maximum number of bodies other than forms in memory at a time. Bodies are read before authentication, so
#: unauthenticated clients may send them too. Keypresses and SMS arrive as forms, which have no such limit.
MAX_LARGE_BODIES = 8


def callbacks(facade: ServiceFacade) -> Starlette:
    """Build the callback listener."""
    large_bodies = asyncio.Semaphore(MAX_LARGE_BODIES)
    throttle = LogThrottle()

    async def handle(request: Request) -> Response:
        base_url = facade.callback_base(request.path_params["gateway"])
        # `None`: no such gateway, or no public URL. Respond before reading the body of an unauthenticated client.
        if base_url is None:
            return PlainTextResponse("", status_code=404)
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if not is_form and large_bodies.locked():
            return PlainTextResponse("", status_code=503, headers={"Retry-After": "5"})
        async with nullcontext() if is_form else large_bodies:
            try:
                body = await read_body(request, MAX_FORM if is_form else MAX_BODY)
            except ClientDisconnect:
                return PlainTextResponse("", status_code=400)  # Nobody receives this response.
            if body is None:
                return PlainTextResponse("", status_code=413)
            return await pass_to_gateway(request, base_url, body, is_form=is_form)

    async def pass_to_gateway(request: Request, base_url: str, body: bytes, *, is_form: bool) -> Response:
        gateway, path = request.path_params["gateway"], request.path_params["path"]
        # Signatures cover the URL. Use the URL that was given to the provider, and not the headers Host and Forwarded,
        # which any client can forge.
        url = f"{base_url}/{path}" + (f"?{request.url.query}" if request.url.query else "")
        form: dict[str, list[str]] = {}
        if is_form:
            try:
                fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
            except ValueError:
                return PlainTextResponse("", status_code=413)
            for name, value in fields:
                form.setdefault(name, []).append(value)
        peer = request.client.host if request.client else ""
        callback = CallbackRequest(path=path, url=url, form=form, headers=dict(request.headers), body=body, peer=peer)
        try:
            result = await facade.handle_callback(gateway, callback)
        except CallbackRejectedError as rejection:
            # Log one line per kind and minute (`admit` returns `None` for the others), because unauthenticated clients
            # may send a thousand requests per second. A metric counts all rejected callbacks.
            if throttle.admit((gateway, rejection.status, rejection.reason)) is not None:
                log.warning("callback rejected", gateway=gateway, status=rejection.status, reason=rejection.reason)
            return PlainTextResponse("", status_code=rejection.status)
        if result is None:  # The gateway was removed while the body was read.
            return PlainTextResponse("", status_code=404)
        return Response(result.body, status_code=result.status, media_type=result.media_type or None)

    return Starlette(
        routes=[Route("/callbacks/{gateway}/{path:path}", handle, methods=["POST", "GET"])],
        exception_handlers={StoreUnavailable: _store_unavailable},
    )


async def _store_unavailable(_request: Request, _error: Exception) -> Response:
    """Return a response that asks for a retry, without a reason, because the client may be unauthenticated."""
    return Response(status_code=503, headers={"Retry-After": "5"})
