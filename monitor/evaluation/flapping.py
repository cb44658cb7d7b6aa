"""Flap detection (as in Nagios) for agencies and fault sources. Pure: the caller passes the time.

A *fall* is a change to down. Without flap detection each fall would open an incident and notify people, and each
recovery would end it. After too many falls, the incident stays open until the state has not changed for a window. A
*fault source* is a part of the monitoring itself that may be at fault, such as our network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingPolicy:
    """Limits of flapping.

    The defaults were found by simulation. With a window of an hour, three falls would seldom be detected if mail fails
    for five minutes in every 25.
    """

    #: Number of falls within *window* from which an object flaps.
    threshold: int = 3
    #: Flapping ends after this time without a change of state.
    window: timedelta = timedelta(hours=2)


@dataclass(slots=True)
class Flapping:
    """Falls of one object (an agency or a fault source), whether it is down, and whether it flaps."""

    policy: FlappingPolicy = field(default_factory=FlappingPolicy)
    is_down: bool = False
    #: Flapping lasts until the state is stable. If it ended when the oldest fall leaves the window, recoveries would be
    #: reported while the object still flaps.
    is_flapping: bool = False
    #: Times of the latest falls, oldest first; at most `threshold`.
    _falls: list[datetime] = field(default_factory=list)
    #: Time of the last fall or recovery.
    _changed_at: datetime | None = None

    def restore(self, falls: Iterable[datetime], *, is_down: bool, is_flapping: bool = False) -> None:
        """Restore the *falls* from before a restart, oldest first, and the state."""
        self._falls = [*falls]
        # While the object flapped, its incident stayed open. Later falls are not stored, so the last change is unknown.
        self._changed_at = self._falls[-1] if self._falls and not is_flapping else None
        self.is_down, self.is_flapping = is_down, is_flapping

    def record_fall(self, now: datetime) -> None:
        """Record that the object is down. A call while it is down already is not a new fall."""
        if self.is_down:
            return
        # The state may have become stable since the last call.
        self.is_flapping = self.is_flapping and not self._is_stable(now)
        self.is_down, self._changed_at = True, now
        self._falls = [*self._falls, now][-self.policy.threshold :]
        self.is_flapping = self.is_flapping or self._has_fallen_too_often(now)

    def record_recovery(self, recovered_at: datetime, now: datetime) -> datetime | None:
        """Record that the object has been up since *recovered_at*.

        Return when flapping ends if the state does not change before; `None` if the object does not flap. If the clock
        was set back, that time is counted from *now*.
        """
        if self.is_down:
            # After a long outage the state was stable, so flapping has ended.
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
