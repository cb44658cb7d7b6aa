"""Agency settings in the portal: forms and whole text, conflicts, and restricted fields."""

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
from tests.integration.monitor_only import agency
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

SETTINGS, VERSIONS = "/agencies/JCM/settings", "/agencies/JCM/versions"
FULL_DOCUMENT = (
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
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "officer:JCM")


async def submit(browser: httpx.AsyncClient, form: str, started_from: str, **fields: str) -> httpx.Response:
    return await browser.post(SETTINGS, data={"form": form, "started_from": started_from, **fields})


async def submit_current(env: PortalEnv, browser: httpx.AsyncClient, form: str, **fields: str) -> httpx.Response:
    """Send a form of the present page."""
    return await submit(browser, form, digest_of(await env.site.text()), **fields)


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


def text_in(answer: httpx.Response) -> str:
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert found
    return html.unescape(found[1])


async def test_settings_page_shows_document_and_version(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await env.site.write(JCM=FULL_DOCUMENT)
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert page.status_code == 200
    assert "Version 2, written by Ravi at 24/11/2026 14:15 (files)" in visible_text(page)
    assert text_in(page) == FULL_DOCUMENT
    assert page.text.count(f'name="started_from" value="{digest_of(FULL_DOCUMENT)}"') > 9
    for value in ("010-000 0101", "010-000 0102", "03-0000 0102"):
        assert f'value="{value}"' in page.text
    assert "Monday to Friday, 07:00 until 19:00" in visible_text(page)
    assert "01/12/2026 22:00 until 02/12/2026 04:00: Naik taraf" in visible_text(page)


async def test_settings_page_without_mailbox_links_to_setup(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    setup_link, run_link = 'class="button" href="/agencies/JCM/mailboxes/new"', 'href="/agencies/JCM/test"'
    page = (await officer.get(SETTINGS)).text
    assert (setup_link in page, run_link in page) == (False, True)
    text = agency("JCM")
    await env.site.write(JCM=text[: text.index("mailboxes:")] + "mailboxes: {}\n")
    page = (await officer.get(SETTINGS)).text
    assert (setup_link in page, run_link in page) == (True, False)


async def test_settings_save_creates_portal_version_and_reloads(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    answer = await submit_current(env, officer, "interval", interval="10m")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SETTINGS}?saved=2")
    latest = await env.site.editor.latest("JCM")
    assert (latest.source, latest.by) == (EditSource.PORTAL, "Siti Contoh (siti)")
    assert latest.text == agency("JCM") + "probing:\n  interval: 10m\n"
    assert env.site.reloads == ["Siti Contoh (siti)"]
    page = await officer.get(answer.headers["location"] + "&lang=en")
    assert "Version 2 is saved and applied." in visible_text(page)


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
async def test_settings_form_changes_its_own_keys_only(
    env: PortalEnv, officer: httpx.AsyncClient, form: str, fields: dict[str, str], change: tuple[str, str]
) -> None:
    await env.site.write(JCM=FULL_DOCUMENT)
    answer = await submit_current(env, officer, form, **fields)
    assert answer.status_code in {200, 303}, visible_text(answer)
    assert await env.site.text() == FULL_DOCUMENT.replace(*change)


async def test_settings_routes_are_removed_added_and_reset(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert "None are configured: mail is probed inside the agency" in visible_text(page)
    assert (await submit_current(env, officer, "drop_route", number="0")).status_code == 303
    written = await env.site.text()
    assert "{direction: internal" not in written
    assert written.count("{direction: ") == 4
    # These routes are probed from now on.
    assert (await submit_current(env, officer, "drop_route", number="3")).status_code == 303
    assert (await submit_current(env, officer, "add_route", direction="internal", mailbox="", to="")).status_code == 303
    assert (await env.site.text()).count("{direction: ") == 4
    assert "- {direction: internal}" in await env.site.text()
    assert (await submit_current(env, officer, "usual_routes")).status_code == 303
    assert await env.site.text() == agency("JCM")


async def test_settings_error_is_shown_at_place_and_keeps_input(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    answer = await submit_current(env, officer, "interval", interval="sepuluh minit")
    assert answer.status_code == 422
    assert "probing.interval: bukan tempoh masa" in visible_text(answer)
    assert 'name="interval" value="sepuluh minit"' in answer.text

    typed = (await env.site.text()).replace("domains", "domain") + "# hujung\n"
    answer = await submit_current(env, officer, "text", text=typed.replace("\n", "\r\n"))
    assert answer.status_code == 422
    assert re.search(
        r"Baris 4: domain: bukan kunci yang dikenali domain: \[jcm\.gov\.my\]\s*Tulis: domains", visible_text(answer)
    )
    assert text_in(answer) == typed

    answer = await submit_current(env, officer, "add_hours", begins="pagi", ends="17:00")
    assert answer.status_code == 422
    assert "bukan masa dalam sehari; tulis 08:00, atau 17:30" in visible_text(answer)
    assert 'name="begins" value="pagi"' in answer.text
    assert env.site.reloads == []
    assert await env.site.text() == agency("JCM")


async def test_settings_concurrent_edit_is_shown_and_loses_nothing(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    started = digest_of(await env.site.text())
    theirs = agency("JCM").replace("Jabatan JCM", "Jabatan Mereka")
    await env.site.write(JCM=theirs)
    await officer.get(SETTINGS, params={"lang": "en"})
    answer = await submit(officer, "interval", started, interval="10m")
    assert answer.status_code == 409
    assert "Version 2 was written by Ravi" in visible_text(answer)
    assert "+ name: Jabatan Mereka" in visible_text(answer)
    assert "+ interval: 10m" in visible_text(answer)
    ours = text_in(answer)
    assert ours == agency("JCM") + "probing:\n  interval: 10m\n"
    assert await env.site.text() == theirs

    # After the conflict page a save is accepted, but a third version is shown again.
    (seen,) = set(re.findall(r'name="started_from" value="(\w+)"', answer.text))
    await env.site.write(JCM=theirs + "# lagi\n")
    again = await submit(officer, "text", seen, text=ours)
    assert again.status_code == 409
    assert "+ # lagi" in visible_text(again)
    (seen,) = set(re.findall(r'name="started_from" value="(\w+)"', again.text))
    assert (await submit(officer, "text", seen, text=ours)).status_code == 303
    assert await env.site.text() == ours


async def test_settings_conflicting_form_is_resent_unless_by_position(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    started, theirs = digest_of(await env.site.text()), agency("JCM").replace("Jabatan JCM", "Jabatan Mereka")
    await env.site.write(JCM=theirs)
    answer = await submit(officer, "interval", started, interval="10m")
    (form,) = re.findall(r'<form method="post" action="/agencies/JCM/settings">(.*?)</form>', answer.text, re.DOTALL)[
        :1
    ]
    fields = dict(re.findall(r'name="(\w+)" value="(\w+)"', form))
    sent = {"form": "interval", "interval": "10m", "started_from": digest_of(theirs)}
    assert fields == {**sent, "form_owner": "siti"}
    assert (await officer.post(SETTINGS, data=fields)).status_code == 303
    assert await env.site.text() == theirs + "probing:\n  interval: 10m\n"

    # A removal names a position, which may be another entry in the other version.
    await env.site.write(JCM=FULL_DOCUMENT)
    answer = await submit(officer, "drop_maintenance", digest_of(theirs), number="0")
    assert answer.status_code == 303
    await env.site.write(JCM=FULL_DOCUMENT + "# lagi\n")
    answer = await submit(officer, "drop_maintenance", digest_of(FULL_DOCUMENT), number="0")
    assert answer.status_code == 409
    assert "Buat perubahan saya" not in visible_text(answer)


async def test_settings_text_store_unavailable_is_kept_on_page(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    started, typed = digest_of(await env.site.text()), agency("JCM") + "# sejam kerja\n" * 8_000
    async with env.database.exclusive() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1"))
    officer.headers["Accept"] = "text/html"
    answer = await submit(officer, "text", started, text=typed)
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
async def test_settings_active_hours_are_described_if_form_can_write_them(
    env: PortalEnv, officer: httpx.AsyncClient, cron: str, lasts: str, says: str
) -> None:
    await env.site.write(JCM=agency("JCM") + f'probing:\n  active_hours: [{{cron: "{cron}", for: {lasts}}}]\n')
    assert says in visible_text(await officer.get(SETTINGS, params={"lang": "en"}))


async def test_settings_of_removed_agency_are_refused_and_text_kept(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    started, typed = digest_of(await env.site.text()), agency("JCM") + "# lama\n"
    await env.site.write(JCM=None)
    answer = await submit(officer, "text", started, text=typed)
    assert answer.status_code == 409
    assert text_in(answer) == typed
    assert "Simpan menggantikan" not in visible_text(answer)
    assert (await officer.get(SETTINGS)).status_code == 404
    assert await env.site.text() == ""


async def test_settings_unchanged_text_creates_no_version(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    answer = await submit_current(env, officer, "text", text=agency("JCM").replace("\n", "\r\n"))
    assert answer.headers["location"] == f"{SETTINGS}?saved=same"
    assert "Tiada apa yang berubah" in visible_text(await officer.get(answer.headers["location"]))
    assert (await env.site.editor.latest("JCM")).number == 1
    assert env.site.reloads == []


async def test_settings_saved_but_not_applied_shows_reason(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await officer.get(SETTINGS, params={"lang": "en"})
    env.site.problems = [Problem(file="JCM in the store", line=7, key="name", message="cannot be taken up now")]
    answer = await submit_current(env, officer, "interval", interval="10m")
    assert answer.status_code == 200
    assert "Version 2 is saved but NOT applied yet" in visible_text(answer)
    assert "Line 7: name: cannot be taken up now" in visible_text(answer)
    assert "interval: 10m" in await env.site.text()


async def test_settings_problems_of_other_agencies_are_counted_only(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    env.site.problems = [Problem(file="MDC in the store", line=7, message="holds a secret of MDC")]
    answer = await submit_current(env, officer, "interval", interval="10m")
    assert "Ada 1 ralat di luar dokumen ini" in visible_text(answer)
    assert "secret of MDC" not in answer.text


async def test_settings_global_reference_to_other_agency_is_no_error(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    await env.site.write(MDC=agency("MDC") + "contacts:\n  ravi: {name: Ravi Contoh, voice: +60355550101}\n")
    drills = 'drills: {when: {cron: "0 10 * * tue", for: 4h}, contacts: [ravi]}\n'
    env.site.settings.write_text(env.site.settings.read_text() + drills)
    answer = await submit_current(env, officer, "interval", interval="10m")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SETTINGS}?saved=2")
    await env.site.write(MDC=agency("MDC"))
    refused = await submit_current(env, officer, "interval", interval="15m")
    assert refused.status_code == 422
    assert "Ada 1 ralat di luar dokumen ini" in visible_text(refused)


async def test_settings_save_validates_others_from_cache(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    known = env.site.memory.agencies
    assert (await submit_current(env, officer, "interval", interval="10m")).status_code == 303
    before = env.site.memory.agencies
    assert before is not known
    assert (await submit_current(env, officer, "interval", interval="15m")).status_code == 303
    now = env.site.memory.agencies
    assert now["MDC in the store"] is before["MDC in the store"]
    assert now["JCM in the store"] is not before["JCM in the store"]


@pytest.mark.access
async def test_officer_cannot_edit_other_agency_or_change_code(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    assert (await officer.post("/agencies/MDC/settings", data={"form": "interval"})).status_code == 403
    for written in (
        agency("MDC"),
        agency("JCM").replace("agency: JCM", "agency: MDC"),
        agency("JCM", "x.gov.my") + "agency: MDC\n",
    ):
        answer = await submit_current(env, officer, "text", text=written)
        assert answer.status_code == 422
    first = await submit_current(env, officer, "text", text=agency("MDC"))
    assert "Baris 2: agency: kod lain ialah agensi lain" in visible_text(first)
    assert "Tulis: JCM" in visible_text(first)
    assert (await env.site.text("MDC"), await env.site.text()) == (agency("MDC"), agency("JCM"))
    # An administrator cannot add an agency this way either.
    admin = await env.session_for("pentadbir", "admin")
    assert (await submit_current(env, admin, "text", text=agency("X", "x.gov.my"))).status_code == 422
    assert set(await env.site.documents.latest()) == {"JCM", "MDC"}


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
async def test_officer_cannot_set_files_or_servers_but_administrator_can(
    env: PortalEnv, officer: httpx.AsyncClient, was: str, becomes: str, line: int
) -> None:
    changed = agency("JCM").replace(was, becomes)
    assert changed != agency("JCM")
    answer = await submit_current(env, officer, "text", text=changed)
    assert answer.status_code == 422
    assert f"Baris {line}: " in visible_text(answer)
    assert "hanya pentadbir mengubah tempat rahsia atau fail disimpan" in visible_text(answer)
    assert await env.site.text() == agency("JCM")
    everywhere = await env.session_for("ravi", "officer")
    assert "hanya pentadbir" in visible_text(await submit_current(env, everywhere, "text", text=changed))
    # An administrator's document has the usual checks only.
    admin = await env.session_for("pentadbir", "admin")
    assert "only an administrator" not in visible_text(await submit_current(env, admin, "text", text=changed))


@pytest.mark.access
async def test_officer_steps_are_limited_and_administrator_steps_stay(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    steps = "contacts: {siti: {name: Siti, sms: 010-000 0101}}\nescalation:\n  steps:\n"
    many = agency("JCM") + steps + "  - {contacts: [siti], channels: [sms]}\n" * 21
    answer = await submit_current(env, officer, "text", text=many)
    assert (answer.status_code, "escalation.steps: lebih daripada 20 perkara" in visible_text(answer)) == (422, True)
    admin = await env.session_for("pentadbir", "admin")
    await submit_current(env, admin, "text", text=many)
    assert await env.site.text() == many
    # An officer can edit a document with that many steps.
    await submit_current(env, officer, "text", text=many.replace("Siti,", "Siti Contoh,"))
    assert "Siti Contoh" in await env.site.text()


async def test_officer_document_size_is_limited_and_administrator_document_stays(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    long = agency("JCM") + "# x\n" * (33 * 1024)
    answer = await submit_current(env, officer, "text", text=long)
    assert (answer.status_code, "lebih daripada 128 KiB" in visible_text(answer)) == (422, True)
    admin = await env.session_for("pentadbir", "admin")
    await submit_current(env, admin, "text", text=long)
    assert await env.site.text() == long
    # An officer can correct a document that is too long, if it does not grow.
    await submit_current(env, officer, "text", text=long.replace("Jabatan", "Jawatan").removesuffix("# x\n"))
    assert "Jawatan" in await env.site.text()


async def test_editor_reads_one_draft_per_agency_at_a_time(env: PortalEnv) -> None:
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

    site = env.site

    async def nothing(_by: str) -> Sequence[Problem]:
        return ()

    writer = Counted(site.settings, {}, site.documents, env.clock)
    editor = AgencyEditor(writer, site.documents, lambda: site.configuration, nothing)
    drafts = [
        AgencyDraft(agency=code, text=agency(code) + f"# {number}\n", started_from=digest_of(agency(code)))
        for number in range(3)
        for code in ("JCM", "MDC")
    ]
    await asyncio.gather(*(editor.save(each, by="Siti", may_edit_restricted=False) for each in drafts))
    assert most == {"JCM": 1, "MDC": 1, "all": 2}


@pytest.mark.access
async def test_officer_cannot_register_domain(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    more = agency("JCM").replace("[jcm.gov.my]", "[jcm.gov.my, lain.gov.my]")
    answer = await submit_current(env, officer, "text", text=more)
    assert (answer.status_code, "hanya pentadbir mendaftarkan domain" in visible_text(answer)) == (422, True)
    await submit_current(env, await env.session_for("pentadbir", "admin"), "text", text=more)
    assert await env.site.text() == more


@pytest.mark.access
async def test_number_abroad_is_added_by_administrator_only_and_stays(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    satellite = agency("JCM") + 'contacts:\n  siti: {name: Siti, voice: "+881612345678"}\n'
    answer = await submit_current(env, officer, "text", text=satellite)
    assert (
        answer.status_code,
        "ialah nombor luar negara, yang hanya boleh ditambah oleh pentadbir" in visible_text(answer),
    ) == (422, True)
    added = await submit_current(env, officer, "add_contact", key="siti", name="Siti", voice="+881612345678")
    assert (added.status_code, await env.site.text()) == (422, agency("JCM"))
    admin = await env.session_for("pentadbir", "admin")
    assert "number abroad" not in visible_text(await submit_current(env, admin, "text", text=satellite))
    assert await env.site.text() == satellite
    assert "number abroad" not in visible_text(await submit_current(env, officer, "text", text=satellite + "# lagi\n"))


@pytest.mark.access
async def test_old_version_does_not_permit_its_restricted_values(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    old = agency("JCM").replace("secrets/mail", "secrets/../secrets/mail")
    await env.site.write(JCM=old)
    await env.site.write(JCM=agency("JCM"))
    answer = await submit(officer, "text", digest_of(old), text=old + "# lagi\n")
    assert answer.status_code == 422
    assert "hanya pentadbir" in visible_text(answer)


async def test_settings_agencies_in_files_are_read_only_and_name_file(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    site = env.site
    written = site.settings.read_text().replace("agencies: database", "agencies: agencies/")
    site.settings.write_text(written)
    site.configuration = load(site.settings, {}).require_configuration()
    page = await officer.get(SETTINGS, params={"lang": "en"})
    assert f"an operator edits {site.settings.parent}/agencies/jcm.yaml" in visible_text(page)
    assert "<textarea" not in page.text
    assert "name: Jabatan JCM" in visible_text(page)
    answer = await submit_current(env, officer, "interval", interval="10m")
    assert answer.status_code == 422
    assert await site.text() == agency("JCM")


async def test_settings_cross_site_post_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    officer.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await submit_current(env, officer, "interval", interval="10m")).status_code in {401, 403}
    assert await env.site.text() == agency("JCM")


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
async def test_settings_malformed_form_changes_nothing(
    env: PortalEnv, officer: httpx.AsyncClient, form: str, fields: dict[str, str]
) -> None:
    answer = await officer.post(SETTINGS, data={"form": form, "started_from": digest_of(agency("JCM")), **fields})
    assert answer.status_code in {404, 413, 422}
    assert await env.site.text() == agency("JCM")


async def test_settings_document_is_escaped(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await env.site.write(JCM=agency("JCM").replace("Jabatan JCM", "'</textarea><script>x</script>'"))
    for path in (SETTINGS, f"{VERSIONS}?from=1&to=2"):
        page = await officer.get(path)
        assert "<script>" not in page.text
        assert page.text.count("</textarea>") <= 1


async def test_versions_page_shows_author_time_source_and_difference(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    await submit_current(env, officer, "interval", interval="10m")
    page = await officer.get(VERSIONS, params={"lang": "en"})
    assert "<td>2</td>" in page.text
    assert "<td>Siti Contoh (siti)</td><td>portal</td>" in page.text
    assert "<td>Ravi</td><td>files</td>" in page.text
    page = await officer.get(VERSIONS, params={"from": "1", "to": "2"})
    assert "+ interval: 10m" in visible_text(page)
    for missing in ({"from": "1", "to": "99"}, {"from": "99"}, {"from": "satu", "to": "2"}):
        page = await officer.get(VERSIONS, params={**missing, "lang": "ms"}, headers={"Accept": "text/html"})
        assert (page.status_code, "tiada versi sedemikian bagi 'JCM'" in visible_text(page)) == (404, True)
    assert (await officer.get("/agencies/MDC/versions")).status_code == 403


async def test_versions_page_automatic_version_names_pantau(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    brought = WrittenDocument(agency="JCM", name="jcm.yaml", text=FULL_DOCUMENT)
    await env.site.documents.store_files([brought], by="start", now=env.clock.now())
    page = await officer.get(VERSIONS, params={"lang": "en"})
    assert "<td>Pantau itself, at the start</td><td>files</td>" in page.text
    page = await officer.get(SETTINGS, params={"lang": "ms"})
    assert "ditulis oleh Pantau sendiri, semasa ia bermula pada 24/11/2026 14:15 (fail)" in visible_text(page)


async def test_versions_page_is_paged(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for number in range(30):
        await env.site.write(JCM=agency("JCM") + f"# {number}\n")
    page = await officer.get(VERSIONS)
    assert page.text.count("<tr><td>") == 25
    (older,) = re.findall(r'href="\?below=(\d+)"', page.text)
    page = await officer.get(VERSIONS, params={"below": older})
    assert page.text.count("<tr><td>") == 6
    assert 'href="?below=' not in page.text


async def test_settings_link_is_shown_to_editors_only(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    assert f'href="{SETTINGS}"' in (await officer.get("/account")).text
    assert f'href="{SETTINGS}"' in (await officer.get("/agencies/JCM")).text
    viewer = await env.session_for("ravi", "viewer:JCM")
    assert SETTINGS not in (await viewer.get("/account")).text


@pytest.mark.parametrize("page", ["settings", "notifications", "mailboxes"])
async def test_settings_long_document_is_parsed_outside_event_loop(
    env: PortalEnv, officer: httpx.AsyncClient, page: str
) -> None:
    long = agency("JCM") + "x:\n" + "  - {a: 1, b: c}\n" * 1500
    await env.site.write(JCM=long)
    began = time.thread_time()
    assert document_from_text(long, "JCM").data
    reading, held = time.thread_time() - began, [0.0]

    async def turn() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - before)

    turning = asyncio.create_task(turn())
    # After hundreds of tests the collector takes longer than the page does.
    gc.disable()
    try:
        assert (await officer.get(f"/agencies/JCM/{page}")).status_code == 200
        # Include the last step.
        await asyncio.sleep(0)
    finally:
        gc.enable()
    turning.cancel()
    assert max(held) < reading / 2


async def test_account_page_with_many_agencies_lists_no_settings_links(tmp_path: Path) -> None:
    codes = [f"J{n:02}" for n in range(40)]
    async with open_portal(tmp_path) as env:
        env.administration._agencies = lambda: ["JCM", *codes]
        few = await env.session_for("siti", "officer:JCM", *(f"officer:{code}" for code in codes[:4]))
        assert (await few.get("/account")).text.count("/settings") == 5
        many = await env.session_for("ravi", *(f"officer:{code}" for code in ("JCM", *codes)))
        assert "/settings" not in (await many.get("/account")).text
        assert f'href="{SETTINGS}"' in (await many.get("/agencies/JCM")).text


async def test_settings_text_is_normalized_like_file(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    ours, url = f"{agency('JCM')}# catatan\n", "/api/v1/agencies/JCM/document"
    as_windows_has_it = "\ufeff" + ours.replace("\n", "\r\n")
    program = await env.program("officer:JCM")
    seen = {"If-Match": f'"{digest_of(await env.site.text())}"'}
    answer = await program.put(url, content=as_windows_has_it, headers=seen)
    assert (answer.status_code, await env.site.text()) == (200, ours)
    assert answer.headers["ETag"] == (await program.get(url)).headers["ETag"]
    await submit_current(env, officer, "text", text=as_windows_has_it.replace("catatan", "lagi"))
    assert await env.site.text() == ours.replace("catatan", "lagi")
