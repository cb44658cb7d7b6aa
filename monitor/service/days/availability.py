"""Availability of the mail of all agencies: read once a minute, computed in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.model.day import DayTimeline, MinuteState, day_of
from monitor.store.probing.days import DayRecords
from monitor.views.days import SPANS, Availability, availability_of, past_minutes, read_days

#: Days change once a minute.
_FRESH = timedelta(minutes=1)


class AvailabilityCache:
    """Cache of the availability of all agencies. The caller handles the database errors."""

    def __init__(self, days: DayRecords, clock: Clock) -> None:
        self._days = days
        self._clock = clock
        self._looking = asyncio.Lock()
        self._read_at: datetime | None = None
        self._codes: frozenset[str] = frozenset()
        self._known: Mapping[str, Sequence[Availability]] = {}
        #: By agency code: a hash of the past days, and their minutes. Only today's minutes change.
        self._past: dict[str, tuple[int, Sequence[Mapping[MinuteState, int]]]] = {}

    async def of(self, agencies: Sequence[str]) -> Mapping[str, Sequence[Availability]]:
        """Return the availability of *agencies*, at most one minute old. Concurrent requests share one read."""
        async with self._looking:
            now, codes = self._clock.now(), frozenset(agencies)
            is_fresh = self._read_at is not None and timedelta(0) <= now - self._read_at < _FRESH
            if not is_fresh or codes != self._codes:
                first = day_of(now) - timedelta(days=max(SPANS) - 1)
                gathered = await self._days.gathered(agencies, first)
                self._known = await asyncio.to_thread(self._reckon, agencies, gathered, now)
                self._read_at, self._codes = now, codes
            return self._known

    def _reckon(
        self, agencies: Sequence[str], gathered: Mapping[str, str], now: datetime
    ) -> Mapping[str, Sequence[Availability]]:
        today, before, found = day_of(now), self._past, dict[str, Sequence[Availability]]()
        self._past = {}
        for code in agencies:
            days = dict(read_days(gathered.get(code, "")))
            of_today = DayTimeline(days.pop(today, ""))
            # The hash replaces the days themselves, which take seven megabytes for a thousand agencies.
            mark = hash((today, frozenset(days.items())))
            past = before.get(code)
            if past is None or past[0] != mark:
                past = mark, past_minutes(days, today)
            self._past[code] = past
            found[code] = availability_of(past[1], of_today, now)
        return found
