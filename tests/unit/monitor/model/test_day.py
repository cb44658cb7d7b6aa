"""A day is 1,440 minutes, each in one state; whoever marks one, however often, it is one minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model.day import MINUTES, DayTimeline, MinuteState, TimelineSpan, day_of, minute_of, split_by_day, time_of

WELL, SLOW, OUT = MinuteState.UP, MinuteState.DEGRADED, MinuteState.NO_MAIL
SENDING, RECEIVING = MinuteState.NO_SENDING, MinuteState.NO_RECEIVING
#: Midnight in Malaysia.
MIDNIGHT = datetime(2026, 11, 27, 16, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

MARKS = st.lists(st.tuples(st.sampled_from(MinuteState), st.integers(0, MINUTES - 1), st.integers(1, 300)), max_size=12)


def sheet(*marks: tuple[MinuteState, int, int]) -> DayTimeline:
    made = DayTimeline()
    for state, begin, length in marks:
        made.mark(state, begin, begin + length)
    return made


def test_a_day_is_written_as_states_and_how_long_each_lasted() -> None:
    made = sheet((WELL, 480, 600), (SENDING, 600, 30), (RECEIVING, 620, 10))
    assert str(made) == "-480w120s20b10w450"
    assert str(DayTimeline()) == ""
    assert list(made.runs())[1:3] == [(WELL, 480, 600), (SENDING, 600, 620)]


@given(MARKS)
def test_what_is_written_is_read_again(marks: list[tuple[MinuteState, int, int]]) -> None:
    made = sheet(*marks)
    assert DayTimeline(str(made)) == made
    assert sum(made.counts().values()) == MINUTES


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (WELL, OUT, OUT),
        (WELL, SLOW, SLOW),
        (SENDING, RECEIVING, OUT),
        (SENDING, SLOW, SENDING),
        (MinuteState.NO_DATA, WELL, WELL),
        # A prober that knows of the maintenance already, and one that does not yet.
        (MinuteState.MAINTENANCE, WELL, WELL),
        (MinuteState.OFF_HOURS, MinuteState.MAINTENANCE, MinuteState.MAINTENANCE),
        (MinuteState.FALSE_ALARM, OUT, MinuteState.FALSE_ALARM),
    ],
)
def test_the_worse_of_two_that_watched_the_same_minute_counts(
    one: MinuteState, other: MinuteState, both: MinuteState
) -> None:
    assert sheet((one, 7, 1), (other, 7, 1)) == sheet((other, 7, 1), (one, 7, 1)) == sheet((both, 7, 1))


@given(MARKS)
def test_marking_again_or_in_another_order_or_by_two_counts_nothing_twice(
    marks: list[tuple[MinuteState, int, int]],
) -> None:
    whole = sheet(*marks)
    assert sheet(*marks, *marks) == sheet(*reversed(marks)) == whole
    mine, theirs = sheet(*marks[::2]), sheet(*marks[1::2])
    mine.add(theirs)
    assert mine == whole


def test_a_state_of_a_later_version_is_not_taken_for_well() -> None:
    odd = DayTimeline("w10?20w5")
    assert (odd.counts()[WELL], odd.counts()[MinuteState.NO_DATA]) == (15, MINUTES - 15)


@pytest.mark.parametrize("written", ["", "w", "w9999999", "12", "w10w", "w-5", "\0" * 10])
def test_what_nobody_wrote_harms_nothing(written: str) -> None:
    assert sum(DayTimeline(written).counts().values()) == MINUTES


def test_what_goes_on_over_midnight_is_cut_in_malaysia() -> None:
    mark = TimelineSpan(state=OUT, starts_at=MIDNIGHT - 90 * MINUTE, until=MIDNIGHT + 1441 * MINUTE)
    assert list(split_by_day([mark])) == [
        (date(2026, 11, 27), OUT, MINUTES - 90, MINUTES),
        (date(2026, 11, 28), OUT, 0, MINUTES),
        (date(2026, 11, 29), OUT, 0, 2),
    ]


def test_a_moment_is_in_one_minute_whatever_its_seconds() -> None:
    mark = TimelineSpan(state=WELL, starts_at=MIDNIGHT + timedelta(seconds=59), until=MIDNIGHT + timedelta(seconds=59))
    assert list(split_by_day([mark])) == [(date(2026, 11, 28), WELL, 0, 1)]


@pytest.mark.parametrize("minute", [0, 1, 719, MINUTES - 1])
def test_a_minute_of_a_day_is_where_it_begins(minute: int) -> None:
    at = time_of(date(2026, 11, 28), minute)
    assert (day_of(at), minute_of(at)) == (date(2026, 11, 28), minute)
    assert at - MIDNIGHT == minute * MINUTE


def test_the_last_minute_that_is_marked_is_known() -> None:
    assert DayTimeline().last_marked() is None
    assert sheet((WELL, 0, 10), (OUT, 9, 1)).last_marked() == (OUT, 9)


def test_a_mark_that_ends_before_it_begins_marks_nothing() -> None:
    assert list(split_by_day([TimelineSpan(state=WELL, starts_at=MIDNIGHT, until=MIDNIGHT - 1441 * MINUTE)])) == []


def test_each_state_outweighs_those_before_it() -> None:
    for one, other in permutations(MinuteState, 2):
        if {one, other} != {SENDING, RECEIVING}:
            worse = max(one, other, key=tuple(MinuteState).index)
            assert sheet((one, 0, 1), (other, 0, 1)) == sheet((worse, 0, 1))
