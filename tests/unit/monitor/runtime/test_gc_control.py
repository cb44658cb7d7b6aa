"""Control of the garbage collector: frozen heap and freed connections."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from monitor.runtime.gc_control import break_transport_cycles, freeze_heap, freeze_periodically
from tests.timeouts import HANG_TIMEOUT


class ReferenceCycle:
    """Object in a reference cycle: only the collector frees it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def restored_gc() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    # Otherwise the collector would traverse thousands of tests until the process ends (conftest.py).
    gc.freeze()
    gc.set_threshold(*thresholds)


def test_freeze_heap_collects_garbage_and_freezes_living() -> None:
    living, dead = ReferenceCycle(), ReferenceCycle()
    gone = weakref.ref(dead)
    del dead
    freeze_heap()
    assert gone() is None
    assert living.self is living
    assert gc.get_freeze_count() > 0
    assert living not in gc.get_objects()


def test_freeze_heap_collects_objects_frozen_before() -> None:
    cycle = ReferenceCycle()
    gone = weakref.ref(cycle)
    freeze_heap()
    del cycle
    gc.collect()
    assert gone() is not None
    freeze_heap()
    assert gone() is None


MOMENT = timedelta(milliseconds=1)


async def keep(seconds: float, again: timedelta) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await freeze_periodically(
                first_delay=MOMENT, freeze_interval=MOMENT, count_interval=2 * MOMENT, collect_interval=again
            )


async def test_freeze_periodically_freezes_soon_and_collects_at_next_interval() -> None:
    cycle = ReferenceCycle()
    gone = weakref.ref(cycle)
    keeping = asyncio.create_task(keep(10, again=timedelta(hours=1)))
    async with asyncio.timeout(HANG_TIMEOUT):
        while any(each is cycle for each in gc.get_objects()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    del cycle
    gc.collect()
    assert gone() is not None
    keeping.cancel()

    keeping = asyncio.create_task(keep(20, again=4 * MOMENT))
    async with asyncio.timeout(15):
        while gone() is not None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    keeping.cancel()


async def test_freeze_periodically_runs_early_after_growth_by_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Event()
    monkeypatch.setattr("monitor.runtime.gc_control.freeze_heap", looked.set)
    keeping = asyncio.create_task(keep(60, again=timedelta(hours=1)))
    await asyncio.sleep(0.2)
    assert not looked.is_set()

    cycles = [ReferenceCycle() for _ in range(gc.get_freeze_count())]
    async with asyncio.timeout(30):
        await looked.wait()
    keeping.cancel()
    assert cycles


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_break_transport_cycles_frees_closed_connection_without_collector(end: str) -> None:
    break_transport_cycles()
    break_transport_cycles()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    lost = asyncio.Event()

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    gc.collect()
    gc.disable()
    try:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_connection(Protocol, "127.0.0.1", port)
        gone = weakref.ref(transport)
        getattr(transport, end)()
        del transport
        async with asyncio.timeout(HANG_TIMEOUT):
            await lost.wait()
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
        server.close()
