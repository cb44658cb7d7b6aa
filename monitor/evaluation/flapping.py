"""Decide whether something goes down and up again and again. Pure: the caller passes the time.

Each time it falls somebody would be rung, and each time it rises be told that it is over. Instead the incident of a fall
that is one too many stays open until nothing has changed for a while: neither has it fallen again, nor has it been down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingPolicy:
    """How many falls within how long are too many; for as long it has to be steady then to be believed again.

    The defaults were found by trying (docs/explanation/notification-limits.md): within an hour, what is down for five minutes in every 25 is too
    seldom seen to fall three times.
    """

    falls: int = 3
    within: timedelta = timedelta(hours=2)


@dataclass(slots=True)
class Flapping:
    """When something fell lately, whether it is down now, and whether it is to be believed."""

    policy: FlappingPolicy = field(default_factory=FlappingPolicy)
    is_down: bool = False
    #: It has fallen too often. Stays so until it is steady, or it would be believed each time that the oldest fall has
    #: become old, however often it goes on falling.
    is_unsteady: bool = False
    #: Oldest first; with each that follows only as many as decide.
    _falls: list[datetime] = field(default_factory=list)
    #: When it last fell or rose.
    _turned_at: datetime | None = None

    def restore(self, falls: Iterable[datetime], *, is_down: bool, is_unsteady: bool = False) -> None:
        """Take up when it fell before a restart, oldest first, whether it has risen since, and whether it was believed."""
        self._falls = [*falls]
        # How often one that was held open has fallen since is not known, nor when last.
        self._turned_at = self._falls[-1] if self._falls and not is_unsteady else None
        self.is_down, self.is_unsteady = is_down, is_unsteady

    def fell(self, now: datetime) -> None:
        """Note that it is down; said again it is the same fall."""
        if self.is_down:
            return
        # It may have been quiet for long enough without anybody asking.
        self.is_unsteady = self.is_unsteady and not self._is_steady(now)
        self.is_down, self._turned_at = True, now
        self._falls = [*self._falls, now][-self.policy.falls :]
        self.is_unsteady = self.is_unsteady or self._has_fallen_too_often(now)

    def rose(self, since: datetime, now: datetime) -> datetime | None:
        """Note that it is well, *since* when; return until when that is not believed.

        A clock that was set back begins the quiet anew.
        """
        if self.is_down:
            # What was down for that long is steady in its way: its end is news.
            self.is_unsteady = self.is_unsteady and not self._is_steady(since)
            self.is_down, self._turned_at = False, max([since, *self._falls[-1:]])
        if self._turned_at is None or self._turned_at > now:
            self._turned_at = now
        self.is_unsteady = self.is_unsteady and not self._is_steady(now)
        return self._turned_at + self.policy.within if self.is_unsteady else None

    def _is_steady(self, now: datetime) -> bool:
        return self._turned_at is not None and now - self._turned_at >= self.policy.within

    def _has_fallen_too_often(self, now: datetime) -> bool:
        """Whether it has. A clock that was set back forgets what lies ahead."""
        recent = [at for at in self._falls if timedelta(0) <= now - at < self.policy.within]
        return len(recent) >= self.policy.falls
