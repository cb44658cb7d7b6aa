"""Listener for people and Prometheus. Each route requires a permission, which the access control checks.

Without sign-in the portal is read-only, except that it reloads the configuration, acknowledges incidents for programs
with a token, receives alerts of the NOC's Alertmanager, and records a clerk's actions on letters.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined, select_autoescape
from jinja2.bccache import Bucket
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.metrics import CONTENT_TYPE, OPEN_METRICS, accepts_open_metrics
from monitor.runtime.version import own_version
from monitor.service.access.openid import OpenIdLogin
from monitor.service.alertmanager.receiver import AlertReceiver
from monitor.service.errors import NotFoundError
from monitor.service.facade import ServiceFacade
from monitor.service.oncall import OnCall
from monitor.service.paper.letters import Letters
from monitor.service.portal.idempotency import IdempotencyStore
from monitor.service.status_reader import StatusReader
from monitor.web.access.access_control import (
    AccessControl,
    ItsReader,
    Reader,
    RequirePermission,
    RequireTrustedNetwork,
    public_route,
    put_access_control,
)
from monitor.web.access.openid import openid_pages
from monitor.web.access.second_factor import code_pages, second_factor_pages
from monitor.web.access.sign_in import sign_in_pages
from monitor.web.api.alertmanager import alertmanager
from monitor.web.api.commands import orders
from monitor.web.api.incident import records
from monitor.web.api.oncall import on_call
from monitor.web.api.route.query import knows
from monitor.web.api.state import states
from monitor.web.error_page import answer_in_pages
from monitor.web.form import Pages
from monitor.web.letters import letter_pages, letter_papers
from monitor.web.notice import notice_pages
from monitor.web.page import PageLanguage, filters_of, places_of
from monitor.web.page_query import asked, remember
from monitor.web.problem import answer_with_problems, describe_problems, problem, problems, reload_answer
from monitor.web.routers import join
from monitor.web.status_page import PageBody, RenderedPage, StatusPage

#: All resources are served by the portal; nothing may be loaded from or sent to other hosts.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: Two years, in seconds.
_HSTS = {"Strict-Transport-Security": "max-age=63072000"}


#: Builds the router of further pages.
PageBuilder = Callable[[Pages], APIRouter]


def portal(
    source: ServiceFacade,
    hosts: Sequence[str],
    tray: Letters | None = None,
    duty: OnCall | None = None,
    receiver: AlertReceiver | None = None,
    *,
    access_control: AccessControl | None = None,
    pages: Sequence[PageBuilder] = (),
    openid: OpenIdLogin | None = None,
    once: IdempotencyStore | None = None,
    parts: Sequence[APIRouter] = (),
    site: str = "",
) -> FastAPI:
    """Build the portal. *hosts*: the accepted Host names, which prevents DNS rebinding.

    *tray*: the letters, for the clerk's page. *duty*: on-call data. *receiver* accepts alerts of Alertmanager.
    *access_control* authenticates principals; without it there is no sign-in, and routes that change something are
    missing. *pages*: pages for signed-in users; *parts*: API routers below /api/v1 for users and programs. *once*
    executes commands idempotently. *openid*: sign-in at an identity provider. *site*: the name of this site on pages,
    if there are several.
    """
    access_control = access_control or AccessControl()
    app = _Portal(
        title="Pantau",
        version=own_version(),
        description="State of government agencies' mail, incidents and notifications; commands for those who have the permission.",
        # The interactive documentation loads scripts from a public CDN, which may be unreachable in an outage. The
        # schema remains available.
        docs_url=None,
        redoc_url=None,
        # The schema has a route of our own, which requires a permission.
        openapi_url=None,
    )
    answer_with_problems(app)
    describe_problems(app)
    app.add_middleware(_Named, hosts=hosts)
    join(app, states(source, tray))
    join(app, records(source))
    if duty is not None:
        join(app, on_call(duty, source.board))
    join(app, orders(source))
    if receiver is not None:
        join(app, alertmanager(receiver))
    join(app, _service(source))
    templates = page_templates(
        signs_in=access_control.authenticator is not None, openid=openid.name if openid else "", site=site
    )
    join(app, _pages(source.board, templates))
    shown = Pages(templates)
    join(app, notice_pages(source, shown))
    if tray is not None:
        join(app, letter_papers(tray, source))
        join(app, letter_pages(tray, shown))
    if access_control.authenticator is not None:
        join(app, sign_in_pages(access_control.authenticator, access_control, shown, openid))
        join(app, code_pages(access_control.authenticator, access_control, shown))
        join(app, second_factor_pages(access_control.authenticator, access_control, shown))
        if openid is not None:
            join(app, openid_pages(openid, access_control, shown))
        for build in pages:
            join(app, build(shown))
        for part in parts:
            join(app, part)
    join(app, _schema(app))
    put_access_control(app, access_control)
    app.state.once = once
    answer_in_pages(app, shown)
    app.mount("/static", _Files(directory=Path(__file__).parent / "static"))
    return app


class _Files(StaticFiles):
    """Style sheets and scripts, which are the same for all users.

    Browsers cache them for one minute: a page has up to three that import each other, which a mobile browser would load
    one after another on each page. After an upgrade a page may have the old appearance for as long.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "max-age=60"
        return answer


class _Portal(FastAPI):
    """Application with security headers on all responses.

    Ordinary middleware is inside the handler of internal errors, whose responses would lack them.
    """

    def build_middleware_stack(self) -> ASGIApp:
        return _Secure(_Head(super().build_middleware_stack()), self.state.access_control.is_secure)


class _Named:
    """Middleware that accepts known Host names only.

    Otherwise a page of another site could read the portal (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(each.lower() for each in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "")).lower()
            # The server's own IP address is allowed: it is no name that an attacker could resolve to us.
            here = str((scope.get("server") or ("",))[0])
            if name not in self._hosts and name.strip("[]") != here:
                why = "asked by a name that Pantau does not answer to; ask for it as 127.0.0.1 or localhost"
                await problem(HTTPStatus.BAD_REQUEST, why)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Head:
    """Middleware that answers HEAD like GET, without the body (RFC 9110, 9.3.2), for availability checks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class _Secure:
    """Middleware that adds the headers to all responses.

    As pure ASGI it does not forward each chunk of a scrape separately.
    """

    def __init__(self, app: ASGIApp, is_secure: bool) -> None:  # noqa: FBT001
        self._app = app
        self._headers = {**SECURITY_HEADERS, **(_HSTS if is_secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, secured)


_Operator = Annotated[Principal, Depends(RequirePermission(Permission.RELOAD))]


def _service(source: ServiceFacade) -> APIRouter:
    router = APIRouter(tags=["service"])
    for_programs = public_route("is for supervisors, which do not sign in, and tells of no agency")

    @router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(RequireTrustedNetwork())])
    async def metrics(request: Request) -> Response:
        open_metrics = accepts_open_metrics(",".join(request.headers.getlist("accept")))
        pieces = source.metrics(open_metrics=open_metrics)
        # All chunks but the first are small enough for the event loop. They are not compressed, which would cost more
        # than it saves on loopback.
        first = await asyncio.to_thread(next, pieces)
        return StreamingResponse(_in_turns(first, pieces), media_type=OPEN_METRICS if open_metrics else CONTENT_TYPE)

    @router.get(
        "/-/healthy",
        response_class=PlainTextResponse,
        summary="Liveness: the process answers",
        dependencies=for_programs,
    )
    async def healthy() -> str:
        return "healthy\n"

    @router.get(
        "/-/ready",
        response_class=PlainTextResponse,
        summary="Readiness: it probes, its engine runs, the database is available",
        dependencies=for_programs,
        responses=problems(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def ready() -> Response:
        if (why := source.unready()) is None:
            return PlainTextResponse("ready\n")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, why)

    @router.post(
        "/-/reload",
        summary="Reload the configuration; an invalid one changes nothing",
        responses=problems(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN),
    )
    async def reload(request: Request, principal: _Operator) -> Response:
        # A page of another site in an operator's browser can send a POST to this route; curl does not send this header.
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or "origin" in request.headers:
            return problem(HTTPStatus.FORBIDDEN, "only from this machine's own tools, and not from a browser's page")
        # Without sign-in it was a user of this machine.
        return reload_answer(await source.reload(principal.by or "portal"))

    return router


async def _in_turns(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks, and let probes run between two of them."""
    yield first
    for piece in rest:
        yield piece
        await asyncio.sleep(0)


class _Compiled(BytecodeCache):
    """Cache of compiled templates, which all languages share."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (known := self._known.get(bucket.key)) is not None:
            bucket.bytecode_from_string(known)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._known[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


#: Templates that exist without sign-in as well.
_FOR_ALL = frozenset(
    f"{name}.html"
    for name in (
        *("agency", "checks", "counts", "detail", "error_page", "frame", "languages", "letters", "more_agencies"),
        *(
            "notification",
            "open_incidents",
            "parts",
            "records",
            "rest",
            "self_health",
            "status",
            "tile",
            "tiles",
            "uptime_bars",
        ),
    )
)


@cache
def page_templates(*, signs_in: bool = False, openid: str = "", site: str = "") -> Mapping[PageLanguage, Environment]:
    """Return the template environments by language. Inserted values are escaped as text.

    *signs_in*: whether users sign in, and have an account and incident pages; *openid*: the name of the identity
    provider; *site*: the name of this site, if there are several.
    """
    found: dict[PageLanguage, Environment] = {}
    for language in PageLanguage:
        found[language] = Environment(
            loader=PackageLoader("monitor.web"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            # Indentation is a tenth of a page of a thousand agencies.
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_COMPILED,
            auto_reload=False,
        )
        found[language].filters |= filters_of(language)
        found[language].globals |= {"language": language, "signs_in": signs_in, "openid": openid, "site": site}
        # Compile now: at the first request it would delay the user and the probes.
        for name in found[language].list_templates(filter_func=lambda name: signs_in or name in _FOR_ALL):
            found[language].get_template(name)
    return found


def _schema(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json", dependencies=public_route("tells what can be asked, and nothing else"))
    async def schema() -> Response:
        # Generated at the first request, in a thread.
        return JSONResponse(await asyncio.to_thread(app.openapi))

    return router


def _pages(status_reader: StatusReader, templates: Mapping[PageLanguage, Environment]) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    board = StatusPage(status_reader, templates, version=own_version())

    @router.get("/")
    async def status(request: Request, principal: Reader) -> Response:
        ask = asked(request)
        rendering = await board.rendering(ask, principal.scope(Permission.READ))
        return remember(request, _page(request, *await board.page(rendering, places_of(principal, ask.language))))

    @router.get("/fragment")
    async def fragment(request: Request, principal: Reader) -> Response:
        rendering = await board.rendering(asked(request), principal.scope(Permission.READ))
        return _page(request, rendering.etag, rendering.state)

    @router.get("/agencies/{code}")
    async def agency(request: Request, code: str, principal: ItsReader) -> Response:
        rendering, places = await of_agency(request, code, principal), places_of(principal, asked(request).language)
        return remember(request, _page(request, *await board.page(rendering, places)))

    @router.get("/agencies/{code}/fragment")
    async def agency_fragment(request: Request, code: str, principal: ItsReader) -> Response:
        rendering = await of_agency(request, code, principal)
        return _page(request, rendering.etag, rendering.state)

    async def of_agency(request: Request, code: str, principal: Principal) -> RenderedPage:
        rendering = await board.agency(code, asked(request), principal)
        if rendering is None:
            raise NotFoundError.said("no_agency", agency=code[:40])
        return rendering

    return router


def _page(request: Request, etag: str, body: PageBody) -> Response:
    headers = {"ETag": etag, "Vary": "Accept-Encoding, Cookie"}
    if knows(request, etag):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(body.plain, headers=headers)
    return HTMLResponse(body.packed, headers={**headers, "Content-Encoding": "gzip"})
