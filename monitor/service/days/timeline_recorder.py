"""Recorder of the days of agencies: adds once a minute what was proven, declared and closed since.

A record holds what is true at the time of writing, so a minute that could not be written is written with a later one; a
clock set back, a reload and a second prober add nothing twice (ADR 0048).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from alerts.model.incident import FALSE_ALARM_WITHIN
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.timeline_builder import TimelineBuilder, ways_of
from monitor.model.day import DayTimeline, MinuteState, TimelineSpan, cut, day_of, moment_of
from monitor.model.window import Hours
from monitor.runtime.cooperative import yielding
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.engine.incidents import OpenNumber
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords, Key

#: Interval of evaluation and writing.
LOOKS = timedelta(minutes=1)
#: A longer gap between evaluations counts as unmonitored: a restart takes seconds, that of a machine two minutes.
AWAY = timedelta(minutes=3)
#: How long after its end an incident is checked for a declaration as false alarm, with one more day for a restart.
_CORRECTED_FOR = FALSE_ALARM_WITHIN + timedelta(days=1)


class TimelineRecorder:
    """Recorder that evaluates all agencies and adds to their days."""

    def __init__(
        self, *, records: DayRecords, store: SqlStore, clock: Clock, runtime: Callable[[], ProbingRuntime]
    ) -> None:
        """Read the current watch with *runtime*."""
        self._records = records
        self._store = store
        self._clock = clock
        self._runtime = runtime
        self._looked_at: datetime | None = None
        self._followed: dict[str, TimelineBuilder] = {}
        #: Agencies that another process monitored at the last evaluation.
        self._elsewhere: AbstractSet[str] = frozenset()
        #: Agencies that were not to be probed at the last evaluation.
        self._closed: set[str] = set()
        #: By agency: the latest declaration, and the time up to which it is marked.
        self._declared: dict[str, tuple[OpenNumber, datetime]] = {}
        #: Incidents whose correction is marked.
        self._corrected: set[int] = set()
        #: Latest declarations that were read from the database: each applies until it is changed.
        self._open: Mapping[str, OpenNumber] = {}
        #: Records that are not stored yet.
        self._owed: dict[Key, DayTimeline] = {}

    async def begin(self, last_seen: datetime | None) -> None:
        """Resume the state of this process, if it was *last_seen* at work a moment ago. Raise `StoreUnavailable`."""
        now = self._clock.now()
        if last_seen is None or not timedelta(0) <= now - last_seen <= AWAY:
            return
        await self._resume(now)
        self._looked_at = now

    async def _resume(self, now: datetime, among: AbstractSet[str] | None = None) -> None:
        """Resume the state of a process that monitored until a moment ago; *among*: these agencies."""
        today = day_of(now)
        for (agency, on), sheet in sorted((await self._records.on([today - timedelta(days=1), today])).items()):
            if (last := sheet.last()) is not None and (among is None or agency in among):
                continuity = self._followed[agency] = TimelineBuilder()
                continuity.resume(last[0], moment_of(on, last[1]))

    async def look(self) -> None:
        """Mark what is settled since the last evaluation, and write it.

        Raise `StoreUnavailable` when writing must wait.
        """
        now, away = self._clock.now(), None
        since = self._looked_at if self._looked_at and timedelta(0) <= now - self._looked_at <= AWAY else now
        if since == now:
            for continuity in self._followed.values():
                continuity.interrupt()
        self._looked_at = now
        runtime = self._runtime()
        registry = runtime.configuration.registry
        try:
            await self._ask(now)
            if taken_over := self._elsewhere & runtime.owned:
                await self._resume(now, taken_over)
        except StoreUnavailable as error:
            away = error
        self._elsewhere = registry.agencies.keys() - runtime.owned
        for code in self._elsewhere & self._followed.keys():
            # If the agency returns, another process has monitored it meanwhile.
            self._followed[code].interrupt()
        async for code in yielding(registry.agencies):
            routes = registry.routes_of(code)
            self._mark(code, self._of_agency(runtime, code, [r.probing.hours for r in routes], since, now))
        for gone in self._followed.keys() - registry.agencies.keys():
            del self._followed[gone]
            self._closed.discard(gone)
        if away is not None:
            raise away
        await self._records.add(self._owed)

    def _of_agency(
        self, runtime: ProbingRuntime, code: str, hours: Iterable[Hours], since: datetime, now: datetime
    ) -> Iterator[TimelineSpan]:
        continuity = self._followed.setdefault(code, TimelineBuilder())
        if (closed := _closed(list(hours), now)) is not None:
            # Earlier evidence does not extend over the closed time, and runs in it do not count.
            continuity.interrupt()
            yield TimelineSpan(state=closed, starts_at=since if code in self._closed else now, until=now)
            self._closed.add(code)
        elif runtime.evaluator.knows(code):
            mail = runtime.evaluator.mail(code)
            # An agency that is probed every few seconds is evaluated less often than that.
            yield from continuity.follow(mail.sight(), max(mail.seen_within(), 2 * LOOKS))
        if closed is None:
            self._closed.discard(code)
        yield from self._of_people(code, now)
        ended = runtime.consensus.ended_by_hand.get(code)
        if ended is not None and ended.false_alarm_at is not None:
            # The agency is measured all the same; the result is a declared false alarm.
            yield TimelineSpan(state=MinuteState.FALSE_ALARM, starts_at=since, until=now)

    def _of_people(self, code: str, now: datetime) -> Iterator[TimelineSpan]:
        said = self._open.get(code)
        if said is None or said.declared is None:
            self._declared.pop(code, None)
            return
        known, until = self._declared.get(code, (None, now))
        # The first mark starts at the declaration, which may be long ago; later ones continue from the last evaluation.
        # A declaration also applies while no evaluation runs.
        begins = until if known == said else said.declared_since or now
        self._declared[code] = said, now
        for state in ways_of(said.declared):
            yield TimelineSpan(state=state, starts_at=begins, until=now)

    async def _ask(self, now: datetime) -> None:
        """Read the declarations. Raise `StoreUnavailable`."""
        async with self._store.reading() as ledger:
            self._open = await ledger.open_numbers()
            corrected = await ledger.false_alarms(now - _CORRECTED_FOR)
        for each in corrected:
            if each.id not in self._corrected:
                mark = TimelineSpan(state=MinuteState.FALSE_ALARM, starts_at=each.began_at, until=each.ended_at)
                self._mark(each.agency, [mark])
        self._corrected = {each.id for each in corrected}

    def _mark(self, agency: str, marks: Iterable[TimelineSpan]) -> None:
        for on, state, begin, end in cut(marks):
            self._owed.setdefault((agency, on), DayTimeline()).mark(state, begin, end)


def _closed(hours: list[Hours], now: datetime) -> MinuteState | None:
    """Return the reason why an agency is not probed now; `None`: it is probed.

    Maintenance applies to the whole agency.
    """
    if not hours:
        return None
    if hours[0].closed_by(now) is not None:
        return MinuteState.MAINTENANCE
    return MinuteState.OFF_HOURS if all(each.opens(now) != now for each in hours) else None
