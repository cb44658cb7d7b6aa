"""Flap detection (as in Nagios) for agencies and fault sources. Pure: the caller passes the time.

A fall is a change to down. Without flap detection each fall would open an incident and notify people, and each recovery
would end it. If there are too many falls, the incident stays open until the state has not changed for a window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingPolicy:
    """Number of falls (*threshold*) within a *window* that is flapping; it ends after a *window* without a change.

    The defaults were found by simulation. With a window of an hour, three falls would seldom be detected where five
    minutes in every 25 are an outage.
    """

    threshold: int = 3
    window: timedelta = timedelta(hours=2)


@dataclass(slots=True)
class Flapping:
    """Falls of one object, whether it is down, and whether it flaps."""

    policy: FlappingPolicy = field(default_factory=FlappingPolicy)
    is_down: bool = False
    #: Stays true until the state is stable. Otherwise the flapping would end, and the recovery be reported, each time
    #: that the oldest fall leaves the window.
    is_flapping: bool = False
    #: Times of the latest falls, oldest first; at most `threshold`.
    _falls: list[datetime] = field(default_factory=list)
    #: Time of the last fall or recovery.
    _changed_at: datetime | None = None

    def restore(self, falls: Iterable[datetime], *, is_down: bool, is_flapping: bool = False) -> None:
        """Restore the *falls* from before a restart, oldest first, and the state."""
        self._falls = [*falls]
        # Later falls of an incident that was held open are unknown.
        self._changed_at = self._falls[-1] if self._falls and not is_flapping else None
        self.is_down, self.is_flapping = is_down, is_flapping

    def record_fall(self, now: datetime) -> None:
        """Record that it is down; a call while it is down is no new fall."""
        if self.is_down:
            return
        # The stable time may have passed without a call.
        self.is_flapping = self.is_flapping and not self._is_stable(now)
        self.is_down, self._changed_at = True, now
        self._falls = [*self._falls, now][-self.policy.threshold :]
        self.is_flapping = self.is_flapping or self._has_fallen_too_often(now)

    def record_recovery(self, recovered_at: datetime, now: datetime) -> datetime | None:
        """Record that it is up. Return when flapping ends if the state stays stable; `None` if it does not flap.

        If the clock was set back, the stable time starts again.
        """
        if self.is_down:
            # A long outage is a stable state as well; its end is no flapping.
            self.is_flapping = self.is_flapping and not self._is_stable(recovered_at)
            self.is_down, self._changed_at = False, max([recovered_at, *self._falls[-1:]])
        if self._changed_at is None or self._changed_at > now:
            self._changed_at = now
        self.is_flapping = self.is_flapping and not self._is_stable(now)
        return self._changed_at + self.policy.window if self.is_flapping else None

    def _is_stable(self, now: datetime) -> bool:
        return self._changed_at is not None and now - self._changed_at >= self.policy.window

    def _has_fallen_too_often(self, now: datetime) -> bool:
        """Whether the threshold is reached. Times in the future, from before the clock was set back, do not count."""
        recent = [at for at in self._falls if timedelta(0) <= now - at < self.policy.window]
        return len(recent) >= self.policy.threshold
