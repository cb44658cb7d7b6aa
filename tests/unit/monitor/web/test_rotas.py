"""Rota pages: content by permission, overrides and calendar feeds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from icalendar import Calendar
from sqlalchemy import select

from monitor.store.schema.tables import audit_log, rota_feed
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

NUMBER = re.compile(r"tel:\+60\d+")
ROTA = "/rotas/JCM/bertugas"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    """Open the portal in the first week of the sample's rota, which is Ali's."""
    async with open_portal(tmp_path) as opened:
        opened.clock.move(timedelta(days=8))
        yield opened


def visible_text(answer: httpx.Response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


async def override_entries(env: PortalEnv) -> list[tuple[str, str]]:
    async with env.database.read() as connection:
        rows = await connection.execute(select(audit_log.c.actor, audit_log.c.event).order_by(audit_log.c.id))
        return [(row.actor, row.event) for row in rows if row.event.startswith("override")]


async def test_rotas_page_shows_present_next_and_numbers(env: PortalEnv) -> None:
    browser = await env.session_for("ravi", "noc")
    page = visible_text(await browser.get("/rotas"))
    assert "Sekarang: Ali bin Contoh hingga 06/12/2026 08:00" in page
    assert "Kemudian: Siti binti Contoh dari 06/12/2026 08:00" in page
    assert "Tujuh hari akan datang ada pegawai bertugas." in page
    for path in ("/rotas", ROTA):
        assert NUMBER.search((await browser.get(path)).text)
    english = visible_text(await browser.get("/rotas?lang=en"))
    assert "Now: Ali bin Contoh until 06/12/2026 08:00" in english


async def test_rotas_page_shows_gap(tmp_path: Path) -> None:
    async with open_portal(tmp_path) as early:
        # The sample's first layer begins on 3 January, the second on the 5th.
        early.clock.at = datetime(2026, 1, 1, 4, tzinfo=UTC)
        browser = await early.session_for("ravi", "noc")
        page = visible_text(await browser.get("/rotas"))
        assert "Sekarang: TIADA SESIAPA BERTUGAS hingga 03/01/2026 08:00" in page
        assert "tujuh hari akan datang 01/01/2026 12:00 hingga 03/01/2026 08:00" in page
        # Updated each minute and after each command.
        order = {"begins": "2026-01-02 08:00", "ends": "2026-01-02 20:00"}
        await early.on_call.add(rota="JCM/bertugas", person="ali", by="Ujian", **order)
        assert "Tiada sesiapa bertugas sekarang: JCM/bertugas" in visible_text(await browser.get("/rotas"))
        theirs = await early.session_for("devi", "officer:MDC")
        assert "JCM" not in (await theirs.get("/rotas")).text


async def test_rotas_of_other_agency_are_hidden(env: PortalEnv) -> None:
    theirs = await env.session_for("devi", "officer:MDC")
    assert "JCM" not in (await theirs.get("/rotas")).text
    assert (await theirs.get(ROTA)).status_code == 403
    for path in (f"{ROTA}/overrides", f"{ROTA}/overrides/1/remove"):
        assert (await theirs.post(path, data={"person": "siti", "ends": "2026-12-03T08:00"})).status_code == 403
    assert await override_entries(env) == []


async def test_shared_rota_hides_numbers_and_requires_all_agencies_role_to_override(
    env: PortalEnv,
) -> None:
    theirs, noc = await env.session_for("devi", "officer:MDC"), await env.session_for("ravi", "noc")
    for browser, numbers in ((theirs, False), (noc, True)):
        page = (await browser.get("/rotas?q=pusat")).text
        assert "Sekarang: Pegawai Bertugas Pusat Operasi" in " ".join(re.sub(r"<[^>]+>", " ", page).split())
        assert bool(NUMBER.search(page)) is numbers
        assert ('href="/rotas/-/pusat-operasi"' in page) is numbers
    # The rota belongs to no agency, so its page is for roles of all agencies.
    assert (await theirs.get("/rotas/-/pusat-operasi")).status_code == 403
    assert (await noc.get("/rotas/-/pusat-operasi")).status_code == 200
    order = {"person": "pegawai-bertugas", "ends": "2026-12-03T08:00"}
    assert (await theirs.post("/rotas/-/pusat-operasi/overrides", data=order)).status_code == 403
    assert (await noc.post("/rotas/-/pusat-operasi/overrides", data=order)).status_code == 303
    assert [each.rota for each in await env.on_call.overrides()] == ["pusat-operasi"]
    # It cannot be removed through another rota either.
    [made] = await env.on_call.overrides()
    assert (await noc.post(f"{ROTA}/overrides/{made.id}/remove")).status_code == 404


async def test_rota_feed_key_is_for_its_rota_only(env: PortalEnv) -> None:
    noc = await env.session_for("ravi", "noc")
    address = await feed_of(noc)
    other = address.replace("/JCM/bertugas", "/-/pusat-operasi")
    async with env.browser() as program:
        assert [(await program.get(each)).status_code for each in (address, other)] == [200, 404]
    assert (await noc.post("/rotas/-/pusat-operasi/feeds/1/revoke")).status_code == 404


async def test_override_added_and_removed_records_user(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    order = {"person": "siti", "begins": "", "ends": "2026-12-03T08:00"}
    answer = await browser.post(f"{ROTA}/overrides", data=order)
    # Ali is replaced, and the page asks the user to tell him.
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROTA}?tell=siti&tell=ali")
    after = await browser.get(answer.headers["location"])
    tell = re.search(r'<div class="done" role="status">(.*?)</div>', after.text, re.DOTALL)
    assert tell
    assert "Maklumkan sendiri: Siti binti Contoh · 010-000 0101" in " ".join(re.sub(r"<[^>]+>", " ", tell[1]).split())
    assert 'Ali bin Contoh · <a href="tel:+60100000102">' in tell[1]
    assert f'href="{ROTA}?tell=siti&amp;tell=ali&amp;lang=en"' in after.text
    [made] = await env.on_call.overrides()
    assert (made.rota, made.contact.key, made.by) == ("JCM/bertugas", "siti", "Siti Contoh (siti)")
    page = visible_text(await browser.get(ROTA))
    assert "Sekarang: Siti binti Contoh hingga 03/12/2026 08:00 (menggantikan, menurut Siti Contoh (siti))" in page

    gone = await browser.post(f"{ROTA}/overrides/{made.id}/remove")
    assert (gone.status_code, gone.headers["location"]) == (303, f"{ROTA}?tell=siti&tell=ali")
    assert 'role="status"' not in (await browser.get(f"{ROTA}?tell=hantu")).text
    assert await env.on_call.overrides() == []
    assert await override_entries(env) == [
        ("Siti Contoh (siti)", "override made"),
        ("Siti Contoh (siti)", "override taken back"),
    ]


@pytest.mark.parametrize(
    ("order", "status", "why"),
    [
        ({"ends": "2026-12-03T08:00"}, 422, "Pilih seorang pegawai."),
        ({"person": "hantu", "ends": "2026-12-03T08:00"}, 409, "jadual JCM/bertugas tiada pegawai hantu"),
        ({"person": "siti", "ends": "esok"}, 409, "bukan tarikh dengan masa"),
        ({"person": "siti", "ends": "2026-12-01T08:00"}, 409, "penggantian sementara tamat selepas ia bermula"),
        ({"person": "siti", "ends": "2027-12-01T08:00"}, 409, "paling lama 92 hari"),
    ],
)
async def test_override_invalid_shows_reason_and_keeps_input(
    env: PortalEnv, order: dict[str, str], status: int, why: str
) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    answer = await browser.post(f"{ROTA}/overrides", data=order)
    assert answer.status_code == status
    assert why in visible_text(answer)
    assert order["ends"] in answer.text
    assert await env.on_call.overrides() == []


async def test_override_cross_site_post_is_refused(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    order = {"person": "siti", "ends": "2026-12-03T08:00"}
    answer = await browser.post(f"{ROTA}/overrides", data=order, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code in {401, 403}
    assert await env.on_call.overrides() == []


async def test_override_of_other_rota_is_not_removed(env: PortalEnv) -> None:
    made = await env.on_call.add(rota="JCM/bertugas", person="siti", begins="", ends="2026-12-03 08:00", by="Ujian")
    browser = await env.session_for("siti", "noc")
    assert (await browser.post(f"/rotas/JCM/lain/overrides/{made.id}/remove")).status_code == 404
    assert (await browser.post(f"{ROTA}/overrides/99/remove")).status_code == 404
    assert [each.id for each in await env.on_call.overrides()] == [made.id]


async def test_rota_page_without_override_permission_has_no_form(env: PortalEnv) -> None:
    browser = await env.session_for("admin", "admin")
    page = (await browser.get(ROTA)).text
    assert "Serahkan tugas" not in page
    assert (await browser.post(f"{ROTA}/overrides", data={})).status_code == 403


async def test_rotas_page_searches_by_part_of_name(env: PortalEnv) -> None:
    browser = await env.session_for("ravi", "noc")
    assert "JCM/bertugas" in (await browser.get("/rotas?q=jcm")).text
    assert "Tiada jadual tugas." in (await browser.get("/rotas?q=lain")).text
    assert "Tiada jadual tugas." in (await browser.get("/rotas?after=pusat-operasi")).text
    assert (await browser.get("/rotas/JCM/hantu")).status_code == 404
    assert (await browser.get("/rotas/-/bertugas")).status_code == 404


async def feed_of(browser: httpx.AsyncClient) -> str:
    """Create a feed; return its address, as a calendar program requests it."""
    answer = await browser.post(f"{ROTA}/feeds")
    [found] = re.findall(r"http://localhost(/rotas/JCM/bertugas\.ics\?key=[\w-]{43})<", answer.text)
    return str(found)


async def test_rota_feed_is_read_with_key_without_session(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    address = await feed_of(browser)
    async with env.browser() as program:
        answer = await program.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert not re.search(r"\+?60\d{6}|TEL|\d{2}-\d{4}", answer.text)
    events = Calendar.from_ical(answer.content).walk("VEVENT")
    now = [each for each in events if each.decoded("dtstart") <= env.clock.now() < each.decoded("dtend")]
    assert [str(each["summary"]) for each in now] == ["Ali bin Contoh (JCM/bertugas)"]
    assert "DTEND:20261206T000000Z" in answer.text

    assert f'href="{ROTA}?lang=en"' in (await browser.post(f"{ROTA}/overrides")).text
    # The key is shown once: neither the page, its other language, nor the database has it.
    assert "?lang=" not in (await browser.post(f"{ROTA}/feeds")).text
    key = urlsplit(address).query.removeprefix("key=")
    assert key not in (await browser.get(ROTA)).text
    async with env.database.read() as connection:
        kept, _ = (await connection.execute(select(rota_feed))).all()
        audit_rows = [str(row) for row in (await connection.execute(select(audit_log))).all()]
    assert key not in str(kept)
    assert not any(key in row for row in audit_rows)


async def test_rota_feed_reflects_override_and_its_removal(env: PortalEnv) -> None:
    address = await feed_of(await env.session_for("siti", "officer:JCM"))

    async def events() -> dict[str, tuple[str, str]]:
        async with env.browser() as program:
            found = Calendar.from_ical((await program.get(address)).content).walk("VEVENT")
        return {str(each["uid"]): (str(each["summary"]), f"{each.decoded('dtend'):%Y%m%dT%H%M%SZ}") for each in found}

    planned = await events()
    made = await env.on_call.add(
        rota="JCM/bertugas", person="siti", begins="2026-12-03 08:00", ends="2026-12-04 08:00", by="Ujian"
    )
    changed = await events()
    assert set(planned) < set(changed)
    [at_once] = [uid for uid in planned if planned[uid] != changed[uid]]
    assert changed[at_once] == ("Ali bin Contoh (JCM/bertugas)", "20261203T000000Z")
    env.clock.move(timedelta(hours=1))
    assert await events() == changed
    await env.on_call.remove(made.id, "Ujian")
    assert await events() == planned


@pytest.mark.parametrize("how", ["revoked", "another key", "another rota", "role lost", "disabled", "no key"])
async def test_rota_feed_without_valid_key_or_role_is_not_found(env: PortalEnv, how: str) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    address = await feed_of(browser)
    match how:
        case "revoked":
            assert (await browser.post(f"{ROTA}/feeds/1/revoke")).status_code == 303
            assert (await browser.post(f"{ROTA}/feeds/1/revoke")).status_code == 404
        case "another key":
            address = address[:-1] + ("a" if address[-1] != "a" else "b")
        case "another rota":
            address = address.replace("/JCM/", "/MDC/")
        case "role lost":
            await env.administration.assign("siti", ["clerk:JCM", "officer:MDC"], by="Ujian")
        case "disabled":
            await env.administration.disable("siti", by="Ujian")
        case _:
            address = address.partition("?")[0]
    async with env.browser() as program:
        answer = await program.get(address)
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no such calendar")


async def test_rota_feed_created_and_revoked_are_audited(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "officer:JCM")
    await feed_of(browser)
    assert "Dibuat oleh siti" in visible_text(await browser.get(ROTA))
    await (await env.session_for("ravi", "noc")).post(f"{ROTA}/feeds/1/revoke")
    assert "Dibuat oleh siti" not in visible_text(await browser.get(ROTA))
    async with env.database.read() as connection:
        rows = (await connection.execute(select(audit_log).where(audit_log.c.event.startswith("calendar")))).all()
    assert [(row.actor, row.event, row.detail["rota"]) for row in rows] == [
        ("Siti Contoh (siti)", "calendar made", "JCM/bertugas"),
        ("Ravi Contoh (ravi)", "calendar revoked", "JCM/bertugas"),
    ]
