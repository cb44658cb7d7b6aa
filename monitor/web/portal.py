"""The listener for people and for Prometheus.

It changes nothing but the reading of the configuration, and acknowledges for programs that have a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from alerts.delivery import NoticeState
from alerts.store import StoreAway
from monitor.config.problem import Severity
from monitor.metrics import CONTENT_TYPE
from monitor.overview import AgencyView, CheckView, IncidentView, NoticeView
from monitor.web.away import store_away
from monitor.web.notice import notice_pages
from monitor.web.orders import orders
from monitor.web.page import FILTERS
from monitor.web.source import Source
from monitor.web.word import unreadable

#: Everything comes from here; nothing may be loaded from or sent to anywhere else.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def portal(source: Source, hosts: Sequence[str]) -> FastAPI:
    """Build the portal. *hosts*: the Host names it answers to, which keeps strangers' pages from reading it."""
    app = FastAPI(
        title="Pantau",
        version=version("pantau"),
        description="How government agencies' mail stands, and who was told. Read-only.",
        # The interactive pages load scripts from a public network that may be what failed; the schema stays.
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(StoreAway, store_away)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(BaseHTTPMiddleware, dispatch=_secure)
    app.include_router(_api(source))
    app.include_router(orders(source))
    app.include_router(_service(source))
    templates = _templates()
    app.include_router(_pages(source, templates))
    app.include_router(notice_pages(source, templates))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return app


async def _secure(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _api(source: Source) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["state"])

    @router.get("/agencies", summary="All agencies and how their mail is judged")
    async def agencies() -> list[AgencyView]:
        return list(await source.agencies())

    @router.get("/own-checks", summary="What the checks found at our own reference mailboxes")
    async def own_checks() -> list[CheckView]:
        return list(await source.own_checks())

    @router.get("/incidents", summary="The newest incidents, newest first")
    async def incidents() -> list[IncidentView]:
        return list(await source.incidents())

    @router.get("/notices", summary="The newest notices, newest first")
    async def notices() -> list[NoticeView]:
        return list(await source.notices())

    return router


def _service(source: Source) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        pieces = source.metrics()
        # Small enough for the loop, all but the first; not compressed, which costs more than it saves on loopback.
        first = await asyncio.to_thread(next, pieces)
        return StreamingResponse(_in_turns(first, pieces), media_type=CONTENT_TYPE)

    @router.get("/-/healthy", response_class=PlainTextResponse, summary="The process answers")
    async def healthy() -> str:
        return "healthy\n"

    @router.get("/-/ready", response_class=PlainTextResponse, summary="It probes and its engine runs")
    async def ready() -> Response:
        if source.ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("starting\n", status_code=503)

    @router.post("/-/reload", summary="Read the configuration again; a bad one changes nothing")
    async def reload(request: Request) -> Response:
        # A page of a stranger's, open in an operator's browser, can send a POST here too; curl sends no such header.
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or "origin" in request.headers:
            return PlainTextResponse("only from this machine's own tools\n", status_code=403)
        return await reload_response(source, "portal")

    return router


async def _in_turns(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Hand out pieces, and let the probes go on between two of them."""
    yield first
    for piece in rest:
        yield piece
        await asyncio.sleep(0)


async def reload_response(source: Source, by: str) -> Response:
    """Read the configuration again and answer with its problems; 400 if it was not taken. *by* asked for it."""
    problems = await source.reload(by)
    refused = any(p.severity is Severity.ERROR for p in problems)
    return JSONResponse(
        {"taken": not refused, "problems": [str(p) for p in problems]}, status_code=400 if refused else 200
    )


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("monitor.web"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    templates.filters |= FILTERS
    return templates


def _pages(source: Source, templates: Environment) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    async def render(name: str) -> HTMLResponse:
        notices = await source.notices()
        page = templates.get_template(name).render(
            agencies=await source.agencies(),
            own_checks=await source.own_checks(),
            incidents=(await source.incidents())[:20],
            notices=notices[:40],
            attention=[n for n in notices if n.state in {NoticeState.UNKNOWN, NoticeState.FAILED}][:20],
            now=source.now(),
            version=version("pantau"),
        )
        return HTMLResponse(page)

    @router.get("/")
    async def status() -> HTMLResponse:
        return await render("status.html")

    @router.get("/fragment")
    async def fragment() -> HTMLResponse:
        return await render("state.html")

    return router
