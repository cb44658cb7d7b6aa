"""Notifications to systemd over a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.runtime import systemd
from monitor.runtime.systemd import ServiceManager
from tests.timeouts import HANG_TIMEOUT


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def received(self) -> list[str]:
        """Return the datagrams since the last call."""
        said = []
        while True:
            try:
                said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listening = Listener(str(tmp_path / "notify"))
    yield listening
    listening.close()


def test_service_manager_sends_status_ready_and_stopping(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    manager.status("Opening the store")
    manager.ready()
    manager.stopping()
    assert listener.received() == ["STATUS=Opening the store", "READY=1", "STOPPING=1"]


def test_service_manager_repeated_status_is_sent_once(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    for text in ("one", "one", "two", "one"):
        manager.status(text)
    assert listener.received() == ["STATUS=one", "STATUS=two", "STATUS=one"]


def test_service_manager_reloading_sends_start_and_end_after_error(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    before = time.monotonic_ns() // 1000
    with pytest.raises(ZeroDivisionError), manager.reloading():
        raise ZeroDivisionError
    begun, over = listener.received()
    word, moment = begun.split("\n")
    assert word == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert over == "READY=1"


async def test_service_manager_starting_extends_timeout_while_loop_runs(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_EXTEND_INTERVAL", 0.01)
    with ServiceManager(listener.environ).starting():
        asked: list[str] = []
        async with asyncio.timeout(HANG_TIMEOUT):
            while len(asked) < 3:
                await asyncio.sleep(0.01)
                asked += listener.received()
        assert set(asked) == {"EXTEND_TIMEOUT_USEC=60000000"}
        # A blocked loop sends nothing.
        time.sleep(0.1)  # noqa: ASYNC251
        assert listener.received() == []
    await asyncio.sleep(0.05)
    assert listener.received() == []


async def test_service_manager_starting_stops_extending_at_limit(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_EXTEND_INTERVAL", 0.01)
    monkeypatch.setattr(systemd, "_MAX_EXTENSION", 0.05)
    with ServiceManager(listener.environ).starting():
        await asyncio.sleep(0.2)
        listener.received()
        await asyncio.sleep(0.05)
        assert listener.received() == []


def test_service_manager_abstract_socket_is_used() -> None:
    listening = Listener(f"\0pantau-ujian-{os.getpid()}")
    assert ServiceManager(listening.environ).keep_alive()
    assert listening.received() == ["WATCHDOG=1"]
    listening.close()


@pytest.mark.parametrize(
    ("environ", "has_watchdog"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "1"}, False),
        ({"NOTIFY_SOCKET": "/x"}, False),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, False),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1"}, True),
    ],
)
def test_service_manager_has_watchdog_for_this_process_only(environ: dict[str, str], *, has_watchdog: bool) -> None:
    assert ServiceManager(environ).has_watchdog is has_watchdog


@pytest.mark.parametrize("address", ["", "/nobody/there", "vsock:2:1234", "@", "x\0y", "/" + 200 * "x"])
def test_service_manager_missing_socket_is_ignored(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    assert not manager.keep_alive()
    with manager.reloading():
        manager.status("well")


def test_service_manager_full_socket_does_not_block(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    assert not all(manager.keep_alive() for _ in range(10_000)), "its queue is full"
