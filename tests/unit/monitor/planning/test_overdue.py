"""Deadlines of runs and successes: not reached while runs are on time, and soon after they stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.window import ALWAYS, Hours, OneTimeWindow, Recurring, WindowOccurrence
from monitor.planning.overdue import OverdueTracker, run_deadline, success_deadline
from monitor.planning.schedule import TOLERANCE, Schedule
from probes.model.probe import Route, Timeouts
from tests.unit.monitor.world import MINUTE, SECOND, T0, mailbox

HOUR = timedelta(hours=1)
KL = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE = Recurring("0 7 * * mon-fri", 12 * HOUR, KL)
#: A few minutes, twice a day.
GLANCES = Recurring("0 8,14 * * *", 10 * MINUTE, KL)
NIGHTLY = Recurring("0 2 * * *", 2 * HOUR, KL)
MAINTENANCE = OneTimeWindow(WindowOccurrence(T0 + 5 * HOUR, T0 + 31 * HOUR))


def monitored_route(name: str, probing: ProbingPolicy, agency: str = "JCM") -> MonitoredRoute:
    ends = Route(name=name, sender=mailbox("a"), recipient=mailbox("b"))
    return MonitoredRoute(route=ends, agency=agency, direction=Direction.INBOUND, probing=probing)


@pytest.mark.parametrize("interval", [MINUTE, 5 * MINUTE, 6 * HOUR, 36 * HOUR], ids=str)
@pytest.mark.parametrize(
    "hours",
    [
        ALWAYS,
        Hours(active_windows=(OFFICE,)),
        Hours(active_windows=(GLANCES,)),
        Hours(maintenance=(NIGHTLY, MAINTENANCE)),
        Hours(active_windows=(OFFICE,), maintenance=(MAINTENANCE,)),
    ],
    ids=["always", "office hours", "twice a day", "maintenance", "office hours and maintenance"],
)
@pytest.mark.parametrize("timeouts", [Timeouts(), Timeouts(session=2 * MINUTE, arrival=HOUR)], ids=["usual", "long"])
def test_deadlines_are_not_reached_while_runs_are_on_time(
    interval: timedelta, hours: Hours, timeouts: Timeouts
) -> None:
    """Runs take up to their full time, and some are skipped."""
    chance = Random(f"{interval}{hours}{timeouts}")
    route = monitored_route("JCM/inbound/a", ProbingPolicy(interval=interval, hours=hours, timeouts=timeouts))
    schedule, expected = Schedule(seed="utama"), OverdueTracker()
    schedule.add(route.name, interval, T0, hours)
    expected.add_route(route, T0)
    runs, was_skipped = 0, False
    while runs < 100:
        at = schedule.next_due()
        assert at is not None
        if not was_skipped and chance.random() < 0.2:
            # The loop is too late.
            assert not schedule.due(at + TOLERANCE + SECOND)
            was_skipped = True
            continue
        if not schedule.due(at):
            continue
        runs, was_skipped = runs + 1, False
        ends = at + chance.random() * (timeouts.session + timeouts.total)
        overdue = expected.deadlines("JCM")
        assert overdue is not None
        if hours.next_active_at(ends) == ends:
            assert ends < min(overdue.run, overdue.success)
        expected.record_end(route, ends, has_succeeded=True)
        schedule.plan_next(route.name, ends)


@pytest.mark.parametrize(
    ("interval", "at_most"), [(MINUTE, 12 * MINUTE), (5 * MINUTE, 20 * MINUTE), (6 * HOUR, 6 * HOUR + 20 * MINUTE)]
)
def test_run_deadline_is_soon_after_next_run(interval: timedelta, at_most: timedelta) -> None:
    last = run_deadline(ProbingPolicy(interval=interval), T0)
    assert last is not None
    assert interval < last - T0 < at_most


def test_success_deadline_is_half_an_hour_or_run_deadline() -> None:
    often, rarely = ProbingPolicy(interval=MINUTE), ProbingPolicy(interval=6 * HOUR)
    found = success_deadline(often, T0)
    assert found is not None
    assert 30 * MINUTE < found - T0 < 45 * MINUTE
    assert success_deadline(rarely, T0) == run_deadline(rarely, T0)


def test_run_deadline_outside_hours_is_soon_after_next_start() -> None:
    evening = datetime(2026, 3, 2, 18, 55, tzinfo=KL)
    for interval, at_most in ((5 * MINUTE, 20 * MINUTE), (6 * HOUR, 25 * MINUTE)):
        found = run_deadline(ProbingPolicy(interval=interval, hours=Hours(active_windows=(OFFICE,))), evening)
        assert found is not None
        assert MINUTE < found - datetime(2026, 3, 3, 7, tzinfo=KL) < at_most


def test_deadlines_of_agency_is_earliest_of_routes() -> None:
    often, rarely = (
        monitored_route("a", ProbingPolicy(interval=MINUTE)),
        monitored_route("b", ProbingPolicy(interval=HOUR)),
    )
    expected = OverdueTracker()
    assert expected.deadlines("JCM") is None
    for route in (often, rarely):
        expected.add_route(route, T0)
    expected.record_end(often, T0 + 2 * HOUR, has_succeeded=False)
    overdue = expected.deadlines("JCM")
    assert overdue is not None
    assert (overdue.run, overdue.success) == (run_deadline(rarely.probing, T0), success_deadline(often.probing, T0))
    expected.remove_route(rarely)
    overdue = expected.deadlines("JCM")
    assert overdue is not None
    assert overdue.run == run_deadline(often.probing, T0 + 2 * HOUR)
    expected.remove_route(often)
    assert expected.deadlines("JCM") is None
    # Its last run ends after the removal.
    expected.record_end(often, T0 + HOUR, has_succeeded=True)
    assert expected.deadlines("JCM") is None


def test_change_route_shorter_interval_restarts_deadline_and_unchanged_does_not() -> None:
    route = monitored_route("a", ProbingPolicy(interval=12 * HOUR))
    expected, later = OverdueTracker(), T0 + 5 * HOUR
    expected.add_route(route, T0)
    expected.change_route(route, later)
    overdue = expected.deadlines("JCM")
    assert overdue is not None
    assert overdue.run == run_deadline(route.probing, T0)
    oftener = replace(route, probing=replace(route.probing, interval=HOUR))
    expected.change_route(oftener, later)
    overdue = expected.deadlines("JCM")
    assert overdue is not None
    assert overdue.run == run_deadline(oftener.probing, later)


def test_deadlines_without_future_hours_is_none() -> None:
    expected = OverdueTracker()
    expected.add_route(
        monitored_route(
            "a", ProbingPolicy(hours=Hours(active_windows=(OneTimeWindow(WindowOccurrence(T0 - HOUR, T0)),)))
        ),
        T0,
    )
    assert expected.deadlines("JCM") is None
