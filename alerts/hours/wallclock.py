"""Conversion of wall-clock times to instants across changes of the clock.

The rules are GoAlert's, so that a rota has no gap. A time that the clock skips in spring becomes the first instant
after the skipped hour. If a time occurs twice in autumn, a start becomes the first of the two instants, an end the
second.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which clocks in *zone* first show *local*, which has no zone of its own."""
    return _instant(local, zone, fold=0)


def last_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which clocks in *zone* last show *local*, which has no zone of its own."""
    return _instant(local, zone, fold=1)


def _instant(local: datetime, zone: ZoneInfo, fold: int) -> datetime:
    naive = local.replace(tzinfo=None)
    at = naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None, fold=0) == naive.replace(fold=0):
        return at
    return _end_of_gap(naive, zone)


def _end_of_gap(skipped: datetime, zone: ZoneInfo) -> datetime:
    """Return the end of the gap that contains the wall-clock time *skipped*.

    The end lies between the two instants that PEP 495 gives for *skipped* with the two values of `fold`. Bisection
    finds the second at which the new offset begins.
    """
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
