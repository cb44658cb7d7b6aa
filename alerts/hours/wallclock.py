"""At which instant a wall clock shows a time, where clocks are put forward and back.

The rules are GoAlert's, so that nobody's duty has a hole: a time that is skipped in spring is the first instant after
the gap, and of a time that comes twice in autumn a beginning means the first and an end the last.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)


def first_showing(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which clocks in *zone* first show *local*, which has no zone of its own."""
    return _showing(local, zone, fold=0)


def last_showing(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which clocks in *zone* last show *local*, which has no zone of its own."""
    return _showing(local, zone, fold=1)


def _showing(local: datetime, zone: ZoneInfo, fold: int) -> datetime:
    plain = local.replace(tzinfo=None)
    at = plain.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None, fold=0) == plain.replace(fold=0):
        return at
    return _after_the_gap(plain, zone)


def _after_the_gap(skipped: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which clocks jump over *skipped*: it lies between the two readings that PEP 495 offers."""
    before = skipped.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = skipped.replace(tzinfo=zone, fold=0).astimezone(UTC)
    new_offset = after.astimezone(zone).utcoffset()
    low, high = 0, int((after - before) / _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if (before + middle * _SECOND).astimezone(zone).utcoffset() == new_offset:
            high = middle
        else:
            low = middle
    return before + high * _SECOND
