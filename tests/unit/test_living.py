"""What a story hears of a service's life."""

from __future__ import annotations

import socket

from tests.stories.cradle import tell
from tests.stories.living import Living


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
