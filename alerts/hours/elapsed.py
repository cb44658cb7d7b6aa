"""Age of an event by a clock that may have been set back.

A time in the future was recorded before the clock was set back, so its age is unknown. Such an event is not recent:
otherwise a wait since then would last until the clock has caught up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

#: Clocks of engines that share a store differ by less.
TOLERANCE = timedelta(minutes=1)


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Return whether *at* is less than *span* ago. A time in the future is not, except within `TOLERANCE`."""
    return -min(span, TOLERANCE) <= now - at < span
