"""Maintenance notices: preview, letters and faxes to download; nothing is sent."""

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
from monitor.store.admin.maintenance_notices import NOTICE_CREATED
from monitor.store.schema.tables import attempt, audit_log, notification
from tests.integration.monitor_only import agency
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

NOTICES = "/agencies/JCM/maintenance-notices"
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


async def set_maintenance(env: PortalEnv, *windows: str, recipients: str = RECIPIENTS) -> None:
    """Set JCM's maintenance and recipients, and apply them."""
    text = agency("JCM").rstrip("\n") + "\n"
    assert "maintenance:" not in text
    text += f"{OFFICE}announcement:{recipients}" if recipients else ""
    text += "maintenance:\n" + "".join(windows) if windows else ""
    await env.site.write(JCM=text, MDC=agency("MDC"))
    await env.site.apply_documents()


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        await set_maintenance(opened, window(FIRST))
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "officer:JCM")


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def links(answer: httpx.Response, of: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'href="([^"]+)"', answer.text) if of in each]


def form_in(page: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r'name="(begins|before)" value="([^"]*)"', page.text))


async def create_notice(officer: httpx.AsyncClient, look: str) -> httpx.Response:
    """Open a preview, and submit its form."""
    page = await officer.get(look)
    assert page.status_code == 200, visible_text(page)
    return await officer.post(NOTICES, data=form_in(page))


async def audit_entries(env: PortalEnv, event: str) -> list[tuple[str, dict[str, str]]]:
    async with env.database.read() as connection:
        rows = await connection.execute(select(audit_log.c.actor, audit_log.c.detail).where(audit_log.c.event == event))
        return [(row.actor, row.detail) for row in rows]


async def test_maintenance_notice_is_previewed_then_created_once(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    assert NOTICES in links(await officer.get("/agencies/JCM/settings"), "maintenance-notices")
    page = await officer.get(NOTICES, params={"lang": "en"})
    assert "01/12/2026 22:00 until 01/12/2026 23:30: Naik taraf pelayan mel No maintenance notice yet." in visible_text(
        page
    )
    (link,) = links(page, "preview?begins")
    look = await officer.get(link)
    assert "1 Disember 2026 (Selasa), pukul 10.00 malam" in visible_text(look)
    assert "Ketua Setiausaha, Kementerian Teladan: letter, fax 03-8000 4001" in visible_text(look)
    assert "Yang Dipertua, Majlis Teladan: neither letter nor fax: notify by telephone" in visible_text(look)
    assert not await audit_entries(env, NOTICE_CREATED)
    # A double click.
    fields = form_in(look)
    made, again = await asyncio.gather(*(officer.post(NOTICES, data=fields) for _ in range(2)))
    assert (made.status_code, made.headers["location"]) == (303, f"{NOTICES}?made=JCM-P261124-1415")
    after = await officer.get(made.headers["location"])
    assert "Maintenance notice JCM-P261124-1415 is created." in visible_text(after)
    assert not links(after, "preview")
    later = await officer.post(NOTICES, data=fields)
    for answer in (again, later):
        assert answer.status_code == 422
        assert "was already created, by Siti Contoh (siti)" in visible_text(answer)
    ((by, detail),) = await audit_entries(env, NOTICE_CREATED)
    assert by == "Siti Contoh (siti)"
    assert (detail["agency"], detail["from"]) == ("JCM", "2026-12-01T14:00:00+00:00")


async def test_maintenance_notice_pages_are_downloaded_and_nothing_is_sent(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    page = await officer.get(
        (await create_notice(officer, f"{NOTICES}/preview?begins=20261201T140000Z")).headers["location"]
    )
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
    assert [detail["channel"] for _, detail in await audit_entries(env, DOWNLOADED_EVENT)] == [
        "letter",
        "letter",
        "fax",
    ]
    async with env.database.read() as connection:
        for table in (notification, attempt):
            assert not (await connection.execute(select(table.c.id))).all()
    for other in ("JCM-P261124-1416/surat.pdf", "JCM-P261124-1415/x.pdf"):
        assert (await officer.get(f"{NOTICES}/{other}")).status_code == 404
    other_agency = await env.session_for("ali", "officer:MDC")
    assert (await other_agency.get(letters)).status_code == 403
    assert (await other_agency.get(letters.replace("JCM/", "MDC/"))).status_code == 404


async def test_maintenance_notice_moved_window_is_change_and_removed_is_cancellation(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    await create_notice(officer, f"{NOTICES}/preview?begins=20261201T140000Z")
    await set_maintenance(env, window(SECOND))
    page = await officer.get(NOTICES, params={"lang": "en"})
    new, changed, cancelled = links(page, "preview?")
    assert new.endswith("begins=20261203T140000Z")
    assert "telah dipinda" in visible_text(await officer.get(changed))
    assert "telah dibatalkan" in visible_text(await officer.get(cancelled))
    # Two notices of one minute have different numbers.
    assert (await create_notice(officer, changed)).headers["location"].endswith("JCM-P261124-1416")
    after = await officer.get(NOTICES, params={"lang": "en"})
    assert not links(after, "preview?")
    # A replaced notice cannot be cancelled from an old page.
    assert (await officer.get(cancelled)).status_code == 422
    await set_maintenance(env)
    (cancelled,) = links(await officer.get(NOTICES), "preview?")
    await create_notice(officer, cancelled)
    assert [detail["news"] for _, detail in await audit_entries(env, NOTICE_CREATED)] == [
        "maintenance",
        "maintenance_changed",
        "maintenance_cancelled",
    ]
    # The window is planned again, which needs a new notice.
    await set_maintenance(env, window(SECOND))
    assert len(links(await officer.get(NOTICES), "preview?")) == 1


async def test_maintenance_notice_after_start_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    env.clock.move(timedelta(days=7, hours=8))
    officer = await env.session_for("lim", "officer:JCM")
    page = await officer.get(NOTICES, params={"lang": "en"})
    assert "No maintenance is planned." in visible_text(page)
    late = await officer.post(NOTICES, data={"begins": "20261201T140000Z"})
    assert (late.status_code, await audit_entries(env, NOTICE_CREATED)) == (422, [])
    # A started window cannot be cancelled by a notice either.
    env.clock.move(-timedelta(hours=1))
    await create_notice(officer, f"{NOTICES}/preview?begins=20261201T140000Z")
    await set_maintenance(env)
    assert len(links(await officer.get(NOTICES), "preview?")) == 1
    env.clock.move(timedelta(hours=1))
    assert not links(await officer.get(NOTICES), "preview?")


async def test_maintenance_notice_recurring_offers_next_occurrence(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await set_maintenance(env, '  - {cron: "0 2 * * sun", for: 2h, reason: Kemas kini}\n')
    page = await officer.get(NOTICES)
    (link,) = links(page, "preview?")
    assert link.endswith("begins=20261128T180000Z")
    await create_notice(officer, link)
    env.clock.move(timedelta(days=5))
    officer = await env.session_for("lim", "officer:JCM")
    (link,) = links(await officer.get(NOTICES), "preview?")
    assert link.endswith("begins=20261205T180000Z")


async def test_maintenance_notice_without_recipients_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await set_maintenance(env, window(FIRST), recipients="")
    refused = await officer.get(f"{NOTICES}/preview?begins=20261201T140000Z", params={"lang": "en"})
    for answer in (refused, await officer.post(NOTICES, data={"begins": "20261201T140000Z"})):
        assert answer.status_code == 422
    assert not await audit_entries(env, NOTICE_CREATED)
    for written in ("kelmarin", "20261201T14", "99999999T999999Z"):
        assert (await officer.post(NOTICES, data={"begins": written})).status_code == 422


async def test_maintenance_notice_api_matches_pages(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    program, api = await env.program("officer:JCM"), "/api/v1/agencies/JCM/maintenance-notices"
    (work,) = (await program.get(api)).json()["works"]
    assert (work["starts_at"], work["told"]) == ("2026-12-01T14:00:00Z", "")
    draft = (await program.get(f"{api}/draft", params={"starts_at": work["starts_at"]})).json()
    assert "1 Disember 2026 (Selasa), pukul 10.00 malam" in " ".join(draft["text"])
    assert [each["papers"] for each in draft["recipients"]] == [["letter", "fax"], []]
    assert not await audit_entries(env, NOTICE_CREATED)
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
    # The page shows what the API created.
    assert "Maintenance notice" in visible_text(
        await officer.get(f"{NOTICES}?made=JCM-P261124-1415", params={"lang": "en"})
    )
