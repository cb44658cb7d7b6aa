"""Life cycle of the configured gateways, by which Pantau sends SMS, calls, faxes and letters.

The service builds the gateways at the start, replaces those with edited settings at a reload, and closes the replaced
ones.
"""

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

#: First path segment of a callback URL; the second is the gateway's name.
CALLBACK_PREFIX = "callbacks"

#: Time-out of closing, in seconds. A connection that the provider does not close in this time is abandoned.
_CLOSE_TIMEOUT = 10.0


def build_gateways(
    settings: Settings, directory: Path, *, before: Settings | None = None, in_use: Iterable[ConfiguredGateway] = ()
) -> list[ConfiguredGateway]:
    """Return the configured gateways in the order of preference. Their relative paths start at *directory*.

    *in_use*: the present gateways; *before*: the settings from which they were built. A gateway with unchanged settings
    is reused, with its open connections.
    """
    kinds, reusable = gateway_kinds(), _unchanged_gateways(before, settings, in_use)
    return [
        ConfiguredGateway(
            name=entry.name,
            channel=channel,
            per_minute=entry.per_minute,
            gateway=reusable.get(entry.name)
            or kinds[entry.kind].build(
                entry.config,
                GatewayContext(callback_base=callback_base(settings, entry.name), directory=str(directory)),
            ),
        )
        for channel, entries in settings.gateways.items()
        for entry in entries
    ]


def _unchanged_gateways(
    before: Settings | None, after: Settings, in_use: Iterable[ConfiguredGateway]
) -> dict[str, Gateway]:
    if before is None or before.callbacks.public_url != after.callbacks.public_url:
        return {}
    entries_before = {entry.name: entry for entries in before.gateways.values() for entry in entries}
    unchanged = {
        entry.name
        for entries in after.gateways.values()
        for entry in entries
        # A new rate limit does not require a new `Gateway`: only `ConfiguredGateway` uses the limit.
        if (entry_before := entries_before.get(entry.name))
        and replace(entry_before, per_minute=entry.per_minute) == entry
    }
    return {configured.name: configured.gateway for configured in in_use if configured.name in unchanged}


async def close_gateways(gateways: Iterable[ConfiguredGateway]) -> None:
    """Close gateways concurrently."""
    await asyncio.gather(*map(_close, gateways))


async def _close(configured: ConfiguredGateway) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await configured.gateway.close()
    except TimeoutError:
        log.warning("gateway did not stop in time", gateway=configured.name)
    # A bug in one gateway must end neither the service nor the closing of the others.
    except Exception:
        log.exception("gateway could not be closed", gateway=configured.name)


class ReplacedGateways:
    """Gateways that a reload has replaced. They are closed when all their sending attempts have ended."""

    #: Time after which all attempts of a replaced gateway have ended: longer than any gateway's own timeout.
    DELAY = timedelta(seconds=100)

    def __init__(self) -> None:
        #: Gateways, each group with the time to close it on the loop's clock, earliest first.
        self._waiting: deque[tuple[float, Sequence[ConfiguredGateway]]] = deque()
        #: Set when a group was added.
        self._added = asyncio.Event()

    def add(self, gateways: Sequence[ConfiguredGateway]) -> None:
        """Add gateways, to be closed after `DELAY`."""
        self._waiting.append((asyncio.get_running_loop().time() + self.DELAY.total_seconds(), gateways))
        self._added.set()

    async def keep_closing(self) -> NoReturn:
        """Close each group of gateways at its time, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._added.wait()
            self._added.clear()
            while self._waiting:
                await asyncio.sleep(max(0.0, self._waiting[0][0] - loop.time()))
                await close_gateways(self._waiting.popleft()[1])

    async def close(self) -> None:
        """Close the remaining gateways at once. Call it at the end of the service, when no attempt is in progress."""
        remaining = [gateway for _, gateways in self._waiting for gateway in gateways]
        self._waiting.clear()
        await close_gateways(remaining)


def callback_base(settings: Settings, gateway: str) -> str | None:
    """Return the base URL to which this gateway's provider sends callbacks; `None`: no public URL is configured."""
    public_url = settings.callbacks.public_url
    return f"{public_url.rstrip('/')}/{CALLBACK_PREFIX}/{gateway}" if public_url else None
