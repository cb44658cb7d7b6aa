"""What is remembered of the latest runs of one route."""

from __future__ import annotations

from datetime import datetime

import pytest

from monitor.evaluation.attribution import Attribution, FaultDomain
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks, deciding_trackers
from monitor.model.health import Grade, Health, HealthPolicy
from probes.model.result import Outcome, Phase, ProbeResult
from tests.unit.monitor.trial import MINUTE, T0, agency_routes, arrived, failed

ROUTE = agency_routes("JCM")[0]


def test_an_outage_whose_first_run_waits_long_for_its_proof_began_with_that_run() -> None:
    subject = HealthTracker(policy=HealthPolicy())
    for number in range(20):
        grade = Grade.PENDING if number == 0 else Grade.BAD
        subject.record(failed(ROUTE, T0 + number * MINUTE, Outcome.CONNECT, Phase.CONNECT), Attribution(grade=grade))

    settled = list(subject.attribute_pending(lambda _: Attribution(grade=Grade.BAD)))
    assert subject.evaluate(T0 + 20 * MINUTE)
    assert not subject.evaluate(T0 + 21 * MINUTE), "it is judged as it was"

    assert [result.started_at for result, _ in settled] == [T0]
    assert (subject.health, subject.failing_since) == (Health.DOWN, T0)
    assert [run.started_at for run in subject.recent] == [T0 + number * MINUTE for number in range(15, 20)]


def test_runs_that_are_judged_are_not_kept_for_ever() -> None:
    subject = HealthTracker(policy=HealthPolicy(failure_threshold=3))
    for number in range(100):
        subject.record(failed(ROUTE, T0 + number * MINUTE, Outcome.LOST, Phase.TRANSIT), Attribution(grade=Grade.BAD))
    assert len(subject.recent) == 5


PENDING, NOTHING = Attribution(grade=Grade.PENDING), Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE)
LOST, LATE = failed(ROUTE, T0, Outcome.LOST, Phase.TRANSIT), arrived(ROUTE, T0, 20 * MINUTE)


@pytest.mark.parametrize(("result", "presumed"), [(LATE, Grade.SLOW), (LOST, Grade.BAD)])
def test_a_run_that_waits_for_its_proof_is_presumed_to_be_what_it_showed(result: ProbeResult, presumed: Grade) -> None:
    assert GradedRun.from_result(result, Grade.PENDING).presumed_grade() is presumed
    assert GradedRun.from_result(result, Grade.GOOD).presumed_grade() is Grade.GOOD


def test_a_streak_that_was_forgotten_is_kept_anew_when_it_comes_again() -> None:
    subject, streaks = HealthTracker(policy=HealthPolicy(), health=Health.UP), Streaks()
    subject.record(LOST, Attribution(grade=Grade.BAD))
    kept = {"JCM": subject.contradicting_streak()}
    streaks.record("JCM", subject)
    assert (streaks.take_changed(), streaks.take_changed()) == (kept, {})

    streaks.remove("JCM")
    assert streaks.take_changed() == {}
    streaks.record("JCM", subject)
    assert streaks.take_changed() == kept


def test_what_cannot_see_wants_no_other_look_while_its_last_run_waits_for_a_proof() -> None:
    subject = HealthTracker(policy=HealthPolicy(), health=Health.UP)
    subject.record(LOST, PENDING)
    assert subject.needs_another_run()
    for _ in range(subject.policy.failure_threshold):
        subject.record(LOST, NOTHING)
    assert not subject.needs_another_run()


def test_a_route_that_cannot_see_has_a_say_until_another_is_judged_anew() -> None:
    seeing = HealthTracker(policy=HealthPolicy(), health=Health.UP, changed_at=T0)
    blind = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, inconclusive_runs=HealthPolicy().failure_threshold)

    assert deciding_trackers([blind]) == [blind]
    # Of an outage it is not when it was judged but when it began; that is not known after a restart.
    fell = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=T0 + 9 * MINUTE, failing_since=T0)
    restored = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=T0)
    for other in (seeing, fell, restored):
        for spoke_at, heard in ((T0 + MINUTE, [other, blind]), (T0, [other, blind]), (T0 - MINUTE, [other])):
            blind.last_counted_at = spoke_at
            assert deciding_trackers([other, blind]) == heard


def test_the_first_failure_of_what_was_steady_is_news_unless_nothing_could_be_seen() -> None:
    subject = HealthTracker(policy=HealthPolicy(), health=Health.UP)
    assert subject.is_steady() is True
    assert subject.has_just_failed() is False
    subject.record(LOST, Attribution(grade=Grade.BAD))
    assert (subject.is_steady(), subject.has_just_failed()) == (False, True)
    subject.inconclusive_runs = subject.policy.failure_threshold
    assert subject.has_just_failed() is False


@pytest.mark.parametrize(
    ("failing", "changed", "fell"),
    [(T0 + MINUTE, T0, T0), (T0, T0 + MINUTE, T0), (None, T0, T0), (T0, None, T0), (None, None, None)],
)
def test_trouble_began_at_the_first_failure_or_when_it_was_judged_whichever_was_earlier(
    failing: datetime | None, changed: datetime | None, fell: datetime | None
) -> None:
    subject = HealthTracker(policy=HealthPolicy(), health=Health.DOWN, changed_at=changed, failing_since=failing)
    assert subject.unhealthy_since() == fell
