"""How late the event loop wakes: a loop that something blocks probes late and answers nobody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NoReturn

from monitor.metrics import Metrics

#: In seconds.
_EVERY = 1.0


async def keep_measuring_lag(metrics: Metrics) -> NoReturn:
    """Export it every second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        metrics.loop_lagged(timedelta(seconds=max(0.0, loop.time() - due)))
