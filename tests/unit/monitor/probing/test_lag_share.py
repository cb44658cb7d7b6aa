"""Of a second, the part in which the loop was late: by which runs are begun or let go."""

from __future__ import annotations

import asyncio
from typing import cast

from monitor.planning.admission import LAG_THRESHOLD
from monitor.probing.lag import LagMeter


class Loop:
    """A loop whose time the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, *_: object) -> None:
        """Remember nothing: the test looks by itself."""


def looking(loop: Loop, meter: LagMeter, *lags: float) -> float:
    """Let *meter* look, each time so much late; return the part that it names in the end."""
    for lag in lags:
        loop.now += 0.05 + lag
        meter._measure(cast(asyncio.AbstractEventLoop, loop))
    return meter.share


def begun(loop: Loop) -> LagMeter:
    meter = LagMeter(wall_clock=loop.time)
    meter._schedule_measurement(cast(asyncio.AbstractEventLoop, loop))
    return meter


def test_a_machine_that_stood_still_once_has_not_too_much_to_do() -> None:
    for stop in (0.5, 3.0, 30.0, 3600.0):
        loop = Loop()
        assert looking(loop, meter := begun(loop), stop) <= LAG_THRESHOLD
        assert looking(loop, meter, *[0.0] * 20) <= LAG_THRESHOLD / 2


def test_a_loop_that_is_late_at_each_look_has_too_much_to_do() -> None:
    for lag, looks in ((0.1, 20), (0.5, 2), (5.0, 2)):
        loop = Loop()
        assert looking(loop, begun(loop), *[lag] * looks) > LAG_THRESHOLD
