"""Drill runner: starts drills on schedule or on request, sends due notifications, records results.

Nothing is sent twice. After a crash a drill notification stays as it was, and later callbacks are still recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.decide.drill import (
    ENDED,
    DrillNotification,
    DrillState,
    DrillTarget,
    due_notifications,
    facts,
    obstacle,
    plan,
)
from alerts.engine.gateway_pool import GatewayPool
from alerts.hours.elapsed import is_recent
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.notification import Facts
from alerts.persistence.clock import Clock
from monitor.drills.sender import ASK_EVERY, ASK_FOR, DrillSender
from monitor.metrics import Metrics
from monitor.model.window import WindowOccurrence, next_to_begin
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.drills import Drill, Drills, Record
from monitor.store.engine.ledger import SqlStore

log = structlog.get_logger()

_EVERY = timedelta(seconds=5)
#: A call without a result by then was interrupted by a stop.
_CALLING_AT_MOST = timedelta(minutes=2)
#: A drill ends so long after its time at the latest.
_OVER_WITHIN = timedelta(days=1)
_DAY = timedelta(days=1)
#: How long an agency's people see the results of their drills.
_LATELY = timedelta(days=92)
#: Export interval: it reads all drill notifications.
_SHOWN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlan:
    """Participants and schedule of drills, as configured."""

    targets: Sequence[DrillTarget]
    #: Minimum time between two notifications by one gateway, or to one person.
    pace: timedelta
    #: Returns the current or next scheduled drill; `None`: none is scheduled.
    stretch: Callable[[datetime], WindowOccurrence | None]
    #: Whether a contact takes part in scheduled drills.
    concerns: Callable[[str], bool]
    #: Identity of the schedule, which changes with it.
    schedule: object = None


class DrillRunner:
    """Runs drills until cancelled."""

    def __init__(
        self,
        *,
        drills: Drills,
        store: SqlStore,
        pool: GatewayPool,
        exerciser: DrillSender,
        roster: Callable[[], DrillPlan],
        metrics: Metrics,
        clock: Clock,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """While *rests* returns true no drill starts or continues."""
        self._drills = drills
        self._store = store
        self._pool = pool
        self._exerciser = exerciser
        self._roster = roster
        self._metrics = metrics
        self._clock = clock
        self._rests = rests
        #: By drill in progress: why its remaining notifications cannot start, by key.
        self._obstacles: dict[int, dict[str, str]] = {}
        #: Open incidents at the last look, and the keys and numbers of their policies' people.
        self._named: tuple[Sequence[int], frozenset[str]] = ((), frozenset())
        self._shown_at: datetime | None = None
        #: The present schedule, and since when it applies; `None`: not read yet.
        self._expected: tuple[object, datetime] | None = None

    async def run(self) -> NoReturn:
        """Run until cancelled. Gateway calls are tasks in its task group."""
        # With thousands of agencies the first plan takes a while; later only changes do.
        await asyncio.to_thread(self._roster)
        async with asyncio.TaskGroup() as calls:
            await run_periodically("drills", lambda: self.look(calls), _EVERY)

    async def ask(
        self, contact: str, by: str, within: timedelta, *, after: int | None = None
    ) -> tuple[Drill, int] | None:
        """Start a drill of a contact, or of "all", now; return it with the number of notifications.

        "JCONTOH/siti" is a contact of one agency, "JCONTOH/all" all of its own. *after*: the agency's latest drill
        within a day (`asked_of`), so that only one starts, here or in another process. `None`: no such contact, nothing
        to test, or another drill started.
        """
        now = self._clock.now()
        planned = self._planned(contact, 0, asked=True)
        if not planned:
            return None
        agency = contact.partition("/")[0]
        key = f"asked/{now.isoformat()}" if after is None else f"asked/{now.date()}/{agency}/after {after}"
        begun = await self._drills.begin(key, contact=contact, requested_by=by, begins_at=now, ends_at=now + within)
        return None if begun is None else (begun, len(planned))

    async def look(self, calls: asyncio.TaskGroup) -> None:
        """Process what is due, once."""
        if self._rests():
            return
        now = self._clock.now()
        await self._begin_on_time(now)
        under_way = await self._drills.under_way()
        self._obstacles = {drill.id: self._obstacles.get(drill.id, {}) for drill in under_way}
        for drill in under_way:
            await self._go_on(drill, now, calls)
        if self._shown_at is None or not is_recent(self._shown_at, now, _SHOWN_EVERY):
            self._shown_at = now
            await self.show()

    async def show(self) -> None:
        """Export when each participant was last reached: by a key press, or by SMS without a voice number."""
        confirmed, delivered = await self._drills.confirmed(), await self._drills.delivered()
        reached: dict[str, dict[str, datetime | None]] = {}
        roster = self._roster()
        for target in roster.targets:
            person = target.contact
            if person.key and roster.concerns(person.key):
                rings = any(a.channel is Channel.VOICE for a in person.addresses)
                at = (confirmed if rings else delivered).get((target.agency, person.key))
                reached.setdefault(target.agency, {})[person.key] = at
        self._metrics.watchdog.reached(reached)
        now = self._clock.now()
        # Without a schedule no drill is late.
        is_planned = roster.stretch(now) is not None
        last = await self._drills.last_ended() if is_planned else None
        self._metrics.watchdog.drill_ended(last, overdue_at=self._overdue_at(roster, last, now))

    def _overdue_at(self, roster: DrillPlan, last: datetime | None, now: datetime) -> datetime | None:
        """Return when the drill after *last* is overdue; `None`: none is scheduled.

        A changed schedule has missed none.
        """
        if self._expected is None:
            self._expected = (roster.schedule, last or now)
        elif self._expected[0] != roster.schedule:
            self._expected = (roster.schedule, now)
        since = max(self._expected[1], last or self._expected[1])
        following = next_to_begin(roster.stretch, since)
        return None if following is None else following.ends_at + _OVER_WITHIN

    # -- a drill -------------------------------------------------------------------------------------------------

    async def _begin_on_time(self, now: datetime) -> None:
        stretch = self._roster().stretch(now)
        if stretch is None or stretch.starts_at > now:
            return
        key = f"scheduled/{stretch.starts_at.isoformat()}"
        begun = await self._drills.begin(
            key, contact="all", requested_by="schedule", begins_at=stretch.starts_at, ends_at=stretch.ends_at
        )
        if begun is not None:
            log.info("drill started", drill=begun.number, until=stretch.ends_at.isoformat())

    def _planned(self, contact: str, turn: int, *, asked: bool) -> tuple[DrillNotification, ...]:
        roster = self._roster()
        agency, slash, key = contact.rpartition("/")
        targets = [t for t in roster.targets if key in {"all", t.contact.key} and (not slash or t.agency == agency)]
        if not asked:
            targets = [t for t in targets if not t.contact.key or roster.concerns(t.contact.key)]
        gateways: dict[Channel, list[str]] = {}
        for line in self._pool:
            gateways.setdefault(line.channel, []).append(line.name)
        return plan(targets, gateways, turn)

    async def _go_on(self, drill: Drill, now: datetime, calls: asyncio.TaskGroup) -> None:
        planned = self._planned(drill.contact, drill.id, asked=drill.requested_by != "schedule")
        records = {record.key: record for record in await self._drills.notifications(drill.id)}
        if now >= drill.ends_at:
            await self._leave_out(drill, [e for e in planned if e.key not in records], now)
        else:
            await self._begin_due(drill, planned, records, now, calls)
        for record in records.values():
            if record.state not in ENDED and record.query_at is not None and record.query_at <= now:
                await self._ask_about(record, now, calls)
        left = [e for e in planned if e.key not in records]
        waiting = [r for r in records.values() if _may_change(r, now)]
        if (not left or now >= drill.ends_at) and not waiting:
            await self._end(drill, records.values(), now)

    async def _begin_due(
        self,
        drill: Drill,
        planned: Sequence[DrillNotification],
        records: Mapping[str, Record],
        now: datetime,
        calls: asyncio.TaskGroup,
    ) -> None:
        begun = {key: record.started_at for key, record in records.items()}
        if all(notification.key in begun for notification in planned):
            return
        pending = await self._drills.is_notice_pending(now)
        engaged = frozenset[str]() if pending else await self._engaged()
        free = []
        for notification in planned:
            why = (
                None if notification.key in begun else obstacle(notification, engaged=engaged, pending=pending, now=now)
            )
            if why is None:
                free.append(notification)
            else:
                self._obstacles[drill.id][notification.key] = why
        # Slots first: a gateway without a spare one must not prevent tests by another.
        wanted = {notification.gateway for notification in free if notification.key not in begun}
        slots = {name for name in wanted if self._pool.take_spare(name)}
        try:
            ready = [
                notification for notification in free if notification.key in begun or notification.gateway in slots
            ]
            for notification in due_notifications(ready, begun, self._roster().pace, now):
                if notification.gateway not in slots:
                    continue
                slots.remove(notification.gateway)
                told = facts(notification.target.office, notification.address.channel, drill.number, now)
                record = await self._written(drill, notification, told, now)
                if record is not None:
                    self._exerciser.send(record, drill.ends_at + ASK_FOR, calls)
        finally:
            for name in slots:
                self._pool.give_back(name)

    async def _written(
        self, drill: Drill, notification: DrillNotification, told: Facts, now: datetime
    ) -> Record | None:
        """Store a notification before its gateway is called; the slot is released if no call is needed."""
        record = None
        try:
            record = await self._drills.write(drill, notification, told, DrillState.CALLING, now)
        finally:
            if record is None:
                self._pool.give_back(notification.gateway)
        return record

    async def _engaged(self) -> frozenset[str]:
        """Return keys and numbers of all people that open incidents may notify, and keys of those notified."""
        ids, told = await self._drills.open_incidents()
        if ids != self._named[0]:
            # Policies are long, and there may be a thousand: read them only after incidents have opened or ended.
            named: set[str] = set()
            async with self._store.reading() as ledger:
                for incident in await ledger.open_incidents():
                    people = incident.policy.escalation.people
                    named |= {person.key for person in people}
                    named |= {address.number for person in people for address in person.addresses}
            self._named = ids, frozenset(named)
        return self._named[1] | told

    async def _leave_out(self, drill: Drill, left: Sequence[DrillNotification], now: datetime) -> None:
        for notification in left:
            why = self._obstacles[drill.id].get(notification.key, "the time for it was over")
            told = facts(notification.target.office, notification.address.channel, drill.number, now)
            if await self._drills.write(drill, notification, told, DrillState.SKIPPED, now, why=why):
                self._metrics.watchdog.drill_notification_ended(notification.address.channel, DrillState.SKIPPED)

    async def _end(self, drill: Drill, records: Iterable[Record], now: datetime) -> None:
        for record in records:
            if record.channel is Channel.LETTER and record.gateway in self._pool and record.provider_id:
                await self._exerciser.take_back(record)
        await self._drills.end(drill, now)
        log.info("drill ended", drill=drill.number)

    async def _ask_about(self, record: Record, now: datetime, calls: asyncio.TaskGroup) -> None:
        over = not is_recent(record.started_at, now, ASK_FOR)
        query_at = None if over else now + ASK_EVERY
        await self._drills.change(record.reference, record.state, now, query_at=query_at)
        # A result sets the time of the next query: otherwise a silent provider would be queried for ever.
        known = record.provider_id and record.gateway in self._pool and not self._exerciser.is_called_for(record)
        if not over and known and self._pool.take_spare(record.gateway):
            self._exerciser.check(record, calls)

    def people(self, agency: str) -> Sequence[Contact]:
        """Return the people of an agency's document."""
        return [each.contact for each in self._roster().targets if each.agency == agency and each.contact.key]

    async def of_agency(self, agency: str) -> tuple[Sequence[Drill], Sequence[Record]]:
        """Return the drills of an agency's own people in progress, and recent notifications, the newest first."""
        now = self._clock.now()
        under_way = [each for each in await self._drills.under_way() if each.contact.startswith(f"{agency}/")]
        tried = await self._drills.during(agency, now - _LATELY, now + timedelta(seconds=1))
        return under_way, list(reversed(tried))

    async def asked_of(self, agency: str) -> tuple[int, int]:
        """Return the id of the latest drill of an agency's own people within a day, 0 without any, and their number."""
        return await self._drills.asked_of(agency, self._clock.now() - _DAY)

    async def tried_lately(self, agency: str) -> int:
        """Return how many numbers of an agency's people were tested within a day."""
        now = self._clock.now()
        return len(await self._drills.during(agency, now - _DAY, now + timedelta(seconds=1)))

    async def latest(self, drills: int) -> Sequence[tuple[Drill, Record]]:
        """Return the results of the newest drills."""
        return await self._drills.latest(drills)


def _may_change(record: Record, now: datetime) -> bool:
    """Whether a drill must wait: a call is under way, or the provider is still queried."""
    calling = record.state is DrillState.CALLING and is_recent(record.started_at, now, _CALLING_AT_MOST)
    return record.state not in ENDED and (calling or record.query_at is not None)
