"""Which repeated log lines are written: whoever can reach a listener decides how often some of them are due."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta

_MOST_KINDS = 1000


class LogThrottle:
    """Lets one line of a kind pass in each interval."""

    def __init__(self, every: timedelta) -> None:
        self._every = every
        self._written: dict[Hashable, datetime] = {}

    def is_due(self, kind: Hashable, now: datetime) -> bool:
        """Return whether a line of *kind* is to be written *now*; it counts as written then."""
        at = self._written.get(kind)
        # Also after the clock was set back.
        if at is not None and timedelta(0) <= now - at < self._every:
            return False
        self._written.pop(kind, None)
        self._written[kind] = now
        if len(self._written) > _MOST_KINDS:
            del self._written[next(iter(self._written))]
        return True
