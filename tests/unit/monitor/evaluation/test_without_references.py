"""What can be judged where there is no reference mailbox: of one mailbox, and of several."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import T0, agency_routes, arrived, failed

NETWORK = FaultSource(FaultDomain.NETWORK)
MINUTE = timedelta(minutes=1)


def internal(agency: str) -> MonitoredRoute:
    return next(route for route in agency_routes(agency) if route.direction is Direction.INTERNAL)


class Trial:
    """Minute by minute: of each route whether it worked, or how its run ended."""

    def __init__(self, *agencies: str) -> None:
        self.routes = [internal(agency) for agency in agencies]
        self.evaluator = HealthEvaluator(self.routes, HealthPolicy())
        self.now = T0

    def goes(self, minutes: int, *ends: tuple[Outcome, Phase] | None) -> None:
        for _ in range(minutes):
            for route, end in zip(self.routes, ends, strict=True):
                run = arrived(route, self.now) if end is None else failed(route, self.now, *end)
                self.evaluator.record_run(run, self.now)
            self.now += MINUTE

    def health(self, agency: str) -> Health:
        return self.evaluator.mail(agency).directions()[Direction.INTERNAL]

    def network_is_down(self) -> bool:
        return NETWORK in self.evaluator.own_troubles(self.now)


@pytest.mark.blind
def test_one_mailbox_that_cannot_be_reached_may_be_our_own_network_and_that_is_said() -> None:
    """Defect: Without a reference nothing proves our network, and a dead server stays green.

    Pantau: Every mailbox proves whom we reach; of one mailbox alone our network is suspected, and that is shown.
    """
    trial = Trial("JCM")
    trial.goes(3, None)
    trial.goes(6, (Outcome.CONNECT, Phase.CONNECT))
    assert trial.network_is_down()
    assert trial.evaluator.trouble("JCM", trial.now) is None, "nobody can tell whose fault it is"
    trial.goes(3, None)
    assert not trial.network_is_down()
    assert trial.health("JCM") is Health.UP


@pytest.mark.blind
def test_one_mailbox_that_refuses_or_loses_mail_is_the_agencys() -> None:
    """Defect: Without a reference, refused or lost mail counts for nobody.

    Pantau: A reached mailbox that refuses is the agency's fault.
    """
    trial = Trial("JCM")
    trial.goes(3, None)
    trial.goes(4, (Outcome.REJECTED, Phase.SUBMIT))
    assert (trial.health("JCM"), trial.network_is_down()) == (Health.DOWN, False)


@pytest.mark.blind
def test_where_another_can_be_reached_it_is_the_agencys() -> None:
    """Defect: Without a reference, an unreachable mailbox counts for nobody.

    Pantau: It is the agency's fault where another is reached.
    """
    trial = Trial("JCM", "JKR")
    trial.goes(3, None, None)
    trial.goes(5, (Outcome.CONNECT, Phase.CONNECT), None)
    assert (trial.health("JCM"), trial.health("JKR"), trial.network_is_down()) == (Health.DOWN, Health.UP, False)


@pytest.mark.blind
def test_where_nobody_can_be_reached_it_is_our_network() -> None:
    """Defect: Without a reference, a dead network of ours blames agencies.

    Pantau: Where nobody is reached it is our network, and health stays.
    """
    trial = Trial("JCM", "JKR")
    trial.goes(3, None, None)
    trial.goes(6, (Outcome.CONNECT, Phase.CONNECT), (Outcome.TIMEOUT, Phase.CONNECT))
    assert trial.network_is_down()
    assert {trial.health("JCM"), trial.health("JKR")} == {Health.UP}, "as they were"
