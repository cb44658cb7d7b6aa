"""An officer tells recipients of planned maintenance on paper, and nothing is sent from here."""

from __future__ import annotations

import asyncio
import html
import io
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pypdf import PdfReader
from sqlalchemy import select

from monitor.service.portal.maintenance_notices import DOWNLOADED_EVENT
from monitor.store.admin.maintenance_notices import MADE
from monitor.store.schema.tables import attempt, audit_log, notification
from tests.integration.watching import agency
from tests.unit.monitor.web.signed import House, house

ADVANCE = "/agencies/JCM/maintenance-notices"
RECIPIENTS = """
  recipients:
    kementerian:
      title: Ketua Setiausaha
      organisation: Kementerian Teladan
      channels: [letter, fax]
      fax: 03-8000 4001
      address: [Menara Teladan, 62100 PUTRAJAYA]
    majlis:
      title: Yang Dipertua
      organisation: Majlis Teladan
      channels: [voice]
      voice: 03-8000 4002
"""
OFFICE = """
letterhead:
  address: [Aras 5 Blok C, 62000 PUTRAJAYA]
  telephone: 03-8000 3000
  fax: 03-8000 3001
  hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat
  signatory: {name: Aminah binti Contoh, post: Setiausaha Bahagian}
  contact_officer: {name: Ramli bin Contoh, post: Penolong Pegawai, telephone: 03-8000 3010}
"""
FIRST, SECOND = "2026-12-01", "2026-12-03"


def window(day: str, why: str = "Naik taraf pelayan mel") -> str:
    return f"  - {{from: {day} 22:00, until: {day} 23:30, reason: {why}}}\n"


async def plan(place: House, *windows: str, recipients: str = RECIPIENTS) -> None:
    """Let this be JCM's maintenance, in force."""
    text = agency("JCM").rstrip("\n") + "\n"
    assert "maintenance:" not in text
    text += f"{OFFICE}announcement:{recipients}" if recipients else ""
    text += "maintenance:\n" + "".join(windows) if windows else ""
    await place.site.write(JCM=text, MDC=agency("MDC"))
    await place.site.take_up()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        await plan(opened, window(FIRST))
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "officer:JCM")


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def links(answer: httpx.Response, of: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'href="([^"]+)"', answer.text) if of in each]


def form_in(page: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r'name="(begins|before)" value="([^"]*)"', page.text))


async def make(officer: httpx.AsyncClient, look: str) -> httpx.Response:
    """Look at what a link leads to, and press its button."""
    page = await officer.get(look)
    assert page.status_code == 200, shown(page)
    return await officer.post(ADVANCE, data=form_in(page))


async def told(place: House, event: str) -> list[tuple[str, dict[str, str]]]:
    async with place.database.read() as connection:
        rows = await connection.execute(select(audit_log.c.actor, audit_log.c.detail).where(audit_log.c.event == event))
        return [(row.actor, row.detail) for row in rows]


async def test_what_would_be_written_is_shown_first_and_then_made_once(
    place: House, officer: httpx.AsyncClient
) -> None:
    assert ADVANCE in links(await officer.get("/agencies/JCM/settings"), "maintenance-notices")
    page = await officer.get(ADVANCE, params={"lang": "en"})
    assert "01/12/2026 22:00 until 01/12/2026 23:30: Naik taraf pelayan mel No maintenance notice yet." in shown(page)
    (link,) = links(page, "preview?begins")
    look = await officer.get(link)
    assert "1 Disember 2026 (Selasa), pukul 10.00 malam" in shown(look)
    assert "Ketua Setiausaha, Kementerian Teladan: letter, fax 03-8000 4001" in shown(look)
    assert "Yang Dipertua, Majlis Teladan: neither letter nor fax: notify by telephone" in shown(look)
    assert not await told(place, MADE)
    # A button that is pressed twice.
    fields = form_in(look)
    made, again = await asyncio.gather(*(officer.post(ADVANCE, data=fields) for _ in range(2)))
    assert (made.status_code, made.headers["location"]) == (303, f"{ADVANCE}?made=JCM-P261124-1415")
    after = await officer.get(made.headers["location"])
    assert "Maintenance notice JCM-P261124-1415 is created." in shown(after)
    assert not links(after, "preview")
    later = await officer.post(ADVANCE, data=fields)
    for answer in (again, later):
        assert answer.status_code == 422
        assert "was already created, by Siti Contoh (siti)" in shown(answer)
    ((by, detail),) = await told(place, MADE)
    assert by == "Siti Contoh (siti)"
    assert (detail["agency"], detail["from"]) == ("JCM", "2026-12-01T14:00:00+00:00")


async def test_the_pages_are_downloaded_and_no_notice_is_sent(place: House, officer: httpx.AsyncClient) -> None:
    page = await officer.get((await make(officer, f"{ADVANCE}/preview?begins=20261201T140000Z")).headers["location"])
    letters, both, faxes = links(page, ".pdf")
    read = {}
    for each in (letters, both, faxes):
        answer = await officer.get(each)
        assert answer.headers["content-type"] == "application/pdf"
        reader = PdfReader(io.BytesIO(answer.content))
        read[each] = " ".join(" ".join(one.extract_text() for one in reader.pages).split())
    assert "Kementerian Teladan" in read[letters]
    assert "Majlis Teladan" not in read[letters]
    assert "JCM-P261124-1415" in read[letters]
    assert "(AMINAH BINTI CONTOH)" in read[letters]
    assert "03-8000 4001" in read[faxes]
    assert [detail["channel"] for _, detail in await told(place, DOWNLOADED_EVENT)] == ["letter", "letter", "fax"]
    async with place.database.read() as connection:
        for table in (notification, attempt):
            assert not (await connection.execute(select(table.c.id))).all()
    for other in ("JCM-P261124-1416/surat.pdf", "JCM-P261124-1415/x.pdf"):
        assert (await officer.get(f"{ADVANCE}/{other}")).status_code == 404
    stranger = await place.admitted("ali", "officer:MDC")
    assert (await stranger.get(letters)).status_code == 403
    assert (await stranger.get(letters.replace("JCM/", "MDC/"))).status_code == 404


async def test_a_window_that_was_moved_is_told_as_a_change_and_one_that_is_gone_as_cancelled(
    place: House, officer: httpx.AsyncClient
) -> None:
    await make(officer, f"{ADVANCE}/preview?begins=20261201T140000Z")
    await plan(place, window(SECOND))
    page = await officer.get(ADVANCE, params={"lang": "en"})
    new, changed, cancelled = links(page, "preview?")
    assert new.endswith("begins=20261203T140000Z")
    assert "telah dipinda" in shown(await officer.get(changed))
    assert "telah dibatalkan" in shown(await officer.get(cancelled))
    # In the same minute: no two bear one number.
    assert (await make(officer, changed)).headers["location"].endswith("JCM-P261124-1416")
    after = await officer.get(ADVANCE, params={"lang": "en"})
    assert not links(after, "preview?")
    # What has been replaced is not to be cancelled from an old page.
    assert (await officer.get(cancelled)).status_code == 422
    await plan(place)
    (cancelled,) = links(await officer.get(ADVANCE), "preview?")
    await make(officer, cancelled)
    assert [detail["news"] for _, detail in await told(place, MADE)] == [
        "maintenance",
        "maintenance_changed",
        "maintenance_cancelled",
    ]
    # It is planned again after all: that is news.
    await plan(place, window(SECOND))
    assert len(links(await officer.get(ADVANCE), "preview?")) == 1


async def test_what_has_begun_is_not_told_beforehand_any_more(place: House, officer: httpx.AsyncClient) -> None:
    place.clock.move(timedelta(days=7, hours=8))
    officer = await place.admitted("lim", "officer:JCM")
    page = await officer.get(ADVANCE, params={"lang": "en"})
    assert "No maintenance is planned." in shown(page)
    late = await officer.post(ADVANCE, data={"begins": "20261201T140000Z"})
    assert (late.status_code, await told(place, MADE)) == (422, [])
    # Nor is it cancelled beforehand, whatever becomes of the window.
    place.clock.move(-timedelta(hours=1))
    await make(officer, f"{ADVANCE}/preview?begins=20261201T140000Z")
    await plan(place)
    assert len(links(await officer.get(ADVANCE), "preview?")) == 1
    place.clock.move(timedelta(hours=1))
    assert not links(await officer.get(ADVANCE), "preview?")


async def test_of_work_that_comes_again_the_next_time_is_told(place: House, officer: httpx.AsyncClient) -> None:
    await plan(place, '  - {cron: "0 2 * * sun", for: 2h, reason: Kemas kini}\n')
    page = await officer.get(ADVANCE)
    (link,) = links(page, "preview?")
    assert link.endswith("begins=20261128T180000Z")
    await make(officer, link)
    place.clock.move(timedelta(days=5))
    officer = await place.admitted("lim", "officer:JCM")
    (link,) = links(await officer.get(ADVANCE), "preview?")
    assert link.endswith("begins=20261205T180000Z")


async def test_without_anybody_to_write_to_nothing_is_made(place: House, officer: httpx.AsyncClient) -> None:
    await plan(place, window(FIRST), recipients="")
    refused = await officer.get(f"{ADVANCE}/preview?begins=20261201T140000Z", params={"lang": "en"})
    for answer in (refused, await officer.post(ADVANCE, data={"begins": "20261201T140000Z"})):
        assert answer.status_code == 422
    assert not await told(place, MADE)
    for written in ("kelmarin", "20261201T14", "99999999T999999Z"):
        assert (await officer.post(ADVANCE, data={"begins": written})).status_code == 422


async def test_a_program_does_over_the_api_what_an_officer_does_on_the_pages(
    place: House, officer: httpx.AsyncClient
) -> None:
    program, api = await place.program("officer:JCM"), "/api/v1/agencies/JCM/maintenance-notices"
    (work,) = (await program.get(api)).json()["works"]
    assert (work["starts_at"], work["told"]) == ("2026-12-01T14:00:00Z", "")
    draft = (await program.get(f"{api}/draft", params={"starts_at": work["starts_at"]})).json()
    assert "1 Disember 2026 (Selasa), pukul 10.00 malam" in " ".join(draft["text"])
    assert [each["papers"] for each in draft["recipients"]] == [["letter", "fax"], []]
    assert not await told(place, MADE)
    order = {"starts_at": work["starts_at"], "by": "Ravi Contoh"}
    made = await program.post(api, json=order, headers={"Idempotency-Key": "1"})
    again = await program.post(api, json=order, headers={"Idempotency-Key": "1"})
    assert (made.status_code, again.json()) == (201, made.json())
    assert (made.json()["number"], made.json()["made_by"]) == ("JCM-P261124-1415", "Ravi Contoh (program konsol)")
    refused = await program.post(api, json=order)
    assert (refused.status_code, "was already created" in refused.json()["detail"]) == (409, True)
    assert (await program.get(api)).json()["made"] == [made.json()]
    pages = await program.get(f"{api}/JCM-P261124-1415/fax.pdf")
    assert (pages.status_code, pages.content[:5]) == (200, b"%PDF-")
    for other in ("JCM-P261124-1416/fax.pdf", "JCM-P261124-1415%00/letter.pdf"):
        assert (await program.get(f"{api}/{other}")).status_code == 404
    # And what was made by one is seen by the other.
    assert "Maintenance notice" in shown(await officer.get(f"{ADVANCE}?made=JCM-P261124-1415", params={"lang": "en"}))
