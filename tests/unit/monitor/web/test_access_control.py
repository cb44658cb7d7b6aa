"""Permission of every route for every role, by a table that must list each route."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from monitor.web.access.access_control import (
    AccessControl,
    RouteWithoutPermissionError,
    install_access_control,
    portal_routes,
)
from monitor.web.portal import portal
from tests.unit.monitor.web.fake_service import LETTERS, Service
from tests.unit.monitor.web.portal_env import SAME_ORIGIN, PortalEnv, open_portal

pytestmark = pytest.mark.access

READERS = {"viewer", "officer", "clerk", "duty", "noc", "admin"}
DUTY_ROLES = {"duty", "noc"}
ROTA_VIEWERS = {"officer", "duty", "noc", "admin"}
COMMAND_ROLES = {"duty", "noc"}
#: Roles by route, and the route's scope: one agency ("own"), Pantau itself ("ours"), or the part that a role permits
#: ("part"). "all" is public.
TABLE: dict[str, tuple[str, set[str]]] = {
    "GET /": ("part", READERS),
    "GET /fragment": ("part", READERS),
    "GET /agencies": ("ours", {"admin"}),
    "POST /agencies": ("ours", {"admin"}),
    "GET /agencies/{code}/remove": ("ours", {"admin"}),
    "POST /agencies/{code}/remove": ("ours", {"admin"}),
    "GET /agencies/{code}": ("own", READERS),
    "GET /agencies/{code}/fragment": ("own", READERS),
    "GET /agencies/{code}/settings": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/settings": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/mailboxes/new": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/mailboxes/new": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/mailboxes/new/{key}": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/mailboxes/new/{key}": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/mailboxes/new/{key}/save": ("own", {"officer", "admin"}),
    # The agency is that of the setup: `test_mailbox_setup` checks it.
    "GET /mailboxes/consent": ("part", {"officer", "admin"}),
    "POST /agencies/{code}/settings/calendar": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/maintenance-notices": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/maintenance-notices/preview": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/maintenance-notices": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/maintenance-notices/{number}/{file}": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/notifications": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/mailboxes": ("own", {"officer", "admin"}),
    "POST /agencies/{code}/mailboxes": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/versions": ("own", {"officer", "admin"}),
    "GET /agencies/{code}/history": ("own", READERS),
    "GET /agencies/{code}/report": ("own", READERS),
    "GET /agencies/{code}/report/{month}": ("own", READERS),
    "GET /agencies/{code}/report/{month}/{file}": ("own", READERS),
    "GET /agencies/{code}/drills": ("own", {"officer", "noc"}),
    "POST /agencies/{code}/drills": ("own", {"officer", "noc"}),
    "GET /agencies/{code}/test": ("own", {"officer", "noc"}),
    "POST /agencies/{code}/test": ("own", {"officer", "noc"}),
    "POST /agencies/{code}/test-all": ("own", {"officer", "noc"}),
    "GET /agencies/{code}/test/{key}": ("own", {"officer", "noc"}),
    "GET /agencies/{code}/test/{key}/fragment": ("own", {"officer", "noc"}),
    "GET /notifications/{notification_id}": ("own", READERS),
    "GET /notifications/{notification_id}/page.pdf": ("own", READERS),
    "GET /letters": ("part", {"clerk"}),
    "GET /letters/waiting.pdf": ("part", {"clerk"}),
    "GET /letters/docket": ("part", {"clerk"}),
    "POST /letters/{action}": ("part", {"clerk"}),
    "POST /letters/{notification_id}/not-posted": ("own", {"clerk"}),
    "POST /letters/{notification_id}/{action}": ("own", {"clerk"}),
    "GET /tasks": ("part", DUTY_ROLES),
    # The agency is in the form: `test_tasks_page` checks it.
    "POST /tasks/acknowledge": ("part", DUTY_ROLES),
    "POST /tasks/declare": ("part", DUTY_ROLES),
    "POST /tasks/silences": ("part", DUTY_ROLES),
    "POST /tasks/silences/{number}/end": ("part", DUTY_ROLES),
    "GET /incidents/{number}": ("own", READERS),
    "POST /incidents/{number}/acknowledge": ("own", DUTY_ROLES),
    "POST /incidents/{number}/notes": ("own", DUTY_ROLES),
    "POST /incidents/{number}/take-over": ("own", DUTY_ROLES),
    "POST /incidents/{number}/escalate": ("own", DUTY_ROLES),
    "GET /incidents/{number}/release": ("own", DUTY_ROLES),
    "GET /incidents/{number}/release/{position}/page.pdf": ("own", DUTY_ROLES),
    "POST /incidents/{number}/release": ("own", DUTY_ROLES),
    "POST /incidents/{number}/close": ("own", DUTY_ROLES),
    "POST /incidents/{number}/false-alarm": ("own", DUTY_ROLES),
    "POST /notifications/{notification_id}/set-status": ("own", DUTY_ROLES),
    "GET /audit": ("part", {"noc", "admin"}),
    "GET /rotas": ("part", ROTA_VIEWERS),
    "GET /rotas/{code}/{rota}": ("own", ROTA_VIEWERS),
    "POST /rotas/{code}/{rota}/overrides": ("own", {"officer", "duty", "noc"}),
    "POST /rotas/{code}/{rota}/overrides/{override_id}/remove": ("own", {"officer", "duty", "noc"}),
    # Authenticated by a key in the address.
    "GET /rotas/{code}/{rota}.ics": ("all", set()),
    "POST /rotas/{code}/{rota}/feeds": ("own", ROTA_VIEWERS),
    "POST /rotas/{code}/{rota}/feeds/{feed_id}/revoke": ("own", ROTA_VIEWERS),
    "GET /users": ("ours", {"admin"}),
    "POST /users": ("ours", {"admin"}),
    "GET /users/{name}": ("ours", {"admin"}),
    "POST /users/{name}/roles": ("ours", {"admin"}),
    "POST /users/{name}/invite": ("ours", {"admin"}),
    "POST /users/{name}/disable": ("ours", {"admin"}),
    "POST /users/{name}/unlink": ("ours", {"admin"}),
    "POST /users/{name}/unlock": ("ours", {"admin"}),
    "POST /users/{name}/enable": ("ours", {"admin"}),
    "GET /tokens": ("ours", {"admin"}),
    "POST /tokens": ("ours", {"admin"}),
    "POST /tokens/{token_id}/revoke": ("ours", {"admin"}),
    "GET /wallboards": ("ours", {"admin"}),
    "POST /wallboards": ("ours", {"admin"}),
    "POST /wallboards/{link_id}/revoke": ("ours", {"admin"}),
    "GET /wallboard": ("all", set()),
    "POST /users/{name}/reset-second-factor": ("ours", {"admin"}),
    "GET /sign-in": ("all", set()),
    "POST /sign-in": ("all", set()),
    "GET /sign-in/code": ("all", set()),
    "POST /sign-in/code": ("all", set()),
    "GET /welcome": ("all", set()),
    "POST /welcome": ("all", set()),
    "GET /account": ("all", set()),
    "POST /account/password": ("all", set()),
    "GET /account/second-factor": ("all", set()),
    "POST /account/second-factor": ("all", set()),
    "POST /account/second-factor/codes": ("all", set()),
    "POST /account/second-factor/off": ("all", set()),
    "POST /sign-out": ("all", set()),
    "GET /openapi.json": ("all", set()),
    "GET /metrics": ("all", set()),
    "GET /-/healthy": ("all", set()),
    "GET /-/ready": ("all", set()),
    "POST /-/reload": ("ours", {"admin"}),
    "GET /api/v1/self-health": ("part", READERS),
    "GET /api/v1/self-checks": ("ours", READERS),
    "GET /api/v1/references": ("ours", READERS),
    "GET /api/v1/gateways": ("ours", READERS),
    "GET /api/v1/agencies": ("part", READERS),
    "GET /api/v1/agencies/{code}": ("own", READERS),
    "GET /api/v1/agencies/{code}/days": ("own", READERS),
    "GET /api/v1/agencies/{code}/sites": ("own", READERS),
    "GET /api/v1/agencies/{code}/maintenance-notices": ("own", {"officer", "admin"}),
    "GET /api/v1/agencies/{code}/maintenance-notices/draft": ("own", {"officer", "admin"}),
    "POST /api/v1/agencies/{code}/maintenance-notices": ("own", {"officer", "admin"}),
    "GET /api/v1/agencies/{code}/maintenance-notices/{number}/{page}": ("own", {"officer", "admin"}),
    "GET /api/v1/agencies/{code}/document": ("own", {"officer", "admin"}),
    "PUT /api/v1/agencies/{code}/document": ("own", {"officer", "admin"}),
    "DELETE /api/v1/agencies/{code}/document": ("ours", {"admin"}),
    "PUT /api/v1/agencies/{code}/mailboxes/{key}/password": ("own", {"officer", "admin"}),
    "PUT /api/v1/agencies/{code}/mailboxes/{key}/application": ("own", {"officer", "admin"}),
    "GET /api/v1/incidents": ("part", READERS),
    "GET /api/v1/incidents/{number}": ("own", READERS),
    "GET /api/v1/incidents/{number}/sites": ("own", READERS),
    "GET /api/v1/notifications": ("part", READERS),
    "GET /api/v1/notifications/{notification_id}": ("own", READERS),
    "GET /api/v1/letters": ("part", {"clerk"}),
    "POST /api/v1/incidents/{number}/acknowledge": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/notes": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/take-over": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/escalate": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/release": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/close": ("own", COMMAND_ROLES),
    "POST /api/v1/incidents/{number}/false-alarm": ("own", COMMAND_ROLES),
    # The agency is in the body, or in the database.
    "POST /api/v1/declarations": ("part", COMMAND_ROLES),
    "GET /api/v1/silences": ("part", READERS),
    "POST /api/v1/silences": ("part", COMMAND_ROLES),
    "DELETE /api/v1/silences/{number}": ("part", COMMAND_ROLES),
    "GET /api/v1/overrides": ("part", ROTA_VIEWERS),
    "POST /api/v1/overrides": ("part", {*COMMAND_ROLES, "officer"}),
    "DELETE /api/v1/overrides/{number}": ("part", {*COMMAND_ROLES, "officer"}),
}
#: Values of path parameters in these tests.
PATH_VALUES = {
    "code": "JCM",
    "notification_id": "1",
    "number": "JCM-01",
    "action": "printed",
    "name": "somebody",
    "position": "1",
    "month": "2026-11",
    "file": "penyata.txt",
    "page": "letter.pdf",
    "key": "0123456789abcdef",
    "link_id": "1",
    "token_id": "1",
    "rota": "bertugas",
    "override_id": "1",
    "feed_id": "1",
}
ROLES = ["viewer", "officer", "clerk", "duty", "noc", "admin"]


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, Service(codes=("JCM", "MDC"), tray_letters=LETTERS)) as opened:
        await opened.administration.add("somebody", "Seorang Contoh", (), by="Ujian")
        yield opened


def names_of(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}" for route in portal_routes(app) for method in route.methods or () if method != "HEAD"
    }


async def ask(browser: httpx.AsyncClient, route: str) -> int:
    method, _, path = route.partition(" ")
    names = {**PATH_VALUES, "notification_id": "7"} if path.startswith("/letters") else PATH_VALUES
    names = {**PATH_VALUES, "number": "1"} if path.startswith("/tasks") else names
    path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)
    return (await browser.request(method, path, data={} if method == "POST" else None)).status_code


def expected(route: str, role: str, whose: str) -> bool:
    kind, roles = TABLE[route]
    if kind == "all":
        return True
    if role not in roles:
        return False
    return whose == "all" or kind == "part" or (kind == "own" and whose == "own")


async def test_access_table_lists_every_route(env: PortalEnv) -> None:
    assert names_of(env.app) == set(TABLE)


@pytest.mark.parametrize(
    ("role", "whose"),
    # The role admin is for all agencies only.
    [(role, whose) for role in ROLES for whose in ("own", "other", "all") if role != "admin" or whose == "all"],
)
async def test_role_is_permitted_as_access_table_says(env: PortalEnv, role: str, whose: str) -> None:
    agency = {"own": ":JCM", "other": ":MDC", "all": ""}[whose]
    browser = await env.session_for("pelawat", f"{role}{agency}")
    found = {}
    for route in TABLE:
        if route == "POST /sign-out":
            continue
        found[route] = await ask(browser, route)
    wrong = {
        route: status
        for route, status in found.items()
        if (status not in {401, 403}) is not expected(route, role, whose) and TABLE[route][0] != "all"
    }
    assert not wrong
    assert not any(status >= 500 for route, status in found.items() if route != "GET /-/ready")


async def test_anonymous_is_permitted_public_routes_only(env: PortalEnv) -> None:
    async with env.browser() as browser:
        for route, (kind, _) in TABLE.items():
            status = await ask(browser, route)
            assert (status in {401, 403}) is (kind != "all") or route in {
                "GET /account",
                "POST /account/password",
                "GET /account/second-factor",
                "POST /account/second-factor",
                "POST /account/second-factor/codes",
                "POST /account/second-factor/off",
                "GET /sign-in/code",
                "POST /sign-in/code",
                "POST /sign-in",
                "POST /welcome",
            }, (route, status)


async def test_page_links_match_permissions(env: PortalEnv) -> None:
    etags = set()
    for role, places in {
        "viewer": [],
        "officer:JCM": ["/rotas", "/agencies/JCM/settings"],
        "clerk:JCM": ["/letters"],
        "duty": ["/tasks", "/rotas"],
        "noc": ["/tasks", "/rotas", "/audit"],
        "admin": ["/rotas", "/audit", "/agencies", "/users", "/tokens", "/wallboards"],
    }.items():
        browser = await env.session_for(f"pelawat-{role.lower().replace(':', '-')}", role)
        for path in ("/", "/agencies/JCM", "/account"):
            page = await browser.get(path)
            found = re.findall(r'<nav class="places".*?</nav>', page.text, re.DOTALL)
            links = re.findall(r'<a href="([^"]+)"', found[0]) if found else []
            assert [each for each in links if each not in {"/", "/account"}] == places, (role, path)
        assert [(await browser.get(each)).status_code for each in places] == [200] * len(places), role
        theirs = set(re.findall(r'href="(/agencies/[^"?]+)', (await browser.get("/agencies/JCM")).text))
        assert ("/agencies/JCM/drills" in theirs) is (role in {"officer:JCM", "noc"}), role
        assert 403 not in [(await browser.get(each)).status_code for each in theirs], role
        etags.add((await browser.get("/")).headers["ETag"])
        assert 'class="places"' not in (await browser.get("/?wallboard=1")).text
    # Another user's cached page must not be reused; users with the same roles share one.
    assert len(etags) == 6
    other = await env.session_for("pelawat-lain", "noc")
    assert (await other.get("/")).headers["ETag"] in etags


async def test_viewer_of_one_agency_sees_no_other(env: PortalEnv) -> None:
    browser = await env.session_for("pelawat", "viewer:MDC")
    for path in ("/", "/fragment", "/api/v1/agencies", "/api/v1/letters"):
        answer = await browser.get(path)
        assert "JCM" not in answer.text, path
    refused = await browser.get("/api/v1/incidents", params={"agency": "JCM"})
    assert refused.status_code == 403
    assert refused.json()["detail"] == "pelawat has no permission to read for JCM; an administrator gives roles"
    # HTML responses are in the user's language.
    page = await browser.get("/agencies/JCM", headers={"Accept": "text/html"})
    expected_text = "pelawat tiada kebenaran untuk melihat keadaan e-mel bagi JCM"
    assert (page.status_code, expected_text in page.text) == (403, True)
    page = await browser.get("/users", headers={"Accept": "text/html"})
    assert "pelawat tiada kebenaran untuk mengurus pengguna" in page.text


async def test_route_without_permission_is_refused_at_build() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/secret")
    async def secret() -> str:
        return "secret"

    with pytest.raises(RouteWithoutPermissionError, match=r"^/secret requires no permission"):
        install_access_control(app, AccessControl())


async def test_metrics_permitted_from_allowed_networks_and_full_viewer(env: PortalEnv) -> None:
    far = httpx.ASGITransport(app=env.app, client=("10.9.8.7", 1))
    async with httpx.AsyncClient(transport=far, base_url="http://localhost", headers=SAME_ORIGIN) as remote:
        assert (await remote.get("/metrics")).status_code == 403
        assert (await remote.get("/-/healthy")).status_code == 200
        one, every = await env.session_for("siti", "viewer:JCM"), await env.session_for("ravi", "viewer")
        for browser, status in ((one, 403), (every, 200)):
            cookie = {"Cookie": f"pantau={browser.cookies['pantau']}"}
            assert (await remote.get("/metrics", headers=cookie)).status_code == status
    env.app.state.access_control._metrics_networks = [ip_network("10.9.8.0/24")]
    async with httpx.AsyncClient(transport=far, base_url="http://localhost") as scraper:
        assert (await scraper.get("/metrics")).status_code == 200


async def test_host_requested_address_is_accepted_and_unknown_name_refused(env: PortalEnv) -> None:
    transport = httpx.ASGITransport(app=env.app)
    async with httpx.AsyncClient(transport=transport) as web:
        assert (await web.get("http://10.20.0.4/-/healthy")).status_code == 200
        refused = await web.get("http://10.20.0.4/-/healthy", headers={"Host": "penyerang.contoh.my"})
        assert refused.status_code == 400


async def test_portal_without_users_is_open_locally() -> None:
    service: Any = Service(tray_letters=LETTERS)
    app = portal(service, ["localhost"], service)
    assert not {name for name in names_of(app) if "/users" in name or "sign" in name}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=SAME_ORIGIN) as browser:
        assert await ask(browser, "GET /") == 200
        assert await ask(browser, "GET /api/v1/letters") == 200


async def test_form_responses_link_to_existing_pages_in_other_language(env: PortalEnv) -> None:
    browser = await env.session_for("pelawat", "officer", "clerk", "duty", "noc", "admin")
    pages = [route for route in portal_routes(env.app) if "GET" in (route.methods or ())]
    broken_links = {}
    for route in TABLE:
        if not route.startswith("POST ") or route.startswith("POST /api/") or route == "POST /sign-out":
            continue
        names = {**PATH_VALUES, "notification_id": "7"} if "/letters" in route else PATH_VALUES
        names = {**names, "number": "1"} if "/tasks" in route else names
        path = route.removeprefix("POST ").format_map(names)
        answer = await browser.post(path, data={}, headers={"Accept": "text/html"})
        for link in re.findall(r'href="([^"?]+)\?[^"]*lang=en"', answer.text):
            if not any(page.path_regex.fullmatch(link) for page in pages):
                broken_links[route] = link
    assert not broken_links


async def test_reload_records_signed_in_user(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    async with open_portal(tmp_path, service) as env:
        admin = await env.session_for("pentadbir", "admin")
        assert (await admin.post("/-/reload")).status_code == 200
    assert ("reload", "Pentadbir Contoh (pentadbir)") in service.commands
