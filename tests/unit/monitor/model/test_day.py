"""Timeline of a day: 1,440 minutes, each in one state, whoever marks it."""

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


def timeline(*marks: tuple[MinuteState, int, int]) -> DayTimeline:
    made = DayTimeline()
    for state, begin, length in marks:
        made.mark(state, begin, begin + length)
    return made


def test_day_timeline_text_is_states_with_lengths() -> None:
    made = timeline((WELL, 480, 600), (SENDING, 600, 30), (RECEIVING, 620, 10))
    assert str(made) == "-480w120s20b10w450"
    assert str(DayTimeline()) == ""
    assert list(made.runs())[1:3] == [(WELL, 480, 600), (SENDING, 600, 620)]


@given(MARKS)
def test_day_timeline_any_marks_round_trip(marks: list[tuple[MinuteState, int, int]]) -> None:
    made = timeline(*marks)
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
        # One prober knows the maintenance already, and the other does not.
        (MinuteState.MAINTENANCE, WELL, WELL),
        (MinuteState.OFF_HOURS, MinuteState.MAINTENANCE, MinuteState.MAINTENANCE),
        (MinuteState.FALSE_ALARM, OUT, MinuteState.FALSE_ALARM),
    ],
)
def test_mark_same_minute_keeps_worse_state(one: MinuteState, other: MinuteState, both: MinuteState) -> None:
    assert timeline((one, 7, 1), (other, 7, 1)) == timeline((other, 7, 1), (one, 7, 1)) == timeline((both, 7, 1))


@given(MARKS)
def test_mark_order_repetition_and_merge_do_not_matter(
    marks: list[tuple[MinuteState, int, int]],
) -> None:
    whole = timeline(*marks)
    assert timeline(*marks, *marks) == timeline(*reversed(marks)) == whole
    mine, theirs = timeline(*marks[::2]), timeline(*marks[1::2])
    mine.add(theirs)
    assert mine == whole


def test_day_timeline_unknown_state_is_no_data() -> None:
    odd = DayTimeline("w10?20w5")
    assert (odd.counts()[WELL], odd.counts()[MinuteState.NO_DATA]) == (15, MINUTES - 15)


@pytest.mark.parametrize("written", ["", "w", "w9999999", "12", "w10w", "w-5", "\0" * 10])
def test_day_timeline_invalid_text_has_all_minutes(written: str) -> None:
    assert sum(DayTimeline(written).counts().values()) == MINUTES


def test_split_by_day_splits_at_midnight_in_malaysia() -> None:
    mark = TimelineSpan(state=OUT, starts_at=MIDNIGHT - 90 * MINUTE, until=MIDNIGHT + 1441 * MINUTE)
    assert list(split_by_day([mark])) == [
        (date(2026, 11, 27), OUT, MINUTES - 90, MINUTES),
        (date(2026, 11, 28), OUT, 0, MINUTES),
        (date(2026, 11, 29), OUT, 0, 2),
    ]


def test_split_by_day_moment_is_one_minute() -> None:
    mark = TimelineSpan(state=WELL, starts_at=MIDNIGHT + timedelta(seconds=59), until=MIDNIGHT + timedelta(seconds=59))
    assert list(split_by_day([mark])) == [(date(2026, 11, 28), WELL, 0, 1)]


@pytest.mark.parametrize("minute", [0, 1, 719, MINUTES - 1])
def test_time_of_minute_round_trips(minute: int) -> None:
    at = time_of(date(2026, 11, 28), minute)
    assert (day_of(at), minute_of(at)) == (date(2026, 11, 28), minute)
    assert at - MIDNIGHT == minute * MINUTE


def test_last_marked_returns_state_and_minute() -> None:
    assert DayTimeline().last_marked() is None
    assert timeline((WELL, 0, 10), (OUT, 9, 1)).last_marked() == (OUT, 9)


def test_split_by_day_end_before_start_is_empty() -> None:
    assert list(split_by_day([TimelineSpan(state=WELL, starts_at=MIDNIGHT, until=MIDNIGHT - 1441 * MINUTE)])) == []


def test_mark_each_state_outweighs_earlier_ones() -> None:
    for one, other in permutations(MinuteState, 2):
        if {one, other} != {SENDING, RECEIVING}:
            worse = max(one, other, key=tuple(MinuteState).index)
            assert timeline((one, 0, 1), (other, 0, 1)) == timeline((worse, 0, 1))
