"""Every route, every role, one's own agency and another's: who is let on, by a table that a new route has to be put into."""

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
from tests.unit.monitor.web.signed import OURS, House, house
from tests.unit.monitor.web.source import LETTERS, Service

pytestmark = pytest.mark.access

READERS = {"viewer", "officer", "clerk", "duty", "noc", "admin"}
OFFICERS = {"duty", "noc"}
COLLEAGUES = {"officer", "duty", "noc", "admin"}
RULERS = {"duty", "noc"}
#: By route: who is let on, and whether it is about one agency ("own"), about Pantau itself ("ours"), or shows each what they may
#: see ("part"). "all": it is for everybody, signed in or not.
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
    # Whose it is stands in what was begun: `test_mailbox_setup` asks.
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
    "GET /tasks": ("part", OFFICERS),
    # Whose it is stands in the form: `test_tasks_page` asks.
    "POST /tasks/acknowledge": ("part", OFFICERS),
    "POST /tasks/declare": ("part", OFFICERS),
    "POST /tasks/silences": ("part", OFFICERS),
    "POST /tasks/silences/{number}/end": ("part", OFFICERS),
    "GET /incidents/{number}": ("own", READERS),
    "POST /incidents/{number}/acknowledge": ("own", OFFICERS),
    "POST /incidents/{number}/notes": ("own", OFFICERS),
    "POST /incidents/{number}/take-over": ("own", OFFICERS),
    "POST /incidents/{number}/escalate": ("own", OFFICERS),
    "GET /incidents/{number}/release": ("own", OFFICERS),
    "GET /incidents/{number}/release/{place}/page.pdf": ("own", OFFICERS),
    "POST /incidents/{number}/release": ("own", OFFICERS),
    "POST /incidents/{number}/close": ("own", OFFICERS),
    "POST /incidents/{number}/false-alarm": ("own", OFFICERS),
    "POST /notifications/{notification_id}/set-status": ("own", OFFICERS),
    "GET /audit": ("part", {"noc", "admin"}),
    "GET /rotas": ("part", COLLEAGUES),
    "GET /rotas/{code}/{rota}": ("own", COLLEAGUES),
    "POST /rotas/{code}/{rota}/overrides": ("own", {"officer", "duty", "noc"}),
    "POST /rotas/{code}/{rota}/overrides/{override_id}/remove": ("own", {"officer", "duty", "noc"}),
    # With keys of their own.
    "GET /rotas/{code}/{rota}.ics": ("all", set()),
    "POST /rotas/{code}/{rota}/feeds": ("own", COLLEAGUES),
    "POST /rotas/{code}/{rota}/feeds/{feed_id}/revoke": ("own", COLLEAGUES),
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
    "POST /tokens/{number}/revoke": ("ours", {"admin"}),
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
    "POST /api/v1/incidents/{number}/acknowledge": ("own", RULERS),
    "POST /api/v1/incidents/{number}/notes": ("own", RULERS),
    "POST /api/v1/incidents/{number}/take-over": ("own", RULERS),
    "POST /api/v1/incidents/{number}/escalate": ("own", RULERS),
    "POST /api/v1/incidents/{number}/release": ("own", RULERS),
    "POST /api/v1/incidents/{number}/close": ("own", RULERS),
    "POST /api/v1/incidents/{number}/false-alarm": ("own", RULERS),
    # Whose it is stands in the body, or in the store.
    "POST /api/v1/declarations": ("part", RULERS),
    "GET /api/v1/silences": ("part", READERS),
    "POST /api/v1/silences": ("part", RULERS),
    "DELETE /api/v1/silences/{number}": ("part", RULERS),
    "GET /api/v1/overrides": ("part", COLLEAGUES),
    "POST /api/v1/overrides": ("part", {*RULERS, "officer"}),
    "DELETE /api/v1/overrides/{number}": ("part", {*RULERS, "officer"}),
}
#: What stands in the world of these tests for what a path names.
NAMES = {
    "code": "JCM",
    "notification_id": "1",
    "number": "JCM-01",
    "action": "printed",
    "name": "somebody",
    "place": "1",
    "month": "2026-11",
    "file": "penyata.txt",
    "page": "letter.pdf",
    "key": "0123456789abcdef",
    "link_id": "1",
    "rota": "bertugas",
    "override_id": "1",
    "feed_id": "1",
}
ROLES = ["viewer", "officer", "clerk", "duty", "noc", "admin"]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Service(codes=("JCM", "MDC"), in_the_tray=LETTERS)) as opened:
        await opened.administration.add("somebody", "Seorang Contoh", (), by="Ujian")
        yield opened


def names_of(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}" for route in portal_routes(app) for method in route.methods or () if method != "HEAD"
    }


async def ask(browser: httpx.AsyncClient, route: str) -> int:
    method, _, path = route.partition(" ")
    names = {**NAMES, "notification_id": "7"} if path.startswith("/letters") else NAMES
    names = {**NAMES, "number": "1"} if path.startswith("/tasks") else names
    path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)
    return (await browser.request(method, path, data={} if method == "POST" else None)).status_code


def expected(route: str, role: str, whose: str) -> bool:
    kind, roles = TABLE[route]
    if kind == "all":
        return True
    if role not in roles:
        return False
    return whose == "all" or kind == "part" or (kind == "own" and whose == "own")


async def test_every_route_is_in_the_table_and_nothing_else(place: House) -> None:
    assert names_of(place.app) == set(TABLE)


@pytest.mark.parametrize(
    ("role", "whose"),
    # An admin is one for all agencies.
    [(role, whose) for role in ROLES for whose in ("own", "other", "all") if role != "admin" or whose == "all"],
)
async def test_each_role_is_let_on_where_the_table_says(place: House, role: str, whose: str) -> None:
    agency = {"own": ":JCM", "other": ":MDC", "all": ""}[whose]
    browser = await place.admitted("pelawat", f"{role}{agency}")
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


async def test_nobody_who_has_not_signed_in_is_let_on_anywhere_but_where_all_are(place: House) -> None:
    async with place.browser() as browser:
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


async def test_the_status_page_and_an_agencys_lead_where_somebody_may_go_and_nowhere_else(place: House) -> None:
    marks = set()
    for role, places in {
        "viewer": [],
        "officer:JCM": ["/rotas", "/agencies/JCM/settings"],
        "clerk:JCM": ["/letters"],
        "duty": ["/tasks", "/rotas"],
        "noc": ["/tasks", "/rotas", "/audit"],
        "admin": ["/rotas", "/audit", "/agencies", "/users", "/tokens", "/wallboards"],
    }.items():
        browser = await place.admitted(f"pelawat-{role.lower().replace(':', '-')}", role)
        for path in ("/", "/agencies/JCM", "/account"):
            page = await browser.get(path)
            found = re.findall(r'<nav class="places".*?</nav>', page.text, re.DOTALL)
            links = re.findall(r'<a href="([^"]+)"', found[0]) if found else []
            assert [each for each in links if each not in {"/", "/account"}] == places, (role, path)
        assert [(await browser.get(each)).status_code for each in places] == [200] * len(places), role
        theirs = set(re.findall(r'href="(/agencies/[^"?]+)', (await browser.get("/agencies/JCM")).text))
        assert ("/agencies/JCM/drills" in theirs) is (role in {"officer:JCM", "noc"}), role
        assert 403 not in [(await browser.get(each)).status_code for each in theirs], role
        marks.add((await browser.get("/")).headers["ETag"])
        assert 'class="places"' not in (await browser.get("/?wallboard=1")).text
    # Who signs in at somebody else's browser is not shown that their page still holds; of the same roles it is one page.
    assert len(marks) == 6
    other = await place.admitted("pelawat-lain", "noc")
    assert (await other.get("/")).headers["ETag"] in marks


async def test_who_may_see_one_agency_is_shown_nothing_of_another(place: House) -> None:
    browser = await place.admitted("pelawat", "viewer:MDC")
    for path in ("/", "/fragment", "/api/v1/agencies", "/api/v1/letters"):
        answer = await browser.get(path)
        assert "JCM" not in answer.text, path
    refused = await browser.get("/api/v1/incidents", params={"agency": "JCM"})
    assert refused.status_code == 403
    assert refused.json()["detail"] == "pelawat has no permission to read for JCM; an administrator gives roles"
    # A person reads it in their language.
    page = await browser.get("/agencies/JCM", headers={"Accept": "text/html"})
    said = "pelawat tiada kebenaran untuk melihat keadaan e-mel bagi JCM"
    assert (page.status_code, said in page.text) == (403, True)
    page = await browser.get("/users", headers={"Accept": "text/html"})
    assert "pelawat tiada kebenaran untuk mengurus pengguna" in page.text


async def test_a_route_that_names_no_permission_is_refused_when_the_portal_is_built() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/secret")
    async def secret() -> str:
        return "secret"

    with pytest.raises(RouteWithoutPermissionError, match=r"^/secret names no permission"):
        install_access_control(app, AccessControl())


async def test_metrics_are_read_from_near_and_by_who_may_see_everything(place: House) -> None:
    far = httpx.ASGITransport(app=place.app, client=("10.9.8.7", 1))
    async with httpx.AsyncClient(transport=far, base_url="http://localhost", headers=OURS) as stranger:
        assert (await stranger.get("/metrics")).status_code == 403
        assert (await stranger.get("/-/healthy")).status_code == 200
        one, every = await place.admitted("siti", "viewer:JCM"), await place.admitted("ravi", "viewer")
        for browser, status in ((one, 403), (every, 200)):
            cookie = {"Cookie": f"pantau={browser.cookies['pantau']}"}
            assert (await stranger.get("/metrics", headers=cookie)).status_code == status
    place.app.state.access_control._metrics_networks = [ip_network("10.9.8.0/24")]
    async with httpx.AsyncClient(transport=far, base_url="http://localhost") as scraper:
        assert (await scraper.get("/metrics")).status_code == 200


async def test_it_answers_to_the_address_that_is_asked_at_and_to_no_name_that_leads_there(place: House) -> None:
    transport = httpx.ASGITransport(app=place.app)
    async with httpx.AsyncClient(transport=transport) as web:
        assert (await web.get("http://10.20.0.4/-/healthy")).status_code == 200
        refused = await web.get("http://10.20.0.4/-/healthy", headers={"Host": "penyerang.contoh.my"})
        assert refused.status_code == 400


async def test_a_portal_without_users_is_open_to_this_machine_and_orders_nothing_new() -> None:
    service: Any = Service(in_the_tray=LETTERS)
    app = portal(service, ["localhost"], service)
    assert not {name for name in names_of(app) if "/users" in name or "sign" in name}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=OURS) as browser:
        assert await ask(browser, "GET /") == 200
        assert await ask(browser, "GET /api/v1/letters") == 200


async def test_what_a_form_is_answered_with_leads_to_a_page_in_the_other_language(place: House) -> None:
    browser = await place.admitted("pelawat", "officer", "clerk", "duty", "noc", "admin")
    pages = [route for route in portal_routes(place.app) if "GET" in (route.methods or ())]
    astray = {}
    for route in TABLE:
        if not route.startswith("POST ") or route.startswith("POST /api/") or route == "POST /sign-out":
            continue
        names = {**NAMES, "notification_id": "7"} if "/letters" in route else NAMES
        names = {**names, "number": "1"} if any(each in route for each in ("/tasks", "/tokens")) else names
        path = route.removeprefix("POST ").format_map(names)
        answer = await browser.post(path, data={}, headers={"Accept": "text/html"})
        for link in re.findall(r'href="([^"?]+)\?[^"]*lang=en"', answer.text):
            if not any(page.path_regex.fullmatch(link) for page in pages):
                astray[route] = link
    assert not astray


async def test_the_journal_is_told_who_had_the_configuration_read_again(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    async with house(tmp_path, service) as place:
        admin = await place.admitted("pentadbir", "admin")
        assert (await admin.post("/-/reload")).status_code == 200
    assert ("reload", "Pentadbir Contoh (pentadbir)") in service.orders
