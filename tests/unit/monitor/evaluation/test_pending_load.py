"""Cost of a result while thousands of runs are pending, and when evidence arrives. Calls are counted, not time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
import structlog

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP
from monitor.model.health import Grade, Health
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Phase
from tests.unit.monitor.bridge.test_pipeline import Service
from tests.unit.monitor.world import MINUTE, SECOND, T0, arrived, failed

AGENCIES = 300


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@dataclass
class Calls:
    """Counter of function calls, and of the most calls in one turn of the loop."""

    number: int = 0
    turns: list[int] = field(default_factory=list)

    def hear(self, _: FrameType, event: str, __: object) -> None:
        self.number += event in {"call", "c_call"}

    @contextmanager
    def counted(self) -> Iterator[None]:
        sys.setprofile(self.hear)
        try:
            yield
        finally:
            sys.setprofile(None)

    async def per_turn(self, work: asyncio.Task[None]) -> int:
        """Return the most calls between two turns of other tasks while *work* runs."""
        most = 0
        while not work.done():
            before = self.number
            await asyncio.sleep(0)
            most = max(most, self.number - before)
        return most


@dataclass
class ManyAgencies:
    """Hundreds of agencies that lose their mail to reference "a"; that fault is already reported."""

    service: Service

    @classmethod
    async def opened(cls) -> ManyAgencies:
        service = Service(*(f"JCM{number:03}" for number in range(AGENCIES)))
        service.start({"ours/reference/a": IncidentType.MONITORING_FAULT})
        for route in service.world.routes:
            await service.process(arrived(route, T0))
            await service.process(arrived(route, T0 + SECOND))
        return cls(service)

    def routes(self, direction: Direction, *, sender: str = "", recipient: str = "") -> list[MonitoredRoute]:
        ends = ((each, each.route.sender.name, each.route.recipient.name) for each in self.service.world.routes)
        return [
            r for r, one, other in ends if r.direction is direction and sender in {"", one} and recipient in {"", other}
        ]

    async def lose(self, times: int) -> None:
        for number in range(1, times + 1):
            self.service.clock.time = T0 + number * MINUTE
            for route in self.routes(Direction.OUTBOUND, recipient="a"):
                await self.service.process(failed(route, self.service.clock.time, Outcome.LOST, Phase.TRANSIT))

    async def others(self, count: int) -> None:
        """Process unrelated runs."""
        for route in self.routes(Direction.INBOUND, sender="b")[:count]:
            self.service.clock.time += timedelta(milliseconds=6)
            await self.service.process(arrived(route, self.service.clock.time - SECOND))
            self.service.evaluator.routes_to_run_soon(route.name, self.service.clock.time)


@pytest.mark.blind
async def test_run_cost_is_independent_of_number_of_pending_runs() -> None:
    """Defect: Each result evaluates all waiting runs again: 46 ms with 1,000.

    Pantau: Only runs that wait for this proof are: 0.3 ms, with 10,000 too.
    """
    costs = []
    for times in (1, 6):
        estate, calls = await ManyAgencies.opened(), Calls()
        await estate.lose(times)
        with calls.counted():
            await estate.others(50)
        costs.append(calls.number / 50)

    assert len(estate.service.evaluator._pending) == 6 * AGENCIES
    assert costs[1] <= 1.05 * costs[0]
    assert costs[1] <= 1500


@pytest.mark.blind
async def test_evidence_for_thousands_of_pending_runs_is_applied_in_steps() -> None:
    """Defect: A proof for 10,000 waiting runs blocks the loop.

    Pantau: They are evaluated 50 at a time.
    """
    estate, calls = await ManyAgencies.opened(), Calls()
    await estate.lose(4)
    evaluator = estate.service.evaluator
    waiting = estate.routes(Direction.OUTBOUND, recipient="a")
    (into_a,) = estate.routes(Direction.CONTROL, recipient="a")
    estate.service.clock.time += MINUTE

    with calls.counted():
        proof = asyncio.create_task(estate.service.process(arrived(into_a, estate.service.clock.time)))
        most = await calls.per_turn(proof)

    assert len(evaluator._pending) == 0
    assert sum(told.endswith(": degraded") for told in estate.service.alerts.sent()) == AGENCIES, (
        "no other run has to end first"
    )
    assert {evaluator.route_health(route.name) for route in waiting} == {Health.DOWN}
    assert [run.grade for run in evaluator._trackers[waiting[0].name].recent[-4:]] == [Grade.BAD] * 4
    # All at once would be more than ten times as many.
    assert AGENCIES >= 6 * ATTRIBUTIONS_PER_STEP
    assert most <= calls.number / 5


async def test_routes_to_run_after_evidence_are_returned_in_steps() -> None:
    estate = await ManyAgencies.opened()
    await estate.lose(1)
    estate.service.clock.time += MINUTE
    evaluator, now = estate.service.evaluator, estate.service.clock.time
    (into_a,) = estate.routes(Direction.CONTROL, recipient="a")
    take = estate.service.pipeline.process
    proof = asyncio.create_task(take(arrived(into_a, now)))
    await asyncio.create_task(take(arrived(estate.routes(Direction.INBOUND, sender="b")[-1], now)))
    assert not evaluator.is_caught_up, "a run that ends meanwhile does not wait for all attributions"
    await proof
    looks: dict[str, Any] = {}
    for route in estate.routes(Direction.INBOUND, sender="b")[:10]:
        more = evaluator.routes_to_run_soon(route.name, now)
        assert len(more) <= 5 * ATTRIBUTIONS_PER_STEP + 1
        looks |= more

    assert {route.name for route in estate.routes(Direction.OUTBOUND, recipient="a")} <= looks.keys()
    assert evaluator.is_caught_up
