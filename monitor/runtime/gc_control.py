"""Garbage collection without long pauses.

A full collection visits every object. With ten thousand routes it takes 0.2 s, several times a minute, and due runs
start late. Nearly all objects live until the next run of their route or the next configuration, and are then freed by
reference counting. So live objects are frozen (excluded from collections) every second, which is cheap. A full
collection runs once an hour, or after the heap has grown by a quarter.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import selector_events
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

#: Time after the start until the mailboxes are open and the heap has its usual size.
_FIRST_DELAY = timedelta(minutes=1)
#: Interval of freezing. Between two freezes the collector visits only new objects, so each collection is short.
_FREEZE_INTERVAL = timedelta(seconds=1)
#: The frozen objects are counted each minute, which takes milliseconds, and collected each hour.
_COUNT_INTERVAL = timedelta(minutes=1)
_COLLECT_INTERVAL = timedelta(hours=1)
#: Growth factor of the frozen heap that triggers an early full collection, which also frees frozen reference cycles.
_GROWTH = 1.25
#: Net allocations before the young generation is collected (`gc.set_threshold`). With Python's default of 700, a
#: service with bursts of work spent a sixth of its time there.
_YOUNG_THRESHOLD = 10_000


def freeze_heap() -> None:
    """Collect garbage now, and exclude the remaining objects from later collections."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Suspend the collector while the block creates many long-lived objects."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def freeze_periodically(
    first_delay: timedelta = _FIRST_DELAY,
    freeze_interval: timedelta = _FREEZE_INTERVAL,
    count_interval: timedelta = _COUNT_INTERVAL,
    collect_interval: timedelta = _COLLECT_INTERVAL,
) -> NoReturn:
    """Freeze live objects periodically, until cancelled."""
    break_transport_cycles()
    gc.set_threshold(_YOUNG_THRESHOLD, *gc.get_threshold()[1:])
    await _freeze_for(first_delay, freeze_interval)
    while True:
        threshold = _GROWTH * gc.get_freeze_count()
        for _ in range(collect_interval // count_interval):
            await _freeze_for(count_interval, freeze_interval)
            if gc.get_freeze_count() > threshold:
                break
        freeze_heap()


async def _freeze_for(duration: timedelta, interval: timedelta) -> None:
    """Freeze new objects at each *interval* for *duration*, without a full collection."""
    for _ in range(duration // interval):
        await asyncio.sleep(interval.total_seconds())
        gc.freeze()


def break_transport_cycles() -> None:
    """Patch asyncio so that a closed transport has no reference cycle. Otherwise only the collector would free it.

    Python 3.12 and later break the cycle in `close()`, but not in `abort()`. asyncio has no setting for this; a test
    detects a change of asyncio.
    """
    transport_class: Any = vars(selector_events)["_SelectorSocketTransport"]
    original = transport_class._call_connection_lost  # noqa: SLF001
    if original.__module__ == __name__:
        return  # Patched already.

    def call_connection_lost(self: Any, error: Exception | None) -> None:
        try:
            original(self, error)
        finally:
            self._read_ready_cb = self._write_ready = None

    transport_class._call_connection_lost = call_connection_lost  # noqa: SLF001
