"""Heartbeats to external receivers while this process works: a dead man's switch over HTTP, and the time of a file.

`monitor.watchdog.process_heartbeat` decides when to send heartbeats, and notifies systemd's watchdog. A heartbeat never
reports a fault: if the program, its machine or its network fails, the heartbeats stop, and the receiver alerts.
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

#: Names of the receivers in metrics and logs: dead man's switch over HTTP, file (its time is set), systemd's watchdog.
SWITCH: Final = "switch"
FILE: Final = "file"
SYSTEMD: Final = "systemd"

#: Timeout of a request. It is shorter than any configurable interval.
_TIMEOUT_SECONDS = 10.0


class HeartbeatError(Exception):
    """A heartbeat was not delivered. The message contains neither the address nor the token."""


class HeartbeatSender:
    """Sender of heartbeats to a dead man's switch and a file. It logs a failure, and later sends the next heartbeat."""

    def __init__(self, settings: HeartbeatSettings, metrics: WatchdogSeries, clock: Clock) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        #: Whether the last heartbeat was delivered, by receiver; no key: none was sent yet.
        self._is_delivered: dict[str, bool] = {}
        # An `AsyncClient` would log URLs, which may contain the token, and read proxies from the environment.
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
        timeouts = {"timeout": httpx.Timeout(_TIMEOUT_SECONDS).as_dict()}
        request = httpx.Request(self._settings.method, url, headers=headers, extensions=timeouts)
        problem = ""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
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
        # Raise outside of the `except` block, so that httpx's error, which contains the token, is not chained.
        if problem:
            raise HeartbeatError(problem)


def _touch(path: Path) -> None:
    path.touch(mode=0o644)
    os.utime(path)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
