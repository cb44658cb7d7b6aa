"""Every page that the gate's table has: shuts nobody out, fits a telephone, and speaks the language that was chosen.

A new page is found by its route there. It is visited by somebody who may; what its path names has to be in `NAMES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from tests.browser.guest import NARROW, WIDE, Door, Guest
from tests.browser.running_site import JCM, ROTA, UCM, RunningSite
from tests.real.visitor import shut_out
from tests.unit.monitor.web.test_gate import TABLE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

#: What depends on how wide a page is, and on its colours.
_OF_APPEARANCE: Final = ("color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block")
#: Who looks at what their role may see: the first of them that may.
VISITORS: Final = {"admin": "pentadbir", "noc": "noc", "clerk": "kerani", "officer": "ali"}
_ZONE: Final = ZoneInfo("Asia/Kuala_Lumpur")
#: When maintenance of JCM's begins that recipients can be told of.
PLANNED: Final = datetime.now(_ZONE).replace(hour=22, minute=0, second=0, microsecond=0) + timedelta(days=20)
#: Routes that answer a person with a page under another address, or that are no page but a part of one, and why.
ELSEWHERE: Final = {
    "GET /wallboard": ["/?wallboard=1"],
    # Their script asks for them.
    "GET /fragment": [],
    "GET /agencies/{code}/fragment": [],
    "GET /agencies/{code}/test/{key}/fragment": [],
    # To be downloaded.
    "GET /agencies/{code}/maintenance-notices/{number}/{file}": [],
    "GET /agencies/{code}/report/{month}/{file}": [],
    "GET /agencies/{code}/maintenance-notices/preview": [
        f"/agencies/{JCM.code}/maintenance-notices/preview?begins={PLANNED.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    ],
    # Where a provider sends somebody back to, who is sent on.
    "GET /mailboxes/consent": [],
}
#: Of a route: by which key of `known` its path's {key} is known.
KEYS: Final = {"GET /agencies/{code}/mailboxes/new/{key}": "setup"}
#: What only a part of the people sees, and pages with something found, or nothing.
BESIDE: Final = {
    "GET /": ["/?q=ada-tak-ada", "/?state=down"],
    "GET /agencies": ["/agencies?q=ada-tak-ada", f"/agencies?added={UCM.code}"],
    "GET /agencies/{code}": [f"/agencies/{UCM.code}"],
    "GET /agencies/{code}/versions": [f"/agencies/{JCM.code}/versions?from=1&to=1"],
    "GET /audit": ["/audit?agency=UCM", "/audit?event=tiada"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def known(site: RunningSite) -> Mapping[str, str]:
    """Return what stands in this world for what a path names."""
    incident = await site.outage()
    window = f"{{from: {PLANNED:%Y-%m-%d %H:%M}, until: {PLANNED:%Y-%m-%d} 23:30, reason: Naik taraf pelayan}}"
    await site.rewritten(JCM.code, lambda text: f"{text.rstrip()}\nmaintenance: [{window}]\n")
    notices = await site.ask(f"/notifications?agency={UCM.code}")
    return {
        "code": JCM.code,
        "number": incident,
        "notification_id": str(notices[0]["id"]),
        "name": "siti",
        "place": "1",
        "month": last_month(),
        "key": await begun(site, "noc", "test", route=(await site.ask(f"/agencies/{JCM.code}"))["routes"][0]["name"]),
        "setup": await begun(site, "pentadbir", "mailboxes/new", address=f"kedua@{JCM.domain}"),
        "rota": ROTA,
    }


def last_month() -> str:
    """Return the month that is over, as an address has it."""
    first = datetime.now(_ZONE).replace(day=1)
    return (first - timedelta(days=1)).strftime("%Y-%m")


async def begun(site: RunningSite, name: str, what: str, **form: str) -> str:
    """Let somebody begin what goes on by itself at JCM; return the key of its page."""
    login = site.logins[name]
    async with site.play.web() as browser:
        browser.headers["Origin"] = site.url
        await browser.post("/sign-in", data={"name": login.name, "password": login.password})
        answer = await browser.post(f"/agencies/{JCM.code}/{what}", data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def addresses(known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return by whom each page is looked at, and where it is."""
    for route, (_, roles) in TABLE.items():
        method, _, path = route.partition(" ")
        if method != "GET" or path.startswith("/api/") or path.endswith((".pdf", ".ics", ".json")):
            continue
        who = next(name for role, name in VISITORS.items() if role in roles or not roles)
        own = ELSEWHERE.get(route)
        if own is None:
            named = set(re.findall(r"\{(\w+)\}", path))
            assert named <= set(known), f"a new page, whose path names what `known` has not: {route}"
            own = [path.format_map({**known, "key": known[KEYS.get(route, "key")]})]
        for address in (*own, *BESIDE.get(route, [])):
            yield who, address


async def found_on(guest: Guest, address: str) -> Sequence[str]:
    """Return what is wrong with a page at either width, in light, in dark, and in English.

    What axe finds does not depend on both at once: of the width depends what is a target, of the colours their contrast.
    """
    await guest.go(address)
    found = [f"wide, light: {each}" for each in await shut_out(guest.page)]
    await guest.page.emulate_media(color_scheme="dark")
    await guest.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    found += [f"narrow, dark: {each}" for each in await shut_out(guest.page, rules=_OF_APPEARANCE)]
    found += [f"reaches out of a telephone: {each}" for each in await guest.wider_than(NARROW["width"])]
    await guest.go(f"{address}{'&' if '?' in address else '?'}lang=en")
    if await guest.page.locator("html[lang=en] h1").count() != 1:
        found.append("has no heading in English, or several")
    found += [f"reaches out of a telephone in English: {each}" for each in await guest.wider_than(NARROW["width"])]
    await guest.context.clear_cookies(name="bahasa")
    await guest.page.emulate_media(color_scheme="light")
    await guest.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def pages(site: RunningSite, door: Door, known: Mapping[str, str]) -> Sequence[tuple[Guest, str]]:
    """Return every page, and somebody who may look at it. What answers with something else (a PDF, a number) is none."""
    guests = {name: await door.admit(name) for name in VISITORS.values()}
    found = list[tuple[Guest, str]]()
    for who, address in addresses(known):
        answer = await guests[who].fetch(address, Accept="text/html")
        if answer.headers["content-type"].startswith("text/html"):
            assert answer.status == 200, f"{who} at {address}: {answer.status}"
            found.append((guests[who], address))
    assert len(found) > 25, found
    return found


async def test_no_page_shuts_anybody_out_at_either_width_in_light_or_dark(pages: Sequence[tuple[Guest, str]]) -> None:
    wrong = [f"{address}: {each}" for guest, address in pages for each in await found_on(guest, address)]
    assert not wrong, "\n".join(wrong)
