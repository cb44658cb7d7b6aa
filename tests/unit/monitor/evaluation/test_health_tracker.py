"""State of the latest runs of one route."""

from __future__ import annotations

from datetime import datetime

import pytest

from monitor.evaluation.attribution import Attribution, FaultDomain
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks, deciding_trackers
from monitor.model.health import Grade, Health, HealthPolicy
from probes.model.result import Outcome, Phase, ProbeResult
from tests.unit.monitor.world import MINUTE, T0, agency_routes, arrived, failed

ROUTE = agency_routes("JCM")[0]


def test_failing_since_includes_run_that_was_pending_long() -> None:
    tracker = HealthTracker(policy=HealthPolicy())
    for number in range(20):
        grade = Grade.PENDING if number == 0 else Grade.BAD
        tracker.record(failed(ROUTE, T0 + number * MINUTE, Outcome.CONNECT, Phase.CONNECT), Attribution(grade=grade))

    settled = list(tracker.attribute_pending(lambda _: Attribution(grade=Grade.BAD)))
    assert tracker.evaluate(T0 + 20 * MINUTE)
    assert not tracker.evaluate(T0 + 21 * MINUTE), "nothing new is evaluated"

    assert [result.started_at for result, _ in settled] == [T0]
    assert (tracker.health, tracker.failing_since) == (Health.DOWN, T0)
    assert [run.started_at for run in tracker.recent] == [T0 + number * MINUTE for number in range(15, 20)]


def test_record_evaluated_runs_are_dropped() -> None:
    tracker = HealthTracker(policy=HealthPolicy(failure_threshold=3))
    for number in range(100):
        tracker.record(failed(ROUTE, T0 + number * MINUTE, Outcome.LOST, Phase.TRANSIT), Attribution(grade=Grade.BAD))
    assert len(tracker.recent) == 5


PENDING, NOTHING = Attribution(grade=Grade.PENDING), Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE)
LOST, LATE = failed(ROUTE, T0, Outcome.LOST, Phase.TRANSIT), arrived(ROUTE, T0, 20 * MINUTE)


@pytest.mark.parametrize(("result", "presumed"), [(LATE, Grade.SLOW), (LOST, Grade.BAD)])
def test_presumed_grade_of_pending_run_is_what_it_showed(result: ProbeResult, presumed: Grade) -> None:
    assert GradedRun.from_result(result, Grade.PENDING).presumed_grade() is presumed
    assert GradedRun.from_result(result, Grade.GOOD).presumed_grade() is Grade.GOOD


def test_streaks_removed_and_recorded_again_are_returned() -> None:
    tracker, streaks = HealthTracker(policy=HealthPolicy(), health=Health.UP), Streaks()
    tracker.record(LOST, Attribution(grade=Grade.BAD))
    kept = {"JCM": tracker.contradicting_streak()}
    streaks.record("JCM", tracker)
    assert (streaks.take_changed(), streaks.take_changed()) == (kept, {})

    streaks.remove("JCM")
    assert streaks.take_changed() == {}
    streaks.record("JCM", tracker)
    assert streaks.take_changed() == kept


def test_needs_another_run_blind_route_with_pending_run_does_not() -> None:
    tracker = HealthTracker(policy=HealthPolicy(), health=Health.UP)
    tracker.record(LOST, PENDING)
    assert tracker.needs_another_run()
    for _ in range(tracker.policy.failure_threshold):
        tracker.record(LOST, NOTHING)
    assert not tracker.needs_another_run()


def test_deciding_trackers_blind_route_counts_until_other_changes() -> None:
    seeing = HealthTracker(policy=HealthPolicy(), health=Health.UP, changed_at=T0)
    blind = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, inconclusive_runs=HealthPolicy().failure_threshold)

    assert deciding_trackers([blind]) == [blind]
    # For an outage its start counts, not its evaluation; the start is unknown after a restart.
    fell = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=T0 + 9 * MINUTE, failing_since=T0)
    restored = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=T0)
    for other in (seeing, fell, restored):
        for spoke_at, expected in ((T0 + MINUTE, [other, blind]), (T0, [other, blind]), (T0 - MINUTE, [other])):
            blind.last_counted_at = spoke_at
            assert deciding_trackers([other, blind]) == expected


def test_has_just_failed_is_false_while_inconclusive() -> None:
    tracker = HealthTracker(policy=HealthPolicy(), health=Health.UP)
    assert tracker.is_steady() is True
    assert tracker.has_just_failed() is False
    tracker.record(LOST, Attribution(grade=Grade.BAD))
    assert (tracker.is_steady(), tracker.has_just_failed()) == (False, True)
    tracker.inconclusive_runs = tracker.policy.failure_threshold
    assert tracker.has_just_failed() is False


@pytest.mark.parametrize(
    ("failing", "changed", "fell"),
    [(T0 + MINUTE, T0, T0), (T0, T0 + MINUTE, T0), (None, T0, T0), (T0, None, T0), (None, None, None)],
)
def test_unhealthy_since_is_earlier_of_failure_and_change(
    failing: datetime | None, changed: datetime | None, fell: datetime | None
) -> None:
    tracker = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=changed, failing_since=failing)
    assert tracker.unhealthy_since() == fell
