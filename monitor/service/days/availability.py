"""Cache of the mail availability of all agencies, for the status page and the API.

The availability is computed in a thread, at most once a minute, from the day timelines that `TimelineRecorder` writes:
the state of mail in each minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.model.day import DayTimeline, MinuteState, day_of
from monitor.store.probing.days import DayRecords
from monitor.views.days import SPANS, Availability, availability_of, past_minutes, read_days

#: The timelines change once a minute.
_MAX_AGE = timedelta(minutes=1)


class AvailabilityCache:
    """Cache of the availability of all agencies. Database errors pass to the caller."""

    def __init__(self, days: DayRecords, clock: Clock) -> None:
        self._days = days
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at: datetime | None = None
        #: The agencies of the last computation, and their availability in each period of `SPANS` (in days).
        self._cached_codes: frozenset[str] = frozenset()
        self._availability: Mapping[str, Sequence[Availability]] = {}
        #: By agency code: a hash of the days before today, and for each period their minutes per state. They change
        #: rarely, while today's minutes change each minute.
        self._past_days: dict[str, tuple[int, Sequence[Mapping[MinuteState, int]]]] = {}

    async def availability(self, agencies: Sequence[str]) -> Mapping[str, Sequence[Availability]]:
        """Return the availability of *agencies* per period, at most one minute old. Concurrent calls share a read."""
        async with self._lock:
            now, codes = self._clock.now(), frozenset(agencies)
            is_fresh = self._read_at is not None and timedelta(0) <= now - self._read_at < _MAX_AGE
            if not is_fresh or codes != self._cached_codes:
                first = day_of(now) - timedelta(days=max(SPANS) - 1)
                day_texts = await self._days.joined_days(agencies, first)
                self._availability = await asyncio.to_thread(self._compute, agencies, day_texts, now)
                self._read_at, self._cached_codes = now, codes
            return self._availability

    def _compute(
        self, agencies: Sequence[str], day_texts: Mapping[str, str], now: datetime
    ) -> Mapping[str, Sequence[Availability]]:
        """Return the availability by agency. *day_texts*: by agency, its timelines as a text for `read_days`."""
        today, previous, availability = day_of(now), self._past_days, dict[str, Sequence[Availability]]()
        self._past_days = {}
        for code in agencies:
            days = dict(read_days(day_texts.get(code, "")))
            today_timeline = DayTimeline(days.pop(today, ""))
            # Keep a hash and not the days themselves, which take seven megabytes for a thousand agencies.
            past_hash = hash((today, frozenset(days.items())))
            past = previous.get(code)
            if past is None or past[0] != past_hash:
                past = past_hash, past_minutes(days, today)
            self._past_days[code] = past
            availability[code] = availability_of(past[1], today_timeline, now)
        return availability
