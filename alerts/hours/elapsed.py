"""Whether something was a short while ago, by a clock that may have been set back since.

An instant that lies ahead was written before the clock was set back. How long ago it was cannot be known, and nothing waits
until the clock has caught up: it is not recent, and a wait that it began is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

#: Engines that share a store differ by less, and a decision is no older.
TOLERANCE = timedelta(minutes=1)


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Return whether *at* is less than *span* ago; what lies ahead is not, but for the difference between two clocks."""
    return -min(span, TOLERANCE) <= now - at < span
