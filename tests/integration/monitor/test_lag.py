"""The lag of a loop that is held, of a process that is stopped, and of a machine that was suspended."""

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
from tests.unit.monitor.trial import T0

NOTHING = LoopLag(whole=timedelta(0), longest=timedelta(0))


def measured(meter: LagMeter) -> tuple[Metrics, asyncio.Task[None]]:
    metrics = Metrics(version="0", now=lambda: T0)
    return metrics, asyncio.create_task(meter.keep_measuring(metrics))


async def looks(times: int) -> None:
    """Let it look so many times."""
    await asyncio.sleep(times * 0.06)


async def test_a_loop_that_is_not_held_is_not_late() -> None:
    meter = LagMeter()
    mark = meter.mark()
    assert meter.lag_since(mark) == NOTHING  # Nobody measures yet.
    metrics, measuring = measured(meter)
    mark = meter.mark()
    await asyncio.sleep(1.2)

    assert meter.lag_since(mark).longest < timedelta(seconds=5)
    assert Scrape(metrics).value("event_loop_lag_seconds") is not None
    measuring.cancel()
    with suppress(asyncio.CancelledError):
        await measuring
    assert meter.lag_since(mark).longest < timedelta(seconds=5)


async def test_a_loop_that_is_held_is_late_at_once_and_later_too() -> None:
    meter = LagMeter()
    _, measuring = measured(meter)
    await looks(1)
    mark = meter.mark()
    time.sleep(0.5)  # noqa: ASYNC251 - it is the loop that is to be held
    at_once = meter.lag_since(mark)
    await looks(2)

    # The longest may have begun before: where the machine stood still just then.
    assert timedelta(seconds=0.4) < at_once.whole <= at_once.longest
    assert meter.lag_since(mark).whole >= at_once.whole
    assert meter.share > 0.2
    assert meter.lag_since(meter.mark()) == NOTHING
    measuring.cancel()


@pytest.mark.blind
def test_a_process_that_was_stopped_knows_when_its_first_deadline_passes() -> None:
    """Defect: After SIGSTOP and SIGCONT, deadlines that passed meanwhile fail their runs.

    Pantau: The stop is known before the first deadline is handled.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_stopped, args=(theirs,))
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
    assert lateness.whole >= lateness.longest


def _stopped(to: Connection) -> None:
    async def wait_for_a_server() -> None:
        meter = LagMeter()
        _, measuring = measured(meter)
        await looks(2)
        mark = meter.mark()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):  # It passes while we are stopped.
                os.kill(os.getpid(), signal.SIGSTOP)
                await asyncio.Event().wait()
        to.send(meter.lag_since(mark))
        measuring.cancel()

    asyncio.run(wait_for_a_server())


@pytest.mark.blind
async def test_a_machine_that_was_suspended_was_late_by_what_its_clock_has_moved() -> None:
    """Defect: A suspended virtual machine looks like silent servers.

    Pantau: The wall clock shows how long it was.
    """
    hidden = [0.0]
    meter = LagMeter(wall_clock=lambda: time.monotonic() + hidden[0])
    _, measuring = measured(meter)
    await looks(2)
    mark = meter.mark()
    hidden[0] = 600.0
    await looks(3)
    assert meter.lag_since(mark).longest >= timedelta(minutes=10)

    mark = meter.mark()
    hidden[0] = -3000.0  # A clock that is put back hides no time.
    await looks(3)
    assert meter.lag_since(mark).whole < timedelta(seconds=5)
    measuring.cancel()
