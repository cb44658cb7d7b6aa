"""Officers edit their agency in the portal: by forms, and in the whole text. Nothing is lost, and nothing is let slip."""

from __future__ import annotations

import asyncio
import gc
import html
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from monitor.config.files.document import document_from_text
from monitor.config.files.problem import Problem
from monitor.config.loading import load
from monitor.model.document import EditSource, WrittenDocument, digest_of
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from tests.integration.watching import agency
from tests.unit.monitor.web.signed import House, house

SETTINGS, VERSIONS = "/agencies/JCM/settings", "/agencies/JCM/versions"
MORE = (
    agency("JCM")
    + """\
contacts:
  # She knows the server.
  siti: {name: Siti, sms: 010-000 0101}
  ali:
    name: Ali
    addresses:
      - {mobile: 010-000 0102}
      - {landline: 03-0000 0102}
maintenance:
  - {from: 2026-12-01 22:00, until: 2026-12-02 04:00, reason: Naik taraf}
probing:
  active_hours:
    - {cron: "0 7 * * mon-fri", for: 12h}
"""
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "officer:JCM")


async def send(browser: httpx.AsyncClient, form: str, started_from: str, **fields: str) -> httpx.Response:
    return await browser.post(SETTINGS, data={"form": form, "started_from": started_from, **fields})


async def fill(place: House, browser: httpx.AsyncClient, form: str, **fields: str) -> httpx.Response:
    """Send a form of the page as it is now."""
    return await send(browser, form, digest_of(await place.site.text()), **fields)


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


def text_in(answer: httpx.Response) -> str:
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert found
    return html.unescape(found[1])


async def test_the_page_shows_the_document_with_the_version_that_it_is(
    place: House, officer: httpx.AsyncClient
) -> None:
    await place.site.write(JCM=MORE)
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert page.status_code == 200
    assert "Version 2, written by Ravi at 24/11/2026 14:15 (files)" in shown(page)
    assert text_in(page) == MORE
    assert page.text.count(f'name="started_from" value="{digest_of(MORE)}"') > 9
    for value in ("010-000 0101", "010-000 0102", "03-0000 0102"):
        assert f'value="{value}"' in page.text
    assert "Monday to Friday, 07:00 until 19:00" in shown(page)
    assert "01/12/2026 22:00 until 02/12/2026 04:00: Naik taraf" in shown(page)


async def test_an_agency_without_a_mailbox_is_led_to_one_and_has_nothing_to_test(
    place: House, officer: httpx.AsyncClient
) -> None:
    guided, trial = 'class="button" href="/agencies/JCM/mailboxes/new"', 'href="/agencies/JCM/test"'
    page = (await officer.get(SETTINGS)).text
    assert (guided in page, trial in page) == (False, True)
    text = agency("JCM")
    await place.site.write(JCM=text[: text.index("mailboxes:")] + "mailboxes: {}\n")
    page = (await officer.get(SETTINGS)).text
    assert (guided in page, trial in page) == (True, False)


async def test_what_is_saved_is_a_version_by_the_portal_in_ones_name_and_is_taken_up(
    place: House, officer: httpx.AsyncClient
) -> None:
    answer = await fill(place, officer, "interval", interval="10m")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SETTINGS}?saved=2")
    latest = await place.site.editor.latest("JCM")
    assert (latest.source, latest.by) == (EditSource.PORTAL, "Siti Contoh (siti)")
    assert latest.text == agency("JCM") + "probing:\n  interval: 10m\n"
    assert place.site.reloads == ["Siti Contoh (siti)"]
    page = await officer.get(answer.headers["location"] + "&lang=en")
    assert "Version 2 is saved and applied." in shown(page)


@pytest.mark.parametrize(
    ("form", "fields", "change"),
    [
        ("interval", {"interval": "10m"}, ("for: 12h}\n", "for: 12h}\n  interval: 10m\n")),
        ("interval", {"interval": "10 Minit"}, ("for: 12h}\n", "for: 12h}\n  interval: 10m\n")),
        ("interval", {"interval": "30minit"}, ("for: 12h}\n", "for: 12h}\n  interval: 30m\n")),
        (
            "add_hours",
            {"days": "sun-thu", "begins": "19:30", "ends": "07:00"},
            ("for: 12h}\n", 'for: 12h}\n    - {cron: "30 19 * * sun-thu", for: 11h30m}\n'),
        ),
        (
            "drop_hours",
            {"number": "0"},
            ('probing:\n  active_hours:\n    - {cron: "0 7 * * mon-fri", for: 12h}\n', "probing: {}\n"),
        ),
        (
            "add_maintenance",
            {"begins": "2026-12-05T22:00", "ends": "2026-12-06T02:00", "reason": "Tukar cakera"},
            (
                "reason: Naik taraf}\n",
                "reason: Naik taraf}\n  - {from: 2026-12-05 22:00, until: 2026-12-06 02:00, reason: Tukar cakera}\n",
            ),
        ),
        (
            "drop_maintenance",
            {"number": "0"},
            (
                "maintenance:\n  - {from: 2026-12-01 22:00, until: 2026-12-02 04:00, reason: Naik taraf}\n",
                "maintenance: []\n",
            ),
        ),
        (
            "contact",
            {"key": "siti", "name": "Siti binti Contoh", "sms": "010-000 0109", "voice": "03-0000 0109", "fax": ""},
            ("{name: Siti, sms: 010-000 0101}", "{name: Siti binti Contoh, sms: 010-000 0109, voice: 03-0000 0109}"),
        ),
        (
            "contact",
            {"key": "siti", "name": "Siti", "language": "en-GB", "verified": "2026-11-20"},
            (
                "{name: Siti, sms: 010-000 0101}",
                "{name: Siti, sms: 010-000 0101, language: en-GB, verified: 2026-11-20}",
            ),
        ),
        (
            "contact",
            {
                "key": "ali",
                "name": "Ali",
                "language": "ms-MY",
                "verified-0": "2026-11-20",
                "new_kind": "fax",
                "new_number": "03-0000 0109",
            },
            (
                "      - {mobile: 010-000 0102}\n      - {landline: 03-0000 0102}\n",
                """\
      - {mobile: 010-000 0102, verified: 2026-11-20}
      - {landline: 03-0000 0102}
      - {fax: 03-0000 0109}
""",
            ),
        ),
        (
            "contact",
            {"key": "ali", "name": "Ali", "mobile-0": "010-000 0102", "landline-1": "03-0000 0199"},
            ("03-0000 0102", "03-0000 0199"),
        ),
        (
            "add_contact",
            {"key": "Devi", "name": "Devi", "sms": "010-000 0103", "voice": ""},
            (
                "      - {landline: 03-0000 0102}\n",
                "      - {landline: 03-0000 0102}\n  devi:\n    name: Devi\n    sms: 010-000 0103\n",
            ),
        ),
        ("drop_contact", {"key": "siti"}, ("  siti: {name: Siti, sms: 010-000 0101}\n", "")),
    ],
)
async def test_each_form_changes_what_it_is_about_and_nothing_else(
    place: House, officer: httpx.AsyncClient, form: str, fields: dict[str, str], change: tuple[str, str]
) -> None:
    await place.site.write(JCM=MORE)
    answer = await fill(place, officer, form, **fields)
    assert answer.status_code in {200, 303}, shown(answer)
    assert await place.site.text() == MORE.replace(*change)


async def test_a_route_is_taken_out_of_the_usual_ones_added_and_all_are_put_back(
    place: House, officer: httpx.AsyncClient
) -> None:
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert "None are configured: mail is probed inside the agency" in shown(page)
    assert (await fill(place, officer, "drop_route", number="0")).status_code == 303
    written = await place.site.text()
    assert "{direction: internal" not in written
    assert written.count("{direction: ") == 4
    # By these it is probed from now on.
    assert (await fill(place, officer, "drop_route", number="3")).status_code == 303
    assert (await fill(place, officer, "add_route", direction="internal", mailbox="", to="")).status_code == 303
    assert (await place.site.text()).count("{direction: ") == 4
    assert "- {direction: internal}" in await place.site.text()
    assert (await fill(place, officer, "usual_routes")).status_code == 303
    assert await place.site.text() == agency("JCM")


async def test_an_error_is_told_where_it_is_with_what_to_write_and_what_was_typed_is_kept(
    place: House, officer: httpx.AsyncClient
) -> None:
    answer = await fill(place, officer, "interval", interval="sepuluh minit")
    assert answer.status_code == 422
    assert "probing.interval: bukan tempoh masa" in shown(answer)
    assert 'name="interval" value="sepuluh minit"' in answer.text

    typed = (await place.site.text()).replace("domains", "domain") + "# hujung\n"
    answer = await fill(place, officer, "text", text=typed.replace("\n", "\r\n"))
    assert answer.status_code == 422
    assert re.search(
        r"Baris 4: domain: bukan kunci yang dikenali domain: \[jcm\.gov\.my\]\s*Tulis: domains", shown(answer)
    )
    assert text_in(answer) == typed

    answer = await fill(place, officer, "add_hours", begins="pagi", ends="17:00")
    assert answer.status_code == 422
    assert "bukan masa dalam sehari; tulis 08:00, atau 17:30" in shown(answer)
    assert 'name="begins" value="pagi"' in answer.text
    assert place.site.reloads == []
    assert await place.site.text() == agency("JCM")


async def test_what_somebody_else_wrote_meanwhile_is_shown_and_nothing_is_lost(
    place: House, officer: httpx.AsyncClient
) -> None:
    started = digest_of(await place.site.text())
    theirs = agency("JCM").replace("Jabatan JCM", "Jabatan Mereka")
    await place.site.write(JCM=theirs)
    await officer.get(SETTINGS, params={"lang": "en"})
    answer = await send(officer, "interval", started, interval="10m")
    assert answer.status_code == 409
    assert "Version 2 was written by Ravi" in shown(answer)
    assert "+ name: Jabatan Mereka" in shown(answer)
    assert "+ interval: 10m" in shown(answer)
    ours = text_in(answer)
    assert ours == agency("JCM") + "probing:\n  interval: 10m\n"
    assert await place.site.text() == theirs

    # Whoever has seen it may write; a third version meanwhile is shown again.
    (seen,) = set(re.findall(r'name="started_from" value="(\w+)"', answer.text))
    await place.site.write(JCM=theirs + "# lagi\n")
    again = await send(officer, "text", seen, text=ours)
    assert again.status_code == 409
    assert "+ # lagi" in shown(again)
    (seen,) = set(re.findall(r'name="started_from" value="(\w+)"', again.text))
    assert (await send(officer, "text", seen, text=ours)).status_code == 303
    assert await place.site.text() == ours


async def test_a_form_that_came_too_late_is_sent_again_for_the_other_version_by_a_click(
    place: House, officer: httpx.AsyncClient
) -> None:
    started, theirs = digest_of(await place.site.text()), agency("JCM").replace("Jabatan JCM", "Jabatan Mereka")
    await place.site.write(JCM=theirs)
    answer = await send(officer, "interval", started, interval="10m")
    (form,) = re.findall(r'<form method="post" action="/agencies/JCM/settings">(.*?)</form>', answer.text, re.DOTALL)[
        :1
    ]
    fields = dict(re.findall(r'name="(\w+)" value="(\w+)"', form))
    sent = {"form": "interval", "interval": "10m", "started_from": digest_of(theirs)}
    assert fields == {**sent, "form_owner": "siti"}
    assert (await officer.post(SETTINGS, data=fields)).status_code == 303
    assert await place.site.text() == theirs + "probing:\n  interval: 10m\n"

    # What is taken out is named by its place, which in the other version is perhaps another's.
    await place.site.write(JCM=MORE)
    answer = await send(officer, "drop_maintenance", digest_of(theirs), number="0")
    assert answer.status_code == 303
    await place.site.write(JCM=MORE + "# lagi\n")
    answer = await send(officer, "drop_maintenance", digest_of(MORE), number="0")
    assert answer.status_code == 409
    assert "Buat perubahan saya" not in shown(answer)


async def test_a_text_that_the_store_cannot_take_now_is_kept_on_the_page(
    place: House, officer: httpx.AsyncClient
) -> None:
    started, typed = digest_of(await place.site.text()), agency("JCM") + "# sejam kerja\n" * 8_000
    async with place.database.exclusive() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1"))
    officer.headers["Accept"] = "text/html"
    answer = await send(officer, "text", started, text=typed)
    assert answer.status_code == 503
    assert text_in(answer) == typed
    assert f'name="started_from" value="{started}"' in answer.text


@pytest.mark.parametrize(
    ("cron", "lasts", "says"),
    [
        ("30 22 * * *", "8h", "Every day, 22:30 until 06:30"),
        ("0 7 * * sun-thu", "90m", "Sunday to Thursday, 07:00 until 08:30"),
        ("0 7 * * sat", "12h", "0 7 * * sat (cron), for 12h"),
        ("0 7 1 * *", "12h", "0 7 1 * * (cron), for 12h"),
        ("0 7 * * *", "24h", "0 7 * * * (cron), for 24h"),
        ("0 7 * * *", "lama", "0 7 * * * (cron), for lama"),
    ],
)
async def test_hours_are_told_in_words_where_a_form_could_have_written_them(
    place: House, officer: httpx.AsyncClient, cron: str, lasts: str, says: str
) -> None:
    await place.site.write(JCM=agency("JCM") + f'probing:\n  active_hours: [{{cron: "{cron}", for: {lasts}}}]\n')
    assert says in shown(await officer.get(SETTINGS, params={"lang": "en"}))


async def test_an_agency_that_was_taken_out_meanwhile_is_not_brought_back_and_the_text_is_kept(
    place: House, officer: httpx.AsyncClient
) -> None:
    started, typed = digest_of(await place.site.text()), agency("JCM") + "# lama\n"
    await place.site.write(JCM=None)
    answer = await send(officer, "text", started, text=typed)
    assert answer.status_code == 409
    assert text_in(answer) == typed
    assert "Simpan menggantikan" not in shown(answer)
    assert (await officer.get(SETTINGS)).status_code == 404
    assert await place.site.text() == ""


async def test_what_is_already_so_is_no_version(place: House, officer: httpx.AsyncClient) -> None:
    answer = await fill(place, officer, "text", text=agency("JCM").replace("\n", "\r\n"))
    assert answer.headers["location"] == f"{SETTINGS}?saved=same"
    assert "Tiada apa yang berubah" in shown(await officer.get(answer.headers["location"]))
    assert (await place.site.editor.latest("JCM")).number == 1
    assert place.site.reloads == []


async def test_what_is_written_and_not_taken_up_is_said_with_the_reason(
    place: House, officer: httpx.AsyncClient
) -> None:
    await officer.get(SETTINGS, params={"lang": "en"})
    place.site.problems = [Problem(file="JCM in the store", line=7, key="name", message="cannot be taken up now")]
    answer = await fill(place, officer, "interval", interval="10m")
    assert answer.status_code == 200
    assert "Version 2 is saved but NOT applied yet" in shown(answer)
    assert "Line 7: name: cannot be taken up now" in shown(answer)
    assert "interval: 10m" in await place.site.text()


async def test_errors_of_others_are_counted_and_not_shown(place: House, officer: httpx.AsyncClient) -> None:
    place.site.problems = [Problem(file="MDC in the store", line=7, message="holds a secret of MDC")]
    answer = await fill(place, officer, "interval", interval="10m")
    assert "Ada 1 ralat di luar dokumen ini" in shown(answer)
    assert "secret of MDC" not in answer.text


async def test_what_the_settings_name_of_another_agency_is_no_error_of_ones_own(
    place: House, officer: httpx.AsyncClient
) -> None:
    await place.site.write(MDC=agency("MDC") + "contacts:\n  ravi: {name: Ravi Contoh, voice: +60355550101}\n")
    drills = 'drills: {when: {cron: "0 10 * * tue", for: 4h}, contacts: [ravi]}\n'
    place.site.settings.write_text(place.site.settings.read_text() + drills)
    answer = await fill(place, officer, "interval", interval="10m")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SETTINGS}?saved=2")
    await place.site.write(MDC=agency("MDC"))
    refused = await fill(place, officer, "interval", interval="15m")
    assert refused.status_code == 422
    assert "Ada 1 ralat di luar dokumen ini" in shown(refused)


async def test_what_is_saved_is_checked_beside_all_others_and_none_of_them_is_read_again(
    place: House, officer: httpx.AsyncClient
) -> None:
    known = place.site.memory.files
    assert (await fill(place, officer, "interval", interval="10m")).status_code == 303
    before = place.site.memory.files
    assert before is not known
    assert (await fill(place, officer, "interval", interval="15m")).status_code == 303
    now = place.site.memory.files
    assert now["MDC in the store"] is before["MDC in the store"]
    assert now["JCM in the store"] is not before["JCM in the store"]


@pytest.mark.access
async def test_an_officer_changes_nothing_of_another_agency_not_even_by_writing_its_code(
    place: House, officer: httpx.AsyncClient
) -> None:
    assert (await officer.post("/agencies/MDC/settings", data={"form": "interval"})).status_code == 403
    for written in (
        agency("MDC"),
        agency("JCM").replace("agency: JCM", "agency: MDC"),
        agency("JCM", "x.gov.my") + "agency: MDC\n",
    ):
        answer = await fill(place, officer, "text", text=written)
        assert answer.status_code == 422
    first = await fill(place, officer, "text", text=agency("MDC"))
    assert "Baris 2: agency: kod lain ialah agensi lain" in shown(first)
    assert "Tulis: JCM" in shown(first)
    assert (await place.site.text("MDC"), await place.site.text()) == (agency("MDC"), agency("JCM"))
    # An administrator does not make an agency by it, either.
    admin = await place.admitted("pentadbir", "admin")
    assert (await fill(place, admin, "text", text=agency("X", "x.gov.my"))).status_code == 422
    assert set(await place.site.documents.latest()) == {"JCM", "MDC"}


@pytest.mark.access
@pytest.mark.parametrize(
    ("was", "becomes", "line"),
    [
        ("password_file: secrets/mail", "password_file: ../other/secret", 10),
        ("password_file: secrets/mail", "password_env: PATH", 10),
        ("{host: 127.0.0.1, port: 3}\n    imap", "{host: penyerang.contoh.gov.my}\n    imap", 8),
        ("mailboxes:\n", "letterhead: {crest: pantau.yaml}\nmailboxes:\n", 5),
        (", password_file: secrets/mail", "", 10),
    ],
)
async def test_an_officer_points_at_no_file_and_no_server_and_an_administrator_may(
    place: House, officer: httpx.AsyncClient, was: str, becomes: str, line: int
) -> None:
    changed = agency("JCM").replace(was, becomes)
    assert changed != agency("JCM")
    answer = await fill(place, officer, "text", text=changed)
    assert answer.status_code == 422
    assert f"Baris {line}: " in shown(answer)
    assert "hanya pentadbir mengubah tempat rahsia atau fail disimpan" in shown(answer)
    assert await place.site.text() == agency("JCM")
    everywhere = await place.admitted("ravi", "officer")
    assert "hanya pentadbir" in shown(await fill(place, everywhere, "text", text=changed))
    # What an administrator writes is checked as ever, and by that alone.
    admin = await place.admitted("pentadbir", "admin")
    assert "only an administrator" not in shown(await fill(place, admin, "text", text=changed))


@pytest.mark.access
async def test_an_officers_steps_have_an_end_and_an_administrators_stay(
    place: House, officer: httpx.AsyncClient
) -> None:
    steps = "contacts: {siti: {name: Siti, sms: 010-000 0101}}\nescalation:\n  steps:\n"
    many = agency("JCM") + steps + "  - {contacts: [siti], channels: [sms]}\n" * 21
    answer = await fill(place, officer, "text", text=many)
    assert (answer.status_code, "escalation.steps: lebih daripada 20 perkara" in shown(answer)) == (422, True)
    admin = await place.admitted("pentadbir", "admin")
    await fill(place, admin, "text", text=many)
    assert await place.site.text() == many
    # The officer goes on with what is there.
    await fill(place, officer, "text", text=many.replace("Siti,", "Siti Contoh,"))
    assert "Siti Contoh" in await place.site.text()


async def test_an_officers_document_is_of_a_size_that_is_read_in_a_moment(
    place: House, officer: httpx.AsyncClient
) -> None:
    long = agency("JCM") + "# x\n" * (33 * 1024)
    answer = await fill(place, officer, "text", text=long)
    assert (answer.status_code, "lebih daripada 128 KiB" in shown(answer)) == (422, True)
    admin = await place.admitted("pentadbir", "admin")
    await fill(place, admin, "text", text=long)
    assert await place.site.text() == long
    # What is there may be mended.
    await fill(place, officer, "text", text=long.replace("Jabatan", "Jawatan").removesuffix("# x\n"))
    assert "Jawatan" in await place.site.text()


async def test_drafts_of_one_agency_are_read_one_after_the_other_and_anothers_meanwhile(place: House) -> None:
    reading = Counter[str]()
    most = Counter[str]()

    class Counted(DocumentWriter):
        async def write(self, submission: SubmittedDocuments, **how: Any) -> DocumentsResult:
            (code,) = submission.edit.started_from
            reading.update((code, "all"))
            for each in (code, "all"):
                most[each] = max(most[each], reading[each])
            try:
                return await super().write(submission, **how)
            finally:
                reading.subtract((code, "all"))

    site = place.site

    async def nothing(_by: str) -> Sequence[Problem]:
        return ()

    writer = Counted(site.settings, {}, site.documents, place.clock)
    editor = AgencyEditor(writer, site.documents, lambda: site.configuration, nothing)
    drafts = [
        AgencyDraft(agency=code, text=agency(code) + f"# {number}\n", started_from=digest_of(agency(code)))
        for number in range(3)
        for code in ("JCM", "MDC")
    ]
    await asyncio.gather(*(editor.save(each, by="Siti", may_place=False) for each in drafts))
    assert most == {"JCM": 1, "MDC": 1, "all": 2}


@pytest.mark.access
async def test_an_officer_makes_no_domain_the_agencys_own(place: House, officer: httpx.AsyncClient) -> None:
    more = agency("JCM").replace("[jcm.gov.my]", "[jcm.gov.my, lain.gov.my]")
    answer = await fill(place, officer, "text", text=more)
    assert (answer.status_code, "hanya pentadbir mendaftarkan domain" in shown(answer)) == (422, True)
    await fill(place, await place.admitted("pentadbir", "admin"), "text", text=more)
    assert await place.site.text() == more


@pytest.mark.access
async def test_a_number_abroad_is_added_by_an_administrator_only_and_stays(
    place: House, officer: httpx.AsyncClient
) -> None:
    satellite = agency("JCM") + 'contacts:\n  siti: {name: Siti, voice: "+881612345678"}\n'
    answer = await fill(place, officer, "text", text=satellite)
    assert (
        answer.status_code,
        "ialah nombor luar negara, yang hanya boleh ditambah oleh pentadbir" in shown(answer),
    ) == (422, True)
    added = await fill(place, officer, "add_contact", key="siti", name="Siti", voice="+881612345678")
    assert (added.status_code, await place.site.text()) == (422, agency("JCM"))
    admin = await place.admitted("pentadbir", "admin")
    assert "number abroad" not in shown(await fill(place, admin, "text", text=satellite))
    assert await place.site.text() == satellite
    assert "number abroad" not in shown(await fill(place, officer, "text", text=satellite + "# lagi\n"))


@pytest.mark.access
async def test_an_old_version_is_no_leave_to_point_where_it_pointed(place: House, officer: httpx.AsyncClient) -> None:
    old = agency("JCM").replace("secrets/mail", "secrets/../secrets/mail")
    await place.site.write(JCM=old)
    await place.site.write(JCM=agency("JCM"))
    answer = await send(officer, "text", digest_of(old), text=old + "# lagi\n")
    assert answer.status_code == 422
    assert "hanya pentadbir" in shown(answer)


async def test_where_files_count_the_document_is_shown_and_the_file_is_named(
    place: House, officer: httpx.AsyncClient
) -> None:
    site = place.site
    written = site.settings.read_text().replace("agencies: database", "agencies: agencies/")
    site.settings.write_text(written)
    site.configuration = load(site.settings, {}).accepted()
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert f"an operator edits {site.settings.parent}/agencies/jcm.yaml" in shown(page)
    assert "<textarea" not in page.text
    assert "name: Jabatan JCM" in shown(page)
    answer = await fill(place, officer, "interval", interval="10m")
    assert answer.status_code == 422
    assert await site.text() == agency("JCM")


async def test_what_another_site_sends_is_not_taken(place: House, officer: httpx.AsyncClient) -> None:
    officer.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await fill(place, officer, "interval", interval="10m")).status_code in {401, 403}
    assert await place.site.text() == agency("JCM")


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("nothing", {}),
        ("interval", {"started_from": "x", "interval": "5m"}),
        ("drop_hours", {"number": "-1"}),
        ("drop_route", {}),
        ("contact", {"key": "nobody"}),
        ("add_contact", {}),
        ("text", {"text": "\0"}),
        ("text", {"text": "a: " * 200_000}),
        ("text", {"text": "{" * 5_000}),
    ],
)
async def test_what_no_page_of_ours_sends_changes_nothing_and_breaks_nothing(
    place: House, officer: httpx.AsyncClient, form: str, fields: dict[str, str]
) -> None:
    answer = await officer.post(SETTINGS, data={"form": form, "started_from": digest_of(agency("JCM")), **fields})
    assert answer.status_code in {404, 413, 422}
    assert await place.site.text() == agency("JCM")


async def test_what_is_in_a_document_is_text_and_no_markup(place: House, officer: httpx.AsyncClient) -> None:
    await place.site.write(JCM=agency("JCM").replace("Jabatan JCM", "'</textarea><script>x</script>'"))
    for path in (SETTINGS, f"{VERSIONS}?from=1&to=2"):
        page = await officer.get(path)
        assert "<script>" not in page.text
        assert page.text.count("</textarea>") <= 1


async def test_versions_tell_who_wrote_what_when_and_with_which_pen(place: House, officer: httpx.AsyncClient) -> None:
    await fill(place, officer, "interval", interval="10m")
    page = await officer.get(VERSIONS, params={"lang": "en"})
    assert "<td>2</td>" in page.text
    assert "<td>Siti Contoh (siti)</td><td>portal</td>" in page.text
    assert "<td>Ravi</td><td>files</td>" in page.text
    page = await officer.get(VERSIONS, params={"from": "1", "to": "2"})
    assert "+ interval: 10m" in shown(page)
    for missing in ({"from": "1", "to": "99"}, {"from": "99"}, {"from": "satu", "to": "2"}):
        page = await officer.get(VERSIONS, params={**missing, "lang": "ms"}, headers={"Accept": "text/html"})
        assert (page.status_code, "tiada versi sedemikian bagi 'JCM'" in shown(page)) == (404, True)
    assert (await officer.get("/agencies/MDC/versions")).status_code == 403


async def test_a_version_that_nobody_wrote_by_hand_says_what_pantau_did(
    place: House, officer: httpx.AsyncClient
) -> None:
    brought = WrittenDocument(agency="JCM", name="jcm.yaml", text=MORE)
    await place.site.documents.follow([brought], by="start", now=place.clock.now())
    page = await officer.get(VERSIONS, params={"lang": "en"})
    assert "<td>Pantau itself, at the start</td><td>files</td>" in page.text
    page = await officer.get(SETTINGS, params={"lang": "ms"})
    assert "ditulis oleh Pantau sendiri, semasa ia bermula pada 24/11/2026 14:15 (fail)" in shown(page)


async def test_many_versions_are_listed_a_page_at_a_time(place: House, officer: httpx.AsyncClient) -> None:
    for number in range(30):
        await place.site.write(JCM=agency("JCM") + f"# {number}\n")
    page = await officer.get(VERSIONS)
    assert page.text.count("<tr><td>") == 25
    (older,) = re.findall(r'href="\?below=(\d+)"', page.text)
    page = await officer.get(VERSIONS, params={"below": older})
    assert page.text.count("<tr><td>") == 6
    assert 'href="?below=' not in page.text


async def test_who_may_edit_an_agency_finds_its_settings_on_every_page(
    place: House, officer: httpx.AsyncClient
) -> None:
    assert f'href="{SETTINGS}"' in (await officer.get("/account")).text
    assert f'href="{SETTINGS}"' in (await officer.get("/agencies/JCM")).text
    viewer = await place.admitted("ravi", "viewer:JCM")
    assert SETTINGS not in (await viewer.get("/account")).text


@pytest.mark.parametrize("page", ["settings", "notifications", "mailboxes"])
async def test_a_long_document_is_not_read_where_the_probes_wait(
    place: House, officer: httpx.AsyncClient, page: str
) -> None:
    long = agency("JCM") + "x:\n" + "  - {a: 1, b: c}\n" * 1500
    await place.site.write(JCM=long)
    began = time.thread_time()
    assert document_from_text(long, "JCM").data
    reading, held = time.thread_time() - began, [0.0]

    async def turn() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - before)

    turning = asyncio.create_task(turn())
    # After hundreds of tests the collector takes longer for all that lives than the page does.
    gc.disable()
    try:
        assert (await officer.get(f"/agencies/JCM/{page}")).status_code == 200
        # The last step counts, too.
        await asyncio.sleep(0)
    finally:
        gc.enable()
    turning.cancel()
    assert max(held) < reading / 2


async def test_who_looks_after_many_agencies_has_no_hundreds_of_links_on_each_page(tmp_path: Path) -> None:
    codes = [f"J{n:02}" for n in range(40)]
    async with house(tmp_path) as place:
        place.administration._agencies = lambda: ["JCM", *codes]
        few = await place.admitted("siti", "officer:JCM", *(f"officer:{code}" for code in codes[:4]))
        assert (await few.get("/account")).text.count("/settings") == 5
        many = await place.admitted("ravi", *(f"officer:{code}" for code in ("JCM", *codes)))
        assert "/settings" not in (await many.get("/account")).text
        assert f'href="{SETTINGS}"' in (await many.get("/agencies/JCM")).text


async def test_a_text_is_kept_as_a_file_of_it_is_read_so_that_an_export_brings_nothing_new(
    place: House, officer: httpx.AsyncClient
) -> None:
    ours, url = f"{agency('JCM')}# catatan\n", "/api/v1/agencies/JCM/document"
    as_windows_has_it = "\ufeff" + ours.replace("\n", "\r\n")
    program = await place.program("officer:JCM")
    seen = {"If-Match": f'"{digest_of(await place.site.text())}"'}
    answer = await program.put(url, content=as_windows_has_it, headers=seen)
    assert (answer.status_code, await place.site.text()) == (200, ours)
    assert answer.headers["ETag"] == (await program.get(url)).headers["ETag"]
    await fill(place, officer, "text", text=as_windows_has_it.replace("catatan", "lagi"))
    assert await place.site.text() == ours.replace("catatan", "lagi")
