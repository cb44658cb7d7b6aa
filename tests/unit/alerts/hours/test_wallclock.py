"""Instants of a local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.hours.wallclock import first_instant, last_instant

KUALA_LUMPUR, LONDON = ZoneInfo("Asia/Kuala_Lumpur"), ZoneInfo("Europe/London")
LORD_HOWE, ST_JOHNS, APIA = ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")
ZONES = (KUALA_LUMPUR, LONDON, LORD_HOWE, ST_JOHNS)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


CASES = [
    # An ordinary day has one answer.
    (KUALA_LUMPUR, "2026-11-25 08:00", "2026-11-25 00:00", "2026-11-25 00:00"),
    (LONDON, "2026-07-01 08:00", "2026-07-01 07:00", "2026-07-01 07:00"),
    # 01:00 to 02:00 is skipped in London on 29 March: the first instant after the gap.
    (LONDON, "2026-03-29 01:00", "2026-03-29 01:00", "2026-03-29 01:00"),
    (LONDON, "2026-03-29 01:30", "2026-03-29 01:00", "2026-03-29 01:00"),
    (LONDON, "2026-03-29 01:59", "2026-03-29 01:00", "2026-03-29 01:00"),
    (LONDON, "2026-03-29 02:00", "2026-03-29 01:00", "2026-03-29 01:00"),
    # 01:30 comes twice on 25 October.
    (LONDON, "2026-10-25 01:30", "2026-10-25 00:30", "2026-10-25 01:30"),
    (LONDON, "2026-10-25 02:00", "2026-10-25 02:00", "2026-10-25 02:00"),
    # Lord Howe moves its clocks by half an hour.
    (LORD_HOWE, "2026-10-04 02:15", "2026-10-03 15:30", "2026-10-03 15:30"),
    (LORD_HOWE, "2026-04-05 01:45", "2026-04-04 14:45", "2026-04-04 15:15"),
    # Samoa had no 30 December in 2011.
    (APIA, "2011-12-30 08:00", "2011-12-30 10:00", "2011-12-30 10:00"),
]


@pytest.mark.parametrize(("zone", "local", "first", "last"), CASES, ids=[f"{z.key} {when}" for z, when, *_ in CASES])
def test_first_and_last_instant_of_local_time(zone: ZoneInfo, local: str, first: str, last: str) -> None:
    shown = datetime.fromisoformat(local)
    assert (first_instant(shown, zone), last_instant(shown, zone)) == (utc(first), utc(last))


@given(
    st.sampled_from(ZONES),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1)),  # noqa: DTZ001 - of a wall clock
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2)),
)
def test_instants_are_monotonic_in_local_time(zone: ZoneInfo, local: datetime, more: timedelta) -> None:
    local = local.replace(second=0, microsecond=0)
    later = (local + more).replace(second=0, microsecond=0)
    assert first_instant(local, zone) <= first_instant(later, zone)
    assert first_instant(local, zone) <= last_instant(local, zone) <= last_instant(later, zone)


@given(
    st.sampled_from(ZONES),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1)),  # noqa: DTZ001 - of a wall clock
)
def test_first_instant_shows_local_time_or_follows_clock_change(zone: ZoneInfo, local: datetime) -> None:
    local = local.replace(second=0, microsecond=0)
    at = first_instant(local, zone)
    shown = at.astimezone(zone).replace(tzinfo=None, fold=0)
    if shown != local:
        a_second_before = (at - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None, fold=0)
        assert a_second_before < local < shown
