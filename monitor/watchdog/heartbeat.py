"""Heartbeats to external receivers while this process works: a dead man's switch over HTTP, and the time of a file.

`monitor.watchdog.process_heartbeat` decides when they are sent, and notifies systemd's watchdog. They never report a
fault: whether the program, its machine or its network fails, the heartbeats stop, and the receiver alerts.
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
from monitor.config.service.heartbeat import TOKEN_PLACEHOLDER, HeartbeatSettings
from monitor.metrics.watchdog import WatchdogSeries

log = structlog.get_logger()

#: Names of the receivers in metrics and log.
SWITCH: Final = "switch"
FILE: Final = "file"
SYSTEMD: Final = "systemd"

#: Shorter than any configurable interval.
_DEADLINE_SECONDS = 10.0


class HeartbeatError(Exception):
    """A heartbeat was not delivered. The message contains neither the address nor the token."""


class HeartbeatSender:
    """Sends a heartbeat to a switch and a file. A failure is recorded, and the next heartbeat is sent nevertheless."""

    def __init__(self, settings: HeartbeatSettings, metrics: WatchdogSeries, clock: Clock) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._is_delivered: dict[str, bool] = {}
        # No `AsyncClient`, which logs URLs and reads proxies from the environment.
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        for receiver, target in ((SWITCH, settings.url), (FILE, settings.file)):
            if target is not None:
                metrics.register_heartbeat(receiver)

    async def send(self) -> None:
        """Send to all receivers."""
        if self._settings.url is not None:
            await self._deliver(SWITCH, self._request(self._settings.url))
        if self._settings.file is not None:
            await self._deliver(FILE, asyncio.to_thread(_touch, self._settings.file))

    async def close(self) -> None:
        """Release connections."""
        await self._transport.aclose()

    async def _deliver(self, receiver: str, sending: Awaitable[None]) -> None:
        try:
            await sending
        except (HeartbeatError, OSError) as error:
            if self._is_delivered.get(receiver, True):
                log.warning("heartbeat not delivered", receiver=receiver, reason=_reason(error))
            self._is_delivered[receiver] = False
            return
        if not self._is_delivered.get(receiver, True):
            log.info("heartbeat delivered again", receiver=receiver)
        self._is_delivered[receiver] = True
        self._metrics.record_heartbeat(receiver, self._clock.now())

    async def _request(self, url: str) -> None:
        token = self._settings.token.get_secret_value() if self._settings.token else ""
        headers = {b"User-Agent": b"pantau"}
        if TOKEN_PLACEHOLDER in url:
            url = url.replace(TOKEN_PLACEHOLDER, quote(token))
        elif token:
            headers[b"Authorization"] = f"Bearer {token}".encode()
        timeouts = {"timeout": httpx.Timeout(_DEADLINE_SECONDS).as_dict()}
        request = httpx.Request(self._settings.method, url, headers=headers, extensions=timeouts)
        problem = ""
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                response = await self._transport.handle_async_request(request)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            if not response.is_success:
                problem = f"answered {response.status_code}"
        except TimeoutError:
            problem = "no answer in time"
        except httpx.HTTPError as error:
            problem = type(error).__name__
        if problem:  # Raised outside of the `except`, because httpx's error contains the request with the token.
            raise HeartbeatError(problem)


def _touch(path: Path) -> None:
    path.touch(mode=0o644)
    os.utime(path)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
