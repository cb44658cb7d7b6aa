"""Concurrency limits for submission: sessions per server, provider and account. Pure.

A run takes one slot of each of its limits at once, or waits in the order of the requests. It waits only at a limit
without a free slot, so that a slow or busy provider does not delay runs that do not use it.

Only submission is limited (`monitor.model.mail_provider` has the limits). Reading is not: a mailbox is read over one
connection, and no provider is known to limit how many mailboxes are read.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Number of sessions if none is configured: every server accepts this many, and no route needs more.
DEFAULT_LIMIT = 10


@dataclass(slots=True)
class ConcurrencyLimits:
    """Slots in use, and the queues of runs that wait for one."""

    #: Number of sessions by name of the limit ("account JCM/utama"); `DEFAULT_LIMIT` for all others.
    limits: Mapping[str, int] = field(default_factory=dict)
    #: Slots in use by limit name.
    _used: dict[str, int] = field(default_factory=dict)
    #: Limit names by run, for the runs that are admitted or wait.
    _limit_names: dict[str, Sequence[str]] = field(default_factory=dict)
    #: By limit name: a heap of (request number, run) of the runs that wait for the limit. A limit with a free slot has
    #: no entry.
    _waiting: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    #: Number of requests so far.
    _requests: int = 0

    def acquire(self, name: str, limit_names: Sequence[str]) -> bool:
        """Request a slot of each limit in *limit_names* for the run *name*.

        Return whether it may start now; otherwise `release` or `resize` returns its name later.
        """
        self._limit_names[name] = limit_names
        self._requests += 1
        return self._admit_run(self._requests, name)

    def release(self, name: str) -> list[str]:
        """Release the slots of an admitted run. Return the runs that may start now."""
        limit_names = self._limit_names.pop(name)
        for limit_name in limit_names:
            self._used[limit_name] -= 1
            if not self._used[limit_name]:
                del self._used[limit_name]
        return self._fill(limit_names)

    def withdraw(self, name: str) -> None:
        """Cancel the request of a run that waits."""
        del self._limit_names[name]
        # A sorted list is a heap.
        remaining = {
            limit_name: sorted(entry for entry in queue if entry[1] != name)
            for limit_name, queue in self._waiting.items()
        }
        self._waiting = {limit_name: queue for limit_name, queue in remaining.items() if queue}

    def resize(self, limits: Mapping[str, int]) -> list[str]:
        """Replace the limits. Return the runs that may start now."""
        self.limits = limits
        return self._fill([*self._waiting])

    def _admit_run(self, request_number: int, name: str) -> bool:
        """Take a slot of each limit of a run, or queue the run at the first full one. Return whether it is admitted."""
        limit_names = self._limit_names[name]
        full_limit = next((limit_name for limit_name in limit_names if not self._has_room(limit_name)), None)
        if full_limit is not None:
            heapq.heappush(self._waiting.setdefault(full_limit, []), (request_number, name))
            return False
        for limit_name in limit_names:
            self._used[limit_name] = self._used.get(limit_name, 0) + 1
        return True

    def _fill(self, limit_names: Sequence[str]) -> list[str]:
        """Give the free slots of these limits to waiting runs. Return the admitted runs."""
        admitted = []
        while free_limits := [
            limit_name for limit_name in limit_names if limit_name in self._waiting and self._has_room(limit_name)
        ]:
            # Of the runs that wait for one of these limits, take the earliest request.
            limit_name = min(free_limits, key=lambda limit: self._waiting[limit][0])
            request_number, name = heapq.heappop(self._waiting[limit_name])
            if not self._waiting[limit_name]:
                del self._waiting[limit_name]
            if self._admit_run(request_number, name):
                admitted.append(name)
        return admitted

    def _has_room(self, limit_name: str) -> bool:
        return self._used.get(limit_name, 0) < self.limits.get(limit_name, DEFAULT_LIMIT)
