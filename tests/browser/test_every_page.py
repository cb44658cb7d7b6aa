"""Every page of the access table: accessible, fits a telephone, and is in the chosen language.

A new page is found by its route. A user with permission opens it; `path_values` must have the values of its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from tests.browser.browser_session import NARROW, WIDE, BrowserSession, BrowserSessions
from tests.browser.running_site import JCM, ROTA, UCM, RunningSite
from tests.real.playwright_browser import accessibility_violations
from tests.unit.monitor.web.test_access_control import TABLE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

#: Rules that depend on the page's width and colours.
_APPEARANCE_RULES: Final = ("color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block")
#: User of each role. The first with permission opens a page.
USERS: Final = {"admin": "pentadbir", "noc": "noc", "clerk": "kerani", "officer": "ali"}
_ZONE: Final = ZoneInfo("Asia/Kuala_Lumpur")
#: Start of JCM's planned maintenance, which can be announced.
PLANNED: Final = datetime.now(_ZONE).replace(hour=22, minute=0, second=0, microsecond=0) + timedelta(days=20)
#: Routes whose page has another address, or that return no whole page, and why.
OTHER_ADDRESSES: Final = {
    "GET /wallboard": ["/?wallboard=1"],
    # Requested by scripts.
    "GET /fragment": [],
    "GET /agencies/{code}/fragment": [],
    "GET /agencies/{code}/test/{key}/fragment": [],
    # Downloads.
    "GET /agencies/{code}/maintenance-notices/{number}/{file}": [],
    "GET /agencies/{code}/report/{month}/{file}": [],
    "GET /agencies/{code}/maintenance-notices/preview": [
        f"/agencies/{JCM.code}/maintenance-notices/preview?begins={PLANNED.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    ],
    # A provider redirects here, and the response redirects again.
    "GET /mailboxes/consent": [],
}
#: Name in `path_values` of the route's {key}.
KEY_NAMES: Final = {"GET /agencies/{code}/mailboxes/new/{key}": "setup"}
#: More addresses: pages for some users, with and without results.
EXTRA_ADDRESSES: Final = {
    "GET /": ["/?q=ada-tak-ada", "/?state=down"],
    "GET /agencies": ["/agencies?q=ada-tak-ada", f"/agencies?added={UCM.code}"],
    "GET /agencies/{code}": [f"/agencies/{UCM.code}"],
    "GET /agencies/{code}/versions": [f"/agencies/{JCM.code}/versions?from=1&to=1"],
    "GET /audit": ["/audit?agency=UCM", "/audit?event=tiada"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def path_values(site: RunningSite) -> Mapping[str, str]:
    """Return the values of path parameters in this site."""
    incident = await site.wait_for_outage()
    window = f"{{from: {PLANNED:%Y-%m-%d %H:%M}, until: {PLANNED:%Y-%m-%d} 23:30, reason: Naik taraf pelayan}}"
    await site.edit_document(JCM.code, lambda text: f"{text.rstrip()}\nmaintenance: [{window}]\n")
    notices = await site.get(f"/notifications?agency={UCM.code}")
    return {
        "code": JCM.code,
        "number": incident,
        "notification_id": str(notices[0]["id"]),
        "name": "siti",
        "place": "1",
        "month": last_month(),
        "key": await start(site, "noc", "test", route=(await site.get(f"/agencies/{JCM.code}"))["routes"][0]["name"]),
        "setup": await start(site, "pentadbir", "mailboxes/new", address=f"kedua@{JCM.domain}"),
        "rota": ROTA,
    }


def last_month() -> str:
    """Return last month as in an address."""
    first = datetime.now(_ZONE).replace(day=1)
    return (first - timedelta(days=1)).strftime("%Y-%m")


async def start(site: RunningSite, name: str, what: str, **form: str) -> str:
    """Start a run or a setup at JCM as a user; return the key of its page."""
    login = site.logins[name]
    async with site.play.web() as browser:
        browser.headers["Origin"] = site.url
        await browser.post("/sign-in", data={"name": login.name, "password": login.password})
        answer = await browser.post(f"/agencies/{JCM.code}/{what}", data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def addresses(path_values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return each page's user and address."""
    for route, (_, roles) in TABLE.items():
        method, _, path = route.partition(" ")
        if method != "GET" or path.startswith("/api/") or path.endswith((".pdf", ".ics", ".json")):
            continue
        who = next(name for role, name in USERS.items() if role in roles or not roles)
        own = OTHER_ADDRESSES.get(route)
        if own is None:
            named = set(re.findall(r"\{(\w+)\}", path))
            assert named <= set(path_values), f"a new page, whose path names what `known` has not: {route}"
            own = [path.format_map({**path_values, "key": path_values[KEY_NAMES.get(route, "key")]})]
        for address in (*own, *EXTRA_ADDRESSES.get(route, [])):
            yield who, address


async def errors_on(session: BrowserSession, address: str) -> Sequence[str]:
    """Return the errors of a page at both widths, in light and dark, and in English.

    Rules depend on width or on colours, so two combinations are enough.
    """
    await session.go(address)
    found = [f"wide, light: {each}" for each in await accessibility_violations(session.page)]
    await session.page.emulate_media(color_scheme="dark")
    await session.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    found += [f"narrow, dark: {each}" for each in await accessibility_violations(session.page, rules=_APPEARANCE_RULES)]
    found += [f"reaches out of a telephone: {each}" for each in await session.overflowing(NARROW["width"])]
    await session.go(f"{address}{'&' if '?' in address else '?'}lang=en")
    if await session.page.locator("html[lang=en] h1").count() != 1:
        found.append("has no heading in English, or several")
    found += [f"reaches out of a telephone in English: {each}" for each in await session.overflowing(NARROW["width"])]
    await session.context.clear_cookies(name="bahasa")
    await session.page.emulate_media(color_scheme="light")
    await session.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def pages(
    site: RunningSite, sessions: BrowserSessions, path_values: Mapping[str, str]
) -> Sequence[tuple[BrowserSession, str]]:
    """Return every HTML page and a user with permission. Responses of another type (PDF, text) are left out."""
    guests = {name: await sessions.open(name) for name in USERS.values()}
    found = list[tuple[BrowserSession, str]]()
    for who, address in addresses(path_values):
        answer = await guests[who].fetch(address, Accept="text/html")
        if answer.headers["content-type"].startswith("text/html"):
            assert answer.status == 200, f"{who} at {address}: {answer.status}"
            found.append((guests[who], address))
    assert len(found) > 25, found
    return found


async def test_every_page_is_accessible_at_both_widths_light_and_dark(
    pages: Sequence[tuple[BrowserSession, str]],
) -> None:
    wrong = [f"{address}: {each}" for session, address in pages for each in await errors_on(session, address)]
    assert not wrong, "\n".join(wrong)
