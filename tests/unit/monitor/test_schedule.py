"""What is due, and when to wake."""

from __future__ import annotations

import time
from datetime import timedelta

from monitor.schedule import Schedule
from tests.unit.monitor.trial import MINUTE, SECOND, T0

FIVE = 5 * MINUTE


def planned(*names: str) -> Schedule:
    schedule = Schedule()
    for name in names:
        schedule.add(name, FIVE, T0)
    return schedule


def test_the_first_run_of_each_route_comes_within_one_interval() -> None:
    names = [f"route-{n}" for n in range(50)]
    schedule = planned(*names)

    assert sorted(schedule.due(T0 + FIVE)) == sorted(names)


def test_phases_are_spread_over_the_interval() -> None:
    schedule = planned(*(f"route-{n}" for n in range(600)))
    per_minute = [len(schedule.due(T0 + n * MINUTE)) for n in range(1, 6)]

    assert sum(per_minute) == 600
    assert all(80 <= count <= 160 for count in per_minute)


def test_a_slow_run_does_not_shift_the_next() -> None:
    schedule = planned("one")
    first = schedule.wake()
    assert first is not None
    assert schedule.due(first) == ["one"]
    schedule.finished("one", first + 4 * MINUTE)

    assert schedule.wake() == first + FIVE


def test_a_run_that_outlasts_its_interval_takes_the_next_phase() -> None:
    schedule = planned("one")
    first = schedule.wake()
    assert first is not None
    schedule.due(first)
    schedule.finished("one", first + 7 * MINUTE)

    assert schedule.wake() == first + 2 * FIVE


def test_the_phase_is_the_same_after_a_restart() -> None:
    again = Schedule()
    again.add("one", FIVE, T0 + timedelta(days=1, seconds=7))
    first, later = planned("one").wake(), again.wake()
    assert first is not None
    assert later is not None

    assert (later - first) % FIVE == timedelta(0)


def test_a_pause_is_not_caught_up() -> None:
    schedule = planned("one", "two")

    assert sorted(schedule.due(T0 + timedelta(hours=3))) == ["one", "two"]
    assert schedule.due(T0 + timedelta(hours=3)) == []
    for name in ("one", "two"):
        schedule.finished(name, T0 + timedelta(hours=3))
    assert schedule.due(T0 + timedelta(hours=3)) == []


def test_a_clock_that_was_set_back_runs_nothing_twice() -> None:
    schedule = planned("one")
    schedule.due(T0 + FIVE)
    schedule.finished("one", T0 - timedelta(hours=1))

    assert schedule.due(T0 - timedelta(hours=1)) == []
    wake = schedule.wake()
    assert wake is not None
    assert wake <= T0 - timedelta(hours=1) + FIVE


def test_one_run_of_a_route_is_in_flight() -> None:
    schedule = planned("one")
    schedule.due(T0 + FIVE)
    schedule.look_again("one", T0 + FIVE)

    assert schedule.due(T0 + timedelta(hours=1)) == []
    assert schedule.wake() is None
    schedule.finished("one", T0 + 6 * MINUTE)
    assert schedule.due(T0 + 6 * MINUTE) == ["one"]


def test_another_look_brings_a_run_forward_and_never_puts_it_off() -> None:
    schedule = planned("one")
    due = schedule.wake()
    assert due is not None

    schedule.look_again("one", due + MINUTE)
    assert schedule.wake() == due
    schedule.look_again("one", due - SECOND)
    assert schedule.wake() == due - SECOND
    assert schedule.due(due - SECOND) == ["one"]
    schedule.finished("one", due)
    assert schedule.wake() == due + FIVE


def test_the_earliest_of_several_looks_counts() -> None:
    schedule = planned("one")
    schedule.due(T0 + FIVE)
    schedule.look_again("one", T0 + 8 * MINUTE)
    schedule.look_again("one", T0 + 6 * MINUTE)
    schedule.look_again("one", T0 + 7 * MINUTE)
    schedule.finished("one", T0 + FIVE)
    wake = schedule.wake()
    assert wake is not None

    assert wake <= T0 + 6 * MINUTE


def test_a_removed_route_is_not_run_again() -> None:
    schedule = planned("one", "two")
    schedule.remove("one")

    assert schedule.due(T0 + FIVE) == ["two"]
    schedule.remove("two")
    schedule.finished("two", T0 + FIVE)
    schedule.look_again("two", T0)
    assert schedule.wake() is None


def test_ten_thousand_routes_are_quick() -> None:
    began = time.perf_counter()
    schedule = planned(*(f"route-{n}" for n in range(10_000)))
    for second in range(0, 600, 5):
        now = T0 + second * SECOND
        for name in schedule.due(now):
            schedule.finished(name, now + SECOND)
        schedule.wake()

    assert time.perf_counter() - began < 2
