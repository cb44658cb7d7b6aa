"""Dates, times and durations in official letters."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.model.notification import Language
from alerts.wording import moment

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def at(hour: int, minute: int) -> datetime:
    return datetime(2026, 11, 24, hour, minute, tzinfo=moment.MALAYSIA)


@pytest.mark.parametrize(
    ("hour", "minute", "malay", "english", "stamps"),
    [
        (0, 0, "12.00 tengah malam", "12.00 midnight", ("24/11, 12.00 mlm", "24/11, 12.00 am")),
        (0, 1, "12.01 pagi", "12.01 am", ("24/11, 12.01 pg", "24/11, 12.01 am")),
        (8, 0, "8.00 pagi", "8.00 am", ("24/11, 8.00 pg", "24/11, 8.00 am")),
        (11, 59, "11.59 pagi", "11.59 am", ("24/11, 11.59 pg", "24/11, 11.59 am")),
        (12, 0, "12.00 tengah hari", "12.00 noon", ("24/11, 12.00 tgh", "24/11, 12.00 pm")),
        (12, 15, "12.15 tengah hari", "12.15 pm", ("24/11, 12.15 tgh", "24/11, 12.15 pm")),
        (13, 0, "1.00 petang", "1.00 pm", ("24/11, 1.00 ptg", "24/11, 1.00 pm")),
        (14, 15, "2.15 petang", "2.15 pm", ("24/11, 2.15 ptg", "24/11, 2.15 pm")),
        (18, 59, "6.59 petang", "6.59 pm", ("24/11, 6.59 ptg", "24/11, 6.59 pm")),
        (19, 0, "7.00 malam", "7.00 pm", ("24/11, 7.00 mlm", "24/11, 7.00 pm")),
        (23, 59, "11.59 malam", "11.59 pm", ("24/11, 11.59 mlm", "24/11, 11.59 pm")),
    ],
)
def test_clock_names_part_of_day(hour: int, minute: int, malay: str, english: str, stamps: tuple[str, str]) -> None:
    time = at(hour, minute)
    assert moment.clock(time, MALAY) == malay
    assert moment.clock(time, ENGLISH) == english
    assert (moment.stamp(time, MALAY), moment.stamp(time, ENGLISH)) == stamps


@pytest.mark.parametrize(
    ("utc", "malay", "english"),
    [
        (datetime(2026, 1, 4, 15, 59, tzinfo=UTC), "4 Januari 2026 Ahad", "4 January 2026 Sunday"),
        (datetime(2026, 1, 4, 16, 0, tzinfo=UTC), "5 Januari 2026 Isnin", "5 January 2026 Monday"),
        (datetime(2026, 3, 31, 16, 0, tzinfo=UTC), "1 April 2026 Rabu", "1 April 2026 Wednesday"),
        (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), "1 Januari 2027 Jumaat", "1 January 2027 Friday"),
    ],
)
def test_date_is_in_malaysian_time(utc: datetime, malay: str, english: str) -> None:
    assert f"{moment.date(utc, MALAY)} {moment.weekday(utc, MALAY)}" == malay
    assert f"{moment.date(utc, ENGLISH)} {moment.weekday(utc, ENGLISH)}" == english


def test_every_month_and_weekday_has_malay_name() -> None:
    months = [moment.date(datetime(2026, month, 1, tzinfo=UTC), MALAY).split()[1] for month in range(1, 13)]
    assert months == (
        [
            "Januari",
            "Februari",
            "Mac",
            "April",
            "Mei",
            "Jun",
            "Julai",
            "Ogos",
            "September",
            "Oktober",
            "November",
            "Disember",
        ]
    )
    days = [moment.weekday(datetime(2026, 11, 23 + day, tzinfo=UTC), MALAY) for day in range(7)]
    assert days == ["Isnin", "Selasa", "Rabu", "Khamis", "Jumaat", "Sabtu", "Ahad"]


@pytest.mark.parametrize(
    ("seconds", "malay", "english"),
    [
        (59, "kurang daripada 1 minit", "less than 1 minute"),
        (60, "1 minit", "1 minute"),
        (3600, "1 jam", "1 hour"),
        (3 * 3600 + 25 * 60, "3 jam 25 minit", "3 hours 25 minutes"),
        (24 * 3600, "1 hari", "1 day"),
        (52 * 3600, "2 hari 4 jam", "2 days 4 hours"),
        (24 * 3600 + 61 * 60, "1 hari 1 jam 1 minit", "1 day 1 hour 1 minute"),
        (24 * 3600 + 60, "1 hari 1 minit", "1 day 1 minute"),
    ],
)
def test_duration_omits_zero_parts(seconds: int, malay: str, english: str) -> None:
    start = at(8, 0)
    assert moment.duration_text(start, start + timedelta(seconds=seconds), MALAY) == malay
    assert moment.duration_text(start, start + timedelta(seconds=seconds), ENGLISH) == english


def test_duration_agrees_with_printed_times() -> None:
    start, end = at(14, 15) + timedelta(seconds=50), at(17, 40) + timedelta(seconds=10)
    assert moment.duration_text(start, end, MALAY) == "3 jam 25 minit"


def test_naive_datetime_is_rejected() -> None:
    with pytest.raises(ValueError, match="naive"):
        moment.date(datetime(2026, 1, 1), MALAY)  # noqa: DTZ001 - the mistake itself


def test_fixed_offset_equals_kuala_lumpur() -> None:
    zone = ZoneInfo("Asia/Kuala_Lumpur")
    for month in range(1, 13):
        utc = datetime(2026, month, 1, tzinfo=UTC)
        assert utc.astimezone(zone).utcoffset() == moment.local(utc).utcoffset()
