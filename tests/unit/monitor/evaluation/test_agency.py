"""Evaluation of an agency from its routes."""

from __future__ import annotations

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.agency import AgencyMail
from monitor.evaluation.attribution import Attribution, FaultDomain
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.health_tracker import HealthTracker
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction
from probes.model.result import Outcome, Party, Phase
from tests.unit.monitor.world import MINUTE, PROBING, T0, agency_routes, failed


@pytest.mark.parametrize(("blind", "is_well"), [(Health.UNKNOWN, True), (Health.DOWN, False), (Health.DEGRADED, False)])
def test_up_since_unobserved_direction_blocks_if_it_was_evaluated(blind: Health, *, is_well: bool) -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    outbound, inbound = agency_routes("JCM", ("a",), (Direction.OUTBOUND, Direction.INBOUND))
    mail.set_route(outbound, HealthTracker(policy=policy, health=Health.UP, changed_at=T0))
    mail.set_route(
        inbound,
        HealthTracker(policy=policy, health=blind, changed_at=T0, inconclusive_runs=policy.failure_threshold),
    )
    assert mail.up_since() == (T0 if is_well else None)
    assert mail.unobserved_directions() == (Direction.INBOUND,)


def test_direction_is_observed_by_one_route_and_unhealthy_since_oldest() -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    first, second = agency_routes("JCM", ("a", "b"), (Direction.INBOUND,))
    mail.set_route(
        first, HealthTracker(policy=policy, health=Health.DOWN, changed_at=T0 + MINUTE, inconclusive_runs=99)
    )
    mail.set_route(second, HealthTracker(policy=policy, health=Health.DEGRADED, changed_at=T0))
    assert (mail.unobserved_directions(), mail.trouble_since()) == ((), T0)
    assert mail.unhealthy_routes() == [first.name, second.name]
    mail.remove_route(second.name)
    assert mail.unobserved_directions() == (Direction.INBOUND,)
    mail.set_route(first, HealthTracker(policy=policy, health=Health.UP, changed_at=T0))
    assert (mail.unobserved_directions(), mail.trouble_since()) == ((), None)
    assert mail.unhealthy_routes() == []


@pytest.mark.parametrize(
    ("grade", "blame", "waits"),
    [
        (Grade.BAD, FaultDomain.AGENCY, True),
        (Grade.PENDING, FaultDomain.NETWORK, True),
        (Grade.NONE, FaultDomain.REFERENCE, True),
        (Grade.NONE, FaultDomain.NOBODY, False),
        (Grade.GOOD, FaultDomain.NOBODY, False),
    ],
)
def test_undecided_route_is_waited_for_since_first_of_others_failed(
    grade: Grade, blame: FaultDomain, *, waits: bool
) -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    undecided = HealthTracker(policy=policy, health=Health.UP, changed_at=T0 - 600 * MINUTE)
    first = HealthTracker(policy=policy, health=Health.DOWN, changed_at=T0)
    second = HealthTracker(policy=policy, health=Health.DOWN, changed_at=T0 + MINUTE)
    routes = agency_routes("JCM", ("a",))
    for route, subject in zip(routes, (undecided, first, second), strict=True):
        mail.set_route(route, subject)
    undecided.record(failed(routes[0], T0, Outcome.LOST, Phase.TRANSIT), Attribution(grade=grade, domain=blame))

    until = T0 + 2 * (PROBING.retry_interval + PROBING.timeouts.total)
    assert mail.undecided_until(T0 + MINUTE) == (until if waits else None)
    assert mail.undecided_until(until) is None


def test_trouble_slow_then_down_begins_when_down() -> None:
    mail, policy = AgencyMail(FlappingPolicy(threshold=1)), HealthPolicy()
    internal, outbound, inbound = agency_routes("JCM", ("a",))
    down = HealthTracker(policy=policy, health=Health.DOWN, changed_at=T0 + 9 * MINUTE)
    down.record(failed(internal, T0, Outcome.CONNECT, Phase.CONNECT), Attribution(grade=Grade.BAD))
    # One refused message is no outage of sending.
    up = HealthTracker(policy=policy, health=Health.UP, changed_at=T0)
    up.record(failed(outbound, T0, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), Attribution(grade=Grade.BAD))
    slow = HealthTracker(policy=policy, health=Health.DEGRADED, changed_at=T0 + MINUTE)
    for route, subject in ((internal, down), (outbound, up), (inbound, slow)):
        mail.set_route(route, subject)
    found = mail.trouble(T0 + 10 * MINUTE)
    assert found is not None
    assert (found.type, found.since, found.latest) == (IncidentType.RECEIVING, T0 + 9 * MINUTE, T0 + 9 * MINUTE)
    assert found.flapping, "the fall was recorded"


def test_record_recovery_begins_when_last_route_became_up() -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    for minute, route in enumerate(agency_routes("JCM", ("a",))):
        health = Health.UP if minute else Health.DEGRADED
        mail.set_route(route, HealthTracker(policy=policy, health=health, changed_at=T0 + (minute or 9) * MINUTE))
    mail.restore_falls([T0], is_down=True, is_flapping=True)
    assert mail.record_recovery(T0 + 10 * MINUTE) == T0 + 2 * MINUTE + FlappingPolicy().window
