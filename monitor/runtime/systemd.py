"""What the service manager that started this process is told: systemd, by the protocol of sd_notify(3).

A datagram of lines on a Unix socket. Without one, in a terminal or a container, nobody is told and nothing else changes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

#: In seconds: so much later than now a start or a stop may end, told again and again while it goes on.
_GRACE: Final = 60.0
_TOLD_EVERY: Final = 20.0
#: In seconds: what takes longer than this, such as a migration of many years, will not end by itself.
_AT_MOST: Final = 3600.0


class ServiceManager:
    """Whoever started this process and wants to know how it does. Nothing here blocks or fails."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero octet of a name that is in no directory.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: It restarts this process when it is not told in time that it lives (`pat`).
        self.keeps_watch = bool(address) and "WATCHDOG_USEC" in environ and meant_for_us
        self._status = ""

    def ready(self) -> None:
        """Say that the start, or a reload, is over: the service does its work."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Say how the service does, in one line that `systemctl status` shows."""
        if text != self._status and self._tell(f"STATUS={text}"):
            self._status = text

    def pat(self) -> bool:
        """Say that the process lives; return whether it could be said."""
        return self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._tell("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is read again, for as long as the block lasts."""
        # By this moment it tells our answer to its signal from one to an earlier signal (Type=notify-reload).
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Ask for patience for as long as the block lasts and the running loop turns, an hour at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _AT_MOST
        timer: asyncio.TimerHandle | None = None

        def ask() -> None:
            nonlocal timer
            self._tell(f"EXTEND_TIMEOUT_USEC={round(_GRACE * 1e6)}")
            if loop.time() < until:
                timer = loop.call_later(_TOLD_EVERY, ask)

        ask()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _tell(self, lines: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as said:
                said.setblocking(False)
                said.sendto(lines.encode(), self._address)
        except (OSError, ValueError):  # It has gone, or its address is none of a Unix socket.
            return False
        return True
