"""Import of maintenance from a calendar file: supported events become windows, others are listed with the reason."""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from monitor.model.window import check_cron
from monitor.web.agency.calendar_file import InvalidCalendarError, read_calendar
from tests.integration.monitor_only import agency
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

HERE, NOW = ZoneInfo("Asia/Kuala_Lumpur"), datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
SETTINGS = "/agencies/JCM/settings"


def event(*lines: str, name: str = "Naik taraf") -> str:
    return "\r\n".join(("BEGIN:VEVENT", f"SUMMARY:{name}", *lines, "END:VEVENT", ""))


def calendar(*events: str) -> bytes:
    return ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + "".join(events) + "END:VCALENDAR\r\n").encode()


def time_zone(times: int) -> str:
    time_of_year = (
        "BEG\r\n IN:standard\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0800\r\nTZOFFSETTO:+0700\r\nEND:STANDARD\r\n"
    )
    return f"BEGIN:VTIMEZONE\r\nTZID:Aneh\r\n{time_of_year * times}END:VTIMEZONE\r\n"


def parsed(*lines: str) -> str:
    found = read_calendar(calendar(event(*lines)), HERE, NOW)
    if found.refused:
        return str(found.refused[0].reason)
    (window,) = found.windows
    if "cron" in window:
        check_cron(window["cron"])
        return f"{window['cron']} for {window['for']}"
    return f"{window['from']} until {window['until']}"


@pytest.mark.parametrize(
    ("lines", "becomes"),
    [
        (["DTSTART:20261205T140000Z", "DTEND:20261205T180000Z"], "2026-12-05 22:00 until 2026-12-06 02:00"),
        (["DTSTART:20261205T220000", "DURATION:PT4H"], "2026-12-05 22:00 until 2026-12-06 02:00"),
        (
            ["DTSTART;TZID=Singapore Standard Time:20261205T220000", "DTEND;TZID=Asia/Singapore:20261205T233030"],
            "2026-12-05 22:00 until 2026-12-05 23:30:30",
        ),
        (["DTSTART;VALUE=DATE:20261205", "DTEND;VALUE=DATE:20261207"], "2026-12-05 00:00 until 2026-12-07 00:00"),
        (["DTSTART;VALUE=DATE:20261205"], "2026-12-05 00:00 until 2026-12-06 00:00"),
        (["DTSTART:20261124T100000", "DTEND:20261124T141600"], "2026-11-24 10:00 until 2026-11-24 14:16"),
        (["DTSTART:20261124T100000", "DTEND:20261124T141500"], "over"),
        (["DTSTART:20261205T220000"], "no_span"),
        (["DTSTART:20261205T220000", "DTEND:20261205T210000"], "no_span"),
        (["DTSTART:semalam", "DTEND:20261205T210000"], "unreadable"),
        (["DTEND:20261205T210000"], "unreadable"),
        (["DTSTART:20261205T220000", "DURATION:PT4H", "STATUS:CANCELLED"], "cancelled"),
    ],
)
def test_calendar_single_event_becomes_local_window(lines: list[str], becomes: str) -> None:
    assert parsed(*lines) == becomes


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        ("FREQ=DAILY", "30 22 * * * for 4h"),
        ("FREQ=DAILY;INTERVAL=1", "30 22 * * * for 4h"),
        ("FREQ=WEEKLY", "30 22 * * sun for 4h"),
        ("FREQ=WEEKLY;WKST=MO;BYDAY=SU,WE", "30 22 * * sun,wed for 4h"),
        ("FREQ=MONTHLY", "30 22 1 * * for 4h"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,15", "30 22 1,15 * * for 4h"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "30 22 L * * for 4h"),
        ("FREQ=MONTHLY;BYDAY=1SU", "30 22 * * sun#1 for 4h"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "30 22 * * 5L for 4h"),
        ("FREQ=YEARLY", "30 22 1 11 * for 4h"),
        ("FREQ=MONTHLY;BYDAY=-2FR", "rule"),
        ("FREQ=MONTHLY;BYMONTHDAY=-2", "rule"),
        ("FREQ=MONTHLY;BYDAY=SU;BYMONTHDAY=1", "rule"),
        ("FREQ=WEEKLY;BYDAY=1SU", "rule"),
        ("FREQ=WEEKLY;INTERVAL=2", "rule"),
        ("FREQ=WEEKLY;COUNT=4", "rule"),
        ("FREQ=WEEKLY;UNTIL=20270101T000000Z", "rule"),
        ("FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=1", "rule"),
        ("FREQ=HOURLY", "rule"),
    ],
)
def test_calendar_recurring_event_becomes_cron_window_if_expressible(rule: str, becomes: str) -> None:
    assert parsed("DTSTART:20261101T223000", "DURATION:PT4H", f"RRULE:{rule}") == becomes


def test_calendar_series_later_other_zone_or_exceptions_is_refused() -> None:
    rule = ("DURATION:PT4H", "RRULE:FREQ=WEEKLY")
    assert parsed("DTSTART:20261129T223000", *rule) == "30 22 * * sun for 4h"
    assert parsed("DTSTART:20261206T223000", *rule) == "later"
    assert parsed("DTSTART;TZID=Asia/Singapore:20261101T223000", *rule) == "30 22 * * sun for 4h"
    assert parsed("DTSTART:20261101T223000Z", *rule) == "zone"
    assert parsed("DTSTART;TZID=Europe/London:20261101T223000", *rule) == "zone"
    assert parsed("DTSTART:20261101T223000", *rule, "EXDATE:20261206T223000") == "exceptions"
    moved = event("UID:1", "RECURRENCE-ID:20261206T223000", "DTSTART:20261207T223000", "DURATION:PT1H")
    found = read_calendar(calendar(event("UID:1", "DTSTART:20261101T223000", *rule), moved), HERE, NOW)
    assert [str(each.reason) for each in found.refused] == ["exceptions"]
    assert [each["from"] for each in found.windows] == ["2026-12-07 22:30"]


def test_calendar_duplicate_event_is_one_window_with_printable_name() -> None:
    twice = event("DTSTART:20261205T220000", "DURATION:PT4H", name="Tukar\\ncakera \x1b[2J" + "x" * 500)
    (window,) = read_calendar(calendar(twice, twice), HERE, NOW).windows
    assert window["reason"].startswith("Tukar cakera [2Jxx")
    assert len(window["reason"]) == 120
    nameless = event("DTSTART:20261205T220000", "DURATION:PT4H", name="")
    assert read_calendar(calendar(nameless), HERE, NOW).windows[0]["reason"] == "Penyelenggaraan"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no_file"),
        (b"%PDF-1.7", "no_calendar"),
        (b"\0\xff" * 1000, "no_calendar"),
        (calendar(), "no_events"),
        (calendar(*[event("DTSTART:20261205T220000")] * 81), "many_events"),
        # The library expands each rule for decades: a thousand would block the service for a minute.
        (calendar(time_zone(200), event("DTSTART:20261205T220000")), "no_calendar"),
    ],
)
def test_calendar_invalid_file_is_refused(octets: bytes, why: str) -> None:
    with pytest.raises(InvalidCalendarError) as refused:
        read_calendar(octets, HERE, NOW)
    assert refused.value.key == why


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


def fields_in(page: httpx.Response) -> dict[str, str]:
    """Return the fields of the calendar form that a browser sends."""
    form = page.text[page.text.index("</header>") :].partition("</form>")[0]
    fields = re.findall(r'<input type="(\w+)" name="([\w-]+)" value="([^"]*)"( checked)?', form)
    return {name: html.unescape(value) for kind, name, value, ticked in fields if kind == "hidden" or ticked}


async def upload(browser: httpx.AsyncClient, octets: bytes) -> httpx.Response:
    return await browser.post(f"{SETTINGS}/calendar", files={"file": ("kerja.ics", octets, "text/calendar")})


async def test_calendar_upload_is_previewed_then_saved(env: PortalEnv) -> None:
    officer = await env.session_for("siti", "officer:JCM")
    await officer.get(SETTINGS, params={"lang": "en"})
    once = event("DTSTART:20261205T220000", "DURATION:PT4H", name="Tukar <cakera>")
    often = event("DTSTART:20261101T223000", "DURATION:PT4H", "RRULE:FREQ=WEEKLY;BYDAY=SU", name="Setiap Ahad")
    odd = event("DTSTART:20261101T223000", "DURATION:PT4H", "RRULE:FREQ=HOURLY", name="Setiap jam")
    page = await upload(officer, calendar(once, often, odd))
    assert page.status_code == 200
    assert "05/12/2026 22:00 until 06/12/2026 02:00: Tukar <cakera>" in visible_text(page)
    assert "Setiap jam 01/11/2026 22:30: its recurrence rule is not supported" in visible_text(page)
    assert '+ - {from: 2026-12-05 22:00, until: 2026-12-06 02:00, reason: "Tukar <cakera>"}' in visible_text(page)
    assert await env.site.text() == agency("JCM")
    assert f'href="{SETTINGS}?lang=ms"' in page.text

    answer = await officer.post(SETTINGS, data=fields_in(page))
    assert answer.headers.get("location") == f"{SETTINGS}?saved=2", visible_text(answer)
    assert await env.site.text() == agency("JCM") + (
        "maintenance:\n"
        '  - {from: 2026-12-05 22:00, until: 2026-12-06 02:00, reason: "Tukar <cakera>"}\n'
        '  - {cron: "30 22 * * sun", for: 4h, reason: Setiap Ahad}\n'
    )
    again = await upload(officer, calendar(once, often))
    assert "This file has no new maintenance." in visible_text(again)
    assert "Already configured" in visible_text(again)


async def test_calendar_changed_selection_is_previewed_before_save(
    env: PortalEnv,
) -> None:
    officer = await env.session_for("siti", "officer:JCM")
    await officer.get(SETTINGS, params={"lang": "en"})
    events = [event(f"DTSTART:202612{day}T220000", "DURATION:PT4H", name=f"Kerja {day}") for day in ("05", "06")]
    page = await upload(officer, calendar(*events))
    fields = fields_in(page)
    del fields["window-0"]
    # Saved directly, and with the preview button.
    for button, is_told in (({}, True), ({"again": "1"}, False)):
        page = await officer.post(SETTINGS, data=fields | button)
        assert (page.status_code, "Not saved yet" in visible_text(page)) == (200, is_told)
        assert "+ - {from: 2026-12-05" not in visible_text(page)
        assert "+ - {from: 2026-12-06 22:00, until: 2026-12-07 02:00, reason: Kerja 06}" in visible_text(page)
        # A window that is not selected can be selected again.
        assert [name for name in fields_in(page) if name.startswith(("window", "offered"))] == [
            "offered-0",
            "offered-1",
            "window-1",
        ]
        assert "05/12/2026 22:00 until 06/12/2026 02:00: Kerja 05" in visible_text(page)
        assert await env.site.text() == agency("JCM")
    # A concurrent edit is shown as for any form.
    await env.site.write(JCM=agency("JCM") + "# Ravi\n")
    clash = await officer.post(SETTINGS, data=fields_in(page))
    assert clash.status_code == 409
    again = await officer.post(SETTINGS, data=fields_in(clash))
    assert "Not saved yet" in visible_text(again)
    saved = await officer.post(SETTINGS, data=fields_in(again))
    assert saved.status_code == 303
    assert await env.site.text() == agency("JCM") + (
        "maintenance:\n  - {from: 2026-12-06 22:00, until: 2026-12-07 02:00, reason: Kerja 06}\n# Ravi\n"
    )


def test_calendar_custom_time_zone_is_used() -> None:
    found = read_calendar(
        calendar(time_zone(2), event("DTSTART;TZID=Aneh:20261205T220000", "DURATION:PT4H")), HERE, NOW
    )
    assert [each["from"] for each in found.windows] == ["2026-12-05 23:00"]


async def test_calendar_upload_invalid_large_or_cross_site_changes_nothing(env: PortalEnv) -> None:
    officer = await env.session_for("siti", "officer:JCM")
    refused = await upload(officer, b"MZ\0\0")
    assert (refused.status_code, "Fail ini bukan fail kalendar" in visible_text(refused)) == (422, True)
    assert "Pilih satu fail kalendar dahulu" in visible_text(await upload(officer, b""))
    assert (await upload(officer, b"x" * (256 * 1024 + 1))).status_code == 413
    assert (await upload(officer, b"x" * (512 * 1024))).status_code == 413
    for body, kind in (
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"--\r\n" * 5000, "multipart/form-data; boundary="),
    ):
        answer = await officer.post(f"{SETTINGS}/calendar", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422
    for written in ("", "[", '{"from": 1}', "[1]", "[" * 9000):
        answer = await officer.post(SETTINGS, data={"form": "calendar", "started_from": "", "window-0": written})
        assert answer.status_code in {413, 422}
    officer.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await upload(officer, calendar())).status_code in {401, 403}
    assert await env.site.text() == agency("JCM")


async def test_calendar_upload_odd_multipart_headers_are_parsed_fast(env: PortalEnv) -> None:
    officer = await env.session_for("siti", "officer:JCM")
    once = calendar(event("DTSTART:20261205T220000", "DURATION:PT4H"))
    begun = time.process_time()
    for disposition, status in {
        'form-data; name="file"; filename="kerja; 1.ics"': 200,
        "form-data; filename=kerja.ics; name=file": 200,
        'attachment; name="file"; filename="kerja.ics"': 422,
        "form-data" + ";" * 200_000: 422,
        "form-data; name=" + "(" * 200_000: 422,
        "form-data" + "; a=b" * 40_000: 422,
    }.items():
        body = f"--x\r\ncontent-Disposition: {disposition}\r\n\r\n".encode() + once + b"\r\n--x--\r\n"
        kind = {"Content-Type": 'multipart/form-data; charset=utf-8; boundary="x"'}
        assert (await officer.post(f"{SETTINGS}/calendar", content=body, headers=kind)).status_code == status, (
            disposition[:50]
        )
    for boundary in ("(" * 50_000, "; a=b" * 10_000, "a" * 71, '"', ""):
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        assert (await officer.post(f"{SETTINGS}/calendar", content=b"--\r\n", headers=kind)).status_code == 422
    # The library's mail parser took minutes for semicolons and blocked all notifications.
    assert time.process_time() - begun < 5
