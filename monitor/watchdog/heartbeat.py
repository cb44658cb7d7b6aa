"""Tell whoever listens outside that this process does its work, for as long as it does.

A dead-man's switch over HTTP, and a file whose time is set; systemd's watchdog hears of it by the pulse. Nothing is said
when something is wrong, so that a failure of this program, of its machine and of its line all sound the same: silence.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import structlog

from alerts.persistence.clock import Clock
from monitor.config.service.heartbeat import TOKEN, HeartbeatSettings
from monitor.metrics.watchdog import WatchdogSeries

log = structlog.get_logger()

#: The names of those who may listen, as metrics and log have them.
SWITCH: Final = "switch"
FILE: Final = "file"
SYSTEMD: Final = "systemd"

#: Shorter than any interval between two.
_DEADLINE_SECONDS = 10.0


class HeartbeatError(Exception):
    """A heartbeat did not arrive. The message holds neither the address nor the token."""


class HeartbeatSender:
    """Sends one beat to a switch and a file. A failure is noted, and the next beat is sent all the same."""

    def __init__(self, settings: HeartbeatSettings, metrics: WatchdogSeries, clock: Clock) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._heard: dict[str, bool] = {}
        # The transport and not the client, which logs addresses and asks the environment for proxies.
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        for receiver, place in ((SWITCH, settings.url), (FILE, settings.file)):
            if place is not None:
                metrics.watch_heartbeat(receiver)

    async def send(self) -> None:
        """Tell all who listen."""
        if self._settings.url is not None:
            await self._tell(SWITCH, self._ask(self._settings.url))
        if self._settings.file is not None:
            await self._tell(FILE, asyncio.to_thread(_touch, self._settings.file))

    async def close(self) -> None:
        """Release connections."""
        await self._transport.aclose()

    async def _tell(self, receiver: str, telling: Awaitable[None]) -> None:
        try:
            await telling
        except (HeartbeatError, OSError) as error:
            if self._heard.get(receiver, True):
                log.warning("the heartbeat is not heard", receiver=receiver, why=_reason(error))
            self._heard[receiver] = False
            return
        if not self._heard.get(receiver, True):
            log.info("the heartbeat is heard again", receiver=receiver)
        self._heard[receiver] = True
        self._metrics.heartbeat_heard(receiver, self._clock.now())

    async def _ask(self, url: str) -> None:
        token = self._settings.token.get_secret_value() if self._settings.token else ""
        headers = {b"User-Agent": b"pantau"}
        if TOKEN in url:
            url = url.replace(TOKEN, quote(token))
        elif token:
            headers[b"Authorization"] = f"Bearer {token}".encode()
        timeouts = {"timeout": httpx.Timeout(_DEADLINE_SECONDS).as_dict()}
        request = httpx.Request(self._settings.method, url, headers=headers, extensions=timeouts)
        trouble = ""
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                answer = await self._transport.handle_async_request(request)
                try:
                    await answer.aread()
                finally:
                    await answer.aclose()
            if not answer.is_success:
                trouble = f"answered {answer.status_code}"
        except TimeoutError:
            trouble = "no answer in time"
        except httpx.HTTPError as error:
            trouble = type(error).__name__
        if trouble:  # Raised here: httpx's error holds the request, and with it the token.
            raise HeartbeatError(trouble)


def _touch(path: Path) -> None:
    path.touch(mode=0o644)
    os.utime(path)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
