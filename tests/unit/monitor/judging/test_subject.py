"""What is remembered of the latest runs of one route."""

from __future__ import annotations

from monitor.judging.attribution import Attribution
from monitor.judging.subject import Subject
from monitor.model.health import Grade, Health, HealthPolicy
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import MINUTE, T0, agency_routes, failed

ROUTE = agency_routes("JCM")[0]


def test_an_outage_whose_first_run_waits_long_for_its_proof_began_with_that_run() -> None:
    subject = Subject(policy=HealthPolicy())
    for number in range(20):
        grade = Grade.PENDING if number == 0 else Grade.BAD
        subject.note(failed(ROUTE, T0 + number * MINUTE, Outcome.CONNECT, Phase.CONNECT), Attribution(grade=grade))

    settled = list(subject.weigh_again(lambda _: Attribution(grade=Grade.BAD)))
    subject.settle(T0 + 20 * MINUTE)

    assert [result.started_at for result, _ in settled] == [T0]
    assert (subject.health, subject.failing_since) == (Health.DOWN, T0)


def test_runs_that_are_judged_are_not_kept_for_ever() -> None:
    subject = Subject(policy=HealthPolicy(failures_to_down=3))
    for number in range(100):
        subject.note(failed(ROUTE, T0 + number * MINUTE, Outcome.LOST, Phase.TRANSIT), Attribution(grade=Grade.BAD))
    assert len(subject.recent) == 5
