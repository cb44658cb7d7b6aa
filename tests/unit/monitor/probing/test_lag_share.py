"""Share of time in which the loop was late, used for admission."""

from __future__ import annotations

import asyncio
from typing import cast

from monitor.planning.admission import LAG_THRESHOLD
from monitor.probing.lag import LagMeter


class Loop:
    """Loop whose time the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, *_: object) -> None:
        """Do nothing: the test calls the measurement itself."""


def measure(loop: Loop, meter: LagMeter, *lags: float) -> float:
    """Let *meter* measure with each lag; return its share at the end."""
    for lag in lags:
        loop.now += 0.05 + lag
        meter._measure(cast(asyncio.AbstractEventLoop, loop))
    return meter.share


def started_meter(loop: Loop) -> LagMeter:
    meter = LagMeter(wall_clock=loop.time)
    meter._schedule_measurement(cast(asyncio.AbstractEventLoop, loop))
    return meter


def test_lag_share_one_pause_is_below_threshold() -> None:
    for stop in (0.5, 3.0, 30.0, 3600.0):
        loop = Loop()
        assert measure(loop, meter := started_meter(loop), stop) <= LAG_THRESHOLD
        assert measure(loop, meter, *[0.0] * 20) <= LAG_THRESHOLD / 2


def test_lag_share_repeated_lag_is_above_threshold() -> None:
    for lag, looks in ((0.1, 20), (0.5, 2), (5.0, 2)):
        loop = Loop()
        assert measure(loop, started_meter(loop), *[lag] * looks) > LAG_THRESHOLD
