"""Decide whether something goes down and up again and again. Pure: the caller passes the time.

Each time it falls somebody would be rung, and each time it rises be told that it is over. Instead the incident of a fall
that is one too many stays open until it has been quiet for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingPolicy:
    """How many falls within how long are too many."""

    falls: int = 3
    within: timedelta = timedelta(hours=1)


@dataclass(slots=True)
class Flapping:
    """When something fell lately, and whether it is down now."""

    policy: FlappingPolicy = field(default_factory=FlappingPolicy)
    is_down: bool = False
    #: Oldest first; only as many as decide.
    _falls: list[datetime] = field(default_factory=list)

    def restore(self, falls: Iterable[datetime], *, is_down: bool) -> None:
        """Take up when it fell before a restart, oldest first, and whether it has risen since."""
        self._falls = [*falls][-self.policy.falls :]
        self.is_down = is_down

    def fell(self, now: datetime) -> None:
        """Note that it is down; said again it is the same fall."""
        if not self.is_down:
            self.is_down = True
            self._falls = [*self._falls, now][-self.policy.falls :]

    def rose(self) -> None:
        """Note that it is well."""
        self.is_down = False

    def is_unsteady(self, now: datetime) -> bool:
        """Whether it has fallen too often to be believed. A clock that was set back forgets what lies ahead."""
        recent = [at for at in self._falls if timedelta(0) <= now - at < self.policy.within]
        return len(recent) >= self.policy.falls

    def steady_at(self) -> datetime:
        """Return when it will have been quiet for long enough, of what is unsteady now."""
        return self._falls[-self.policy.falls] + self.policy.within
