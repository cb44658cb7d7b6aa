"""Recorder of the day timelines of agencies: the state of mail in each of a day's 1,440 minutes.

Once a minute it adds the spans since the last recording: those that probes have proven, those that people have
declared, and those without probing, such as maintenance. Adding a span is idempotent: spans that could not be written
are written later, and a clock set back, a reload or a second process adds nothing twice (ADR 0048).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from alerts.model.incident import FALSE_ALARM_PERIOD
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.timeline_builder import TimelineBuilder, outage_states
from monitor.model.day import DayTimeline, MinuteState, TimelineSpan, day_of, split_by_day, time_of
from monitor.model.window import Hours
from monitor.runtime.cooperative import yielding
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.engine.incidents import OpenIncidentSummary
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords, Key

#: Interval of recording.
RECORD_INTERVAL = timedelta(minutes=1)
#: Longest gap between recordings that is filled; a longer one has no data. A restart of the process takes seconds, a
#: restart of the machine two minutes.
MAX_GAP = timedelta(minutes=3)
#: Time after the end of an incident in which a false alarm is looked for. The additional day covers a restart.
_FALSE_ALARM_CHECK_PERIOD = FALSE_ALARM_PERIOD + timedelta(days=1)


class TimelineRecorder:
    """Recorder of the timelines of all agencies."""

    def __init__(
        self, *, records: DayRecords, store: SqlStore, clock: Clock, runtime: Callable[[], ProbingRuntime]
    ) -> None:
        """Take *runtime*, which returns the objects of the current configuration."""
        self._records = records
        self._store = store
        self._clock = clock
        self._runtime = runtime
        #: When spans were last recorded; `None`: not since the start.
        self._recorded_at: datetime | None = None
        #: By agency: builder of the spans that probes have proven.
        self._builders: dict[str, TimelineBuilder] = {}
        #: Agencies that another process monitored at the last recording.
        self._other_agencies: AbstractSet[str] = frozenset()
        #: Closed agencies at the last recording: in maintenance, or outside their probing hours.
        self._closed_agencies: set[str] = set()
        #: By agency: the latest declaration, and the time up to which it is recorded.
        self._declared_until: dict[str, tuple[OpenIncidentSummary, datetime]] = {}
        #: Ids of the false alarms that are recorded.
        self._false_alarms: set[int] = set()
        #: By agency: open incidents, declared and others, as last read from the database.
        self._open_incidents: Mapping[str, OpenIncidentSummary] = {}
        #: By agency and day: timelines that are not stored yet. `DayRecords.add` removes each one when it is stored.
        self._unsaved: dict[Key, DayTimeline] = {}

    async def begin(self, last_heartbeat: datetime | None) -> None:
        """Resume the timelines if *last_heartbeat* shows that this process ran within `MAX_GAP`.

        Raise `StoreUnavailable`.
        """
        now = self._clock.now()
        if last_heartbeat is None or not timedelta(0) <= now - last_heartbeat <= MAX_GAP:
            return
        await self._resume(now)
        self._recorded_at = now

    async def _resume(self, now: datetime, agencies: AbstractSet[str] | None = None) -> None:
        """Continue the stored timelines of *agencies* (`None`: of all), which a process recorded until a moment ago."""
        today = day_of(now)
        for (agency, day), timeline in sorted((await self._records.on([today - timedelta(days=1), today])).items()):
            if (last := timeline.last_marked()) is not None and (agencies is None or agency in agencies):
                state, minute = last
                builder = self._builders[agency] = TimelineBuilder()
                builder.resume(state, time_of(day, minute))

    async def record(self) -> None:
        """Record the spans since the last call, and store them.

        Raise `StoreUnavailable`; then the next call stores the spans.
        """
        now, store_error = self._clock.now(), None
        since = self._recorded_at if self._recorded_at and timedelta(0) <= now - self._recorded_at <= MAX_GAP else now
        if since == now:
            # The gap is too long, or the clock was set back: no builder may fill the gap.
            for builder in self._builders.values():
                builder.interrupt()
        self._recorded_at = now
        runtime = self._runtime()
        registry = runtime.configuration.registry
        try:
            await self._read_incidents(now)
            # `owned`: the agencies that this process probes.
            if taken_over := self._other_agencies & runtime.owned:
                await self._resume(now, taken_over)
        except StoreUnavailable as error:
            store_error = error
        self._other_agencies = registry.agencies.keys() - runtime.owned
        for code in self._other_agencies & self._builders.keys():
            # Another process monitors the agency now. If this process takes the agency over again, the builder must not
            # fill the time in between.
            self._builders[code].interrupt()
        async for code in yielding(registry.agencies):
            routes = registry.routes_for(code)
            self._mark(code, self._spans(runtime, code, [r.probing.hours for r in routes], since, now))
        for removed_agency in self._builders.keys() - registry.agencies.keys():
            del self._builders[removed_agency]
            self._closed_agencies.discard(removed_agency)
        if store_error is not None:
            raise store_error
        await self._records.add(self._unsaved)

    def _spans(
        self, runtime: ProbingRuntime, code: str, hours: Iterable[Hours], since: datetime, now: datetime
    ) -> Iterator[TimelineSpan]:
        """Yield the spans of an agency since the last recording; *since*: its time, or *now* after a longer gap."""
        builder = self._builders.setdefault(code, TimelineBuilder())
        if (closed_state := _closed_state(list(hours), now)) is not None:
            # Runs before and during the closed time prove nothing about the minutes of that time.
            builder.interrupt()
            yield TimelineSpan(state=closed_state, starts_at=since if code in self._closed_agencies else now, until=now)
            self._closed_agencies.add(code)
        elif runtime.evaluator.has_agency(code):
            mail = runtime.evaluator.mail(code)
            # A gap between two runs is filled if it is at most two minutes, even if routes are probed every few
            # seconds: the builder gets an observation only once a minute.
            yield from builder.advance(mail.observe(), max(mail.longest_proven_gap(), 2 * RECORD_INTERVAL))
        if closed_state is None:
            self._closed_agencies.discard(code)
        yield from self._declared_spans(code, now)
        closed_incident = runtime.reporter.manually_closed.get(code)
        if closed_incident is not None and closed_incident.false_alarm_at is not None:
            # Probes still detect the fault whose incident a person has marked as a false alarm.
            yield TimelineSpan(state=MinuteState.FALSE_ALARM, starts_at=since, until=now)

    def _declared_spans(self, code: str, now: datetime) -> Iterator[TimelineSpan]:
        incident = self._open_incidents.get(code)
        if incident is None or incident.declared is None:
            self._declared_until.pop(code, None)
            return
        previous, until = self._declared_until.get(code, (None, now))
        # The first span starts at the start of the declared outage, perhaps long ago, and includes time in which no
        # process ran. Later spans continue the previous one.
        span_start = until if previous == incident else incident.declared_since or now
        self._declared_until[code] = incident, now
        for state in outage_states(incident.declared):
            yield TimelineSpan(state=state, starts_at=span_start, until=now)

    async def _read_incidents(self, now: datetime) -> None:
        """Read the open incidents, and record new false alarms. Raise `StoreUnavailable`."""
        async with self._store.reading() as uow:
            self._open_incidents = await uow.open_incidents_by_key()
            marked_false = await uow.false_alarms(now - _FALSE_ALARM_CHECK_PERIOD)
        for each in marked_false:
            if each.id not in self._false_alarms:
                span = TimelineSpan(state=MinuteState.FALSE_ALARM, starts_at=each.began_at, until=each.ended_at)
                self._mark(each.agency, [span])
        self._false_alarms = {each.id for each in marked_false}

    def _mark(self, agency: str, spans: Iterable[TimelineSpan]) -> None:
        for day, state, first, end in split_by_day(spans):
            self._unsaved.setdefault((agency, day), DayTimeline()).mark(state, first, end)


def _closed_state(hours: list[Hours], now: datetime) -> MinuteState | None:
    """Return why none of an agency's routes is probed now; `None`: some are probed. *hours*: probing hours by route."""
    if not hours:
        return None
    # Maintenance applies to the whole agency, so all routes have the same maintenance windows.
    if hours[0].maintenance_at(now) is not None:
        return MinuteState.MAINTENANCE
    return MinuteState.OFF_HOURS if all(each.next_active_at(now) != now for each in hours) else None
