"""Concurrency limits for submission: sessions per server, provider and account. Pure.

A run takes all of its slots at once or waits, in order of request. It waits only for a limit that is used up, so a slow
or busy provider delays no run that does not use it.

Only submission is limited (`monitor.model.mail_provider`). A mailbox is read over one connection, and no provider is
known to limit how many mailboxes of a server are read.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: The default: every server accepts so few sessions, and no route needs more.
DEFAULT_LIMIT = 10


@dataclass(slots=True)
class ConcurrencyLimits:
    """Slots in use, and the queue of runs that wait for one."""

    #: Sessions per limit name; `DEFAULT_LIMIT` for all others.
    room: Mapping[str, int] = field(default_factory=dict)
    _taken: dict[str, int] = field(default_factory=dict)
    #: Limit names of the runs that are admitted or wait.
    _needs: dict[str, Sequence[str]] = field(default_factory=dict)
    #: By limit name: a heap of (sequence number, run) that wait for it. No run waits for a limit with a free slot.
    _waiting: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _asked: int = 0

    def enter(self, name: str, needs: Sequence[str]) -> bool:
        """Request the slots *needs* for a run.

        Return whether it may start; otherwise `leave` returns its name later.
        """
        self._needs[name] = needs
        self._asked += 1
        return self._admit(self._asked, name)

    def leave(self, name: str) -> list[str]:
        """Release the slots of an admitted run. Return the runs that may start now."""
        needs = self._needs.pop(name)
        for lane in needs:
            self._taken[lane] -= 1
            if not self._taken[lane]:
                del self._taken[lane]
        return self._fill(needs)

    def withdraw(self, name: str) -> None:
        """Cancel the request of a run that waits."""
        del self._needs[name]
        # A sorted list is a heap.
        rest = {lane: sorted(one for one in line if one[1] != name) for lane, line in self._waiting.items()}
        self._waiting = {lane: line for lane, line in rest.items() if line}

    def resize(self, room: Mapping[str, int]) -> list[str]:
        """Replace the limits. Return the runs that may start now."""
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
            # Of the runs that wait for one of these limits, take the earliest request.
            lane = min(open_, key=lambda one: self._waiting[one][0])
            asked, name = heapq.heappop(self._waiting[lane])
            if not self._waiting[lane]:
                del self._waiting[lane]
            if self._admit(asked, name):
                admitted.append(name)
        return admitted

    def _has_room(self, lane: str) -> bool:
        return self._taken.get(lane, 0) < self.room.get(lane, DEFAULT_LIMIT)
