"""Decide which runs may submit now: so many sessions at a time to a server, a provider and an account. Pure.

A run takes all of its lanes at once or waits for them, in the order in which it asked. It waits only for a lane that is
full, so a provider that is slow or full delays nobody who does not need it.

Only submission has lanes (`monitor.model.mail_provider`). A mailbox is read over one connection, whatever is sent to it, and
nothing counts how many mailboxes of a server are read.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: What a lane takes that nothing is said about: no server minds so few at once, and none of ours needs more.
ROOM = 10


@dataclass(slots=True)
class ConcurrencyLimits:
    """Who is in which lane, and who waits."""

    #: How many may be in a lane at a time, by its name; `ROOM` in all others.
    room: Mapping[str, int] = field(default_factory=dict)
    _taken: dict[str, int] = field(default_factory=dict)
    #: Of those that are in or wait.
    _needs: dict[str, Sequence[str]] = field(default_factory=dict)
    #: By lane, who waits for it and since when (a count). Nobody waits for a lane that has room.
    _waiting: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _asked: int = 0

    def enter(self, name: str, needs: Sequence[str]) -> bool:
        """Ask for *needs* in the name of a run; return whether it may start, otherwise `leave` names it later."""
        self._needs[name] = needs
        self._asked += 1
        return self._admit(self._asked, name)

    def leave(self, name: str) -> list[str]:
        """Give back the lanes of a run that was let in; return those that may start now."""
        needs = self._needs.pop(name)
        for lane in needs:
            self._taken[lane] -= 1
            if not self._taken[lane]:
                del self._taken[lane]
        return self._fill(needs)

    def withdraw(self, name: str) -> None:
        """Wait no more in the name of a run that has not been let in."""
        del self._needs[name]
        # What is sorted is a heap.
        rest = {lane: sorted(one for one in line if one[1] != name) for lane, line in self._waiting.items()}
        self._waiting = {lane: line for lane, line in rest.items() if line}

    def resize(self, room: Mapping[str, int]) -> list[str]:
        """Let *room* be how many may be in a lane from now on; return those that may start now."""
        self.room = room
        return self._fill([*self._waiting])

    def _admit(self, asked: int, name: str) -> bool:
        needs = self._needs[name]
        full = next((lane for lane in needs if not self._has_room(lane)), None)
        if full is not None:
            heapq.heappush(self._waiting.setdefault(full, []), (asked, name))
            return False
        for lane in needs:
            self._taken[lane] = self._taken.get(lane, 0) + 1
        return True

    def _fill(self, lanes: Sequence[str]) -> list[str]:
        admitted = []
        while open_ := [lane for lane in lanes if lane in self._waiting and self._has_room(lane)]:
            # Of those that wait for one of them, who asked first.
            lane = min(open_, key=lambda one: self._waiting[one][0])
            asked, name = heapq.heappop(self._waiting[lane])
            if not self._waiting[lane]:
                del self._waiting[lane]
            if self._admit(asked, name):
                admitted.append(name)
        return admitted

    def _has_room(self, lane: str) -> bool:
        return self._taken.get(lane, 0) < self.room.get(lane, ROOM)
