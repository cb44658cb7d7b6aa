"""What is told to the service manager: a real socket, as systemd's side of it."""

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
from tests.hanging import HANGS


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return what was said since it was last asked, a datagram each."""
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


def test_it_hears_of_the_whole_life_of_the_service(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    manager.status("Opening the store")
    manager.ready()
    manager.stopping()
    assert listener.heard() == ["STATUS=Opening the store", "READY=1", "STOPPING=1"]


def test_it_hears_of_a_status_once(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    for text in ("one", "one", "two", "one"):
        manager.status(text)
    assert listener.heard() == ["STATUS=one", "STATUS=two", "STATUS=one"]


def test_a_reload_has_its_moment_and_its_end_however_it_ends(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    before = time.monotonic_ns() // 1000
    with pytest.raises(ZeroDivisionError), manager.reloading():
        raise ZeroDivisionError
    begun, over = listener.heard()
    word, moment = begun.split("\n")
    assert word == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert over == "READY=1"


async def test_a_start_asks_for_patience_while_the_loop_turns(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_EXTEND_INTERVAL", 0.01)
    with ServiceManager(listener.environ).starting():
        asked: list[str] = []
        async with asyncio.timeout(HANGS):
            while len(asked) < 3:
                await asyncio.sleep(0.01)
                asked += listener.heard()
        assert set(asked) == {"EXTEND_TIMEOUT_USEC=60000000"}
        # A loop that stands still asks for nothing.
        time.sleep(0.1)  # noqa: ASYNC251
        assert listener.heard() == []
    await asyncio.sleep(0.05)
    assert listener.heard() == []


async def test_a_start_that_does_not_end_asks_no_more(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_EXTEND_INTERVAL", 0.01)
    monkeypatch.setattr(systemd, "_MAX_EXTENSION", 0.05)
    with ServiceManager(listener.environ).starting():
        await asyncio.sleep(0.2)
        listener.heard()
        await asyncio.sleep(0.05)
        assert listener.heard() == []


def test_a_name_that_is_in_no_directory_can_be_told_too() -> None:
    listening = Listener(f"\0pantau-ujian-{os.getpid()}")
    assert ServiceManager(listening.environ).keep_alive()
    assert listening.heard() == ["WATCHDOG=1"]
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
def test_it_keeps_watch_where_it_says_so_to_this_process(environ: dict[str, str], *, has_watchdog: bool) -> None:
    assert ServiceManager(environ).has_watchdog is has_watchdog


@pytest.mark.parametrize("address", ["", "/nobody/there", "vsock:2:1234", "@", "x\0y", "/" + 200 * "x"])
def test_one_that_is_not_there_harms_nobody(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    assert not manager.keep_alive()
    with manager.reloading():
        manager.status("well")


def test_one_that_does_not_listen_holds_nothing_up(listener: Listener) -> None:
    manager = ServiceManager(listener.environ)
    assert not all(manager.keep_alive() for _ in range(10_000)), "its queue is full"
