"""Keeps Python's collector from stopping the loop.

Whenever a quarter as much has been added, the collector looks at everything that lives: for ten thousand routes 0.2 s,
several times a minute, in which every run that is due starts late. Nearly all of it lives as long as the configuration,
or until its route's next run, and dies without the collector: by its count of references. So what lives is set aside
every second, which costs nothing; and all of it is looked at once in an hour, or when it has grown by a quarter.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import selector_events
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

#: By then the mailboxes are open, and what there is then is what there is later.
_FIRST = timedelta(minutes=1)
#: What is made is set aside unseen after this. So the collector, which looks at all that is young at once, finds little.
_UNSEEN = timedelta(seconds=1)
#: All that was set aside is counted again after this, which costs some milliseconds, and looked at again after that.
_COUNTED = timedelta(minutes=1)
_AGAIN = timedelta(hours=1)
#: Sooner where there is so much more: what was set aside before it became garbage that holds itself stays.
_GROWN = 1.25
#: Objects that may be made, beyond those that have gone, before the young are looked at (`gc.set_threshold`). By Python's
#: own 700, in a service whose work comes in waves, a sixth of its time went there.
_YOUNG = 10_000


def set_aside() -> None:
    """Collect what is garbage now, and let the collector overlook all the rest from now on."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def spared() -> Iterator[None]:
    """Keep the collector from looking, for the length of the block, while much is made that stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def keep_setting_aside(
    first: timedelta = _FIRST, unseen: timedelta = _UNSEEN, counted: timedelta = _COUNTED, again: timedelta = _AGAIN
) -> NoReturn:
    """Set aside what lives, until cancelled."""
    untie_transports()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    await _overlooking(first, unseen)
    while True:
        enough = _GROWN * gc.get_freeze_count()
        for _ in range(again // counted):
            await _overlooking(counted, unseen)
            if gc.get_freeze_count() > enough:
                break
        set_aside()


async def _overlooking(span: timedelta, every: timedelta) -> None:
    """Set aside, unseen, what is made within *span*."""
    for _ in range(span // every):
        await asyncio.sleep(every.total_seconds())
        gc.freeze()


def untie_transports() -> None:
    """Let no connection hold itself once it has ended: each would be garbage that only the collector frees.

    Python 3.12 and later see to it in `close()`, and not in `abort()`. There is no setting; a test notices a change.
    """
    transport: Any = vars(selector_events)["_SelectorSocketTransport"]
    end = transport._call_connection_lost  # noqa: SLF001
    if end.__module__ == __name__:
        return

    def untied(self: Any, error: Exception | None) -> None:
        try:
            end(self, error)
        finally:
            self._read_ready_cb = self._write_ready = None

    transport._call_connection_lost = untied  # noqa: SLF001
