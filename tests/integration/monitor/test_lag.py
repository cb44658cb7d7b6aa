"""Event loop lag of a blocked loop, a stopped process and a suspended machine."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest

from monitor.metrics import Metrics
from monitor.planning.loop_lag import LoopLag
from monitor.probing.lag import LagMeter
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import T0

NO_LAG = LoopLag(total=timedelta(0), longest=timedelta(0))


def start_measuring(meter: LagMeter) -> tuple[Metrics, asyncio.Task[None]]:
    metrics = Metrics(version="0", now=lambda: T0)
    return metrics, asyncio.create_task(meter.keep_measuring(metrics))


async def wait_for_samples(times: int) -> None:
    """Wait until the meter has sampled so many times."""
    await asyncio.sleep(times * 0.06)


async def test_lag_free_loop_has_none() -> None:
    meter = LagMeter()
    mark = meter.take_sample()
    assert meter.lag_since(mark) == NO_LAG  # Measuring has not begun yet.
    metrics, measuring = start_measuring(meter)
    mark = meter.take_sample()
    await asyncio.sleep(1.2)

    assert meter.lag_since(mark).longest < timedelta(seconds=5)
    assert Scrape(metrics).value("event_loop_lag_seconds") is not None
    measuring.cancel()
    with suppress(asyncio.CancelledError):
        await measuring
    assert meter.lag_since(mark).longest < timedelta(seconds=5)


async def test_lag_blocked_loop_is_measured_at_once_and_later() -> None:
    meter = LagMeter()
    _, measuring = start_measuring(meter)
    await wait_for_samples(1)
    mark = meter.take_sample()
    time.sleep(0.5)  # noqa: ASYNC251 - the test blocks the loop
    at_once = meter.lag_since(mark)
    await wait_for_samples(2)

    # On a busy machine the longest lag may have begun before the sample.
    assert timedelta(seconds=0.4) < at_once.total <= at_once.longest
    assert meter.lag_since(mark).total >= at_once.total
    assert meter.share > 0.2
    assert meter.lag_since(meter.take_sample()) == NO_LAG
    measuring.cancel()


@pytest.mark.blind
def test_lag_stopped_process_is_measured_before_first_deadline() -> None:
    """Defect: After SIGSTOP and SIGCONT, deadlines that passed meanwhile fail their runs.

    Pantau: The stop is known before the first deadline is handled.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_wait_while_stopped, args=(theirs,))
    child.start()
    assert child.pid is not None
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    time.sleep(3)
    os.kill(child.pid, signal.SIGCONT)
    try:
        assert ours.poll(60)
        lateness = ours.recv()
    finally:
        child.join(10)

    assert timedelta(seconds=2) < lateness.longest < timedelta(seconds=20)
    assert lateness.total >= lateness.longest


def _wait_while_stopped(to: Connection) -> None:
    async def wait_for_a_server() -> None:
        meter = LagMeter()
        _, measuring = start_measuring(meter)
        await wait_for_samples(2)
        mark = meter.take_sample()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):  # The deadline passes while the process is stopped.
                os.kill(os.getpid(), signal.SIGSTOP)
                await asyncio.Event().wait()
        to.send(meter.lag_since(mark))
        measuring.cancel()

    asyncio.run(wait_for_a_server())


@pytest.mark.blind
async def test_lag_suspended_machine_is_wall_clock_difference() -> None:
    """Defect: A suspended virtual machine looks like silent servers.

    Pantau: The wall clock shows how long it was.
    """
    hidden = [0.0]
    meter = LagMeter(wall_clock=lambda: time.monotonic() + hidden[0])
    _, measuring = start_measuring(meter)
    await wait_for_samples(2)
    mark = meter.take_sample()
    hidden[0] = 600.0
    await wait_for_samples(3)
    assert meter.lag_since(mark).longest >= timedelta(minutes=10)

    mark = meter.take_sample()
    hidden[0] = -3000.0  # A clock that is set back hides no time.
    await wait_for_samples(3)
    assert meter.lag_since(mark).total < timedelta(seconds=5)
    measuring.cancel()
