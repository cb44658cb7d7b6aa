"""The gateways that are configured: built, replaced by a reload, and closed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import structlog

from alerts.exchange import Line
from alerts.gateway import Surroundings
from monitor.config.gateway import gateway_kinds
from monitor.settings import Settings

log = structlog.get_logger()

#: Below the callback listener's public URL; the gateway's name follows.
CALLBACK_PREFIX = "callbacks"


def build_lines(settings: Settings, directory: Path) -> list[Line]:
    """Return a line for each configured gateway, in the order of preference. Relative paths start at *directory*."""
    kinds = gateway_kinds()
    return [
        Line(
            name=entry.name,
            channel=channel,
            per_minute=entry.per_minute,
            gateway=kinds[entry.kind].build(
                entry.config,
                Surroundings(callback_base=callback_base(settings, entry.name), directory=str(directory)),
            ),
        )
        for channel, entries in settings.gateways.items()
        for entry in entries
    ]


async def close_lines(lines: Iterable[Line]) -> None:
    """Release the connections of gateways."""
    for line in lines:
        try:
            await line.gateway.close()
        # A bug in one gateway must end neither the service nor the closing of the others.
        except Exception:
            log.exception("a gateway could not be closed", gateway=line.name)


class Retirement:
    """Gateways that a reload has replaced. They are closed once the calls that they were in are over."""

    #: What these calls are allowed: longer than any gateway's own deadline.
    LASTS = timedelta(seconds=100)

    def __init__(self) -> None:
        self._waiting: deque[Sequence[Line]] = deque()
        self._entered = asyncio.Event()

    def enter(self, lines: Sequence[Line]) -> None:
        """Let gateways wait for their end."""
        self._waiting.append(lines)
        self._entered.set()

    async def keep_closing(self) -> NoReturn:
        """Close them when it is time, until cancelled."""
        while True:
            await self._entered.wait()
            self._entered.clear()
            while self._waiting:
                await asyncio.sleep(self.LASTS.total_seconds())
                await close_lines(self._waiting.popleft())

    async def close(self) -> None:
        """Close those that still wait: no call is under way any more."""
        while self._waiting:
            await close_lines(self._waiting.popleft())


def callback_base(settings: Settings, gateway: str) -> str | None:
    """Return the URL below which this gateway's provider reaches us; `None` if none can."""
    public = settings.callbacks.public_url
    return f"{public.rstrip('/')}/{CALLBACK_PREFIX}/{gateway}" if public else None
