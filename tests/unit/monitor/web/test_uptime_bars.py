"""The bars of history: never green without proof, never red for two minutes, and all of it in words."""

from __future__ import annotations

import gzip
import re
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from alerts.wording.source import sections
from monitor.model.day import DayTimeline, MinuteState
from monitor.views.days import AgencyDays, DayView, view_days
from monitor.web import uptime_bars
from monitor.web.page import PageLanguage
from monitor.web.portal import page_templates, portal
from monitor.web.uptime_bars import BarStyle, DayBar, build_uptime_bars, format_percent
from tests.unit.monitor.trial import T0
from tests.unit.monitor.web.source import Service, client

YESTERDAY = date(2026, 11, 23)
DAY = timedelta(days=1)


def days(written: str, *, before: str = "w1440") -> AgencyDays:
    """Return ninety days of which yesterday is written so, and all others *before*."""
    sheets = {YESTERDAY - ago * DAY: DayTimeline(before if ago else written) for ago in range(89)}
    return view_days("JCM", sheets, T0, 90)


def yesterday(written: str, language: str = "en") -> uptime_bars.DayBar:
    return build_uptime_bars(days(written), language).bars[-2]


@pytest.mark.parametrize(
    ("written", "shade", "says"),
    [
        ("w1440", BarStyle.UP, "no outage detected"),
        ("b60w1380", BarStyle.LONG, "down 1 h"),
        ("s30r30w1380", BarStyle.LONG, "down 1 h"),
        ("b59w1381", BarStyle.SOME, "down 59 min"),
        ("r5w1435", BarStyle.SOME, "down 5 min"),
        ("s4w1436", BarStyle.BRIEF, "down 4 min"),
        ("d60w1380", BarStyle.SLOW, "no outage detected; slow or only on some routes 1 h"),
        ("d59w1381", BarStyle.UP, "no outage detected; slow or only on some routes 59 min"),
        # Slow all day is not well, and no outage.
        ("d1440", BarStyle.SLOW, "no outage detected; slow or only on some routes 1 d"),
        ("w720", BarStyle.UP, "no outage detected; no data 12 h"),
        ("w719", BarStyle.NO_DATA, "no outage detected; no data 12 h 1 min"),
        ("", BarStyle.NO_DATA, "no data"),
        # What was watched of the time that there was to watch.
        ("m1200w130", BarStyle.UP, "no outage detected; maintenance 20 h; no data 1 h 50 min"),
        ("m1200w110", BarStyle.NO_DATA, "no outage detected; maintenance 20 h; no data 2 h 10 min"),
        ("h1440", BarStyle.CLOSED, "off hours 1 d"),
        ("x600w840", BarStyle.UP, "no outage detected; false alarm 10 h"),
        ("x1440", BarStyle.NO_DATA, "false alarm 1 d"),
    ],
)
def test_a_bar_is_what_the_minutes_of_its_day_were(written: str, shade: BarStyle, says: str) -> None:
    bar = yesterday(written)
    assert (bar.style, bar.description) == (shade, f"23/11/2026: {says}")


def test_an_outage_is_seen_also_where_little_was_watched_and_that_is_seen_too() -> None:
    bar = yesterday("b100w100")
    assert (bar.style, bar.has_gaps) == (BarStyle.LONG, True)
    assert not yesterday("b100w800").has_gaps


@pytest.mark.parametrize("state", MinuteState)
def test_no_state_but_those_that_are_proven_makes_a_day_well(state: MinuteState) -> None:
    minutes = dict.fromkeys(MinuteState, 0) | {state: 1440}
    view = AgencyDays(
        agency="JCM",
        time_zone="Asia/Kuala_Lumpur",
        availability=days("").availability,
        days=[DayView(day=YESTERDAY, minutes=minutes, availability=None)],
    )
    assert (build_uptime_bars(view, "ms").bars[0].style is BarStyle.UP) == (state is MinuteState.UP)


def test_a_state_that_a_later_version_wrote_is_not_taken_for_well() -> None:
    assert yesterday("?1440").style is BarStyle.NO_DATA


@pytest.mark.parametrize(
    ("availability", "percent"),
    [
        (1.0, "100%"),
        (0.999999, "99.99%"),
        (0.9999, "99.99%"),
        (0.99995, "99.99%"),
        (0.57, "57%"),
        (0.5701, "57.01%"),
        (0.0, "0%"),
    ],
)
def test_a_share_is_cut_off_and_says_100_only_where_nothing_was_missing(availability: float, percent: str) -> None:
    assert format_percent(availability) == percent


def test_the_whole_is_said_in_a_sentence_with_what_was_not_watched() -> None:
    drawn = build_uptime_bars(days("b75w1000"), "en")
    assert drawn.summary == (
        "Last 90 days: mail available 99.94% of the monitored time; down 1 h 15 min, on 1 of the days; no data 14 h 50 min"
    )
    assert drawn.figures == (["30 days: 99.81%, no data 14 h 50 min", "90 days: 99.94%, no data 14 h 50 min"])


def test_who_was_never_watched_has_no_figure_and_no_green() -> None:
    drawn = build_uptime_bars(view_days("JCM", {}, T0, 90), "ms")
    assert {bar.style for bar in drawn.bars} == {BarStyle.NO_DATA}
    assert drawn.summary == "90 hari lepas: tidak dipantau"
    assert drawn.figures == ["30 hari lepas: tidak dipantau", "90 hari lepas: tidak dipantau"]


def test_both_languages_say_the_same() -> None:
    words = sections(Path(uptime_bars.__file__).with_suffix(".yaml"))
    malay, english = words["ms"], words["en"]
    places = {key: sorted(re.findall(r"{\w+}", text)) for key, text in malay.items()}
    assert places == {key: sorted(re.findall(r"{\w+}", text)) for key, text in english.items()}


# -- drawn -----------------------------------------------------------------------------------------------------------


def drawn(written: str = "b75w1000") -> str:
    macro = page_templates()[PageLanguage.MALAY].get_template("uptime_bars.html").module.uptime_bars_figure  # type: ignore[attr-defined]
    return str(macro(build_uptime_bars(days(written), "ms")))


def test_it_is_one_stop_of_the_tabulator_with_a_name_and_a_title_for_each_day() -> None:
    figure = ET.fromstring(drawn())
    (svg,) = figure.findall("svg")
    assert (svg.get("role"), svg.get("tabindex")) == ("img", "0")
    assert (svg.get("aria-label") or "").startswith("90 hari lepas: e-mel tersedia 99.94%")
    titles = [title.text for title in svg.iter("title")]
    assert len(titles) == 90
    assert titles[-2] == "23/11/2026: gangguan 1 j 15 min; tidak dipantau 6 j 5 min"
    assert sum(element.get("tabindex") is not None for element in figure.iter()) == 1
    assert figure.find("figcaption/output[@role='status']") is not None


def test_it_needs_no_style_of_its_own_and_no_identifiers_which_the_policy_and_other_strips_would_mind() -> None:
    assert not re.search(r"\b(?:style|id|on\w+)=", drawn())
    assert len(gzip.compress(drawn().encode())) < 2000


@pytest.mark.parametrize("shade", BarStyle)
def test_every_shade_has_a_colour_and_is_known_without_it_from_one_that_is_well(shade: BarStyle) -> None:
    web = Path(uptime_bars.__file__).parent
    assert f".strip .{shade} rect" in (web / "static/uptime_bars.css").read_text()
    bar, well = (DayBar(style=each, has_gaps=False, description="") for each in (shade, BarStyle.UP))
    marked = f'bar.style == "{shade}"' in (web / "templates/uptime_bars.html").read_text()
    assert (bar.height > well.height or marked) == (shade not in {BarStyle.UP, BarStyle.CLOSED}), "taller, or capped"


@pytest.mark.parametrize(("language", "says"), [("ms", "gangguan 6 j"), ("en", "down 6 h")])
async def test_the_page_of_an_agency_shows_its_days_and_none_while_the_store_was_never_read(
    language: str, says: str
) -> None:
    service = Service(sheets={YESTERDAY: DayTimeline("w1080b360")})
    async with client(portal(service, ["localhost"])) as web:
        shown = (await web.get(f"/agencies/JCM?lang={language}")).text
        service.sheets = {}
        unread = (await web.get(f"/agencies/JCM?lang={language}")).text

    assert f"<title>23/11/2026: {says}</title>" in shown
    assert "75%" in shown
    assert 'class="strip"' not in unread
