"""Agency administration: list, add and remove agencies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select

from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.model.document import EditSource, WrittenDocument, digest_of
from monitor.service.portal.agency_directory import AgencyDirectory, PreviousAgency
from monitor.store.admin.renames import RENAMED
from monitor.store.engine import audit
from monitor.store.engine.drills import drill_number_of
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log, day
from monitor.web.access.access_control import AccessControl
from monitor.web.agencies.agencies import agency_list_pages
from monitor.web.portal import portal
from tests.integration.monitor_only import agency
from tests.unit.alerts.people import T0, trigger
from tests.unit.monitor.web.fake_service import LETTERS, Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

NEW = {"form": "short", "code": "jln", "name": "Jabatan Laut: Contoh", "domains": "jln.gov.my  laut.gov.my"}


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, Service(codes=("JCM", "MDC"), tray_letters=LETTERS)) as opened:
        yield opened


@pytest.fixture
async def admin(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "admin")


async def document_audit_entries(env: PortalEnv) -> list[tuple[str, Any]]:
    query = select(audit_log.c.actor, audit_log.c.detail).where(audit_log.c.event == "documents written")
    async with env.database.read() as connection:
        return [(row.actor, row.detail) for row in await connection.execute(query.order_by(audit_log.c.id))]


def listed(page: httpx.Response) -> list[str]:
    return re.findall(r'<td><a href="/agencies/(\w+)/settings">', page.text)


async def test_agencies_page_shows_last_author_and_missing_settings(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    await env.site.write(JLN="agency: JLN\nname: Jabatan Laut Contoh\ndomains: [jln.gov.my]\nmailboxes: {}\n")
    await env.site.apply_documents()
    page = await admin.get("/agencies?lang=en")
    assert listed(page) == ["JCM", "JLN", "MDC"]
    (row,) = (each for each in re.findall(r"<tr>.*?</tr>", page.text, re.DOTALL) if ">JLN<" in each)
    assert "Jabatan Laut Contoh" in row
    assert "<td>1, 24/11/2026 14:15</td><td>Ravi</td>" in row
    assert (
        '<a href="/agencies/JLN/mailboxes/new">a mailbox</a>, <a href="/agencies/JLN/notifications">contacts</a>' in row
    )
    # The search takes part of a name or code, in any case, and no wildcards.
    for sought, found in {"laut": ["JLN"], "jc": ["JCM"], "jabatan": ["JCM", "JLN", "MDC"], "%": [], "_": []}.items():
        assert listed(await admin.get("/agencies", params={"q": sought})) == found, sought


async def test_agencies_page_empty_asks_for_first_agency(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    present = await env.site.documents.latest()
    await env.site.documents.write(present, [], [*present], edit_source=EditSource.FILES, by="Ravi", now=T0)
    text = (await admin.get("/agencies?lang=en")).text
    assert "No agencies yet. Add the first one below." in text
    assert "No such agency." not in text
    assert "<table" not in text
    sought = (await admin.get("/agencies?lang=en&q=laut")).text
    assert "No such agency." in sought


async def test_agencies_page_links_to_next_page(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    present = await env.site.documents.latest()
    many = [WrittenDocument(agency=f"A{each:03}", name=f"a{each}.yaml", text="x") for each in range(150)]
    await env.site.documents.write(present, many, [], edit_source=EditSource.FILES, by="Ravi", now=T0)
    first = await admin.get("/agencies")
    (more,) = re.findall(r'<p><a href="(/agencies\?[^"]+)">Seterusnya', first.text)
    second = await admin.get(unescape(more))
    assert len(listed(first)) == 100
    assert listed(first) + listed(second) == [*(each.agency for each in many), "JCM", "MDC"]
    assert "Pantau belum menggunakan dokumen ini" in second.text


async def test_agency_added_by_short_form_leads_to_next_steps(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    added = await admin.post("/agencies", data=NEW)
    assert (added.status_code, added.headers["location"]) == (303, "/agencies?added=JLN")
    assert (
        await env.site.text("JLN")
        == 'agency: JLN\nname: "Jabatan Laut: Contoh"\ndomains: [jln.gov.my, laut.gov.my]\nmailboxes: {}\n'
    )
    assert env.site.reloads == ["Siti Contoh (siti)"]
    assert (await document_audit_entries(env))[-1] == (
        "Siti Contoh (siti)",
        {"pen": "portal", "added": "JLN", "address": "127.0.0.1"},
    )
    page = await admin.get(added.headers["location"])
    ways = re.findall(r'<a class="button[^"]*" href="([^"]+)"', page.text)
    assert [unescape(each) for each in ways] == [
        "/agencies/JLN/mailboxes/new",
        "/agencies/JLN/notifications",
        "/users?role=officer&agency=JLN#add-user",
    ]
    users = (await admin.get("/users?role=officer&agency=JLN")).text
    assert '<option value="officer" selected>' in users
    assert 'id="add-user"' in users
    assert 'name="agency" value="JLN"' in users
    assert "telah ditambah" not in (await admin.get("/agencies?added=TIADA")).text


async def test_agency_added_with_contact_gets_escalation_step(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    await admin.post("/agencies", data={**NEW, "contact": "Siti Contoh", "number": "013-000 0001"})
    text = await env.site.text("JLN")
    assert "contacts:\n  siti:\n    name: Siti Contoh\n    sms: 013-000 0001\n" in text
    assert "contacts: [siti]" in text.partition("escalation:")[2]


async def test_agency_form_error_is_shown_at_field_and_keeps_input(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    for changed, at, says in (
        ({"code": "jabatan laut"}, "code", "capital letters"),
        ({"code": "JCM"}, "code", "There is already an agency with the code JCM."),
        ({"domains": "contoh.com"}, "domains", "contoh.com"),
        ({"domains": ""}, "domains", "no domain is registered"),
        ({"name": ""}, "name", ""),
        ({"contact": "Siti Contoh", "number": "12"}, "number", "12"),
        ({"contact": "Siti Contoh"}, "number", "Enter this person's mobile number."),
        ({"number": "013-000 0001"}, "contact", "Enter the name of this number's owner."),
    ):
        form = {**NEW, **changed}
        page = await admin.post("/agencies?lang=en", data=form)
        assert page.status_code in {409, 422}, changed
        (fault,) = re.findall(rf'id="short-{at}-fault">(.*?)</div>', page.text, re.DOTALL)
        assert says in unescape(fault), (changed, fault)
        assert f'aria-describedby="short-{at}-fault"' in page.text
        for name in ("code", "name", "domains"):
            assert f'name="{name}" value="{form[name]}"' in page.text, changed
        # The whole-document form shows no error, and no error appears twice.
        assert "all of it is a comment" not in page.text
        assert fault.count("<p>") == 1, (changed, fault)
    assert set(await env.site.documents.latest()) == {"JCM", "MDC"}


async def test_agency_form_problems_are_in_page_language(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    page = await admin.post("/agencies", data={**NEW, "domains": "jln", "contact": "Siti Contoh", "number": "12"})
    for at, says in (("domains", "'jln' bukan domain"), ("number", "tidak mungkin nombor telefon")):
        (fault,) = re.findall(rf'id="short-{at}-fault">(.*?)</div>', page.text, re.DOTALL)
        assert says in unescape(fault), fault
        assert 'lang="en"' not in fault
    added = await admin.post("/agencies", data={**NEW, "contact": "Siti Contoh", "number": "013-000 0001"})
    (warning,) = re.findall(r'<ol class="faults">(.*?)</ol>', added.text, re.DOTALL)
    assert "julat nombor" in warning
    assert 'lang="en"' not in warning


async def test_agency_added_by_document_shows_problems_at_lines(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    wrong = agency("JLN").replace("domains:", "domain:")
    page = await admin.post("/agencies?lang=en", data={"form": "text", "text": wrong.replace("\n", "\r\n")})
    assert page.status_code == 422
    assert "Line 4: <code>domain</code>" in page.text
    assert wrong.strip() in unescape(page.text)
    nameless = await admin.post("/agencies", data={"form": "text", "text": "name: Tiada\n"})
    assert (nameless.status_code, 'id="text-text-fault"' in nameless.text) == (422, True)
    broken = await admin.post("/agencies?lang=en", data={"form": "text", "text": "agency: JLN\nname: [x\n"})
    assert (broken.status_code, "Line " in broken.text) == (422, True)
    assert (await admin.post("/agencies", data={"form": "text", "text": agency("JCM")})).status_code == 409
    taken = await admin.post("/agencies", data={"form": "text", "text": agency("JLN")})
    assert taken.status_code in {200, 303}
    assert await env.site.text("JLN") == agency("JLN")


class UnavailableDirectory(AgencyDirectory):
    """Agency directory whose database is unavailable."""

    def __init__(self) -> None:
        pass

    async def previous_agency(self, agency: str) -> PreviousAgency | None:
        raise StoreUnavailable("disk I/O error")


async def test_agency_form_store_unavailable_keeps_input(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    service: Any = Service(codes=("JCM", "MDC"))
    pages = [partial(agency_list_pages, env.site.editor, UnavailableDirectory())]
    app = portal(service, ["localhost"], service, access_control=AccessControl(env.authenticator), pages=pages)
    async with env.browser(app) as browser:
        browser.cookies.set("pantau", admin.cookies["pantau"], domain="localhost.local")
        page = await browser.post("/agencies?lang=en", data={"form": "text", "text": agency("JLN")})
    assert (page.status_code, "the database is unavailable" in page.text) == (503, True)
    assert agency("JLN") in unescape(page.text)


async def test_agency_code_used_before_requires_confirmation(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    await env.session_for("ali", "officer:JCM")
    await env.site.write(JCM=None)
    days = [{"agency": "JCM", "date": T0.date() - timedelta(days=each), "minutes": "-9w"} for each in (40, 0)]
    renamed = AuditEntry(at=T0, actor="Ravi", event=RENAMED, detail={"what": "agency", "old": "JCM", "new": "JCMB"})
    async with env.database.write() as connection:
        await connection.execute(insert(day), days)
        await audit.append(connection, [renamed])
    warning = await admin.post("/agencies?lang=en", data={**NEW, "code": "JCM"})
    assert warning.status_code == 409
    for says in (
        "removed by Ravi at 24/11/2026 14:15",
        "Records from 15/10/2026 until 24/11/2026",
        "The agency with this code is called JCMB now.",
        '<a href="/users/ali">Ali Contoh</a>',
    ):
        assert says in warning.text
    # A confirmation for one code does not count for another.
    assert (await admin.post("/agencies", data={**NEW, "code": "JCM", "known": "JLN"})).status_code == 409
    assert await env.site.text() == ""
    assert (await admin.post("/agencies", data={**NEW, "code": "JCM", "known": "JCM"})).status_code == 303
    assert "Jabatan Laut" in await env.site.text()


async def remove_agency(admin: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await admin.post("/agencies/JCM/remove?lang=en", data=fields)


async def test_agency_removal_page_shows_what_is_removed_and_kept(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    await env.session_for("ali", "officer:JCM")
    await env.session_for("jcm", "viewer:MDC")
    await env.drill_runner.start("JCM/all", "Ujian", timedelta(hours=1))
    async with SqlStore(env.database).transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
    page = (await admin.get("/agencies/JCM/remove?lang=en")).text
    for says in (
        "pantau@jcm.gov.my",
        f"{opened.number}</a> is open. It is closed automatically after about 10 minutes",
        "stay in the tray: 2",
        f"Running drills end as usual: {drill_number_of(1)}.",
        '<a href="/users/ali">Ali Contoh</a>',
        "for 1096 days",
    ):
        assert says in page, says
    assert "/users/jcm" not in page


async def test_agency_removed_when_code_is_entered_and_audited(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    seen = digest_of(await env.site.text())
    for typed in ("", "MDC"):
        page = await remove_agency(admin, started_from=seen, code=typed)
        assert (page.status_code, "That is not its code. Enter JCM." in page.text) == (422, True)
    assert await env.site.text()
    gone = await remove_agency(admin, started_from=seen, code="jcm ")
    assert (gone.status_code, gone.headers["location"]) == (303, "/agencies?gone=JCM")
    assert await env.site.text() == ""
    assert (await document_audit_entries(env))[-1] == (
        "Siti Contoh (siti)",
        {"pen": "portal", "removed": "JCM", "address": "127.0.0.1"},
    )
    after = await admin.get("/agencies?gone=JCM&lang=en")
    assert listed(after) == ["MDC"]
    assert "JCM is removed and no longer monitored." in after.text
    assert (await remove_agency(admin, started_from=seen, code="JCM")).status_code == 404


async def test_agency_removal_after_concurrent_edit_shows_change_and_is_refused(
    env: PortalEnv, admin: httpx.AsyncClient
) -> None:
    seen = digest_of(await env.site.text())
    await env.site.write(JCM=agency("JCM").replace("Jabatan JCM", "Jabatan Baharu"))
    # The conflict comes before the code check: the form that returns refers to the version it shows.
    assert (await remove_agency(admin, started_from=seen, code="MDC")).status_code == 409
    page = await remove_agency(admin, started_from=seen, code="JCM")
    assert page.status_code == 409
    assert "Ravi changed the document" in page.text
    assert '<span class="old">- name: Jabatan JCM' in page.text
    assert '<span class="new">+ name: Jabatan Baharu' in page.text
    (now,) = re.findall(r'name="started_from" value="(\w+)"', page.text)
    assert (await remove_agency(admin, started_from=now, code="JCM")).status_code == 303


async def test_agencies_in_files_pages_are_read_only(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    settings = env.site.settings
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies"))
    await env.site.apply_documents()
    for path in ("/agencies", "/agencies/JCM/remove"):
        page = (await admin.get(path)).text
        assert "Di sini agensi disimpan dalam fail" in page
        assert "<button>Tambah agensi" not in page
        assert 'name="started_from"' not in page
    assert (await admin.post("/agencies", data=NEW)).status_code == 422
    assert (await remove_agency(admin, started_from=digest_of(await env.site.text()), code="JCM")).status_code == 409
    assert set(await env.site.documents.latest()) == {"JCM", "MDC"}
    assert await env.site.text()
