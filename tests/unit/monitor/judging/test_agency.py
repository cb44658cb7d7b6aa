"""What an agency's routes say together."""

from __future__ import annotations

import pytest

from monitor.judging.agency import AgencyMail
from monitor.judging.flapping import FlappingPolicy
from monitor.judging.subject import Subject
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction
from tests.unit.monitor.trial import T0, route


@pytest.mark.parametrize(("blind", "is_well"), [(Health.UNKNOWN, True), (Health.DOWN, False), (Health.DEGRADED, False)])
def test_a_direction_that_cannot_see_is_waited_for_if_it_was_ever_judged(blind: Health, *, is_well: bool) -> None:
    mail, policy = AgencyMail(FlappingPolicy()), HealthPolicy()
    mail.judge_by(
        route("JCM", Direction.OUTBOUND, "JCM/utama", "a"), Subject(policy=policy, health=Health.UP, changed_at=T0)
    )
    mail.judge_by(
        route("JCM", Direction.INBOUND, "a", "JCM/utama"),
        Subject(policy=policy, health=blind, changed_at=T0, silent=policy.failures_to_down),
    )
    assert mail.well_since() == (T0 if is_well else None)
