"""The portal: the HTTP application for people and Prometheus, with pages, API and metrics.

Each HTTP route requires a permission, which the access control checks, or declares that it is public. A portal without
sign-in is read-only with three exceptions: it reloads the configuration, receives alerts from the Alertmanager of the
NOC (network operations centre), and records a clerk's actions on letters.

Each status page has a *fragment*: its part that changes, which the page's script requests again and again.
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
from monitor.runtime.version import installed_version
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
    AgencyReader,
    Reader,
    RequirePermission,
    RequireTrustedNetwork,
    allow_public,
    install_access_control,
)
from monitor.web.access.openid import openid_pages
from monitor.web.access.second_factor import code_pages, second_factor_pages
from monitor.web.access.sign_in import sign_in_pages
from monitor.web.api.alertmanager import alertmanager_webhook
from monitor.web.api.incident import incident_queries
from monitor.web.api.oncall import on_call_queries
from monitor.web.api.route.query import matches_etag
from monitor.web.api.state import state_queries
from monitor.web.error_page import show_error_pages
from monitor.web.form import Pages
from monitor.web.letters import letter_pages, letter_printouts
from monitor.web.notification import notification_pages
from monitor.web.page import PageLanguage, navigation_links, template_filters
from monitor.web.page_query import read_query, store_language
from monitor.web.problem import answer_with_problems, describe_problems, problem, problems, reload_response
from monitor.web.routers import add_routes
from monitor.web.status_page import PageBody, RenderedPage, StatusPage

#: Headers of all responses. Pages may load resources from the portal only, which serves all that they need.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: Additional header of a portal with TLS. The maximum age is two years in seconds.
_HSTS = {"Strict-Transport-Security": "max-age=63072000"}

#: Function that builds the router of pages, which the given renderer renders.
PageBuilder = Callable[[Pages], APIRouter]


def portal(
    facade: ServiceFacade,
    hosts: Sequence[str],
    letters: Letters | None = None,
    on_call_service: OnCall | None = None,
    alert_receiver: AlertReceiver | None = None,
    *,
    access_control: AccessControl | None = None,
    pages: Sequence[PageBuilder] = (),
    openid: OpenIdLogin | None = None,
    idempotency: IdempotencyStore | None = None,
    api_routers: Sequence[APIRouter] = (),
    site: str = "",
) -> FastAPI:
    """Build the portal. If a parameter is `None`, the portal omits the pages or API that need it.

    *hosts*: accepted values of the header Host; others are rejected to prevent DNS rebinding. *letters*: service for
    the clerk's page. *on_call_service*: service for rotas in the API. *alert_receiver*: receiver of Alertmanager's
    webhook. *access_control*: authentication; without an authenticator in it, the portal has no sign-in, and ignores
    *pages*, *openid* and *api_routers*. *pages*: builders of pages for signed-in users. *openid*: identity provider.
    *idempotency*: store of responses to API commands by `Idempotency-Key`. *api_routers*: routers below /api/v1 for
    signed-in users and API tokens. *site*: name of this site (installation); "" if it is the only one.
    """
    access_control = access_control or AccessControl()
    app = _Portal(
        title="Pantau",
        version=installed_version(),
        description="State of government agencies' mail, incidents and notifications; commands for those who have the permission.",
        # The interactive documentation loads scripts from a public CDN, which may be unreachable in an outage. The
        # schema remains available.
        docs_url=None,
        redoc_url=None,
        # `_schema_router` serves the schema by an ordinary route, to which the permission check applies.
        openapi_url=None,
    )
    answer_with_problems(app)
    describe_problems(app)
    app.add_middleware(_AllowedHosts, hosts=hosts)
    add_routes(app, state_queries(facade, letters))
    add_routes(app, incident_queries(facade))
    if on_call_service is not None:
        add_routes(app, on_call_queries(on_call_service, facade.status_reader))
    if alert_receiver is not None:
        add_routes(app, alertmanager_webhook(alert_receiver))
    add_routes(app, _service_router(facade))
    templates = page_templates(
        signs_in=access_control.authenticator is not None, openid=openid.name if openid else "", site=site
    )
    add_routes(app, _status_pages(facade.status_reader, templates))
    renderer = Pages(templates)
    add_routes(app, notification_pages(facade, renderer))
    if letters is not None:
        add_routes(app, letter_printouts(letters, facade))
        add_routes(app, letter_pages(letters, renderer))
    if access_control.authenticator is not None:
        add_routes(app, sign_in_pages(access_control.authenticator, access_control, renderer, openid))
        add_routes(app, code_pages(access_control.authenticator, access_control, renderer))
        add_routes(app, second_factor_pages(access_control.authenticator, access_control, renderer))
        if openid is not None:
            add_routes(app, openid_pages(openid, access_control, renderer))
        for build in pages:
            add_routes(app, build(renderer))
        for part in api_routers:
            add_routes(app, part)
    add_routes(app, _schema_router(app))
    install_access_control(app, access_control)
    app.state.idempotency = idempotency
    show_error_pages(app, renderer)
    app.mount("/static", _StaticFiles(directory=Path(__file__).parent / "static"))
    return app


class _StaticFiles(StaticFiles):
    """Style sheets and scripts, which are the same for all users.

    Browsers cache the files for one minute. Without a cache, a mobile browser would load up to three files one after
    another for each page, because style sheets import each other. The cost: for a minute after an upgrade, a
    page may have the old appearance.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "max-age=60"
        return response


class _Portal(FastAPI):
    """Application that adds security headers to all responses.

    The headers are added outside of Starlette's middleware stack. The outermost middleware of that stack responds to
    internal errors, so no middleware inside the stack could add headers to these responses.
    """

    def build_middleware_stack(self) -> ASGIApp:
        return _SecurityHeaders(_HeadSupport(super().build_middleware_stack()), self.state.access_control.is_secure)


class _AllowedHosts:
    """Middleware that accepts only requests with a known Host header, to prevent DNS rebinding.

    In such an attack, the host name of a foreign page resolves to this machine, so that the page can read the portal.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(each.lower() for each in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "")).lower()
            # The server's own IP address is accepted too: DNS rebinding needs a name.
            server_address = str((scope.get("server") or ("",))[0])
            if name not in self._hosts and name.strip("[]") != server_address:
                reason = "Pantau does not accept this host name; use 127.0.0.1 or localhost"
                await problem(HTTPStatus.BAD_REQUEST, reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _HeadSupport:
    """Middleware that answers HEAD like GET without the body (RFC 9110, 9.3.2). Availability checks may use HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class _SecurityHeaders:
    """Middleware that adds the security headers to all responses.

    It does not use Starlette's `BaseHTTPMiddleware`, which copies each chunk of a scrape through a queue.
    """

    def __init__(self, app: ASGIApp, is_secure: bool) -> None:  # noqa: FBT001
        self._app = app
        self._headers = {**SECURITY_HEADERS, **(_HSTS if is_secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


#: Principal who may reload the configuration.
_Operator = Annotated[Principal, Depends(RequirePermission(Permission.RELOAD))]


def _service_router(facade: ServiceFacade) -> APIRouter:
    router = APIRouter(tags=["service"])
    health_check = allow_public("supervisors do not sign in, and the response contains no data of agencies")

    @router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(RequireTrustedNetwork())])
    async def metrics(request: Request) -> Response:
        open_metrics = accepts_open_metrics(",".join(request.headers.getlist("accept")))
        chunks = facade.metrics(open_metrics=open_metrics)
        # The first chunk takes long, so use a thread. The later chunks are small enough for the event loop. Do not
        # compress the response: on the loopback interface, compression costs more time than it saves.
        first = await asyncio.to_thread(next, chunks)
        return StreamingResponse(
            _yield_between(first, chunks), media_type=OPEN_METRICS if open_metrics else CONTENT_TYPE
        )

    @router.get(
        "/-/healthy",
        response_class=PlainTextResponse,
        summary="Liveness: the process answers",
        dependencies=health_check,
    )
    async def healthy() -> str:
        return "healthy\n"

    @router.get(
        "/-/ready",
        response_class=PlainTextResponse,
        summary="Readiness: the process probes, its alert engine runs, the database is available",
        dependencies=health_check,
        responses=problems(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def ready() -> Response:
        if (reason := facade.not_ready_reason()) is None:
            return PlainTextResponse("ready\n")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    @router.post(
        "/-/reload",
        summary="Reload the configuration; an invalid one changes nothing",
        responses=problems(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN),
    )
    async def reload(request: Request, principal: _Operator) -> Response:
        # Reject requests of pages: a page of another site in an operator's browser can send a POST to this route.
        # With it, browsers send at least one of these two headers; curl sends neither.
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or "origin" in request.headers:
            return problem(HTTPStatus.FORBIDDEN, "only tools may send this request, not a page in a browser")
        # A portal without sign-in has no user name to record.
        return reload_response(await facade.reload(principal.by or "portal"))

    return router


async def _yield_between(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield all chunks. Let other tasks, such as probes, run after each chunk of *rest*."""
    yield first
    for chunk in rest:
        yield chunk
        await asyncio.sleep(0)


class _TemplateCache(BytecodeCache):
    """Cache of compiled templates, which the template environments of all languages share."""

    def __init__(self) -> None:
        self._bytecode: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (bytecode := self._bytecode.get(bucket.key)) is not None:
            bucket.bytecode_from_string(bytecode)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._bytecode[bucket.key] = bucket.bytecode_to_string()


_TEMPLATE_CACHE = _TemplateCache()


#: Templates that a portal without sign-in uses.
_TEMPLATES_WITHOUT_SIGN_IN = frozenset(
    f"{name}.html"
    for name in (
        "agency",
        "checks",
        "counts",
        "detail",
        "error_page",
        "frame",
        "languages",
        "letters",
        "more_agencies",
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
    )
)


@cache
def page_templates(*, signs_in: bool = False, openid: str = "", site: str = "") -> Mapping[PageLanguage, Environment]:
    """Return the template environments by language. They escape inserted values.

    Each parameter becomes a global variable of the templates. *signs_in*: whether the portal has a sign-in, and
    therefore account pages and incident pages. *openid*: name of the identity provider; "" without a provider. *site*:
    name of this site (installation); "" if it is the only one.
    """
    environments: dict[PageLanguage, Environment] = {}
    for language in PageLanguage:
        environments[language] = Environment(
            loader=PackageLoader("monitor.web"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            # Remove the indentation: it would make up a tenth of a page with a thousand agencies.
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_TEMPLATE_CACHE,
            auto_reload=False,
        )
        environments[language].filters |= template_filters(language)
        environments[language].globals |= {"language": language, "signs_in": signs_in, "openid": openid, "site": site}
        # Compile the templates now. Compilation during the first request would delay the response and the probes.
        for name in environments[language].list_templates(
            filter_func=lambda name: signs_in or name in _TEMPLATES_WITHOUT_SIGN_IN
        ):
            environments[language].get_template(name)
    return environments


def _schema_router(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json", dependencies=allow_public("the schema contains no data"))
    async def schema() -> Response:
        # Generating the schema takes long, so use a thread. FastAPI caches it.
        return JSONResponse(await asyncio.to_thread(app.openapi))

    return router


def _status_pages(status_reader: StatusReader, templates: Mapping[PageLanguage, Environment]) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    status_page = StatusPage(status_reader, templates, version=installed_version())

    @router.get("/")
    async def status(request: Request, principal: Reader) -> Response:
        query = read_query(request)
        page = await status_page.render(query, principal.scope(Permission.READ))
        return await full_page(request, page, principal)

    @router.get("/fragment")
    async def fragment(request: Request, principal: Reader) -> Response:
        page = await status_page.render(read_query(request), principal.scope(Permission.READ))
        return _page_response(request, page.etag, page.fragment)

    @router.get("/agencies/{code}")
    async def agency(request: Request, code: str, principal: AgencyReader) -> Response:
        return await full_page(request, await render_agency(request, code, principal), principal)

    @router.get("/agencies/{code}/fragment")
    async def agency_fragment(request: Request, code: str, principal: AgencyReader) -> Response:
        page = await render_agency(request, code, principal)
        return _page_response(request, page.etag, page.fragment)

    async def render_agency(request: Request, code: str, principal: Principal) -> RenderedPage:
        page = await status_page.render_agency(code, read_query(request), principal)
        if page is None:
            raise NotFoundError.from_text("no_agency", agency=code[:40])
        return page

    async def full_page(request: Request, page: RenderedPage, principal: Principal) -> Response:
        links = navigation_links(principal, read_query(request).language)
        etag, body = await status_page.full_page(page, links)
        return store_language(request, _page_response(request, etag, body))

    return router


def _page_response(request: Request, etag: str, body: PageBody) -> Response:
    headers = {"ETag": etag, "Vary": "Accept-Encoding, Cookie"}
    if matches_etag(request, etag):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(body.plain, headers=headers)
    return HTMLResponse(body.gzipped, headers={**headers, "Content-Encoding": "gzip"})
