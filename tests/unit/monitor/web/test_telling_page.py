"""Officers say by forms who is told: rotas, looked at before they are saved, the steps of the escalation, and recipients."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from monitor.config.files.document import document_from_text
from monitor.config.files.edit import edit_text
from monitor.model.document import digest_of
from monitor.web.agency.form_parsing import InvalidFieldError
from monitor.web.agency.notification_edits import field_for_key
from monitor.web.agency.settings_edits import form_edits
from tests.integration.watching import agency
from tests.unit.monitor.web.signed import House, house

SETTINGS, TELLING = "/agencies/JCM/settings", "/agencies/JCM/notifications"
PEOPLE = """\
contacts:
  siti: {name: Siti, sms: 010-000 0101, verified: 2026-11-01}
  ali: {name: Ali, sms: 010-000 0102, verified: 2026-11-01}
"""
TOLD = """\
rotas:
  bertugas:
    # Weekly since the move.
    layers:
      - {every: weekly, from: 2026-11-02, people: [siti, ali]}
      - days: rest
        every: daily
        from: 2026-11-01
        people:
          - siti # she asked for it
escalation:
  steps:
    - {rotas: [bertugas], channels: [sms]}
    - {after: 5m, contacts: [ali], channels: [sms, voice], redial: {every: 2m, times: 5}}
announcement:
  recipients:
    ksu: {title: KSU, organisation: Kementerian Contoh, channels: [fax], fax: 03-0000 0109}
"""
WHOLE = agency("JCM") + PEOPLE + TOLD
#: What letters and faxes need is not there yet.
OURS = WHOLE.partition("announcement:")[0]


def becomes(form: str, text: str = WHOLE, **fields: str) -> str:
    written = {name.replace("__", "."): value for name, value in fields.items()}
    return changed(form, written, text)


def changed(form: str, fields: dict[str, str], text: str = WHOLE) -> str:
    return edit_text(text, form_edits(form, fields, document_from_text(text, "JCM").data, ()))


LAYERS = {
    "key": "bertugas",
    "handover": "08:00",
    "layers[0].days": "all",
    "layers[0].every": "weekly",
    "layers[0].from": "2026-11-02",
    "layers[0].people[0]": "siti",
    "layers[0].people[1]": "ali",
    "layers[0].people[2]": "",
    "layers[1].days": "rest",
    "layers[1].every": "daily",
    "layers[1].from": "2026-11-01",
    "layers[1].people[0]": "siti",
    "layers[2].days": "all",
    "layers[2].every": "weekly",
    "layers[2].from": "",
}


@pytest.mark.parametrize(
    ("typed", "was", "now"),
    [
        ({}, "", ""),
        ({"handover": "07:30"}, "        people:\n          - siti # she asked for it\n", "+    handover: 07:30\n"),
        ({"layers[0].people[0]": "ali", "layers[0].people[1]": "siti"}, "[siti, ali]", "[ali, siti]"),
        ({"layers[0].people[1]": ""}, "[siti, ali]", "[siti]"),
        ({"layers[0].people[0]": "", "layers[0].people[2]": "siti"}, "[siti, ali]", "[ali, siti]"),
        ({"layers[1].people[1]": "ali"}, "she asked for it\n", "+          - ali\n"),
        ({"layers[0].drop": "1"}, "- {every: weekly, from: 2026-11-02, people: [siti, ali]}\n      ", ""),
        ({"layers[0].every": "3d"}, "every: weekly", "every: 3d"),
        (
            {"layers[2].from": "2026-12-01", "layers[2].people[0]": "ali"},
            "she asked for it\n",
            "+      - {every: weekly, from: 2026-12-01, people: [ali]}\n",
        ),
    ],
)
def test_a_rota_is_changed_where_it_was_changed_and_nowhere_else(typed: dict[str, str], was: str, now: str) -> None:
    expected = WHOLE.replace(was, was + now[1:] if now.startswith("+") else now, 1) if was else WHOLE
    assert changed("rota", {**LAYERS, **typed}) == expected


STEPS = {
    "steps[0].after": "",
    "steps[0].rotas.bertugas": "1",
    "steps[0].channels[0]": "sms",
    "steps[1].after": "5m",
    "steps[1].contacts.ali": "1",
    "steps[1].channels[0]": "sms",
    "steps[1].channels[1]": "voice",
    "steps[2].after": "",
}


@pytest.mark.parametrize(
    ("typed", "was", "now"),
    [
        ({}, "", ""),
        ({"steps[1].after": "10m"}, "after: 5m", "after: 10m"),
        ({"steps[0].contacts.siti": "1"}, "channels: [sms]}", "channels: [sms], contacts: [siti]}"),
        ({"steps[1].channels[0]": "voice", "steps[1].channels[1]": "sms"}, "[sms, voice]", "[voice, sms]"),
        ({"steps[1].channels[1]": "sms"}, "[sms, voice]", "[sms]"),
        ({"steps[0].drop": "1"}, "    - {rotas: [bertugas], channels: [sms]}\n", ""),
        (
            {"steps[2].after": "15m", "steps[2].contacts.siti": "1", "steps[2].channels[0]": "voice"},
            "times: 5}}\n",
            "times: 5}}\n    - {after: 15m, contacts: [siti], channels: [voice]}\n",
        ),
        ({"rounds": "5", "fallback": "ali"}, "times: 5}}\n", "times: 5}}\n  rounds: 5\n  fallback: ali\n"),
    ],
)
def test_the_steps_keep_what_the_form_does_not_show(typed: dict[str, str], was: str, now: str) -> None:
    assert changed("escalation", {**STEPS, **typed}) == (WHOLE.replace(was, now, 1) if was else WHOLE)


def test_recipients_are_changed_added_and_taken_out() -> None:
    ksu = {"key": "ksu", "title": "KSU", "organisation": "Kementerian Contoh", "fax": "03-0000 0109"}
    both = changed(
        "recipient",
        {
            **ksu,
            "channels.fax": "1",
            "channels.letter": "1",
            "address": "Jalan Contoh\r\n\r\n50000 KUALA LUMPUR",
            "hours": "office",
            "language": "en-GB",
        },
    )
    line = "{title: KSU, organisation: Kementerian Contoh, channels: [fax, letter], fax: 03-0000 0109, hours: office, language: en-GB, "
    assert both == WHOLE.replace(
        "{title: KSU, organisation: Kementerian Contoh, channels: [fax], fax: 03-0000 0109}",
        line + "address: [Jalan Contoh, 50000 KUALA LUMPUR]}",
    )
    added = changed("add_recipient", {"key": "KP", "title": "Ketua", "organisation": "Majlis", "channels.sms": "1"})
    assert added == WHOLE + ("    kp:\n      title: Ketua\n      organisation: Majlis\n      channels: [sms]\n")
    assert "recipients: {}" in changed("drop_recipient", {"key": "ksu"})
    assert "  release: automatic" in changed("announcement", {"release": "automatic", "updates": "workdays"})
    assert changed("announcement", {"release": "manual", "updates": "workdays", "release_offered_after": ""}) == WHOLE


@pytest.mark.parametrize("form", ["rota", "recipient", "add_rota", "add_recipient"])
def test_a_form_about_what_is_not_there_or_has_no_name_is_refused_at_its_field(form: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        changed(form, {"key": "" if form.startswith("add") else "tiada"})
    assert refused.value.field == "key"
    if form.startswith("add"):
        there = {"add_rota": "bertugas", "add_recipient": "ksu"}[form]
        with pytest.raises(InvalidFieldError, match="already"):
            changed(form, {"key": there})


def test_an_error_is_shown_at_its_field_also_when_rows_before_it_were_taken_out() -> None:
    fields = {"key": "bertugas", "layers[0].drop": "1"}
    assert field_for_key("rota", fields, "rotas.bertugas.layers[0].from") == "layers[1].from"
    assert field_for_key("rota", {"key": "bertugas"}, "rotas.bertugas.layers[0].from") == "layers[0].from"
    assert field_for_key("rota", fields, "rotas.lain.layers[0].from") is None
    assert field_for_key("recipient", {"key": "ksu"}, "announcement.recipients.ksu.fax") == "fax"
    assert field_for_key("escalation", {"steps[0].drop": "1"}, "escalation.steps[1].after") == "steps[2].after"
    assert field_for_key("interval", {}, "probing.interval") is None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        await opened.site.write(JCM=OURS)
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    officer = await place.admitted("siti", "officer:JCM")
    await officer.get(TELLING, params={"lang": "en"})
    return officer


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def fill(browser: httpx.AsyncClient, form: str, fields: dict[str, str]) -> httpx.Response:
    return await browser.post(SETTINGS, data={"form": form, "started_from": digest_of(OURS), **fields})


async def test_a_rota_is_looked_at_with_its_gaps_before_it_is_saved(place: House, officer: httpx.AsyncClient) -> None:
    page = await officer.get(TELLING)
    assert page.status_code == 200
    assert re.search(r'<option value="ali" selected>Ali</option>', page.text)
    typed = {**LAYERS, "layers[0].from": "2026-12-01", "layers[0].people[1]": ""}
    look = await fill(officer, "rota", typed)
    assert look.status_code == 200, shown(look)
    assert "NOBODY IS ON CALL at these times in the next four weeks: 24/11/2026 14:15 until 28/11/2026 08:00" in shown(
        look
    )
    assert "01/12/2026 08:00" in shown(look)
    assert await place.site.text() == OURS

    fields = {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', look.text)}
    # One button goes on with what was typed, the other saves it.
    assert fields.pop("again") == "1"
    again = await officer.post(SETTINGS, data={**fields, "again": "1"})
    assert (again.status_code, again.text.count('value="2026-12-01"')) == (200, 1)
    assert "Nothing was saved" not in shown(again)
    assert await place.site.text() == OURS
    saved = await officer.post(SETTINGS, data=fields)
    # Their numbers are fictional ones, which is said, and no error.
    assert "Version 3 is saved and applied. Please check this, too" in shown(saved)
    assert await place.site.text() == OURS.replace("2026-11-02, people: [siti, ali]", "2026-12-01, people: [siti]")


async def test_a_new_rota_that_leaves_nobody_out_says_so(place: House, officer: httpx.AsyncClient) -> None:
    fields = {"key": "Malam", "layers[0].every": "weekly", "layers[0].from": "2026-11-02", "layers[0].people[0]": "ali"}
    look = await fill(officer, "add_rota", fields)
    assert "Somebody is on call throughout the next four weeks." in shown(look)
    assert "+ malam:" in shown(look)
    assert await place.site.text() == OURS


async def test_errors_are_told_at_their_fields_and_nothing_typed_is_lost(
    place: House, officer: httpx.AsyncClient
) -> None:
    answer = await fill(officer, "rota", {**LAYERS, "layers[0].every": "selalu"})
    assert answer.status_code == 422
    assert re.search(r'name="layers\[0\]\.every" value="selalu"[^>]* aria-invalid="true"', answer.text)
    assert re.search(r'id="fault-layers\[0\]\.every"[^<]*selalu[^<]* is no shift of whole days', answer.text)
    answer = await fill(officer, "escalation", {**STEPS, "steps[1].after": "lama", "steps[1].channels[1]": "fax"})
    assert answer.status_code == 422
    assert 'id="fault-steps[1].after"' in answer.text
    answer = await fill(officer, "add_recipient", {"title": "K", "organisation": "O"})
    assert 'id="fault-key"' in answer.text
    assert await place.site.text() == OURS


async def test_what_is_wrong_at_a_field_is_said_in_malay_too(place: House, officer: httpx.AsyncClient) -> None:
    await officer.get(TELLING, params={"lang": "ms"})
    answer = await fill(officer, "rota", {**LAYERS, "layers[0].every": "selalu"})
    words = "&#39;selalu&#39; bukan giliran berhari penuh; daily, weekly, atau bilangan hari sehingga 92: 3d"
    assert f'<span class="fault" id="fault-layers[0].every">{words}</span>' in answer.text
    gone = await fill(officer, "rota", {**LAYERS, "key": "malam"})
    assert "tiada lagi jadual bertugas 'malam'; buka halaman ini semula" in shown(gone)


async def test_what_another_has_written_meanwhile_is_shown_and_a_form_by_places_is_not_repeated(
    place: House, officer: httpx.AsyncClient
) -> None:
    await place.site.write(JCM=OURS + "# lagi\n")
    for form, fields in (("rota", {**LAYERS, "handover": "09:00"}), ("escalation", {**STEPS, "rounds": "2"})):
        answer = await fill(officer, form, fields)
        assert answer.status_code == 409
        assert "Apply my change to version" not in shown(answer)


async def test_an_office_is_written_and_then_whom_its_faxes_go_to(place: House, officer: httpx.AsyncClient) -> None:
    fax = {
        "key": "ksu",
        "language": "en-GB",
        "title": "KSU",
        "organisation": "Kementerian",
        "channels.fax": "1",
        "fax": "03-0000 0109",
    }
    assert "letterhead.address: is missing" in shown(await fill(officer, "add_recipient", fax))
    office = {
        "address": "Aras 1, Blok Contoh\r\n62000 PUTRAJAYA",
        "telephone": "03-0000 0100",
        "hours": "8.00 pagi - 5.00 petang, Isnin - Jumaat",
        "signatory.name": "SITI",
        "signatory.post": "Pengarah",
    }
    saved = await fill(officer, "letterhead", office)
    assert "Version 3 is saved and applied" in shown(saved)
    written = await place.site.text()
    assert "  address: ['Aras 1, Blok Contoh'" in written or '  address: ["Aras 1, Blok Contoh"' in written
    answer = await officer.post(SETTINGS, data={"form": "add_recipient", "started_from": digest_of(written), **fax})
    assert "Version 4 is saved" in shown(answer)
    assert "    ksu:" in await place.site.text()


async def test_forms_about_notifications_lead_back_to_their_page(place: House, officer: httpx.AsyncClient) -> None:
    unchanged = {"release": "manual", "updates": "workdays", "release_offered_after": ""}
    answer = await fill(officer, "announcement", unchanged)
    assert (answer.status_code, answer.headers.get("location")) == (303, f"{TELLING}?saved=same")
    refused = await fill(officer, "escalation", {**STEPS, "steps[1].after": "lama"})
    assert f'href="{TELLING}?lang=ms"' in refused.text


@pytest.mark.access
async def test_nobody_says_who_is_told_of_another_agency(place: House, officer: httpx.AsyncClient) -> None:
    assert (await officer.get("/agencies/MDC/notifications")).status_code == 403
