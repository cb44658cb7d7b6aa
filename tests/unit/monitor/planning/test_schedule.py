"""Schedule: due runs and wake-up times."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import pstdev
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model.window import ALWAYS, Hours, OneTimeWindow, Recurring, WindowOccurrence
from monitor.planning.schedule import (
    CATCH_UP,
    HOURS_SPREAD,
    JITTER,
    MAX_JITTER,
    TAKEOVER_SPREAD,
    TAKEOVER_TOLERANCE,
    TOLERANCE,
    Schedule,
)
from tests.unit.monitor.world import MINUTE, SECOND, T0

FIVE = 5 * MINUTE
HOUR = timedelta(hours=1)
#: Largest jitter of a five-minute route; two runs may be twice that apart.
SWING = min(FIVE * JITTER, MAX_JITTER)


def planned(*names: str, interval: timedelta = FIVE, hours: Hours = ALWAYS, now: datetime = T0) -> Schedule:
    schedule = Schedule()
    for name in names:
        schedule.add(name, interval, now, hours)
    return schedule


def next_of(schedule: Schedule) -> datetime:
    wake = schedule.next_due()
    assert wake is not None
    return wake


def runs(schedule: Schedule, until: datetime) -> dict[str, list[datetime]]:
    """Run everything on time until then; return the start times of each route."""
    found: dict[str, list[datetime]] = {}
    while (now := schedule.next_due()) is not None and now <= until:
        for name in schedule.due(now):
            found.setdefault(name, []).append(now)
            schedule.plan_next(name, now)
    return found


def test_remove_while_no_capacity_keeps_other_request() -> None:
    schedule = Schedule(seed="utama")
    for name in ("a", "b"):
        schedule.add(name, 5 * MINUTE, T0)
        schedule.request_now(name, T0)
    assert schedule.due(T0, max_runs=0) == []
    schedule.remove("b")
    assert schedule.next_due() == T0
    assert schedule.due(T0) == ["a"]


def test_first_run_is_within_one_interval() -> None:
    names = [f"route-{n}" for n in range(50)]
    assert sorted(runs(planned(*names), T0 + FIVE + 2 * SWING)) == sorted(names)


def test_phases_are_spread_over_interval() -> None:
    times = [at for each in runs(planned(*(f"route-{n}" for n in range(600))), T0 + HOUR).values() for at in each]
    per_minute = Counter((at - T0) // MINUTE for at in times)

    assert 12 * 600 - 60 <= len(times) <= 12 * 600 + 60
    assert all(80 <= per_minute[minute] <= 160 for minute in range(60))


def test_runs_have_jitter_without_drift() -> None:
    (times,) = runs(planned("one"), T0 + 24 * HOUR).values()
    phases = [(at - T0) % FIVE for at in times]
    middle = sum(phases, timedelta(0)) / len(phases)

    assert len(times) in range(287, 290)
    assert all(abs(phase - middle) <= 1.1 * SWING for phase in phases)
    assert pstdev(phase.total_seconds() for phase in phases) > SWING.total_seconds() / 4


def test_two_sites_have_different_phases() -> None:
    here, there = Schedule("putrajaya"), Schedule("kuching")
    for schedule in (here, there):
        for n in range(100):
            schedule.add(f"route-{n}", FIVE, T0)
    times, others = runs(here, T0 + HOUR), runs(there, T0 + HOUR)
    apart = [(times[name][0] - others[name][0]) % FIVE for name in times]

    assert pstdev(each.total_seconds() for each in apart) > 60


def test_slow_run_does_not_shift_next() -> None:
    quick, slow = planned("one"), planned("one")
    first = next_of(quick)
    for schedule, took in ((quick, SECOND), (slow, 4 * MINUTE)):
        assert schedule.due(first) == ["one"]
        schedule.plan_next("one", first + took)

    assert next_of(slow) == next_of(quick)


def test_run_longer_than_interval_takes_next_phase() -> None:
    schedule = planned("one")
    first = next_of(schedule)
    schedule.due(first)
    schedule.plan_next("one", first + 7 * MINUTE)

    assert abs(next_of(schedule) - (first + 2 * FIVE)) <= 2 * SWING


def test_due_at_returns_planned_time() -> None:
    schedule = planned("one")
    first = next_of(schedule)
    schedule.due(first + SECOND)
    assert schedule.due_at("one") == first


def test_restart_keeps_times() -> None:
    before, after = planned("one"), planned("one", now=T0 + HOUR)
    times, later = runs(before, T0 + 2 * HOUR)["one"], runs(after, T0 + 2 * HOUR)["one"]

    assert later == [at for at in times if at > T0 + HOUR]


# -- pauses and clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [10 * SECOND, MINUTE, 3 * HOUR, timedelta(days=3)])
def test_long_pause_runs_are_not_caught_up_at_once(pause: timedelta) -> None:
    schedule = planned(*(f"route-{n}" for n in range(600)))
    runs(schedule, T0 + HOUR)
    back = T0 + HOUR + pause
    overdue = min(600, 600 * pause / FIVE)
    at_once = schedule.due(back)
    for name in at_once:
        schedule.plan_next(name, back)
    after = runs(schedule, back + FIVE)
    per_ten_seconds = Counter((at - back) // (10 * SECOND) for each in after.values() for at in each)

    # The usual rate is two a second.
    assert len(at_once) <= 30 < max(31, overdue)
    assert max(per_ten_seconds.values()) <= 50
    assert len(after.keys() | set(at_once)) >= 600 * 0.9


def test_advanced_run_is_due_after_pause() -> None:
    schedule = planned("one", "two", interval=HOUR)
    schedule.advance("one", T0 + SECOND)

    assert schedule.due(T0 + 20 * MINUTE) == ["one"]


def test_round_replacing_advanced_run_is_due_after_pause() -> None:
    schedule = planned("one", interval=HOUR)
    round_at = next_of(schedule)
    schedule.advance("one", round_at + SECOND)

    assert schedule.due(round_at + MINUTE) == ["one"]


def test_rare_run_missed_in_pause_is_due_soon() -> None:
    schedule = planned("daily", interval=timedelta(days=1))
    due = next_of(schedule)
    back = due + HOUR
    assert schedule.due(back) == []
    assert next_of(schedule) <= back + CATCH_UP
    assert schedule.due(next_of(schedule)) == ["daily"]


def test_rare_runs_missed_in_pause_are_spread_over_ten_minutes() -> None:
    names = [f"JCM/{number}" for number in range(60)]
    schedule = planned(*names, interval=timedelta(days=1))
    back = T0 + timedelta(days=2)
    assert schedule.due(back) == []
    found = [first for first, *_ in runs(schedule, back + HOUR).values()]
    assert len(found) == len(names)
    assert 9 * MINUTE <= max(found) - back <= 10 * MINUTE


def test_change_shorter_interval_applies_and_longer_does_not_postpone() -> None:
    schedule = planned("one", interval=timedelta(days=1))
    schedule.change("one", FIVE, T0)
    soon = next_of(schedule)
    assert soon <= T0 + FIVE + 2 * SWING

    schedule.change("one", timedelta(days=1), T0)
    assert next_of(schedule) == soon


def test_due_within_tolerance_runs() -> None:
    schedule = planned("one")
    assert schedule.due(next_of(schedule) + TOLERANCE) == ["one"]


def test_clock_set_forward_starts_no_burst() -> None:
    schedule = planned(*(f"route-{n}" for n in range(600)))
    runs(schedule, T0 + HOUR)

    assert len(schedule.due(T0 + 2 * HOUR)) <= 30


@pytest.mark.parametrize("back", [10 * SECOND, 5 * MINUTE, HOUR, timedelta(days=400)])
def test_clock_set_back_does_not_stop_probing(back: timedelta) -> None:
    schedule = planned(*(f"route-{n}" for n in range(100)))
    runs(schedule, T0 + HOUR)
    now = T0 + HOUR - back
    started = schedule.due(now)
    for name in started:
        schedule.plan_next(name, now)

    assert len(started) <= 10
    assert len(runs(schedule, now + FIVE + 2 * SWING).keys() | set(started)) == 100


def test_clock_set_back_keeps_delay_of_advanced_run() -> None:
    schedule = planned("one", "two", interval=HOUR)
    schedule.due(T0 + 2 * SECOND)
    schedule.advance("one", T0 + MINUTE)
    schedule.due(T0 - HOUR)

    assert next_of(schedule) == T0 - HOUR + MINUTE - 2 * SECOND


def test_clock_set_back_keeps_delay_of_run_advanced_while_running() -> None:
    schedule = planned("one", interval=HOUR)
    first = next_of(schedule)
    schedule.due(first)
    schedule.advance("one", first + MINUTE)
    schedule.due(first - 3 * HOUR)
    schedule.plan_next("one", first - 3 * HOUR)

    assert next_of(schedule) == first - 3 * HOUR + MINUTE


# -- looking again --------------------------------------------------------------------------------------------------


def test_advance_while_running_starts_after_end() -> None:
    schedule = planned("one")
    first = next_of(schedule)
    schedule.due(first)
    schedule.advance("one", first)

    assert schedule.due(T0 + HOUR) == []
    assert schedule.next_due() is None
    schedule.plan_next("one", T0 + HOUR)
    assert schedule.due(T0 + HOUR) == ["one"]


def test_advance_brings_run_forward_only() -> None:
    schedule, undisturbed = planned("one"), planned("one")
    due = next_of(schedule)

    schedule.advance("one", due + MINUTE)
    assert next_of(schedule) == due
    schedule.advance("one", due - SECOND)
    assert next_of(schedule) == due - SECOND
    assert schedule.due(due - SECOND) == ["one"]
    schedule.plan_next("one", due)
    undisturbed.due(due)
    undisturbed.plan_next("one", due)
    assert next_of(schedule) == next_of(undisturbed)


def test_advance_several_times_earliest_counts() -> None:
    schedule = planned("one", interval=HOUR)
    first = next_of(schedule)
    schedule.due(first)
    for minutes in (8, 6, 7):
        schedule.advance("one", first + minutes * MINUTE)
    schedule.plan_next("one", first)

    assert next_of(schedule) == first + 6 * MINUTE


def test_remove_route_is_not_run_again() -> None:
    schedule = planned("one", "two")
    schedule.remove("one")

    assert set(runs(schedule, T0 + FIVE + 2 * SWING)) == {"two"}
    schedule.remove("two")
    schedule.plan_next("two", T0 + FIVE)
    schedule.advance("two", T0)
    assert schedule.next_due() is None


# -- hours ----------------------------------------------------------------------------------------------------------

#: T0 is Tuesday, 09:00 in Kuala Lumpur.
KL = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE = Recurring("0 8 * * mon-fri", timedelta(hours=9), KL)


def local(*when: int) -> datetime:
    return datetime(*when, tzinfo=KL).astimezone(UTC)  # type: ignore[arg-type, misc]


def test_hours_runs_only_within_and_soon_after_start() -> None:
    schedule = planned(*(f"route-{n}" for n in range(100)), hours=Hours(active_windows=[OFFICE]))
    times = [at for each in runs(schedule, T0 + timedelta(days=7)).values() for at in each]
    hours = {(at.astimezone(KL).weekday(), at.astimezone(KL).hour) for at in times}
    morning = [at for at in times if local(2026, 11, 25, 8) <= at <= local(2026, 11, 25, 8) + HOURS_SPREAD]

    assert hours == {(day, hour) for day in range(5) for hour in range(8, 17)}
    assert len(morning) >= 100
    assert max(Counter(at.replace(microsecond=0) for at in morning).values()) < 12


def test_maintenance_run_is_soon_after_end() -> None:
    until = T0 + 3 * HOUR
    maintenance = OneTimeWindow(WindowOccurrence(T0 + HOUR, until, "Naik taraf"))
    (times,) = runs(planned("one", interval=HOUR, hours=Hours(maintenance=[maintenance])), T0 + 5 * HOUR).values()

    assert not [at for at in times if T0 + HOUR <= at < until]
    assert [at for at in times if until <= at <= until + HOURS_SPREAD]


def test_advance_during_maintenance_waits_for_end() -> None:
    until = T0 + 3 * HOUR
    schedule = planned(
        "one", interval=HOUR, hours=Hours(maintenance=[OneTimeWindow(WindowOccurrence(T0, until, "Naik taraf"))])
    )
    schedule.advance("one", T0 + MINUTE)

    assert next_of(schedule) == until
    assert schedule.due(until) == ["one"]


def test_request_now_runs_once_outside_hours() -> None:
    closed = Hours(maintenance=[OneTimeWindow(WindowOccurrence(T0, T0 + 10 * HOUR, "Naik taraf"))])
    schedule = planned("a", hours=closed)
    assert schedule.due(T0) == []
    schedule.request_now("a", T0)
    assert schedule.next_due() == T0
    assert schedule.due(T0) == ["a"]
    schedule.plan_next("a", T0 + SECOND)
    assert next_of(schedule) >= T0 + 10 * HOUR


def test_request_now_while_running_starts_after_end() -> None:
    schedule = planned("a")
    first = next_of(schedule)
    assert schedule.due(first) == ["a"]
    schedule.request_now("a", first)
    assert schedule.due(first + SECOND) == []
    schedule.plan_next("a", first + 2 * SECOND)
    assert schedule.due(first + 2 * SECOND) == ["a"]
    schedule.request_now("none", first)  # The route was removed meanwhile.


def test_due_run_after_end_of_hours_is_not_started() -> None:
    schedule = planned("one", hours=Hours(active_windows=[OFFICE]))
    runs(schedule, local(2026, 11, 24, 16, 54))
    last = next_of(schedule)
    assert last < local(2026, 11, 24, 17)
    schedule.add("one", FIVE, last, Hours(active_windows=[OneTimeWindow(WindowOccurrence(T0, last + SECOND))]))
    schedule.advance("one", last)

    assert schedule.due(last + 2 * SECOND) == []
    assert schedule.next_due() is None


def test_due_run_missed_before_end_of_hours_runs_at_next_start() -> None:
    schedule = planned("one")
    due = next_of(schedule)
    again = due + 24 * HOUR
    schedule.add(
        "one",
        FIVE,
        T0,
        Hours(
            active_windows=[
                OneTimeWindow(WindowOccurrence(T0, due + SECOND)),
                OneTimeWindow(WindowOccurrence(again, again + HOUR)),
            ]
        ),
    )

    assert schedule.due(due, max_runs=0) == []
    assert schedule.due(due + 2 * SECOND) == []
    assert again <= next_of(schedule) <= again + HOURS_SPREAD


def test_change_keeps_advanced_run_after_pause_and_skips_round() -> None:
    schedule = planned("asked", "round", interval=HOUR)
    schedule.advance("asked", T0 + MINUTE)
    for name in ("asked", "round"):
        schedule.change(name, 2 * HOUR, T0)

    assert schedule.due(T0 + HOUR + TOLERANCE + SECOND) == ["asked"]
    assert (schedule.take_skipped(), schedule.take_skipped()) == (1, 0)


# -- what always holds ----------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """Service that works on a schedule, with given lag, run durations and requests."""

    schedule: Schedule
    now: datetime = T0
    under_way: dict[str, datetime] = field(default_factory=dict)
    started: dict[str, list[datetime]] = field(default_factory=dict)

    def go(self, late: timedelta, lasts: timedelta) -> None:
        nexts = [at for at in (self.schedule.next_due(), *self.under_way.values()) if at is not None]
        self.now = max(self.now, min(nexts) + late)
        for name, ends in list(self.under_way.items()):
            if ends <= self.now:
                del self.under_way[name]
                self.schedule.plan_next(name, self.now)
        for name in self.schedule.due(self.now):
            assert name not in self.under_way
            assert self.schedule.due_at(name) <= self.now
            self.under_way[name] = self.now + lasts
            self.started.setdefault(name, []).append(self.now)


@settings(max_examples=60, deadline=None)
@given(
    intervals=st.lists(st.integers(30, 3600), min_size=1, max_size=8),
    steps=st.lists(
        st.tuples(st.floats(0, 4), st.floats(0, 200), st.none() | st.tuples(st.integers(0, 7), st.integers(0, 600))),
        min_size=50,
        max_size=300,
    ),
)
def test_any_steps_one_run_per_route_and_within_interval(
    intervals: list[int], steps: list[tuple[float, float, tuple[int, int] | None]]
) -> None:
    schedule = Schedule()
    spans = {f"route-{n}": timedelta(seconds=seconds) for n, seconds in enumerate(intervals)}
    for name, span in spans.items():
        schedule.add(name, span, T0)
    machine = Machine(schedule)
    for late, lasts, asked in steps:
        machine.go(timedelta(seconds=late), timedelta(seconds=lasts))
        if asked is not None:
            schedule.advance(f"route-{asked[0]}", machine.now + timedelta(seconds=asked[1]))

    for name, span in spans.items():
        ran = [T0, *machine.started.get(name, [])]
        # A run may take 200 s, and its successor waits for it; the loop may be 4 s late, twice.
        longest = span + 2 * min(span * JITTER, MAX_JITTER) + timedelta(seconds=200 + 8)
        assert all(later - earlier <= longest for earlier, later in zip(ran, [*ran[1:], machine.now], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 200),
    before=st.floats(0, 4000),
    pause=st.floats(60, 1e6),
    asked=st.integers(0, 5),
)
def test_any_pause_only_advanced_and_current_runs_start(count: int, before: float, pause: float, asked: int) -> None:
    schedule = planned(*(f"route-{n}" for n in range(count)))
    now = T0 + timedelta(seconds=before)
    runs(schedule, now)
    for n in range(asked):
        schedule.advance(f"route-{n}", now + SECOND)
    later = now + timedelta(seconds=pause)
    at_once = schedule.due(later)

    assert {f"route-{n}" for n in range(min(asked, count))} <= set(at_once)
    assert all(later - schedule.due_at(name) <= TOLERANCE for name in at_once if int(name[6:]) >= asked)


@settings(max_examples=40, deadline=None)
@given(step=st.floats(-1e6, 1e6), count=st.integers(1, 50))
def test_any_clock_step_every_route_runs_within_interval(step: float, count: int) -> None:
    schedule = planned(*(f"route-{n}" for n in range(count)))
    runs(schedule, T0 + HOUR)
    now = T0 + HOUR + timedelta(seconds=step)
    started = schedule.due(now)
    for name in started:
        schedule.plan_next(name, now)

    assert len(set(started) | set(runs(schedule, now + FIVE + 2 * SWING))) == count


def test_ten_thousand_routes_are_fast() -> None:
    began = time.process_time()
    schedule = planned(*(f"route-{n}" for n in range(10_000)))
    for second in range(0, 600, 5):
        now = T0 + second * SECOND
        for name in schedule.due(now):
            schedule.plan_next(name, now + SECOND)
        schedule.next_due()

    assert time.process_time() - began < 2


ROUTES = [f"route-{n}" for n in range(100)]
ELSEWHERE = runs(planned(*ROUTES), T0 + 4 * FIVE)


@settings(deadline=None, max_examples=15)
@given(died=st.integers(0, 600), unseen=st.sampled_from([0, 5, 10, 60, 200, 900]), seed=st.text("abc", max_size=3))
def test_resume_takes_over_runs_without_burst(died: int, unseen: int, seed: str) -> None:
    """For so many seconds nobody has *seen* that the other one is dead: a takeover lasts ten, a store may be away for minutes."""
    died_at = T0 + FIVE + 2 * SWING + died * SECOND
    last = {name: max(at for at in times if at <= died_at) for name, times in ELSEWHERE.items()}
    now = died_at + unseen * SECOND
    after = Schedule(seed=seed)
    for name in ROUTES:
        after.add(name, FIVE, now)
    after.resume(last, now)
    times = runs(after, now + FIVE + 2 * SWING)

    late = sum(now - at - FIVE > TAKEOVER_TOLERANCE for at in last.values()) / len(last)
    for name, at in last.items():
        waits = late * FIVE if now - at - FIVE > TAKEOVER_TOLERANCE else 0 * SECOND
        assert times[name][0] <= max(at + FIVE, now + waits), "only rounds without any process are lost"
    per_minute = Counter((at - now) // MINUTE for each in times.values() for at in each)
    # 20 are run in a minute, of those that are late 30 at most, and those of ten seconds; some have their own phase soon after.
    usual = 1.1 * (20 + MINUTE / TAKEOVER_SPREAD + 4)
    assert max(per_minute.values()) <= usual + 3 * usual**0.5


def test_resume_unknown_route_is_ignored() -> None:
    schedule = planned("JCM/internal")
    schedule.resume({"MDC/internal": T0 - FIVE}, T0)
    schedule.resume({}, T0)
    assert next_of(schedule) > T0


def test_resume_last_run_in_future_delays_at_most_one_interval() -> None:
    """The clock of the other process was wrong, or has been set back since."""
    schedule = planned("JCM/internal")
    schedule.resume({"JCM/internal": T0 + 30 * FIVE}, T0)
    assert next_of(schedule) <= T0 + FIVE


def test_resume_recent_run_waits_one_interval() -> None:
    schedule = planned("JCM/internal")
    assert next_of(schedule) < T0 + FIVE - SECOND
    schedule.resume({"JCM/internal": T0 - SECOND}, T0)
    assert next_of(schedule) == T0 + FIVE - SECOND


def test_advance_within_spreads_runs() -> None:
    schedule = planned(*ROUTES, interval=HOUR)
    for name in ROUTES:
        schedule.advance_within(name, MINUTE, T0)
    schedule.advance_within("JCM/unknown", MINUTE, T0)
    looked = [times[0] for times in runs(schedule, T0 + MINUTE).values()]
    assert len(looked) == len(ROUTES)
    assert max(Counter((at - T0) // SECOND for at in looked).values()) <= 8


def test_resume_few_late_routes_run_at_once() -> None:
    schedule = planned("JCM/internal", interval=timedelta(hours=6))
    schedule.resume({"JCM/internal": T0 - timedelta(hours=9)}, T0)
    assert next_of(schedule) <= T0 + TAKEOVER_SPREAD


def test_resume_late_route_without_capacity_is_kept() -> None:
    schedule = planned("JCM/internal")
    schedule.resume({"JCM/internal": T0 - 2 * FIVE}, T0)
    for second in range(30):
        assert schedule.due(T0 + second * SECOND, max_runs=0) == []
    assert schedule.due(T0 + 30 * SECOND, max_runs=1) == ["JCM/internal"]


def test_resume_running_route_starts_no_second_run() -> None:
    schedule = planned("JCM/internal")
    begun = next_of(schedule)
    assert schedule.due(begun) == ["JCM/internal"]
    schedule.resume({"JCM/internal": begun - 2 * FIVE}, begun)
    assert schedule.due(begun + TAKEOVER_SPREAD) == []
    schedule.plan_next("JCM/internal", begun + TAKEOVER_SPREAD)
    assert schedule.due(begun + TAKEOVER_SPREAD) == ["JCM/internal"], "it is still requested"
