"""Keeps Python's collector from stopping the loop.

Whenever a quarter as much has been added, the collector looks at everything that lives: for ten thousand routes 0.2 s,
several times a minute, in which every run that is due starts late. Nearly all of it lives as long as the configuration.
So what is there once the service is at work is set aside, and looked at again once in an hour.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

#: By then the mailboxes are open.
_FIRST = timedelta(minutes=1)
_AGAIN = timedelta(hours=1)


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


async def keep_setting_aside() -> None:
    """Set aside what lives long, until cancelled."""
    await asyncio.sleep(_FIRST.total_seconds())
    while True:
        set_aside()
        await asyncio.sleep(_AGAIN.total_seconds())
