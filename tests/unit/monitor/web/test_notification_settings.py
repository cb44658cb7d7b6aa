"""Notification settings: forms for rotas with preview, escalation steps, letterhead and recipients."""

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
from tests.integration.monitor_only import agency
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

SETTINGS, NOTIFICATIONS = "/agencies/JCM/settings", "/agencies/JCM/notifications"
CONTACTS = """\
contacts:
  siti: {name: Siti, sms: 010-000 0101, verified: 2026-11-01}
  ali: {name: Ali, sms: 010-000 0102, verified: 2026-11-01}
"""
NOTIFICATION_KEYS = """\
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
DOCUMENT = agency("JCM") + CONTACTS + NOTIFICATION_KEYS
#: The document without the keys of letters and faxes.
WITHOUT_RECIPIENTS = DOCUMENT.partition("announcement:")[0]


def becomes(form: str, text: str = DOCUMENT, **fields: str) -> str:
    written = {name.replace("__", "."): value for name, value in fields.items()}
    return edited(form, written, text)


def edited(form: str, fields: dict[str, str], text: str = DOCUMENT) -> str:
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
def test_rota_form_changes_edited_keys_only(typed: dict[str, str], was: str, now: str) -> None:
    expected = DOCUMENT.replace(was, was + now[1:] if now.startswith("+") else now, 1) if was else DOCUMENT
    assert edited("rota", {**LAYERS, **typed}) == expected


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
def test_escalation_form_keeps_keys_not_shown(typed: dict[str, str], was: str, now: str) -> None:
    assert edited("escalation", {**STEPS, **typed}) == (DOCUMENT.replace(was, now, 1) if was else DOCUMENT)


def test_recipient_forms_change_add_and_remove() -> None:
    ksu = {"key": "ksu", "title": "KSU", "organisation": "Kementerian Contoh", "fax": "03-0000 0109"}
    both = edited(
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
    assert both == DOCUMENT.replace(
        "{title: KSU, organisation: Kementerian Contoh, channels: [fax], fax: 03-0000 0109}",
        line + "address: [Jalan Contoh, 50000 KUALA LUMPUR]}",
    )
    added = edited("add_recipient", {"key": "KP", "title": "Ketua", "organisation": "Majlis", "channels.sms": "1"})
    assert added == DOCUMENT + ("    kp:\n      title: Ketua\n      organisation: Majlis\n      channels: [sms]\n")
    assert "recipients: {}" in edited("drop_recipient", {"key": "ksu"})
    assert "  release: automatic" in edited("announcement", {"release": "automatic", "updates": "workdays"})
    assert edited("announcement", {"release": "manual", "updates": "workdays", "release_offered_after": ""}) == DOCUMENT


@pytest.mark.parametrize("form", ["rota", "recipient", "add_rota", "add_recipient"])
def test_form_unknown_or_missing_key_is_refused_at_field(form: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        edited(form, {"key": "" if form.startswith("add") else "tiada"})
    assert refused.value.field == "key"
    if form.startswith("add"):
        there = {"add_rota": "bertugas", "add_recipient": "ksu"}[form]
        with pytest.raises(InvalidFieldError, match="already"):
            edited(form, {"key": there})


def test_field_for_key_counts_removed_rows() -> None:
    fields = {"key": "bertugas", "layers[0].drop": "1"}
    assert field_for_key("rota", fields, "rotas.bertugas.layers[0].from") == "layers[1].from"
    assert field_for_key("rota", {"key": "bertugas"}, "rotas.bertugas.layers[0].from") == "layers[0].from"
    assert field_for_key("rota", fields, "rotas.lain.layers[0].from") is None
    assert field_for_key("recipient", {"key": "ksu"}, "announcement.recipients.ksu.fax") == "fax"
    assert field_for_key("escalation", {"steps[0].drop": "1"}, "escalation.steps[1].after") == "steps[2].after"
    assert field_for_key("interval", {}, "probing.interval") is None


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        await opened.site.write(JCM=WITHOUT_RECIPIENTS)
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    officer = await env.session_for("siti", "officer:JCM")
    await officer.get(NOTIFICATIONS, params={"lang": "en"})
    return officer


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def submit(browser: httpx.AsyncClient, form: str, fields: dict[str, str]) -> httpx.Response:
    return await browser.post(SETTINGS, data={"form": form, "started_from": digest_of(WITHOUT_RECIPIENTS), **fields})


async def test_rota_preview_shows_gaps_before_save(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    page = await officer.get(NOTIFICATIONS)
    assert page.status_code == 200
    assert re.search(r'<option value="ali" selected>Ali</option>', page.text)
    typed = {**LAYERS, "layers[0].from": "2026-12-01", "layers[0].people[1]": ""}
    look = await submit(officer, "rota", typed)
    assert look.status_code == 200, visible_text(look)
    assert (
        "NOBODY IS ON CALL at these times in the next four weeks: 24/11/2026 14:15 until 28/11/2026 08:00"
        in visible_text(look)
    )
    assert "01/12/2026 08:00" in visible_text(look)
    assert await env.site.text() == WITHOUT_RECIPIENTS

    fields = {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', look.text)}
    # One button returns to the form, the other saves.
    assert fields.pop("again") == "1"
    again = await officer.post(SETTINGS, data={**fields, "again": "1"})
    assert (again.status_code, again.text.count('value="2026-12-01"')) == (200, 1)
    assert "Nothing was saved" not in visible_text(again)
    assert await env.site.text() == WITHOUT_RECIPIENTS
    saved = await officer.post(SETTINGS, data=fields)
    # Fictional numbers cause a warning, which is no error.
    assert "Version 3 is saved and applied. Please check this, too" in visible_text(saved)
    assert await env.site.text() == WITHOUT_RECIPIENTS.replace(
        "2026-11-02, people: [siti, ali]", "2026-12-01, people: [siti]"
    )


async def test_rota_preview_without_gaps_says_so(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    fields = {"key": "Malam", "layers[0].every": "weekly", "layers[0].from": "2026-11-02", "layers[0].people[0]": "ali"}
    look = await submit(officer, "add_rota", fields)
    assert "Somebody is on call throughout the next four weeks." in visible_text(look)
    assert "+ malam:" in visible_text(look)
    assert await env.site.text() == WITHOUT_RECIPIENTS


async def test_notification_settings_error_is_shown_at_field_and_keeps_input(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    answer = await submit(officer, "rota", {**LAYERS, "layers[0].every": "selalu"})
    assert answer.status_code == 422
    assert re.search(r'name="layers\[0\]\.every" value="selalu"[^>]* aria-invalid="true"', answer.text)
    assert re.search(r'id="fault-layers\[0\]\.every"[^<]*selalu[^<]* is no shift of whole days', answer.text)
    answer = await submit(officer, "escalation", {**STEPS, "steps[1].after": "lama", "steps[1].channels[1]": "fax"})
    assert answer.status_code == 422
    assert 'id="fault-steps[1].after"' in answer.text
    answer = await submit(officer, "add_recipient", {"title": "K", "organisation": "O"})
    assert 'id="fault-key"' in answer.text
    assert await env.site.text() == WITHOUT_RECIPIENTS


async def test_field_error_is_translated_to_malay(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await officer.get(NOTIFICATIONS, params={"lang": "ms"})
    answer = await submit(officer, "rota", {**LAYERS, "layers[0].every": "selalu"})
    words = "&#39;selalu&#39; bukan giliran berhari penuh; daily, weekly, atau bilangan hari sehingga 92: 3d"
    assert f'<span class="fault" id="fault-layers[0].every">{words}</span>' in answer.text
    gone = await submit(officer, "rota", {**LAYERS, "key": "malam"})
    assert "tiada lagi jadual bertugas 'malam'; buka halaman ini semula" in visible_text(gone)


async def test_positional_form_after_concurrent_edit_is_not_resent(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await env.site.write(JCM=WITHOUT_RECIPIENTS + "# lagi\n")
    for form, fields in (("rota", {**LAYERS, "handover": "09:00"}), ("escalation", {**STEPS, "rounds": "2"})):
        answer = await submit(officer, form, fields)
        assert answer.status_code == 409
        assert "Apply my change to version" not in visible_text(answer)


async def test_recipient_for_fax_requires_letterhead_first(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    fax = {
        "key": "ksu",
        "language": "en-GB",
        "title": "KSU",
        "organisation": "Kementerian",
        "channels.fax": "1",
        "fax": "03-0000 0109",
    }
    assert "letterhead.address: is missing" in visible_text(await submit(officer, "add_recipient", fax))
    office = {
        "address": "Aras 1, Blok Contoh\r\n62000 PUTRAJAYA",
        "telephone": "03-0000 0100",
        "hours": "8.00 pagi - 5.00 petang, Isnin - Jumaat",
        "signatory.name": "SITI",
        "signatory.post": "Pengarah",
    }
    saved = await submit(officer, "letterhead", office)
    assert "Version 3 is saved and applied" in visible_text(saved)
    written = await env.site.text()
    assert "  address: ['Aras 1, Blok Contoh'" in written or '  address: ["Aras 1, Blok Contoh"' in written
    answer = await officer.post(SETTINGS, data={"form": "add_recipient", "started_from": digest_of(written), **fax})
    assert "Version 4 is saved" in visible_text(answer)
    assert "    ksu:" in await env.site.text()


async def test_notification_forms_redirect_to_their_page(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    unchanged = {"release": "manual", "updates": "workdays", "release_offered_after": ""}
    answer = await submit(officer, "announcement", unchanged)
    assert (answer.status_code, answer.headers.get("location")) == (303, f"{NOTIFICATIONS}?saved=same")
    refused = await submit(officer, "escalation", {**STEPS, "steps[1].after": "lama"})
    assert f'href="{NOTIFICATIONS}?lang=ms"' in refused.text


@pytest.mark.access
async def test_notification_settings_of_other_agency_are_forbidden(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    assert (await officer.get("/agencies/MDC/notifications")).status_code == 403
