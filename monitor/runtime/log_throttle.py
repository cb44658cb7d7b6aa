"""Which repeated log lines are written: whoever can reach a listener decides how often some of them are due."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_MOST_KINDS = 1000


class LogThrottle:
    """Admits one line of a kind a minute."""

    EVERY_SECONDS = 60.0

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        #: Kind -> when a line was admitted last, and how many were suppressed since.
        self._admitted: dict[Hashable, tuple[float, int]] = {}

    def admit(self, kind: Hashable) -> int | None:
        """Return how many lines of *kind* were suppressed since the last one; `None`: suppress this one, too."""
        now = self._steady()
        at, suppressed = self._admitted.pop(kind, (now - self.EVERY_SECONDS, 0))
        is_due = now - at >= self.EVERY_SECONDS
        self._admitted[kind] = (now, 0) if is_due else (at, suppressed + 1)
        if len(self._admitted) > _MOST_KINDS:
            del self._admitted[next(iter(self._admitted))]
        return suppressed if is_due else None
