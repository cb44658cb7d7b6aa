"""Active windows and maintenance windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from monitor.model.window import ALWAYS, Hours, InvalidCronError, OneTimeWindow, Recurring, WindowOccurrence, check_cron

KL = ZoneInfo("Asia/Kuala_Lumpur")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    """Read "tue 09:00" of the week from Monday, 23 November 2026, or "25.12. 09:00", in Kuala Lumpur."""
    day, clock = text.split()
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    date = f"2026-11-{23 + days.index(day)}" if day in days else "2026-{1}-{0}".format(*day.split("."))
    return datetime.fromisoformat(f"{date} {clock}").replace(tzinfo=KL).astimezone(UTC)


OFFICE = Recurring("0 7 * * mon-fri", 12 * HOUR, KL)
NIGHTLY = Recurring("0 2 * * *", HOUR, KL, "Sandaran")
MOVE = OneTimeWindow(WindowOccurrence(at("wed 22:00"), at("thu 04:00"), "Pindah pelayan"))


@pytest.mark.parametrize(
    ("hours", "asked", "opens"),
    [
        (ALWAYS, "tue 03:00", "tue 03:00"),
        (Hours(active_windows=[OFFICE]), "tue 07:00", "tue 07:00"),
        (Hours(active_windows=[OFFICE]), "tue 18:59", "tue 18:59"),
        (Hours(active_windows=[OFFICE]), "tue 19:00", "wed 07:00"),
        (Hours(active_windows=[OFFICE]), "fri 19:00", "30.11. 07:00"),
        (Hours(active_windows=[OFFICE]), "sun 12:00", "30.11. 07:00"),
        # Two windows in sequence, or one within the other.
        (Hours(active_windows=[OFFICE, Recurring("0 10 * * sat", 2 * HOUR, KL)]), "fri 20:00", "sat 10:00"),
        (Hours(active_windows=[OFFICE, Recurring("0 18 * * *", 3 * HOUR, KL)]), "tue 20:00", "tue 20:00"),
        # Windows of a day or more overlap.
        (Hours(active_windows=[Recurring("0 0 * * *", DAY, KL)]), "tue 03:00", "tue 03:00"),
        (Hours(active_windows=[Recurring("0 0 * * *", 3 * DAY, KL)]), "tue 03:00", "tue 03:00"),
        # Maintenance
        (Hours(maintenance=[NIGHTLY]), "tue 01:59", "tue 01:59"),
        (Hours(maintenance=[NIGHTLY]), "tue 02:00", "tue 03:00"),
        (Hours(maintenance=[NIGHTLY]), "tue 03:00", "tue 03:00"),
        (Hours(maintenance=[MOVE]), "wed 23:00", "thu 04:00"),
        (Hours(maintenance=[MOVE, NIGHTLY]), "thu 01:00", "thu 04:00"),
        (Hours(maintenance=[Recurring("30 3 * * *", HOUR, KL), MOVE]), "thu 01:00", "thu 04:30"),
        (
            Hours(
                active_windows=[OFFICE], maintenance=[OneTimeWindow(WindowOccurrence(at("tue 06:00"), at("tue 09:00")))]
            ),
            "mon 20:00",
            "tue 09:00",
        ),
        (
            Hours(
                active_windows=[OFFICE], maintenance=[OneTimeWindow(WindowOccurrence(at("mon 06:00"), at("thu 20:00")))]
            ),
            "mon 07:00",
            "fri 07:00",
        ),
    ],
)
def test_next_active_at_returns_start_of_active_time(hours: Hours, asked: str, opens: str) -> None:
    assert hours.next_active_at(at(asked)) == at(opens)


@pytest.mark.parametrize(
    "hours",
    [
        Hours(active_windows=[OneTimeWindow(WindowOccurrence(at("mon 07:00"), at("mon 19:00")))]),
        Hours(maintenance=[Recurring("0 0 * * *", DAY, KL)]),
        Hours(active_windows=[OFFICE], maintenance=[Recurring("0 6 * * *", 14 * HOUR, KL)]),
    ],
)
def test_next_active_at_without_future_window_is_none(hours: Hours) -> None:
    assert hours.next_active_at(at("tue 12:00")) is None


@pytest.mark.parametrize(
    ("begins", "ends", "touched"),
    [
        ("wed 21:00", "wed 21:59", False),
        ("wed 21:58", "wed 22:00", True),
        ("wed 23:00", "wed 23:01", True),
        ("wed 21:00", "thu 05:00", True),
        ("thu 03:59", "thu 04:30", True),
        ("thu 04:00", "thu 04:30", False),
    ],
)
def test_maintenance_during_returns_window_touching_run(begins: str, ends: str, *, touched: bool) -> None:
    found = Hours(active_windows=[OFFICE], maintenance=[MOVE]).maintenance_during(at(begins), at(ends))
    assert (found is not None and found.reason == "Pindah pelayan") is touched


def test_maintenance_at_two_windows_returns_latest_end() -> None:
    closed = Hours(maintenance=[NIGHTLY, MOVE]).maintenance_at(at("thu 02:30"))
    assert closed is not None
    assert closed.reason == "Pindah pelayan"


def test_recurring_window_follows_daylight_saving() -> None:
    # Malaysia has no daylight saving; a reference may be elsewhere.
    berlin = Recurring("0 7 * * *", HOUR, ZoneInfo("Europe/Berlin"))
    days = [datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
    found = [stretch.starts_at.hour for day in days if (stretch := berlin.next_occurrence(day)) is not None]
    assert found == [5, 6]


def test_next_occurrence_cached_answer_is_for_its_window_only() -> None:
    window = Recurring("0 7 * * mon-fri", 12 * HOUR, KL)
    for asked, begins in (
        ("wed 08:00", "wed 07:00"),
        ("wed 18:59", "wed 07:00"),
        ("wed 19:00", "thu 07:00"),
        ("tue 08:00", "tue 07:00"),
        ("wed 08:00", "wed 07:00"),
    ):
        found = window.next_occurrence(at(asked))
        assert found is not None
        assert found.starts_at == at(begins)


@pytest.mark.parametrize(
    ("when", "hours"),
    [
        ([], 24),
        ([OFFICE], 12),
        ([OFFICE, Recurring("0 18 * * mon", 2 * HOUR, KL)], 13),
        ([Recurring("*/30 * * * *", timedelta(minutes=10), KL)], 8),
        ([Recurring("0 0 * * *", 3 * DAY, KL)], 24),
        # The busiest day counts.
        ([Recurring("0 9 1 * *", 5 * HOUR, KL)], 5),
    ],
)
def test_longest_active_day_is_busiest(when: list[Recurring], hours: int) -> None:
    since = datetime(2026, 1, 5, tzinfo=KL).astimezone(UTC)
    assert Hours(active_windows=when).longest_active_day(since) == hours * HOUR


@pytest.mark.parametrize("cron", ["0 7 * * mon-fri", "*/15 8-16 * * *", "0 2 1 jan *", "0 0 29 2 *", "0 0 * * sun#1"])
def test_check_cron_valid_is_accepted(cron: str) -> None:
    check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("", "has 0 fields and not five: minute hour day month weekday"),
        ("0 7 * *", "has 4 fields and not five: minute hour day month weekday"),
        ("0 0 7 * * mon", "has 6 fields and not five: minute hour day month weekday"),
        ("@daily", "has 1 fields and not five: minute hour day month weekday"),
        ("0 25 * * *", "is no cron expression (bad hour)"),
        ("0 7 * * isnin", "is no cron expression (bad day-of-week)"),
        ("0 0 31 2 *", "is no cron expression (bad day-of-month)"),
    ],
)
def test_check_cron_invalid_or_never_due_is_refused(cron: str, why: str) -> None:
    with pytest.raises(InvalidCronError) as error:
        check_cron(cron)
    assert str(error.value) == why


@pytest.mark.parametrize("window", [OFFICE, NIGHTLY])
def test_next_occurrence_is_cached_until_end(window: Recurring) -> None:
    now = at("mon 03:00")
    answer = window.next_occurrence(now)

    # The occurrence is cached until its end.
    assert answer is not None
    assert all(window.next_occurrence(now + timedelta(seconds=second)) is answer for second in range(3600))
    assert window.next_occurrence(answer.ends_at) is not answer
