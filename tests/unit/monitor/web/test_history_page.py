"""An agency's history: its days, how long messages took, and every incident with its cause and what to do about it."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from alerts.model.notification import Cause
from monitor.model.day import DayTimeline, MinuteState
from monitor.model.site_sums import SiteSums
from monitor.store.backend.database import Database
from monitor.store.probing.history import HourlyTransit
from monitor.store.schema.tables import hour
from monitor.web.agency.history import transit_days
from monitor.web.page import WORDS
from tests.unit.alerts.people import BRIEF, T0, incident
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import Service

HISTORY = "/agencies/JCM/history"
HOUR = timedelta(hours=1)


async def counted(database: Database, *rows: dict[str, Any]) -> None:
    """Write hours in which messages came."""
    usual = {"agency": "JCM", "route": "JCM/internal", "starts_at": T0.replace(minute=0), "outcome": "delivered"}
    zero = {"grade": "up", "minutes": 1, "interval": 300, "duration": 9, "longest": 9}
    async with database.write() as connection:
        for row in rows:
            await connection.execute(insert(hour).values({**usual, **zero, **row}))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    seen = DayTimeline()
    seen.mark(MinuteState.UP, 0, 1440)
    seen.mark(MinuteState.NO_MAIL, 0, 90)
    began_at = T0 - timedelta(seconds=580)
    broken = replace(
        incident(brief=replace(BRIEF, cause=Cause.CERTIFICATE)),
        began_at=began_at,
        type_began_at=began_at,
        current_type_began_at=began_at,
    )
    sums = SiteSums(site="noc", runs=3, delivered=2, timed=2, transit=5.0, slowest=4.0)
    service = Service(
        incident=broken,
        codes=("JCM", "MDC"),
        sheets={date(2026, 11, 20): seen},
        further=7,
        summed=[sums, replace(sums, site="johor", runs=0, delivered=0, timed=0)],
    )
    async with house(tmp_path, service) as opened:
        await counted(
            opened.database,
            {"runs": 2, "transit": 6.0, "slowest": 5.0},
            {"runs": 2, "transit": 14.0, "slowest": 10.0, "route": "JCM/out"},
            {"runs": 9, "transit": 900.0, "slowest": 800.0, "agency": "MDC"},
            {"runs": 9, "transit": 900.0, "slowest": 800.0, "starts_at": T0 - timedelta(days=40)},
            {"runs": 9, "transit": 0.0, "slowest": 0.0, "outcome": "lost"},
        )
        yield opened


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def test_it_shows_days_transit_and_incidents_with_cause_and_what_to_do(place: House) -> None:
    viewer = await place.admitted("kp", "viewer:JCM")
    page = await viewer.get(HISTORY, params={"lang": "en"})
    assert page.status_code == 200
    said = shown(page)
    assert page.text.count('<g class="') == 90
    assert "24/11/2026: mean 5.0 s, slowest 10.0 s" in said
    # As the table has it: of mail that takes less than half a second the highest is not nothing.
    assert "The maximum is 10.0 seconds." in said
    assert page.text.count("no messages") == 29
    # By the clock times: seconds are in neither.
    assert "JCM-01 neither sent nor received Since 24/11/2026 14:05, for 10 minutes so far" in said
    assert "Cause: the mail server's certificate has expired, or is for another name" in said
    assert "What to do: Renew the certificate" in said
    assert 'href="?after=7"' in page.text
    assert "style=" not in page.text
    malay = shown(await viewer.get(HISTORY, params={"lang": "ms", "after": "7"}))
    assert "Punca: sijil pelayan mel telah luput" in malay
    assert "Apa yang perlu dibuat: Perbaharui sijil" in malay


async def test_what_came_of_each_sites_runs_is_beside_what_is_proven_here(place: House) -> None:
    viewer = await place.admitted("kp", "viewer:JCM")
    said = shown(await viewer.get(HISTORY, params={"lang": "en"}))
    assert "noc 3 66.66 % 2.5 s 4.0 s johor 0 The availability above is that of this site, noc." in said
    asked = await viewer.get("/api/v1/agencies/jcm/sites", params={"days": "7"})
    assert [(each["site"], each["share"], each["transit_seconds"]) for each in asked.json()] == [
        ("noc", 0.6666, 2.5),
        ("johor", None, None),
    ]


async def test_where_there_is_one_site_alone_no_sites_are_compared(tmp_path: Path) -> None:
    async with house(tmp_path) as alone:
        viewer = await alone.admitted("kp", "viewer:JCM")
        assert "Probes at each site" not in shown(await viewer.get(HISTORY, params={"lang": "en"}))
        assert (await viewer.get("/api/v1/agencies/JCM/sites")).json() == []


@pytest.mark.access
async def test_another_agencys_history_is_not_shown(place: House) -> None:
    viewer = await place.admitted("kp", "viewer:JCM")
    assert (await viewer.get("/agencies/MDC/history")).status_code == 403
    assert (await viewer.get(HISTORY, params={"after": "x"})).status_code == 422


def test_a_day_is_as_tall_as_it_is_of_the_slowest_and_begins_at_midnight_in_malaysia() -> None:
    late = T0.replace(hour=16, minute=0)
    hours = [
        HourlyTransit(starts_at=late - HOUR, runs=1, together=30, slowest=30),
        HourlyTransit(starts_at=late, runs=2, together=60, slowest=40),
        HourlyTransit(starts_at=late + HOUR, runs=1, together=120, slowest=120),
    ]
    days = transit_days(hours, date(2026, 11, 23), date(2026, 11, 25))
    assert [(day.mean, day.slowest, day.mean_height, day.slowest_height) for day in days] == [
        (None, None, 0, 0),
        (30, 30, 15, 15),
        (60, 120, 30, 60),
    ]


def test_each_cause_is_said_and_has_what_to_do() -> None:
    for section in ("cause_says", "cause_do"):
        assert set(WORDS[section]) == set(Cause)
