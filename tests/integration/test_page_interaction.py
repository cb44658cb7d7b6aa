"""Use of the status page in a real browser: updates keep focus and selection; filter, keyboard and accessibility."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from alerts.decide.silence import Silence
from alerts.model.notification import IncidentType
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.real.playwright_browser import accessibility_violations, open_browser
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.many_agencies import ManyAgencies, Scenario, agency, down

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

_SCREEN = {"width": 1400, "height": 900}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Share one browser; each test has its own context with cookies and pages."""
    async with open_browser() as opened:
        yield opened


@asynccontextmanager
async def served(agencies: ManyAgencies) -> AsyncIterator[str]:
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(agencies, ["127.0.0.1"]), listener):
        yield listener_url(listener)


@asynccontextmanager
async def page_of(browser: Browser, agencies: ManyAgencies, path: str = "/", **how: object) -> AsyncIterator[Page]:
    """Open a page, which must not complain to its console."""
    complaints: list[str] = []
    async with (
        served(agencies) as url,
        await browser.new_context(**{"viewport": _SCREEN, **how}) as context,  # type: ignore[arg-type]
    ):
        page = await context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url + path)
        await page.wait_for_selector("#asof:not([hidden])")
        yield page
    assert complaints == []


async def test_page_is_accessible_in_every_scenario(browser: Browser) -> None:
    for scenario in Scenario:
        async with page_of(browser, ManyAgencies(size=20, scenario=scenario)) as page:
            assert await accessibility_violations(page) == [], scenario
            await page.emulate_media(color_scheme="dark")
            assert await accessibility_violations(page, rules=["color-contrast"]) == [], scenario
    for path in ("/?wallboard=1", "/agencies/A001?lang=en", "/?q=A01&lang=en"):
        async with page_of(browser, ManyAgencies(size=20, scenario=Scenario.MASS_OUTAGE), path) as page:
            assert await accessibility_violations(page) == [], path


async def test_thousand_agencies_fit_three_screens_and_phone_width(browser: Browser) -> None:
    tall = "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    for scenario in Scenario:
        async with page_of(browser, ManyAgencies(size=1000, scenario=scenario)) as page:
            height, width = await page.evaluate(tall)
            assert (height <= 3 * _SCREEN["height"], width) == (True, _SCREEN["width"]), (scenario, height)
            # Only the style sheet depends on the width.
            await page.set_viewport_size({"width": 400, "height": 800})
            assert (await page.evaluate(tall))[1] == 400, scenario
    async with page_of(
        browser,
        ManyAgencies(size=1000, scenario=Scenario.STORE_UNAVAILABLE),
        "/?wallboard=1",
        viewport={"width": 1920, "height": 1080},
    ) as page:
        assert await page.evaluate(tall) == [1080, 1920], "a wallboard is not scrolled"


async def test_long_texts_fit_on_wallboard(browser: Browser) -> None:
    agencies = ManyAgencies(size=1000, scenario=Scenario.MASS_OUTAGE)
    ends, reason = T0 + timedelta(hours=2), "Tiga ratus pengguna menelefon meja bantuan sejak pagi. " * 9
    silence = Silence(id=1, target="A997", starts_at=T0, ends_at=ends, reason=reason, by="Siti binti Contoh (siti)")
    for number in range(997, 970, -3):
        written = down(agency(f"A{number}"), number)
        agencies.overrides[f"A{number}"] = replace(
            written,
            declared=IncidentType.BOTH,
            declared_by="Seorang Pegawai Yang Panjang Namanya binti Contoh",
            silence=silence,
        )
    async with page_of(browser, agencies, "/?wallboard=1", viewport={"width": 1920, "height": 1080}) as page:
        assert await page.locator("article", has_text=reason[:20]).count() == 8
        assert await page.evaluate("document.documentElement.scrollHeight") == 1080
        assert await page.locator(".beyond").is_visible()


async def test_silence_and_disputed_site_are_readable_on_wallboard(browser: Browser) -> None:
    agencies = ManyAgencies(size=1000, scenario=Scenario.MASS_OUTAGE)
    silence = Silence(
        id=1, target="A997", starts_at=T0, ends_at=T0 + timedelta(hours=2), reason="pelayan diganti", by="siti"
    )
    seen = down(agency("A997"), 997)
    directions = [Direction.INBOUND]
    agencies.overrides["A997"] = replace(
        seen, silence=silence, disputed=directions, health={**seen.health, directions[0]: Health.DOWN}
    )
    # Returns whether all of the text is within its paragraph.
    is_within = """it => {
      const range = document.createRange(), held = it.closest("p").getBoundingClientRect();
      range.selectNodeContents(it);
      return [...range.getClientRects()].every(each => each.right <= held.right + 1 && each.bottom <= held.bottom + 1);
    }"""
    for language in ("ms", "en"):
        screen = {"width": 1920, "height": 1080}
        async with page_of(browser, agencies, f"/?wallboard=1&lang={language}", viewport=screen) as page:
            card = page.locator("article", has_text="A997")
            assert await card.locator(".order time").evaluate(is_within)
            assert await card.locator(".together").evaluate(is_within)


async def test_update_keeps_focus_selection_scroll_and_open_sections(
    browser: Browser,
) -> None:
    agencies = ManyAgencies(size=300, scenario=Scenario.OUTAGE)
    async with page_of(browser, agencies) as page:
        await page.evaluate(
            """() => {
              document.getElementById("d-notices").open = true;
              document.querySelector("#a-A100 a").focus();
              window.getSelection().selectAllChildren(document.querySelector("#a-A200"));
              window.scrollTo(0, 300);
              window.kept = [...document.querySelectorAll("[id]")];
              window.touched = new Set();
              const place = ({ target }) => (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement);
              // The age of an incident changes each minute.
              new MutationObserver((all) => all.map(place).filter((each) => !each.closest(".age")).forEach((each) => window.touched.add(each.closest("[id]").id)))
                .observe(document.getElementById("state"), { subtree: true, childList: true, attributes: true, characterData: true });
            }"""
        )
        agencies.overrides["A010"] = down(agency("A010"), -9)
        await page.wait_for_selector("ul.down #a-A010, article#a-A010")
        announced = await page.text_content("#news")
        kept = await page.evaluate(
            """() => ({
              open: document.getElementById("d-notices").open,
              focus: document.activeElement.getAttribute("href"),
              selected: window.getSelection().toString(),
              // The height of what is inserted above may be added, so that the visible part does not move.
              scroll: window.scrollY >= 300 && window.scrollY < 360,
              gone: window.kept.filter((each) => !each.isConnected && each.id.startsWith("a-")).map((each) => each.id),
              touched: [...window.touched].filter((id) => id.startsWith("a-")),
            })"""
        )
    assert announced
    assert "A010: Terganggu" in announced
    assert (kept["open"], kept["focus"], kept["selected"].strip(), kept["scroll"]) == (
        True,
        "/agencies/A100",
        "A200",
        True,
    )
    # The agency has moved from the tiles that are up to those that are down.
    assert kept["gone"] == ["a-A010"]
    assert [each for each in kept["touched"] if each != "a-A010"] == []


async def test_focused_agency_keeps_focus_when_it_goes_down(browser: Browser) -> None:
    agencies = ManyAgencies(size=20)
    async with page_of(browser, agencies) as page:
        await page.focus("#a-A010 a")
        agencies.overrides["A010"] = down(agency("A010"), 1)
        await page.wait_for_selector("article#a-A010")
        assert await page.evaluate("document.activeElement.closest('article').id") == "a-A010"
        assert await page.title() == "(1) Pantau"


async def test_filter_applies_while_typing_and_has_shareable_url(browser: Browser) -> None:
    agencies = ManyAgencies(size=300, scenario=Scenario.OUTAGE)
    async with page_of(browser, agencies) as page:
        await page.fill("input[name=q]", "a015.jabatan")
        await page.wait_for_selector("#found")
        shown = await page.eval_on_selector_all("[id^=a-]", "all => all.map((each) => each.id)")
        address = page.url
        english = await page.get_attribute("a[hreflang=en]", "href")
        announced = await page.text_content("#news")
        await page.fill("input[name=q]", "")
        await page.wait_for_selector("#a-A299")
        assert page.url.endswith("/")
        await page.goto(address)
        assert await page.eval_on_selector_all("[id^=a-]", "all => all.map((each) => each.id)") == shown
        assert await page.input_value("input[name=q]") == "a015.jabatan"
    assert shown == ["a-A015"]
    assert address.endswith("/?q=a015.jabatan")
    assert english == "/?q=a015.jabatan&lang=en"
    assert announced == "1 daripada 300 agensi sepadan", "no announcement of single agencies"


async def test_filter_and_languages_work_without_script(browser: Browser) -> None:
    agencies = ManyAgencies(size=60, scenario=Scenario.OUTAGE)
    async with served(agencies) as url, await browser.new_context(java_script_enabled=False) as context:
        page = await context.new_page()
        await page.goto(url)
        await page.select_option("select[name=state]", "down")
        async with page.expect_navigation():
            await page.click("#filter button")
        shown = await page.locator("[id^=a-]").count()
        async with page.expect_navigation():
            await page.click("a[hreflang=en]")
        assert "Show all agencies" in await page.content()
        assert await page.locator("[id^=a-]").count() == shown
        async with page.expect_navigation():
            await page.click("#found a")
        assert "Up" in await page.content(), "the language is kept"
    assert 0 < shown < 60


async def test_keyboard_reaches_everything_with_visible_focus(browser: Browser) -> None:
    agencies = ManyAgencies(size=12, scenario=Scenario.OUTAGE)
    async with page_of(browser, agencies) as page:
        wanted = await page.evaluate(
            "[...document.querySelectorAll('a[href], input, select, button, summary')].filter((each) => each.checkVisibility()).length"
        )
        reached: set[str] = set()
        for _ in range(wanted + 3):
            await page.keyboard.press("Tab")
            found = await page.evaluate(
                """() => {
                  const at = document.activeElement;
                  const style = getComputedStyle(at);
                  return [[...document.querySelectorAll("*")].indexOf(at), at.tagName, parseFloat(style.outlineWidth), style.outlineStyle];
                }"""
            )
            if found[1] != "BODY":
                assert (found[2] >= 2, found[3]) == (True, "solid"), found
                reached.add(str(found[0]))
    assert len(reached) >= wanted
