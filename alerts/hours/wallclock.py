"""Conversion of wall-clock times to instants across changes of the clock.

The rules are GoAlert's, so that a rota has no gap: a time skipped in spring is the first instant after the gap, and of
a time that occurs twice in autumn a start uses the first and an end the last.
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
    """Return the instant of the gap that skips *skipped*: it lies between the two readings of PEP 495."""
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
