"""Uptime bars: style and text of each day, availability, and accessibility."""

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
from tests.unit.monitor.web.fake_service import Service, client
from tests.unit.monitor.world import T0

YESTERDAY = date(2026, 11, 23)
DAY = timedelta(days=1)


def days(written: str, *, before: str = "w1440") -> AgencyDays:
    """Return ninety days: yesterday is *written*, the others are *before*."""
    timelines = {YESTERDAY - ago * DAY: DayTimeline(before if ago else written) for ago in range(89)}
    return view_days("JCM", timelines, T0, 90)


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
        # Slow all day is neither up nor an outage.
        ("d1440", BarStyle.SLOW, "no outage detected; slow or only on some routes 1 d"),
        ("w720", BarStyle.UP, "no outage detected; no data 12 h"),
        ("w719", BarStyle.NO_DATA, "no outage detected; no data 12 h 1 min"),
        ("", BarStyle.NO_DATA, "no data"),
        # The share of the time outside maintenance that was monitored.
        ("m1200w130", BarStyle.UP, "no outage detected; maintenance 20 h; no data 1 h 50 min"),
        ("m1200w110", BarStyle.NO_DATA, "no outage detected; maintenance 20 h; no data 2 h 10 min"),
        ("h1440", BarStyle.CLOSED, "off hours 1 d"),
        ("x600w840", BarStyle.UP, "no outage detected; false alarm 10 h"),
        ("x1440", BarStyle.NO_DATA, "false alarm 1 d"),
    ],
)
def test_bar_style_and_description_match_minutes(written: str, shade: BarStyle, says: str) -> None:
    bar = yesterday(written)
    assert (bar.style, bar.description) == (shade, f"23/11/2026: {says}")


def test_bar_outage_with_little_data_shows_outage_and_gaps() -> None:
    bar = yesterday("b100w100")
    assert (bar.style, bar.has_gaps) == (BarStyle.LONG, True)
    assert not yesterday("b100w800").has_gaps


@pytest.mark.parametrize("state", MinuteState)
def test_bar_is_up_for_up_minutes_only(state: MinuteState) -> None:
    minutes = dict.fromkeys(MinuteState, 0) | {state: 1440}
    view = AgencyDays(
        agency="JCM",
        time_zone="Asia/Kuala_Lumpur",
        availability=days("").availability,
        days=[DayView(day=YESTERDAY, minutes=minutes, availability=None)],
    )
    assert (build_uptime_bars(view, "ms").bars[0].style is BarStyle.UP) == (state is MinuteState.UP)


def test_bar_of_unknown_state_is_no_data() -> None:
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
def test_format_percent_truncates_and_100_means_complete(availability: float, percent: str) -> None:
    assert format_percent(availability) == percent


def test_summary_and_figures_include_minutes_without_data() -> None:
    drawn = build_uptime_bars(days("b75w1000"), "en")
    assert drawn.summary == (
        "Last 90 days: mail available 99.94% of the monitored time; down 1 h 15 min, on 1 of the days; no data 14 h 50 min"
    )
    assert drawn.figures == (["30 days: 99.81%, no data 14 h 50 min", "90 days: 99.94%, no data 14 h 50 min"])


def test_bars_without_data_are_not_up() -> None:
    drawn = build_uptime_bars(view_days("JCM", {}, T0, 90), "ms")
    assert {bar.style for bar in drawn.bars} == {BarStyle.NO_DATA}
    assert drawn.summary == "90 hari lepas: tidak dipantau"
    assert drawn.figures == ["30 hari lepas: tidak dipantau", "90 hari lepas: tidak dipantau"]


def test_uptime_texts_have_same_placeholders_in_both_languages() -> None:
    words = sections(Path(uptime_bars.__file__).with_suffix(".yaml"))
    malay, english = words["ms"], words["en"]
    places = {key: sorted(re.findall(r"{\w+}", text)) for key, text in malay.items()}
    assert places == {key: sorted(re.findall(r"{\w+}", text)) for key, text in english.items()}


# -- drawn -----------------------------------------------------------------------------------------------------------


def drawn(written: str = "b75w1000") -> str:
    macro = page_templates()[PageLanguage.MALAY].get_template("uptime_bars.html").module.uptime_bars_figure  # type: ignore[attr-defined]
    return str(macro(build_uptime_bars(days(written), "ms")))


def test_figure_has_one_tab_stop_and_title_per_day() -> None:
    figure = ET.fromstring(drawn())
    (svg,) = figure.findall("svg")
    assert (svg.get("role"), svg.get("tabindex")) == ("img", "0")
    assert (svg.get("aria-label") or "").startswith("90 hari lepas: e-mel tersedia 99.94%")
    titles = [title.text for title in svg.iter("title")]
    assert len(titles) == 90
    assert titles[-2] == "23/11/2026: gangguan 1 j 15 min; tidak dipantau 6 j 5 min"
    assert sum(element.get("tabindex") is not None for element in figure.iter()) == 1
    assert figure.find("figcaption/output[@role='status']") is not None


def test_figure_has_no_inline_style_or_ids() -> None:
    assert not re.search(r"\b(?:style|id|on\w+)=", drawn())
    assert len(gzip.compress(drawn().encode())) < 2000


@pytest.mark.parametrize("shade", BarStyle)
def test_bar_styles_have_colour_and_differ_without_it_from_up(shade: BarStyle) -> None:
    web = Path(uptime_bars.__file__).parent
    assert f".strip .{shade} rect" in (web / "static/uptime_bars.css").read_text()
    bar, well = (DayBar(style=each, has_gaps=False, description="") for each in (shade, BarStyle.UP))
    marked = f'bar.style == "{shade}"' in (web / "templates/uptime_bars.html").read_text()
    assert (bar.height > well.height or marked) == (shade not in {BarStyle.UP, BarStyle.CLOSED}), "taller, or capped"


@pytest.mark.parametrize(("language", "says"), [("ms", "gangguan 6 j"), ("en", "down 6 h")])
async def test_agency_page_shows_uptime_bars_unless_store_unread(language: str, says: str) -> None:
    service = Service(timelines={YESTERDAY: DayTimeline("w1080b360")})
    async with client(portal(service, ["localhost"])) as web:
        shown = (await web.get(f"/agencies/JCM?lang={language}")).text
        service.timelines = {}
        unread = (await web.get(f"/agencies/JCM?lang={language}")).text

    assert f"<title>23/11/2026: {says}</title>" in shown
    assert "75%" in shown
    assert 'class="strip"' not in unread
