"""History page: days, transit times, and incidents with their causes."""

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
from monitor.web.page import PAGE_TEXTS
from tests.unit.alerts.people import SNAPSHOT, T0, incident
from tests.unit.monitor.web.fake_service import Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

HISTORY = "/agencies/JCM/history"
HOUR = timedelta(hours=1)


async def add_hours(database: Database, *rows: dict[str, Any]) -> None:
    """Insert hourly totals of messages."""
    usual = {"agency": "JCM", "route": "JCM/internal", "starts_at": T0.replace(minute=0), "outcome": "delivered"}
    zero = {"grade": "up", "minutes": 1, "interval": 300, "duration": 9, "longest": 9}
    async with database.write() as connection:
        for row in rows:
            await connection.execute(insert(hour).values({**usual, **zero, **row}))


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    seen = DayTimeline()
    seen.mark(MinuteState.UP, 0, 1440)
    seen.mark(MinuteState.NO_MAIL, 0, 90)
    began_at = T0 - timedelta(seconds=580)
    broken = replace(
        incident(snapshot=replace(SNAPSHOT, cause=Cause.CERTIFICATE)),
        began_at=began_at,
        type_began_at=began_at,
        current_type_began_at=began_at,
    )
    sums = SiteSums(site="noc", runs=3, delivered=2, timed=2, transit=5.0, slowest=4.0)
    service = Service(
        incident=broken,
        codes=("JCM", "MDC"),
        timelines={date(2026, 11, 20): seen},
        next_after=7,
        site_totals=[sums, replace(sums, site="johor", runs=0, delivered=0, timed=0)],
    )
    async with open_portal(tmp_path, service) as opened:
        await add_hours(
            opened.database,
            {"runs": 2, "transit": 6.0, "slowest": 5.0},
            {"runs": 2, "transit": 14.0, "slowest": 10.0, "route": "JCM/out"},
            {"runs": 9, "transit": 900.0, "slowest": 800.0, "agency": "MDC"},
            {"runs": 9, "transit": 900.0, "slowest": 800.0, "starts_at": T0 - timedelta(days=40)},
            {"runs": 9, "transit": 0.0, "slowest": 0.0, "outcome": "lost"},
        )
        yield opened


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def test_history_page_shows_days_transit_and_incident_causes(env: PortalEnv) -> None:
    viewer = await env.session_for("kp", "viewer:JCM")
    page = await viewer.get(HISTORY, params={"lang": "en"})
    assert page.status_code == 200
    page_text = visible_text(page)
    assert page.text.count('<g class="') == 90
    assert "24/11/2026: mean 5.0 s, slowest 10.0 s" in page_text
    # The scale shows tenths, so a maximum below half a second is not zero.
    assert "The maximum is 10.0 seconds." in page_text
    assert page.text.count("no messages") == 29
    # Calculated from times without seconds.
    assert "JCM-01 sending and receiving fail Since 24/11/2026 14:05, for 10 minutes so far" in page_text
    assert "Cause: the mail server's certificate has expired, or is for another name" in page_text
    assert "What to do: Renew the certificate" in page_text
    assert 'href="?after=7"' in page.text
    assert "style=" not in page.text
    malay = visible_text(await viewer.get(HISTORY, params={"lang": "ms", "after": "7"}))
    assert "Punca: sijil pelayan mel telah luput" in malay
    assert "Apa yang perlu dibuat: Perbaharui sijil" in malay


async def test_history_page_shows_run_totals_of_each_site(env: PortalEnv) -> None:
    viewer = await env.session_for("kp", "viewer:JCM")
    page_text = visible_text(await viewer.get(HISTORY, params={"lang": "en"}))
    assert "noc 3 66.66 % 2.5 s 4.0 s johor 0 The availability above is that of this site, noc." in page_text
    asked = await viewer.get("/api/v1/agencies/jcm/sites", params={"days": "7"})
    assert [(each["site"], each["share"], each["transit_seconds"]) for each in asked.json()] == [
        ("noc", 0.6666, 2.5),
        ("johor", None, None),
    ]


async def test_history_page_single_site_shows_no_site_totals(tmp_path: Path) -> None:
    async with open_portal(tmp_path) as alone:
        viewer = await alone.session_for("kp", "viewer:JCM")
        assert "Probes at each site" not in visible_text(await viewer.get(HISTORY, params={"lang": "en"}))
        assert (await viewer.get("/api/v1/agencies/JCM/sites")).json() == []


@pytest.mark.access
async def test_history_page_of_other_agency_is_forbidden(env: PortalEnv) -> None:
    viewer = await env.session_for("kp", "viewer:JCM")
    assert (await viewer.get("/agencies/MDC/history")).status_code == 403
    assert (await viewer.get(HISTORY, params={"after": "x"})).status_code == 422


def test_transit_days_heights_are_relative_and_days_start_at_local_midnight() -> None:
    late = T0.replace(hour=16, minute=0)
    hours = [
        HourlyTransit(starts_at=late - HOUR, runs=1, total_seconds=30, max_seconds=30),
        HourlyTransit(starts_at=late, runs=2, total_seconds=60, max_seconds=40),
        HourlyTransit(starts_at=late + HOUR, runs=1, total_seconds=120, max_seconds=120),
    ]
    days = transit_days(hours, date(2026, 11, 23), date(2026, 11, 25))
    assert [(day.mean_seconds, day.max_seconds, day.mean_height, day.max_height) for day in days] == [
        (None, None, 0, 0),
        (30, 30, 15, 15),
        (60, 120, 30, 60),
    ]


def test_history_texts_cover_every_cause() -> None:
    for section in ("cause_explanations", "cause_remedies"):
        assert set(PAGE_TEXTS[section]) == set(Cause)
