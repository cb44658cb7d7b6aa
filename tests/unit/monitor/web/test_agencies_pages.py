"""Administrators see all agencies, add one, and take one out after they have seen what goes and what stays."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log, day
from monitor.web.access.access_control import AccessControl
from monitor.web.agencies.agencies import agency_list_pages
from monitor.web.portal import portal
from tests.integration.watching import agency
from tests.unit.alerts.people import T0, trigger
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import LETTERS, Service

NEW = {"form": "short", "code": "jln", "name": "Jabatan Laut: Contoh", "domains": "jln.gov.my  laut.gov.my"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Service(codes=("JCM", "MDC"), in_the_tray=LETTERS)) as opened:
        yield opened


@pytest.fixture
async def admin(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "admin")


async def written_in_the_journal(place: House) -> list[tuple[str, Any]]:
    query = select(audit_log.c.actor, audit_log.c.detail).where(audit_log.c.event == "documents written")
    async with place.database.read() as connection:
        return [(row.actor, row.detail) for row in await connection.execute(query.order_by(audit_log.c.id))]


def listed(page: httpx.Response) -> list[str]:
    return re.findall(r'<td><a href="/agencies/(\w+)/settings">', page.text)


async def test_the_list_says_of_each_agency_who_wrote_it_last_and_what_it_has_not_yet(
    place: House, admin: httpx.AsyncClient
) -> None:
    await place.site.write(JLN="agency: JLN\nname: Jabatan Laut Contoh\ndomains: [jln.gov.my]\nmailboxes: {}\n")
    await place.site.take_up()
    page = await admin.get("/agencies?lang=en")
    assert listed(page) == ["JCM", "JLN", "MDC"]
    (row,) = (each for each in re.findall(r"<tr>.*?</tr>", page.text, re.DOTALL) if ">JLN<" in each)
    assert "Jabatan Laut Contoh" in row
    assert "<td>1, 24/11/2026 14:15</td><td>Ravi</td>" in row
    assert (
        '<a href="/agencies/JLN/mailboxes/new">a mailbox</a>, <a href="/agencies/JLN/notifications">contacts</a>' in row
    )
    # By a part of the name, or of the code, in whatever case; and nothing else by what a search may hold.
    for sought, found in {"laut": ["JLN"], "jc": ["JCM"], "jabatan": ["JCM", "JLN", "MDC"], "%": [], "_": []}.items():
        assert listed(await admin.get("/agencies", params={"q": sought})) == found, sought


async def test_an_empty_list_asks_for_the_first_agency_and_blames_no_search(
    place: House, admin: httpx.AsyncClient
) -> None:
    present = await place.site.documents.latest()
    await place.site.documents.write(present, [], [*present], edit_source=EditSource.FILES, by="Ravi", now=T0)
    text = (await admin.get("/agencies?lang=en")).text
    assert "No agencies yet. Add the first one below." in text
    assert "No such agency." not in text
    assert "<table" not in text
    sought = (await admin.get("/agencies?lang=en&q=laut")).text
    assert "No such agency." in sought


async def test_a_page_of_the_list_leads_to_the_next(place: House, admin: httpx.AsyncClient) -> None:
    present = await place.site.documents.latest()
    many = [WrittenDocument(agency=f"A{each:03}", name=f"a{each}.yaml", text="x") for each in range(150)]
    await place.site.documents.write(present, many, [], edit_source=EditSource.FILES, by="Ravi", now=T0)
    first = await admin.get("/agencies")
    (more,) = re.findall(r'<p><a href="(/agencies\?[^"]+)">Seterusnya', first.text)
    second = await admin.get(unescape(more))
    assert len(listed(first)) == 100
    assert listed(first) + listed(second) == [*(each.agency for each in many), "JCM", "MDC"]
    assert "Pantau belum menggunakan dokumen ini" in second.text


async def test_an_agency_is_added_by_three_lines_and_the_page_says_what_comes_next(
    place: House, admin: httpx.AsyncClient
) -> None:
    added = await admin.post("/agencies", data=NEW)
    assert (added.status_code, added.headers["location"]) == (303, "/agencies?added=JLN")
    assert (
        await place.site.text("JLN")
        == 'agency: JLN\nname: "Jabatan Laut: Contoh"\ndomains: [jln.gov.my, laut.gov.my]\nmailboxes: {}\n'
    )
    assert place.site.reloads == ["Siti Contoh (siti)"]
    assert (await written_in_the_journal(place))[-1] == (
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


async def test_whoever_is_told_first_is_written_with_the_step_that_tells_them(
    place: House, admin: httpx.AsyncClient
) -> None:
    await admin.post("/agencies", data={**NEW, "contact": "Siti Contoh", "number": "013-000 0001"})
    text = await place.site.text("JLN")
    assert "contacts:\n  siti:\n    name: Siti Contoh\n    sms: 013-000 0001\n" in text
    assert "contacts: [siti]" in text.partition("escalation:")[2]


async def test_what_is_wrong_stands_at_its_field_and_nothing_that_was_typed_is_lost(
    place: House, admin: httpx.AsyncClient
) -> None:
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
        # A document that nobody has typed is not spoken of, and nothing is said twice.
        assert "all of it is a comment" not in page.text
        assert fault.count("<p>") == 1, (changed, fault)
    assert set(await place.site.documents.latest()) == {"JCM", "MDC"}


async def test_what_the_checks_say_of_a_new_agency_is_said_in_the_pages_language(
    place: House, admin: httpx.AsyncClient
) -> None:
    page = await admin.post("/agencies", data={**NEW, "domains": "jln", "contact": "Siti Contoh", "number": "12"})
    for at, says in (("domains", "'jln' bukan domain"), ("number", "tidak mungkin nombor telefon")):
        (fault,) = re.findall(rf'id="short-{at}-fault">(.*?)</div>', page.text, re.DOTALL)
        assert says in unescape(fault), fault
        assert 'lang="en"' not in fault
    added = await admin.post("/agencies", data={**NEW, "contact": "Siti Contoh", "number": "013-000 0001"})
    (told,) = re.findall(r'<ol class="faults">(.*?)</ol>', added.text, re.DOTALL)
    assert "julat nombor" in told
    assert 'lang="en"' not in told


async def test_a_whole_document_is_taken_as_well_and_what_is_wrong_is_told_at_its_line(
    place: House, admin: httpx.AsyncClient
) -> None:
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
    assert await place.site.text("JLN") == agency("JLN")


class AwayRoll(AgencyDirectory):
    """Whose store is away."""

    def __init__(self) -> None:
        pass

    async def previous_agency(self, agency: str) -> PreviousAgency | None:
        raise StoreUnavailable("disk I/O error")


async def test_while_the_store_is_away_nothing_that_was_typed_is_lost(place: House, admin: httpx.AsyncClient) -> None:
    service: Any = Service(codes=("JCM", "MDC"))
    pages = [partial(agency_list_pages, place.site.editor, AwayRoll())]
    app = portal(service, ["localhost"], service, access_control=AccessControl(place.authenticator), pages=pages)
    async with place.browser(app) as browser:
        browser.cookies.set("pantau", admin.cookies["pantau"], domain="localhost.local")
        page = await browser.post("/agencies?lang=en", data={"form": "text", "text": agency("JLN")})
    assert (page.status_code, "the database is unavailable" in page.text) == (503, True)
    assert agency("JLN") in unescape(page.text)


async def test_a_code_that_was_another_agencys_is_given_only_after_that_was_told(
    place: House, admin: httpx.AsyncClient
) -> None:
    await place.admitted("ali", "officer:JCM")
    await place.site.write(JCM=None)
    days = [{"agency": "JCM", "date": T0.date() - timedelta(days=each), "minutes": "-9w"} for each in (40, 0)]
    renamed = AuditEntry(at=T0, actor="Ravi", event=RENAMED, detail={"what": "agency", "old": "JCM", "new": "JCMB"})
    async with place.database.write() as connection:
        await connection.execute(insert(day), days)
        await audit.append(connection, [renamed])
    told = await admin.post("/agencies?lang=en", data={**NEW, "code": "JCM"})
    assert told.status_code == 409
    for says in (
        "removed by Ravi at 24/11/2026 14:15",
        "Records from 15/10/2026 until 24/11/2026",
        "The agency with this code is called JCMB now.",
        '<a href="/users/ali">Ali Contoh</a>',
    ):
        assert says in told.text
    # What was ticked of one code is not said of another.
    assert (await admin.post("/agencies", data={**NEW, "code": "JCM", "known": "JLN"})).status_code == 409
    assert await place.site.text() == ""
    assert (await admin.post("/agencies", data={**NEW, "code": "JCM", "known": "JCM"})).status_code == 303
    assert "Jabatan Laut" in await place.site.text()


async def leave(admin: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await admin.post("/agencies/JCM/remove?lang=en", data=fields)


async def test_before_an_agency_is_taken_out_the_page_says_what_goes_and_what_stays(
    place: House, admin: httpx.AsyncClient
) -> None:
    await place.admitted("ali", "officer:JCM")
    await place.admitted("jcm", "viewer:MDC")
    await place.driller.start("JCM/all", "Ujian", timedelta(hours=1))
    async with SqlStore(place.database).transaction() as uow:
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


async def test_an_agency_goes_when_its_code_is_typed_and_the_journal_says_who_and_from_where(
    place: House, admin: httpx.AsyncClient
) -> None:
    seen = digest_of(await place.site.text())
    for typed in ("", "MDC"):
        page = await leave(admin, started_from=seen, code=typed)
        assert (page.status_code, "That is not its code. Enter JCM." in page.text) == (422, True)
    assert await place.site.text()
    gone = await leave(admin, started_from=seen, code="jcm ")
    assert (gone.status_code, gone.headers["location"]) == (303, "/agencies?gone=JCM")
    assert await place.site.text() == ""
    assert (await written_in_the_journal(place))[-1] == (
        "Siti Contoh (siti)",
        {"pen": "portal", "removed": "JCM", "address": "127.0.0.1"},
    )
    after = await admin.get("/agencies?gone=JCM&lang=en")
    assert listed(after) == ["MDC"]
    assert "JCM is removed and no longer monitored." in after.text
    assert (await leave(admin, started_from=seen, code="JCM")).status_code == 404


async def test_what_was_written_meanwhile_is_shown_and_nothing_is_taken_out_unseen(
    place: House, admin: httpx.AsyncClient
) -> None:
    seen = digest_of(await place.site.text())
    await place.site.write(JCM=agency("JCM").replace("Jabatan JCM", "Jabatan Baharu"))
    # Also before the code is looked at: the form that comes back is about what is shown with it.
    assert (await leave(admin, started_from=seen, code="MDC")).status_code == 409
    page = await leave(admin, started_from=seen, code="JCM")
    assert page.status_code == 409
    assert "Ravi changed the document" in page.text
    assert '<span class="old">- name: Jabatan JCM' in page.text
    assert '<span class="new">+ name: Jabatan Baharu' in page.text
    (now,) = re.findall(r'name="started_from" value="(\w+)"', page.text)
    assert (await leave(admin, started_from=now, code="JCM")).status_code == 303


async def test_where_agencies_are_files_the_pages_say_so_and_change_nothing(
    place: House, admin: httpx.AsyncClient
) -> None:
    settings = place.site.settings
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies"))
    await place.site.take_up()
    for path in ("/agencies", "/agencies/JCM/remove"):
        page = (await admin.get(path)).text
        assert "Di sini agensi disimpan dalam fail" in page
        assert "<button>Tambah agensi" not in page
        assert 'name="started_from"' not in page
    assert (await admin.post("/agencies", data=NEW)).status_code == 422
    assert (await leave(admin, started_from=digest_of(await place.site.text()), code="JCM")).status_code == 409
    assert set(await place.site.documents.latest()) == {"JCM", "MDC"}
    assert await place.site.text()
