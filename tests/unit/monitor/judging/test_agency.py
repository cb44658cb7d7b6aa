"""What an agency's routes say together."""

from __future__ import annotations

import pytest

from monitor.judging.agency import AgencyMail
from monitor.judging.attribution import Attribution, Blame
from monitor.judging.flapping import FlappingPolicy
from monitor.judging.subject import Subject
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import MINUTE, PROBING, T0, agency_routes, failed


@pytest.mark.parametrize(("blind", "is_well"), [(Health.UNKNOWN, True), (Health.DOWN, False), (Health.DEGRADED, False)])
def test_a_direction_that_cannot_see_is_waited_for_if_it_was_ever_judged(blind: Health, *, is_well: bool) -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    outbound, inbound = agency_routes("JCM", ("a",), (Direction.OUTBOUND, Direction.INBOUND))
    mail.judge_by(outbound, Subject(policy=policy, health=Health.UP, changed_at=T0))
    mail.judge_by(
        inbound,
        Subject(policy=policy, health=blind, changed_at=T0, silent=policy.failures_to_down),
    )
    assert mail.well_since() == (T0 if is_well else None)
    assert mail.unseen() == (Direction.INBOUND,)


def test_a_direction_is_seen_while_one_of_its_routes_is_and_trouble_began_with_the_oldest() -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    first, second = agency_routes("JCM", ("a", "b"), (Direction.INBOUND,))
    mail.judge_by(first, Subject(policy=policy, health=Health.DOWN, changed_at=T0 + MINUTE, silent=99))
    mail.judge_by(second, Subject(policy=policy, health=Health.DEGRADED, changed_at=T0))
    assert (mail.unseen(), mail.troubled_since()) == ((), T0)
    mail.release(second.name)
    assert mail.unseen() == (Direction.INBOUND,)
    mail.judge_by(first, Subject(policy=policy, health=Health.UP, changed_at=T0))
    assert (mail.unseen(), mail.troubled_since()) == ((), None)


@pytest.mark.parametrize(
    ("grade", "blame", "waits"),
    [
        (Grade.BAD, Blame.AGENCY, True),
        (Grade.PENDING, Blame.NETWORK, True),
        (Grade.NONE, Blame.REFERENCE, True),
        (Grade.NONE, Blame.NOBODY, False),
        (Grade.GOOD, Blame.NOBODY, False),
    ],
)
def test_a_route_that_is_not_judged_yet_is_waited_for_since_the_first_of_the_others_fell(
    grade: Grade, blame: Blame, *, waits: bool
) -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    undecided = Subject(policy=policy, health=Health.UP, changed_at=T0 - 600 * MINUTE)
    first = Subject(policy=policy, health=Health.DOWN, changed_at=T0)
    second = Subject(policy=policy, health=Health.DOWN, changed_at=T0 + MINUTE)
    routes = agency_routes("JCM", ("a",))
    for route, subject in zip(routes, (undecided, first, second), strict=True):
        mail.judge_by(route, subject)
    undecided.note(failed(routes[0], T0, Outcome.LOST, Phase.TRANSIT), Attribution(grade=grade, blame=blame))

    until = T0 + 2 * (PROBING.confirmation + PROBING.patience.whole)
    assert mail.spreading_until(T0 + MINUTE) == (until if waits else None)
    assert mail.spreading_until(until) is None
