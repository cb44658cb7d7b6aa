"""Clock of a process with its own database when the machine's clock is set."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from monitor.runtime.clock import MachineClock
from tests.unit.alerts.people import MINUTE, SECOND, T0

HOUR = timedelta(hours=1)


@dataclass
class Machine:
    """Machine whose clock can be set."""

    wall: datetime = T0
    up: timedelta = HOUR
    clock: MachineClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = MachineClock(lambda: self.wall, lambda: self.up)

    def passes(self, span: timedelta) -> datetime:
        self.wall += span
        self.up += span
        return self.clock.now()


@pytest.mark.parametrize("forward", [SECOND, HOUR, timedelta(days=400)])
def test_clock_machine_set_forward_follows_at_once(forward: timedelta) -> None:
    machine = Machine()
    machine.wall += forward
    assert machine.passes(SECOND) == machine.wall


@pytest.mark.parametrize("back", [timedelta(milliseconds=1), SECOND, MINUTE])
def test_clock_machine_set_back_one_minute_stays_monotonic_and_agrees_after_ten(back: timedelta) -> None:
    machine = Machine()
    before = machine.passes(SECOND)
    machine.wall -= back
    for _ in range(60 * 10):
        now = machine.passes(SECOND)
        assert now >= before + 0.9 * SECOND or now == machine.wall
        assert now >= machine.wall
        before = now
    assert before == machine.wall


def test_clock_machine_set_back_by_hours_follows_at_once() -> None:
    machine = Machine()
    machine.passes(SECOND)
    machine.wall -= 8 * HOUR
    assert machine.passes(SECOND) == machine.wall


def test_clock_machine_asleep_goes_on() -> None:
    machine = Machine()
    assert machine.passes(9 * HOUR) == T0 + 9 * HOUR
