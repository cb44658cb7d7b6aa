"""Configured gateways: built, replaced by a reload, and closed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import structlog

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.gateway import Gateway, GatewayContext
from monitor.config.model.settings import Settings
from monitor.config.service.gateway import gateway_kinds

log = structlog.get_logger()

#: Below the callback listener's public URL; the gateway's name follows.
CALLBACK_PREFIX = "callbacks"

#: In seconds, for closing each: a connection that its provider does not close either is abandoned.
_CLOSES_WITHIN = 10.0


def build_lines(
    settings: Settings, directory: Path, *, before: Settings | None = None, in_use: Iterable[ConfiguredGateway] = ()
) -> list[ConfiguredGateway]:
    """Return the configured gateways in the order of preference. Relative paths start at *directory*.

    Of those *in_use*, a gateway whose configuration *before* was the same is kept, with its connections.
    """
    kinds, kept = gateway_kinds(), _unchanged(before, settings, in_use)
    return [
        ConfiguredGateway(
            name=entry.name,
            channel=channel,
            per_minute=entry.per_minute,
            gateway=kept.get(entry.name)
            or kinds[entry.kind].build(
                entry.config,
                GatewayContext(callback_base=callback_base(settings, entry.name), directory=str(directory)),
            ),
        )
        for channel, entries in settings.gateways.items()
        for entry in entries
    ]


def _unchanged(before: Settings | None, after: Settings, in_use: Iterable[ConfiguredGateway]) -> dict[str, Gateway]:
    if before is None or before.callbacks.public_url != after.callbacks.public_url:
        return {}
    known = {entry.name: entry for entries in before.gateways.values() for entry in entries}
    same = {
        entry.name
        for entries in after.gateways.values()
        for entry in entries
        # The rate limit belongs to the configured gateway, not to the implementation.
        if (was := known.get(entry.name)) and replace(was, per_minute=entry.per_minute) == entry
    }
    return {line.name: line.gateway for line in in_use if line.name in same}


async def close_lines(lines: Iterable[ConfiguredGateway]) -> None:
    """Close gateways, all at once."""
    await asyncio.gather(*map(_close, lines))


async def _close(line: ConfiguredGateway) -> None:
    try:
        async with asyncio.timeout(_CLOSES_WITHIN):
            await line.gateway.close()
    except TimeoutError:
        log.warning("gateway did not stop in time", gateway=line.name)
    # A bug in one gateway must end neither the service nor the closing of the others.
    except Exception:
        log.exception("gateway could not be closed", gateway=line.name)


class Retirement:
    """Gateways that a reload has replaced. They are closed after their attempts in progress."""

    #: Longer than any gateway's own timeout.
    LASTS = timedelta(seconds=100)

    def __init__(self) -> None:
        #: With the time to close them, on the loop's clock, earliest first.
        self._waiting: deque[tuple[float, Sequence[ConfiguredGateway]]] = deque()
        self._entered = asyncio.Event()

    def enter(self, lines: Sequence[ConfiguredGateway]) -> None:
        """Add gateways that are to be closed."""
        self._waiting.append((asyncio.get_running_loop().time() + self.LASTS.total_seconds(), lines))
        self._entered.set()

    async def keep_closing(self) -> NoReturn:
        """Close gateways when their time has come, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._entered.wait()
            self._entered.clear()
            while self._waiting:
                await asyncio.sleep(max(0.0, self._waiting[0][0] - loop.time()))
                await close_lines(self._waiting.popleft()[1])

    async def close(self) -> None:
        """Close the remaining ones: no attempt is in progress."""
        waiting = [line for _, lines in self._waiting for line in lines]
        self._waiting.clear()
        await close_lines(waiting)


def callback_base(settings: Settings, gateway: str) -> str | None:
    """Return the URL below which this gateway's provider reaches us; `None` if there is none."""
    public = settings.callbacks.public_url
    return f"{public.rstrip('/')}/{CALLBACK_PREFIX}/{gateway}" if public else None
