"""The head of an agency sees a month in the portal, and downloads what `pantau monthly-report` writes."""

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
from tests.unit.alerts.people import BRIEF, T0, trigger
from tests.unit.monitor.web.signed import House, house

MONTH = "/agencies/JCM/report/2026-11"


async def filled(place: House) -> None:
    """Let a day have been well but for an hour, another have been half watched, and an incident be open."""
    well, half = DayTimeline(), DayTimeline()
    well.mark(MinuteState.UP, 0, 1440)
    well.mark(MinuteState.NO_SENDING, 600, 660)
    half.mark(MinuteState.UP, 0, 720)
    half.mark(MinuteState.MAINTENANCE, 720, 900)
    await DayRecords(place.database).add({("JCM", date(2026, 11, 20)): well, ("JCM", date(2026, 11, 21)): half})
    down = trigger(brief=replace(BRIEF, cause=Cause.CONNECT))
    await place.station.submit(replace(down, began_at=T0 - timedelta(seconds=100)))
    place.clock.move(timedelta(minutes=1))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        await filled(opened)
        yield opened


@pytest.fixture
async def head(place: House) -> httpx.AsyncClient:
    return await place.admitted("kp", "viewer:JCM")


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def events(place: House) -> list[str]:
    async with place.database.read() as connection:
        return list((await connection.execute(select(audit_log.c.event))).scalars())


async def test_a_month_is_shown_with_charts_whose_figures_are_in_words_too(
    place: House, head: httpx.AsyncClient
) -> None:
    page = await head.get(MONTH, params={"lang": "en"})
    assert page.status_code == 200
    # Of 2,160 minutes that were watched sending was down in 60.
    assert "Sending available: 97.22%" in shown(page)
    assert "Receiving available: 100%" in shown(page)
    assert "This month has not ended: as of 24/11/2026 14:16." in shown(page)
    assert "20/11/2026: Down 1 hour; Up 23 hours" in shown(page)
    assert "JCM-01 neither sent nor received Cause: " in shown(page)
    # From 14:13:20 to 14:16, as the printed statement reckons.
    assert re.search(r"<td>3 minutes<svg .*\s*<td>24/11/2026 14:13</td>", page.text)
    assert re.search(r'<rect class="outage" x="1" y="92.0" width="17" height="4.0"/>', page.text)
    assert re.findall(r"<text [^>]*>(\d+)", page.text) == ["1", "5", "10", "15", "20"]
    assert "style=" not in page.text
    assert "statement made" not in await events(place)
    malay = await head.get(MONTH, params={"lang": "ms"})
    assert "Penyata JCM, November 2026" in shown(malay)
    assert "E-mel dapat dihantar: 97.22%" in shown(malay)


async def test_it_is_downloaded_as_pdf_and_as_tables_and_the_journal_tells_who_did(
    place: House, head: httpx.AsyncClient
) -> None:
    page = await head.get(MONTH)
    files = re.findall(r'href="([^"]+)" download', page.text)
    assert len(files) == 5
    pdf = await head.get(files[0])
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.headers["content-disposition"] == 'attachment; filename="penyata-JCM-2026-11.pdf"'
    assert pdf.content.startswith(b"%PDF-")
    days = await head.get(files[1])
    assert days.text.splitlines()[20].startswith("2026-11-20,")
    assert (await events(place)).count("statement made") == 2
    for name in ("penyata-JCM-2026-10.pdf", "penyata-MDC-2026-11.pdf", "x.pdf", "x"):
        assert (await head.get(f"{MONTH}/{name}")).status_code == 404


async def test_months_are_chosen_from_thirteen_and_one_that_has_just_begun_is_not_the_first(
    place: House, head: httpx.AsyncClient
) -> None:
    # What is said of the language on the way is remembered.
    assert "bahasa=en" in (await head.get("/agencies/jcm/report?lang=en")).headers["set-cookie"]
    head.cookies.delete("bahasa")
    answer = await head.get("/agencies/jcm/report")
    assert (answer.status_code, answer.headers["location"]) == (303, MONTH)
    page = await head.get(MONTH)
    months = re.findall(r'href="/agencies/JCM/report/(\d{4}-\d\d)"', page.text)
    assert (len(months), months[0], months[1], months[-1]) == (13, "2026-11", "2026-10", "2025-11")
    empty = await head.get("/agencies/JCM/report/2026-10", params={"lang": "en"})
    assert "Sending available: unknown" in shown(empty)
    place.clock.at = T0 + timedelta(days=8)
    later = await place.admitted("kp2", "viewer:JCM")
    assert (await later.get("/agencies/JCM/report")).headers["location"] == MONTH


async def test_what_is_no_month_is_refused(head: httpx.AsyncClient) -> None:
    for written in ("2027-01", "2026-13", "kelmarin", "%00"):
        assert (await head.get(f"/agencies/JCM/report/{written}")).status_code == 409
