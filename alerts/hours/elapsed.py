"""Whether an event was recent, by a clock that may have been set back.

A time in the future was recorded before the clock was set back. Its age is unknown, and nothing waits until the clock
has caught up: the event is not recent, and a wait since then is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

#: Clocks of engines that share a store differ by less.
TOLERANCE = timedelta(minutes=1)


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Return whether *at* is less than *span* ago; times in the future are not, except within `TOLERANCE`."""
    return -min(span, TOLERANCE) <= now - at < span
