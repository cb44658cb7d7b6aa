"""Evaluation without reference mailboxes, with one mailbox and with several."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Phase
from tests.unit.monitor.world import T0, agency_routes, arrived, failed

NETWORK = FaultSource(FaultDomain.NETWORK)
MINUTE = timedelta(minutes=1)


def internal(agency: str) -> MonitoredRoute:
    return next(route for route in agency_routes(agency) if route.direction is Direction.INTERNAL)


class Simulation:
    """Runs of each route, minute by minute."""

    def __init__(self, *agencies: str) -> None:
        self.routes = [internal(agency) for agency in agencies]
        self.evaluator = HealthEvaluator(self.routes, HealthPolicy())
        self.now = T0

    def run_for(self, minutes: int, *ends: tuple[Outcome, Phase] | None) -> None:
        for _ in range(minutes):
            for route, end in zip(self.routes, ends, strict=True):
                run = arrived(route, self.now) if end is None else failed(route, self.now, *end)
                self.evaluator.record_run(run, self.now)
            self.now += MINUTE

    def health(self, agency: str) -> Health:
        return self.evaluator.mail(agency).directions()[Direction.INTERNAL]

    def network_is_down(self) -> bool:
        return NETWORK in self.evaluator.source_troubles(self.now)


@pytest.mark.blind
def test_one_unreachable_mailbox_is_reported_as_network() -> None:
    """Defect: Without a reference nothing proves our network, and a dead server stays green.

    Pantau: Every mailbox proves whom we reach; of one mailbox alone our network is suspected, and that is shown.
    """
    simulation = Simulation("JCM")
    simulation.run_for(3, None)
    simulation.run_for(6, (Outcome.CONNECT, Phase.CONNECT))
    assert simulation.network_is_down()
    assert simulation.evaluator.trouble("JCM", simulation.now) is None, "the fault domain is unknown"
    simulation.run_for(3, None)
    assert not simulation.network_is_down()
    assert simulation.health("JCM") is Health.UP


@pytest.mark.blind
def test_one_mailbox_refusing_mail_is_agencys() -> None:
    """Defect: Without a reference, refused or lost mail counts for nobody.

    Pantau: A reached mailbox that refuses is the agency's fault.
    """
    simulation = Simulation("JCM")
    simulation.run_for(3, None)
    simulation.run_for(4, (Outcome.REJECTED, Phase.SUBMIT))
    assert (simulation.health("JCM"), simulation.network_is_down()) == (Health.DOWN, False)


@pytest.mark.blind
def test_unreachable_mailbox_is_agencys_where_another_is_reached() -> None:
    """Defect: Without a reference, an unreachable mailbox counts for nobody.

    Pantau: It is the agency's fault where another is reached.
    """
    simulation = Simulation("JCM", "JKR")
    simulation.run_for(3, None, None)
    simulation.run_for(5, (Outcome.CONNECT, Phase.CONNECT), None)
    assert (simulation.health("JCM"), simulation.health("JKR"), simulation.network_is_down()) == (
        Health.DOWN,
        Health.UP,
        False,
    )


@pytest.mark.blind
def test_no_mailbox_reached_is_network() -> None:
    """Defect: Without a reference, a dead network of ours blames agencies.

    Pantau: Where nobody is reached it is our network, and health stays.
    """
    simulation = Simulation("JCM", "JKR")
    simulation.run_for(3, None, None)
    simulation.run_for(6, (Outcome.CONNECT, Phase.CONNECT), (Outcome.TIMEOUT, Phase.CONNECT))
    assert simulation.network_is_down()
    assert {simulation.health("JCM"), simulation.health("JKR")} == {Health.UP}, "unchanged"
