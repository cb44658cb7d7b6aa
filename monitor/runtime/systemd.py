"""Notifications to systemd by the protocol of sd_notify(3): datagrams of text lines to a Unix socket.

Without a socket, as in a terminal or a container, nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

#: Seconds by which each extension prolongs the start time-out, and seconds between two extensions.
_EXTENSION: Final = 60.0
_EXTEND_INTERVAL: Final = 20.0
#: Maximum seconds for which a long start, such as a migration of many years of data, extends its time-out.
_MAX_EXTENSION: Final = 3600.0


class ServiceManager:
    """The service manager of this process. No method blocks or fails."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" denotes the zero octet of an abstract socket name.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_for_this_process = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: Whether systemd restarts the process if `keep_alive` is not called in time.
        self.has_watchdog = bool(address) and "WATCHDOG_USEC" in environ and is_for_this_process
        self._status = ""

    def ready(self) -> None:
        """Report that the start or a reload has finished."""
        self._notify("READY=1")

    def status(self, text: str) -> None:
        """Set the status line of `systemctl status`."""
        if text != self._status and self._notify(f"STATUS={text}"):
            self._status = text

    def keep_alive(self) -> bool:
        """Send a keep-alive. Return whether it could be sent."""
        return self._notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is about to stop."""
        self._notify("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report a reload at the beginning of the block, and its completion at the end."""
        # systemd needs the timestamp to match the message with its reload request (Type=notify-reload).
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Extend the start time-out during the block while the event loop runs, for an hour at most."""
        loop = asyncio.get_running_loop()
        last_extension_at = loop.time() + _MAX_EXTENSION
        timer: asyncio.TimerHandle | None = None

        def extend() -> None:
            nonlocal timer
            self._notify(f"EXTEND_TIMEOUT_USEC={round(_EXTENSION * 1e6)}")
            if loop.time() < last_extension_at:
                timer = loop.call_later(_EXTEND_INTERVAL, extend)

        extend()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _notify(self, lines: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(lines.encode(), self._address)
        except (OSError, ValueError):  # The manager does not run any more, or the address is not a Unix socket.
            return False
        return True
