"""A calendar's file becomes maintenance: what the settings have words for is taken, and all else is named with the reason."""

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
from tests.integration.watching import agency
from tests.unit.monitor.web.signed import House, house

HERE, NOW = ZoneInfo("Asia/Kuala_Lumpur"), datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
SETTINGS = "/agencies/JCM/settings"


def event(*lines: str, name: str = "Naik taraf") -> str:
    return "\r\n".join(("BEGIN:VEVENT", f"SUMMARY:{name}", *lines, "END:VEVENT", ""))


def calendar(*events: str) -> bytes:
    return ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + "".join(events) + "END:VCALENDAR\r\n").encode()


def zone_of(times: int) -> str:
    time_of_year = (
        "BEG\r\n IN:standard\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0800\r\nTZOFFSETTO:+0700\r\nEND:STANDARD\r\n"
    )
    return f"BEGIN:VTIMEZONE\r\nTZID:Aneh\r\n{time_of_year * times}END:VTIMEZONE\r\n"


def taken(*lines: str) -> str:
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
def test_an_event_that_comes_once_is_a_window_by_the_clock_on_the_wall(lines: list[str], becomes: str) -> None:
    assert taken(*lines) == becomes


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
def test_an_event_that_comes_again_is_a_window_if_cron_has_words_for_its_rule(rule: str, becomes: str) -> None:
    assert taken("DTSTART:20261101T223000", "DURATION:PT4H", f"RRULE:{rule}") == becomes


def test_a_series_from_a_later_date_by_another_clock_or_with_exceptions_is_refused() -> None:
    rule = ("DURATION:PT4H", "RRULE:FREQ=WEEKLY")
    assert taken("DTSTART:20261129T223000", *rule) == "30 22 * * sun for 4h"
    assert taken("DTSTART:20261206T223000", *rule) == "later"
    assert taken("DTSTART;TZID=Asia/Singapore:20261101T223000", *rule) == "30 22 * * sun for 4h"
    assert taken("DTSTART:20261101T223000Z", *rule) == "zone"
    assert taken("DTSTART;TZID=Europe/London:20261101T223000", *rule) == "zone"
    assert taken("DTSTART:20261101T223000", *rule, "EXDATE:20261206T223000") == "exceptions"
    moved = event("UID:1", "RECURRENCE-ID:20261206T223000", "DTSTART:20261207T223000", "DURATION:PT1H")
    found = read_calendar(calendar(event("UID:1", "DTSTART:20261101T223000", *rule), moved), HERE, NOW)
    assert [str(each.reason) for each in found.refused] == ["exceptions"]
    assert [each["from"] for each in found.windows] == ["2026-12-07 22:30"]


def test_an_event_twice_is_one_window_and_its_name_is_a_line_that_a_terminal_may_show() -> None:
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
        # Each is reckoned out for decades, so that a thousand would keep the service busy for a minute.
        (calendar(zone_of(200), event("DTSTART:20261205T220000")), "no_calendar"),
    ],
)
def test_what_is_no_calendar_is_refused_as_a_whole(octets: bytes, why: str) -> None:
    with pytest.raises(InvalidCalendarError) as refused:
        read_calendar(octets, HERE, NOW)
    assert refused.value.key == why


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


def fields_in(page: httpx.Response) -> dict[str, str]:
    """Return what a browser sends of the form of a calendar's file: of boxes those that are ticked."""
    form = page.text[page.text.index("</header>") :].partition("</form>")[0]
    fields = re.findall(r'<input type="(\w+)" name="([\w-]+)" value="([^"]*)"( checked)?', form)
    return {name: html.unescape(value) for kind, name, value, ticked in fields if kind == "hidden" or ticked}


async def bring(browser: httpx.AsyncClient, octets: bytes) -> httpx.Response:
    return await browser.post(f"{SETTINGS}/calendar", files={"file": ("kerja.ics", octets, "text/calendar")})


async def test_a_file_is_shown_before_it_is_saved_and_saved_as_any_form_is(place: House) -> None:
    officer = await place.admitted("siti", "officer:JCM")
    await officer.get(SETTINGS, params={"lang": "en"})
    once = event("DTSTART:20261205T220000", "DURATION:PT4H", name="Tukar <cakera>")
    often = event("DTSTART:20261101T223000", "DURATION:PT4H", "RRULE:FREQ=WEEKLY;BYDAY=SU", name="Setiap Ahad")
    odd = event("DTSTART:20261101T223000", "DURATION:PT4H", "RRULE:FREQ=HOURLY", name="Setiap jam")
    page = await bring(officer, calendar(once, often, odd))
    assert page.status_code == 200
    assert "05/12/2026 22:00 until 06/12/2026 02:00: Tukar <cakera>" in shown(page)
    assert "Setiap jam 01/11/2026 22:30: its recurrence rule is not supported" in shown(page)
    assert '+ - {from: 2026-12-05 22:00, until: 2026-12-06 02:00, reason: "Tukar <cakera>"}' in shown(page)
    assert await place.site.text() == agency("JCM")
    assert f'href="{SETTINGS}?lang=ms"' in page.text

    answer = await officer.post(SETTINGS, data=fields_in(page))
    assert answer.headers.get("location") == f"{SETTINGS}?saved=2", shown(answer)
    assert await place.site.text() == agency("JCM") + (
        "maintenance:\n"
        '  - {from: 2026-12-05 22:00, until: 2026-12-06 02:00, reason: "Tukar <cakera>"}\n'
        '  - {cron: "30 22 * * sun", for: 4h, reason: Setiap Ahad}\n'
    )
    again = await bring(officer, calendar(once, often))
    assert "This file has no new maintenance." in shown(again)
    assert "Already configured" in shown(again)


async def test_the_difference_is_shown_anew_for_other_ticks_and_nothing_is_saved_that_was_not_shown(
    place: House,
) -> None:
    officer = await place.admitted("siti", "officer:JCM")
    await officer.get(SETTINGS, params={"lang": "en"})
    events = [event(f"DTSTART:202612{day}T220000", "DURATION:PT4H", name=f"Kerja {day}") for day in ("05", "06")]
    page = await bring(officer, calendar(*events))
    fields = fields_in(page)
    del fields["window-0"]
    # Saved at once, and asked for.
    for button, is_told in (({}, True), ({"again": "1"}, False)):
        page = await officer.post(SETTINGS, data=fields | button)
        assert (page.status_code, "Not saved yet" in shown(page)) == (200, is_told)
        assert "+ - {from: 2026-12-05" not in shown(page)
        assert "+ - {from: 2026-12-06 22:00, until: 2026-12-07 02:00, reason: Kerja 06}" in shown(page)
        # What is not ticked can be ticked again.
        assert [name for name in fields_in(page) if name.startswith(("window", "offered"))] == [
            "offered-0",
            "offered-1",
            "window-1",
        ]
        assert "05/12/2026 22:00 until 06/12/2026 02:00: Kerja 05" in shown(page)
        assert await place.site.text() == agency("JCM")
    # Somebody else's edit meanwhile is shown, as for any form.
    await place.site.write(JCM=agency("JCM") + "# Ravi\n")
    clash = await officer.post(SETTINGS, data=fields_in(page))
    assert clash.status_code == 409
    again = await officer.post(SETTINGS, data=fields_in(clash))
    assert "Not saved yet" in shown(again)
    saved = await officer.post(SETTINGS, data=fields_in(again))
    assert saved.status_code == 303
    assert await place.site.text() == agency("JCM") + (
        "maintenance:\n  - {from: 2026-12-06 22:00, until: 2026-12-07 02:00, reason: Kerja 06}\n# Ravi\n"
    )


def test_a_zone_of_its_own_is_gone_by() -> None:
    found = read_calendar(calendar(zone_of(2), event("DTSTART;TZID=Aneh:20261205T220000", "DURATION:PT4H")), HERE, NOW)
    assert [each["from"] for each in found.windows] == ["2026-12-05 23:00"]


async def test_what_is_no_calendar_or_too_long_or_sent_by_another_site_changes_nothing(place: House) -> None:
    officer = await place.admitted("siti", "officer:JCM")
    refused = await bring(officer, b"MZ\0\0")
    assert (refused.status_code, "Fail ini bukan fail kalendar" in shown(refused)) == (422, True)
    assert "Pilih satu fail kalendar dahulu" in shown(await bring(officer, b""))
    assert (await bring(officer, b"x" * (256 * 1024 + 1))).status_code == 413
    assert (await bring(officer, b"x" * (512 * 1024))).status_code == 413
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
    assert (await bring(officer, calendar())).status_code in {401, 403}
    assert await place.site.text() == agency("JCM")


async def test_what_a_form_says_of_its_file_is_read_at_once_however_it_is_written(place: House) -> None:
    officer = await place.admitted("siti", "officer:JCM")
    once = calendar(event("DTSTART:20261205T220000", "DURATION:PT4H"))
    begun = time.process_time()
    for said, status in {
        'form-data; name="file"; filename="kerja; 1.ics"': 200,
        "form-data; filename=kerja.ics; name=file": 200,
        'attachment; name="file"; filename="kerja.ics"': 422,
        "form-data" + ";" * 200_000: 422,
        "form-data; name=" + "(" * 200_000: 422,
        "form-data" + "; a=b" * 40_000: 422,
    }.items():
        body = f"--x\r\ncontent-Disposition: {said}\r\n\r\n".encode() + once + b"\r\n--x--\r\n"
        kind = {"Content-Type": 'multipart/form-data; charset=utf-8; boundary="x"'}
        assert (await officer.post(f"{SETTINGS}/calendar", content=body, headers=kind)).status_code == status, said[:50]
    for boundary in ("(" * 50_000, "; a=b" * 10_000, "a" * 71, '"', ""):
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        assert (await officer.post(f"{SETTINGS}/calendar", content=b"--\r\n", headers=kind)).status_code == 422
    # The library's parser of mail took minutes over semicolons, in which nobody was told of anything.
    assert time.process_time() - begun < 5
