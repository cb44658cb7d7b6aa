"""Messages about a service's process to a story."""

from __future__ import annotations

import os
import socket
import threading

from tests.stories.fork_server import tell
from tests.stories.service_process import ServiceProcess, connect_to


def test_living_service_ended_before_listening_reports_pid_and_returncode() -> None:
    here, there = socket.socketpair()
    with there:
        for number in (4_194_304, -9):
            tell(there, number)
    service = ServiceProcess(here)
    assert (service.pid, service.returncode) == (4_194_304, -9)


def test_tell_closed_listener_raises_nothing() -> None:
    here, there = socket.socketpair()
    here.close()
    with there:
        tell(there, 0)


def test_line_to_bound_address_waits_until_it_listens() -> None:
    address = f"\0pantau-cradle-of-none-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        begins = threading.Timer(0.5, listener.listen)
        begins.start()
        with connect_to(address) as line:
            assert line.getpeername() == address.encode()
        begins.join()
