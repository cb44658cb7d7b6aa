"""The status page under somebody's hands in a real browser: nothing of theirs is lost when it changes, and all can use it."""

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
from tests.real.visitor import opened_browser, shut_out
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.country import MultiSiteDemo, Weather, agency, down

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

_SCREEN = {"width": 1400, "height": 900}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all: a visitor's cookies and what is in a page are a context's."""
    async with opened_browser() as opened:
        yield opened


@asynccontextmanager
async def served(country: MultiSiteDemo) -> AsyncIterator[str]:
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(country, ["127.0.0.1"]), listener):
        yield listener_url(listener)


@asynccontextmanager
async def page_of(browser: Browser, country: MultiSiteDemo, path: str = "/", **how: object) -> AsyncIterator[Page]:
    """Open a page, which must not complain to its console."""
    complaints: list[str] = []
    async with (
        served(country) as url,
        await browser.new_context(**{"viewport": _SCREEN, **how}) as context,  # type: ignore[arg-type]
    ):
        page = await context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url + path)
        await page.wait_for_selector("#asof:not([hidden])")
        yield page
    assert complaints == []


async def test_nobody_is_shut_out_of_the_page_whatever_it_shows(browser: Browser) -> None:
    for weather in Weather:
        async with page_of(browser, MultiSiteDemo(size=20, weather=weather)) as page:
            assert await shut_out(page) == [], weather
            await page.emulate_media(color_scheme="dark")
            assert await shut_out(page, rules=["color-contrast"]) == [], weather
    for path in ("/?wallboard=1", "/agencies/A001?lang=en", "/?q=A01&lang=en"):
        async with page_of(browser, MultiSiteDemo(size=20, weather=Weather.MASS), path) as page:
            assert await shut_out(page) == [], path


async def test_a_country_takes_three_screens_and_a_telephone_loses_nothing_of_it(browser: Browser) -> None:
    tall = "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    for weather in Weather:
        async with page_of(browser, MultiSiteDemo(size=1000, weather=weather)) as page:
            height, width = await page.evaluate(tall)
            assert (height <= 3 * _SCREEN["height"], width) == (True, _SCREEN["width"]), (weather, height)
            # How wide it is, only the style sheet asks.
            await page.set_viewport_size({"width": 400, "height": 800})
            assert (await page.evaluate(tall))[1] == 400, weather
    async with page_of(
        browser,
        MultiSiteDemo(size=1000, weather=Weather.AWAY),
        "/?wallboard=1",
        viewport={"width": 1920, "height": 1080},
    ) as page:
        assert await page.evaluate(tall) == [1080, 1920], "on a wall nobody scrolls"


async def test_what_people_have_written_at_length_pushes_nothing_off_a_wall(browser: Browser) -> None:
    country = MultiSiteDemo(size=1000, weather=Weather.MASS)
    ends, why = T0 + timedelta(hours=2), "Tiga ratus pengguna menelefon meja bantuan sejak pagi. " * 9
    silence = Silence(id=1, target="A997", starts_at=T0, ends_at=ends, reason=why, by="Siti binti Contoh (siti)")
    for number in range(997, 970, -3):
        written = down(agency(f"A{number}"), number)
        country.otherwise[f"A{number}"] = replace(
            written,
            declared=IncidentType.BOTH,
            declared_by="Seorang Pegawai Yang Panjang Namanya binti Contoh",
            silence=silence,
        )
    async with page_of(browser, country, "/?wallboard=1", viewport={"width": 1920, "height": 1080}) as page:
        assert await page.locator("article", has_text=why[:20]).count() == 8
        assert await page.evaluate("document.documentElement.scrollHeight") == 1080
        assert await page.locator(".beyond").is_visible()


async def test_what_is_ordered_for_an_agency_and_who_sees_it_fail_is_read_from_a_wall(browser: Browser) -> None:
    country = MultiSiteDemo(size=1000, weather=Weather.MASS)
    silence = Silence(
        id=1, target="A997", starts_at=T0, ends_at=T0 + timedelta(hours=2), reason="pelayan diganti", by="siti"
    )
    seen = down(agency("A997"), 997)
    ways = [Direction.INBOUND]
    country.otherwise["A997"] = replace(
        seen, silence=silence, disputed=ways, health={**seen.health, ways[0]: Health.DOWN}
    )
    # Whether all of it is within the paragraph that holds it.
    is_within = """it => {
      const range = document.createRange(), held = it.closest("p").getBoundingClientRect();
      range.selectNodeContents(it);
      return [...range.getClientRects()].every(each => each.right <= held.right + 1 && each.bottom <= held.bottom + 1);
    }"""
    for language in ("ms", "en"):
        screen = {"width": 1920, "height": 1080}
        async with page_of(browser, country, f"/?wallboard=1&lang={language}", viewport=screen) as page:
            card = page.locator("article", has_text="A997")
            assert await card.locator(".order time").evaluate(is_within)
            assert await card.locator(".together").evaluate(is_within)


async def test_what_has_the_focus_is_selected_scrolled_to_or_unfolded_stays_so_when_something_changes(
    browser: Browser,
) -> None:
    country = MultiSiteDemo(size=300, weather=Weather.OUTAGE)
    async with page_of(browser, country) as page:
        await page.evaluate(
            """() => {
              document.getElementById("d-notices").open = true;
              document.querySelector("#a-A100 a").focus();
              window.getSelection().selectAllChildren(document.querySelector("#a-A200"));
              window.scrollTo(0, 300);
              window.kept = [...document.querySelectorAll("[id]")];
              window.touched = new Set();
              const place = ({ target }) => (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement);
              // How long ago something was goes on by itself, whenever a minute is over.
              new MutationObserver((all) => all.map(place).filter((each) => !each.closest(".age")).forEach((each) => window.touched.add(each.closest("[id]").id)))
                .observe(document.getElementById("state"), { subtree: true, childList: true, attributes: true, characterData: true });
            }"""
        )
        country.otherwise["A010"] = down(agency("A010"), -9)
        await page.wait_for_selector("ul.down #a-A010, article#a-A010")
        told = await page.text_content("#news")
        kept = await page.evaluate(
            """() => ({
              open: document.getElementById("d-notices").open,
              focus: document.activeElement.getAttribute("href"),
              selected: window.getSelection().toString(),
              // What comes in above it may be added to it: what is looked at stays where it is.
              scroll: window.scrollY >= 300 && window.scrollY < 360,
              gone: window.kept.filter((each) => !each.isConnected && each.id.startsWith("a-")).map((each) => each.id),
              touched: [...window.touched].filter((id) => id.startsWith("a-")),
            })"""
        )
    assert told
    assert "A010: Terganggu" in told
    assert (kept["open"], kept["focus"], kept["selected"].strip(), kept["scroll"]) == (
        True,
        "/agencies/A100",
        "A200",
        True,
    )
    # It was a tile of the well, and is one of the ill.
    assert kept["gone"] == ["a-A010"]
    assert [each for each in kept["touched"] if each != "a-A010"] == []


async def test_who_reads_of_an_agency_that_goes_down_stays_with_it(browser: Browser) -> None:
    country = MultiSiteDemo(size=20)
    async with page_of(browser, country) as page:
        await page.focus("#a-A010 a")
        country.otherwise["A010"] = down(agency("A010"), 1)
        await page.wait_for_selector("article#a-A010")
        assert await page.evaluate("document.activeElement.closest('article').id") == "a-A010"
        assert await page.title() == "(1) Pantau"


async def test_a_filter_takes_hold_while_it_is_written_and_can_be_sent_on(browser: Browser) -> None:
    country = MultiSiteDemo(size=300, weather=Weather.OUTAGE)
    async with page_of(browser, country) as page:
        await page.fill("input[name=q]", "a015.jabatan")
        await page.wait_for_selector("#found")
        shown = await page.eval_on_selector_all("[id^=a-]", "all => all.map((each) => each.id)")
        address = page.url
        english = await page.get_attribute("a[hreflang=en]", "href")
        told = await page.text_content("#news")
        await page.fill("input[name=q]", "")
        await page.wait_for_selector("#a-A299")
        assert page.url.endswith("/")
        await page.goto(address)
        assert await page.eval_on_selector_all("[id^=a-]", "all => all.map((each) => each.id)") == shown
        assert await page.input_value("input[name=q]") == "a015.jabatan"
    assert shown == ["a-A015"]
    assert address.endswith("/?q=a015.jabatan")
    assert english == "/?q=a015.jabatan&lang=en"
    assert told == "1 daripada 300 agensi sepadan", "nothing of what came and went"


async def test_the_filter_and_the_languages_need_no_script(browser: Browser) -> None:
    country = MultiSiteDemo(size=60, weather=Weather.OUTAGE)
    async with served(country) as url, await browser.new_context(java_script_enabled=False) as context:
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
        assert "Up" in await page.content(), "the language is remembered"
    assert 0 < shown < 60


async def test_a_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser) -> None:
    country = MultiSiteDemo(size=12, weather=Weather.OUTAGE)
    async with page_of(browser, country) as page:
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
