"""Age of an event by a clock that may have been set back.

A recorded time in the future means that the clock was set back after the event, and the age of the event is unknown.
Such an event does not count as recent. Otherwise code that waits for a span after the event would wait until the clock
has caught up, perhaps for hours.
"""

from __future__ import annotations

from datetime import datetime, timedelta

#: A time up to this far in the future is normal, because the clocks of engines that share a database differ.
TOLERANCE = timedelta(minutes=1)


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Return whether *at* is less than *span* ago, or in the future by at most `TOLERANCE` (and at most *span*)."""
    return -min(span, TOLERANCE) <= now - at < span
