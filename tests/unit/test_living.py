"""What a story hears of a service's life."""

from __future__ import annotations

import os
import socket
import threading

from tests.stories.cradle import tell
from tests.stories.living import Living, line_to


def test_of_a_life_that_ended_before_anybody_listened_both_numbers_are_heard() -> None:
    here, there = socket.socketpair()
    with there:
        for number in (4_194_304, -9):
            tell(there, number)
    service = Living(here)
    assert (service.pid, service.returncode) == (4_194_304, -9)


def test_nothing_becomes_of_it_when_the_one_who_waited_is_gone() -> None:
    here, there = socket.socketpair()
    here.close()
    with there:
        tell(there, 0)


def test_whoever_has_the_name_and_does_not_listen_yet_is_waited_for() -> None:
    address = f"\0pantau-cradle-of-none-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        begins = threading.Timer(0.5, listener.listen)
        begins.start()
        with line_to(address) as line:
            assert line.getpeername() == address.encode()
        begins.join()
