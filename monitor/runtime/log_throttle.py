"""Rate limit for log lines that remote clients can trigger."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

#: Maximum number of kinds that are tracked.
_MAX_KINDS = 1000


class LogThrottle:
    """Rate limit that admits one line per kind and minute. A kind is what similar lines share, such as their reason."""

    INTERVAL_SECONDS = 60.0

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        #: By kind: when a line was last admitted, and how many were suppressed since.
        self._admitted: dict[Hashable, tuple[float, int]] = {}

    def admit(self, kind: Hashable) -> int | None:
        """Return how many lines of *kind* were suppressed since the last one, or `None` to suppress this one."""
        now = self._monotonic()
        admitted_at, suppressed = self._admitted.pop(kind, (now - self.INTERVAL_SECONDS, 0))
        is_due = now - admitted_at >= self.INTERVAL_SECONDS
        self._admitted[kind] = (now, 0) if is_due else (admitted_at, suppressed + 1)
        if len(self._admitted) > _MAX_KINDS:
            del self._admitted[next(iter(self._admitted))]
        return suppressed if is_due else None
