"""Monthly report page of an agency, and the downloads of `pantau monthly-report`."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from alerts.model.notification import Cause
from monitor.model.day import DayTimeline, MinuteState
from monitor.store.probing.days import DayRecords
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import SNAPSHOT, T0, trigger
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

MONTH = "/agencies/JCM/report/2026-11"


async def add_history(env: PortalEnv) -> None:
    """Add a day with one hour down, a day half monitored, and an open incident."""
    well, half = DayTimeline(), DayTimeline()
    well.mark(MinuteState.UP, 0, 1440)
    well.mark(MinuteState.NO_SENDING, 600, 660)
    half.mark(MinuteState.UP, 0, 720)
    half.mark(MinuteState.MAINTENANCE, 720, 900)
    await DayRecords(env.database).add({("JCM", date(2026, 11, 20)): well, ("JCM", date(2026, 11, 21)): half})
    down = trigger(snapshot=replace(SNAPSHOT, cause=Cause.CONNECT))
    await env.station.submit(replace(down, began_at=T0 - timedelta(seconds=100)))
    env.clock.move(timedelta(minutes=1))


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        await add_history(opened)
        yield opened


@pytest.fixture
async def viewer(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("kp", "viewer:JCM")


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def audit_events(env: PortalEnv) -> list[str]:
    async with env.database.read() as connection:
        return list((await connection.execute(select(audit_log.c.event))).scalars())


async def test_monthly_report_page_shows_charts_with_text_figures(env: PortalEnv, viewer: httpx.AsyncClient) -> None:
    page = await viewer.get(MONTH, params={"lang": "en"})
    assert page.status_code == 200
    # Sending was down in 60 of 2,160 monitored minutes.
    assert "Sending available: 97.22%" in visible_text(page)
    assert "Receiving available: 100%" in visible_text(page)
    assert "This month has not ended: as of 24/11/2026 14:16." in visible_text(page)
    assert "20/11/2026: Down 1 hour; Up 23 hours" in visible_text(page)
    assert "JCM-01 sending and receiving fail Cause: " in visible_text(page)
    # From 14:13:20 to 14:16, calculated as in the printed report.
    assert re.search(r"<td>3 minutes<svg .*\s*<td>24/11/2026 14:13</td>", page.text)
    assert re.search(r'<rect class="outage" x="1" y="92.0" width="17" height="4.0"/>', page.text)
    assert re.findall(r"<text [^>]*>(\d+)", page.text) == ["1", "5", "10", "15", "20"]
    assert "style=" not in page.text
    assert "statement made" not in await audit_events(env)
    malay = await viewer.get(MONTH, params={"lang": "ms"})
    assert "Penyata JCM, November 2026" in visible_text(malay)
    assert "E-mel dapat dihantar: 97.22%" in visible_text(malay)


async def test_monthly_report_download_has_pdf_and_tables_and_is_audited(
    env: PortalEnv, viewer: httpx.AsyncClient
) -> None:
    page = await viewer.get(MONTH)
    files = re.findall(r'href="([^"]+)" download', page.text)
    assert len(files) == 5
    pdf = await viewer.get(files[0])
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.headers["content-disposition"] == 'attachment; filename="penyata-JCM-2026-11.pdf"'
    assert pdf.content.startswith(b"%PDF-")
    days = await viewer.get(files[1])
    assert days.text.splitlines()[20].startswith("2026-11-20,")
    assert (await audit_events(env)).count("statement made") == 2
    for name in ("penyata-JCM-2026-10.pdf", "penyata-MDC-2026-11.pdf", "x.pdf", "x"):
        assert (await viewer.get(f"{MONTH}/{name}")).status_code == 404


async def test_monthly_report_offers_thirteen_months_and_skips_just_begun(
    env: PortalEnv, viewer: httpx.AsyncClient
) -> None:
    # The language of the request is remembered.
    assert "bahasa=en" in (await viewer.get("/agencies/jcm/report?lang=en")).headers["set-cookie"]
    viewer.cookies.delete("bahasa")
    answer = await viewer.get("/agencies/jcm/report")
    assert (answer.status_code, answer.headers["location"]) == (303, MONTH)
    page = await viewer.get(MONTH)
    months = re.findall(r'href="/agencies/JCM/report/(\d{4}-\d\d)"', page.text)
    assert (len(months), months[0], months[1], months[-1]) == (13, "2026-11", "2026-10", "2025-11")
    empty = await viewer.get("/agencies/JCM/report/2026-10", params={"lang": "en"})
    assert "Sending available: unknown" in visible_text(empty)
    env.clock.at = T0 + timedelta(days=8)
    later = await env.session_for("kp2", "viewer:JCM")
    assert (await later.get("/agencies/JCM/report")).headers["location"] == MONTH


async def test_monthly_report_month_without_sending_shows_zero_percent(
    env: PortalEnv, viewer: httpx.AsyncClient
) -> None:
    down = DayTimeline()
    down.mark(MinuteState.NO_SENDING, 0, 1440)
    await DayRecords(env.database).add({("JCM", date(2026, 10, 5)): down})
    page = await viewer.get("/agencies/JCM/report/2026-10", params={"lang": "en"})
    assert "Sending available: 0%" in visible_text(page)


async def test_monthly_report_invalid_month_is_refused(viewer: httpx.AsyncClient) -> None:
    for written in ("2027-01", "2026-13", "kelmarin", "%00"):
        assert (await viewer.get(f"/agencies/JCM/report/{written}")).status_code == 409
