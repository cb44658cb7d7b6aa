"""Heartbeats to external receivers while this process works.

A dead man's switch over HTTP, and the timestamp of a file; the process heartbeat feeds systemd's watchdog. A fault is
never reported, so that a failure of the program, its machine or its line has one effect: silence.
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

#: Names of the receivers in metrics and log.
SWITCH: Final = "switch"
FILE: Final = "file"
SYSTEMD: Final = "systemd"

#: Shorter than any interval.
_DEADLINE_SECONDS = 10.0


class HeartbeatError(Exception):
    """A heartbeat was not delivered. The message contains neither the address nor the token."""


class HeartbeatSender:
    """Sends a heartbeat to a switch and a file. A failure is recorded, and the next heartbeat is sent nevertheless."""

    def __init__(self, settings: HeartbeatSettings, metrics: WatchdogSeries, clock: Clock) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._heard: dict[str, bool] = {}
        # The transport, not the client, which logs addresses and reads proxies from the environment.
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        for receiver, place in ((SWITCH, settings.url), (FILE, settings.file)):
            if place is not None:
                metrics.watch_heartbeat(receiver)

    async def send(self) -> None:
        """Send to all receivers."""
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
                log.warning("heartbeat not delivered", receiver=receiver, reason=_reason(error))
            self._heard[receiver] = False
            return
        if not self._heard.get(receiver, True):
            log.info("heartbeat delivered again", receiver=receiver)
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
        if trouble:  # Raised here: httpx's error contains the request, with the token.
            raise HeartbeatError(trouble)


def _touch(path: Path) -> None:
    path.touch(mode=0o644)
    os.utime(path)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
