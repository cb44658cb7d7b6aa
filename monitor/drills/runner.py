"""Drill runner: starts drills on schedule or on request, sends their notifications, and ends them.

A drill is a test of contacts and gateways by test notifications; `alerts.decide.drill` plans it. No notification is
sent twice: one that was being sent during a crash is not repeated, and callbacks about it are still recorded.
In this module, a call is a request to a gateway.
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
    blocking_reason,
    drill_facts,
    due_notifications,
    plan_notifications,
)
from alerts.engine.gateway_pool import GatewayPool
from alerts.hours.elapsed import is_recent
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.notification import Facts
from alerts.persistence.clock import Clock
from monitor.drills.sender import QUERY_INTERVAL, QUERY_PERIOD, DrillSender
from monitor.metrics import Metrics
from monitor.model.window import WindowOccurrence, next_to_begin
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.drills import Drill, DrillNotificationRecord, Drills
from monitor.store.engine.unit_of_work import SqlStore

log = structlog.get_logger()

#: Interval at which `run` examines the drills.
_INTERVAL = timedelta(seconds=5)
#: A gateway call without a result after this time was interrupted by a stop of the process.
_MAX_CALLING = timedelta(minutes=2)
#: A scheduled drill that has not ended is overdue this long after the end of its window.
_OVERDUE_AFTER = timedelta(days=1)
_DAY = timedelta(days=1)
#: An agency sees the results of its drills for this long.
_HISTORY = timedelta(days=92)
#: Interval of exporting metrics, which reads all drill notifications.
_EXPORT_INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlan:
    """Participants and schedule of drills, as configured."""

    targets: Sequence[DrillTarget]
    #: Minimum time between two notifications by one gateway, or to one person.
    pace: timedelta
    #: Returns the current or next window of the schedule; `None`: no drill is scheduled.
    next_window: Callable[[datetime], WindowOccurrence | None]
    #: Returns whether the contact with this key takes part in scheduled drills.
    is_participant: Callable[[str], bool]
    #: The configured schedule. It is only compared with the schedule of a later plan.
    schedule: object = None


class DrillRunner:
    """Runs drills until cancelled."""

    def __init__(
        self,
        *,
        drills: Drills,
        store: SqlStore,
        pool: GatewayPool,
        sender: DrillSender,
        current_plan: Callable[[], DrillPlan],
        metrics: Metrics,
        clock: Clock,
        is_monitor_only: Callable[[], bool] = lambda: False,
    ) -> None:
        """*is_monitor_only*: while it returns true, no drill starts or continues."""
        self._drills = drills
        self._store = store
        self._pool = pool
        self._sender = sender
        self._current_plan = current_plan
        self._metrics = metrics
        self._clock = clock
        self._is_monitor_only = is_monitor_only
        #: By id of each drill in progress, and key of a notification: why the notification cannot start.
        self._blocking_reasons: dict[int, dict[str, str]] = {}
        #: Ids of the open incidents when they were last read, and the contact keys and numbers in their policies.
        self._people_of_open_incidents: tuple[Sequence[int], frozenset[str]] = ((), frozenset())
        self._exported_at: datetime | None = None
        #: The configured schedule, and since when it applies; `None`: not read yet.
        self._schedule_since: tuple[object, datetime] | None = None

    async def run(self) -> NoReturn:
        """Run until cancelled. Cancellation also ends the gateway calls, which are tasks of a group."""
        # The first plan takes a while with thousands of agencies. Later plans reuse its targets.
        await asyncio.to_thread(self._current_plan)
        async with asyncio.TaskGroup() as calls:
            await run_periodically("drills", lambda: self.run_once(calls), _INTERVAL)

    async def start(
        self, contact: str, by: str, duration: timedelta, *, after: int | None = None
    ) -> tuple[Drill, int] | None:
        """Start a drill of a contact, or of "all", now; return it with the number of notifications.

        "JCONTOH/siti" is a contact of one agency, "JCONTOH/all" all its contacts. *by*: who requests the drill.
        *after*: id of the agency's latest drill (`latest_requested`) when the submitted page was rendered. It makes a
        request idempotent, so that a page that is submitted twice starts one drill. Return `None` if the contact does
        not exist, has nothing to test, or another drill was started.
        """
        now = self._clock.now()
        # The notifications are only counted, so their gateways, which the id determines, do not matter.
        planned = self._plan_notifications(contact, drill_id=0, is_requested=True)
        if not planned:
            return None
        agency = contact.partition("/")[0]
        key = f"asked/{now.isoformat()}" if after is None else f"asked/{now.date()}/{agency}/after {after}"
        drill = await self._drills.begin(key, contact=contact, requested_by=by, starts_at=now, ends_at=now + duration)
        return None if drill is None else (drill, len(planned))

    async def run_once(self, calls: asyncio.TaskGroup) -> None:
        """Start and continue drills that are due, once."""
        if self._is_monitor_only():
            return
        now = self._clock.now()
        await self._start_scheduled(now)
        under_way = await self._drills.under_way()
        self._blocking_reasons = {drill.id: self._blocking_reasons.get(drill.id, {}) for drill in under_way}
        for drill in under_way:
            await self._continue(drill, now, calls)
        if self._exported_at is None or not is_recent(self._exported_at, now, _EXPORT_INTERVAL):
            self._exported_at = now
            await self.export()

    async def export(self) -> None:
        """Export when each participant was last reached, when the last drill ended, and when the next is overdue.

        A participant counts as reached after a key press in a voice call or, without a voice address, a delivered SMS.
        """
        confirmed, delivered = await self._drills.confirmed(), await self._drills.delivered()
        reached: dict[str, dict[str, datetime | None]] = {}
        plan = self._current_plan()
        for target in plan.targets:
            person = target.contact
            if person.key and plan.is_participant(person.key):
                has_voice = any(address.channel is Channel.VOICE for address in person.addresses)
                at = (confirmed if has_voice else delivered).get((target.agency, person.key))
                reached.setdefault(target.agency, {})[person.key] = at
        self._metrics.watchdog.set_contacts_reached(reached)
        now = self._clock.now()
        # Without a schedule no drill can be overdue.
        is_scheduled = plan.next_window(now) is not None
        last = await self._drills.last_ended() if is_scheduled else None
        self._metrics.watchdog.record_drill(last, overdue_at=self._overdue_at(plan, last, now))

    def _overdue_at(self, plan: DrillPlan, last: datetime | None, now: datetime) -> datetime | None:
        """Return when the scheduled drill after *last* (the end of the last one) is overdue; `None`: none is scheduled.

        A changed schedule applies from the time of the change.
        """
        if self._schedule_since is None:
            self._schedule_since = (plan.schedule, last or now)
        elif self._schedule_since[0] != plan.schedule:
            self._schedule_since = (plan.schedule, now)
        _, applies_since = self._schedule_since
        next_drill = next_to_begin(plan.next_window, max(applies_since, last or applies_since))
        return None if next_drill is None else next_drill.ends_at + _OVERDUE_AFTER

    # -- a drill -------------------------------------------------------------------------------------------------

    async def _start_scheduled(self, now: datetime) -> None:
        next_window = self._current_plan().next_window(now)
        if next_window is None or next_window.starts_at > now:
            return
        key = f"scheduled/{next_window.starts_at.isoformat()}"
        started = await self._drills.begin(
            key, contact="all", requested_by="schedule", starts_at=next_window.starts_at, ends_at=next_window.ends_at
        )
        if started is not None:
            log.info("drill started", drill=started.number, until=next_window.ends_at.isoformat())

    def _plan_notifications(self, contact: str, drill_id: int, *, is_requested: bool) -> tuple[DrillNotification, ...]:
        current_plan = self._current_plan()
        agency, slash, key = contact.rpartition("/")
        targets = [
            each
            for each in current_plan.targets
            if key in {"all", each.contact.key} and (not slash or each.agency == agency)
        ]
        if not is_requested:
            targets = [
                each for each in targets if not each.contact.key or current_plan.is_participant(each.contact.key)
            ]
        gateways: dict[Channel, list[str]] = {}
        for gateway in self._pool:
            gateways.setdefault(gateway.channel, []).append(gateway.name)
        return plan_notifications(targets, gateways, drill_id)

    async def _continue(self, drill: Drill, now: datetime, calls: asyncio.TaskGroup) -> None:
        planned = self._plan_notifications(drill.contact, drill.id, is_requested=drill.requested_by != "schedule")
        records = {record.key: record for record in await self._drills.notifications(drill.id)}
        if now >= drill.ends_at:
            await self._skip(drill, [each for each in planned if each.key not in records], now)
        else:
            await self._start_due(drill, planned, records, now, calls)
        for record in records.values():
            if record.state not in ENDED and record.query_at is not None and record.query_at <= now:
                await self._query(record, now, calls)
        remaining = [each for each in planned if each.key not in records]
        waiting = [record for record in records.values() if _may_change(record, now)]
        if (not remaining or now >= drill.ends_at) and not waiting:
            await self._end(drill, records.values(), now)

    async def _start_due(
        self,
        drill: Drill,
        planned: Sequence[DrillNotification],
        records: Mapping[str, DrillNotificationRecord],
        now: datetime,
        calls: asyncio.TaskGroup,
    ) -> None:
        started_at = {key: record.started_at for key, record in records.items()}
        if all(notification.key in started_at for notification in planned):
            return
        # A pending notification of an incident blocks the whole drill, whoever is busy.
        pending = await self._drills.is_notification_pending(now)
        busy_keys = frozenset[str]() if pending else await self._busy_keys()
        unblocked = []
        for notification in planned:
            reason = (
                None
                if notification.key in started_at
                else blocking_reason(notification, busy_keys=busy_keys, pending=pending, now=now)
            )
            if reason is None:
                unblocked.append(notification)
            else:
                self._blocking_reasons[drill.id][notification.key] = reason
        # Reserve the gateways' slots first, so that a gateway without a free slot does not delay the others.
        gateway_names = {notification.gateway for notification in unblocked if notification.key not in started_at}
        slots = {name for name in gateway_names if self._pool.take_spare_slot(name)}
        try:
            # Notifications that have started are included, because they determine the pace.
            ready = [
                notification
                for notification in unblocked
                if notification.key in started_at or notification.gateway in slots
            ]
            for notification in due_notifications(ready, started_at, self._current_plan().pace, now):
                if notification.gateway not in slots:
                    continue
                slots.remove(notification.gateway)  # The call releases it.
                facts = drill_facts(notification.target.office, notification.address.channel, drill.number, now)
                record = await self._store_notification(drill, notification, facts, now)
                if record is not None:
                    self._sender.send(record, drill.ends_at + QUERY_PERIOD, calls)
        finally:
            for name in slots:
                self._pool.release_slot(name)

    async def _store_notification(
        self, drill: Drill, notification: DrillNotification, facts: Facts, now: datetime
    ) -> DrillNotificationRecord | None:
        """Store a notification before its gateway is called. If it exists already, release the slot; return `None`."""
        record = None
        try:
            record = await self._drills.write(drill, notification, facts, DrillState.CALLING, now)
        finally:
            if record is None:
                self._pool.release_slot(notification.gateway)
        return record

    async def _busy_keys(self) -> frozenset[str]:
        """Return the keys and numbers of people whom open incidents may notify, and the keys of people notified."""
        ids, notified = await self._drills.open_incidents()
        known_ids, known_keys = self._people_of_open_incidents
        if ids != known_ids:
            # A thousand incidents may have long policies, so they are read only when the set of open incidents changes.
            people_keys: set[str] = set()
            async with self._store.reading() as uow:
                for incident in await uow.open_incidents():
                    people = incident.policy.escalation.people
                    people_keys |= {person.key for person in people}
                    people_keys |= {address.number for person in people for address in person.addresses}
            known_keys = frozenset(people_keys)
            self._people_of_open_incidents = ids, known_keys
        return known_keys | notified

    async def _skip(self, drill: Drill, remaining: Sequence[DrillNotification], now: datetime) -> None:
        for notification in remaining:
            reason = self._blocking_reasons[drill.id].get(notification.key, "the drill ended before")
            facts = drill_facts(notification.target.office, notification.address.channel, drill.number, now)
            if await self._drills.write(drill, notification, facts, DrillState.SKIPPED, now, why=reason):
                self._metrics.watchdog.count_drill_notification(notification.address.channel, DrillState.SKIPPED)

    async def _end(self, drill: Drill, records: Iterable[DrillNotificationRecord], now: datetime) -> None:
        for record in records:
            if record.channel is Channel.LETTER and record.gateway in self._pool and record.provider_id:
                await self._sender.withdraw_letter(record)
        await self._drills.end(drill, now)
        log.info("drill ended", drill=drill.number)

    async def _query(self, record: DrillNotificationRecord, now: datetime, calls: asyncio.TaskGroup) -> None:
        is_too_old = not is_recent(record.started_at, now, QUERY_PERIOD)
        query_at = None if is_too_old else now + QUERY_INTERVAL
        await self._drills.change(record.reference, record.state, now, query_at=query_at)
        # The time of the next query is stored first, so that the queries end even if the provider never answers.
        may_query = record.provider_id and record.gateway in self._pool and not self._sender.has_call(record)
        if not is_too_old and may_query and self._pool.take_spare_slot(record.gateway):
            self._sender.query_status(record, calls)

    def people(self, agency: str) -> Sequence[Contact]:
        """Return an agency's own contacts."""
        return [each.contact for each in self._current_plan().targets if each.agency == agency and each.contact.key]

    async def of_agency(self, agency: str) -> tuple[Sequence[Drill], Sequence[DrillNotificationRecord]]:
        """Return an agency's own drills in progress, and its recent drill notifications, the newest first."""
        now = self._clock.now()
        under_way = [each for each in await self._drills.under_way() if each.contact.startswith(f"{agency}/")]
        records = await self._drills.during(agency, now - _HISTORY, now + timedelta(seconds=1))
        return under_way, list(reversed(records))

    async def latest_requested(self, agency: str) -> tuple[int, int]:
        """Return the id of an agency's latest own drill within a day (0: none), and the number of such drills."""
        return await self._drills.latest_requested(agency, self._clock.now() - _DAY)

    async def recently_tested(self, agency: str) -> int:
        """Return how many drill notifications an agency's people had within a day."""
        now = self._clock.now()
        return len(await self._drills.during(agency, now - _DAY, now + timedelta(seconds=1)))

    async def latest_results(self, drill_count: int) -> Sequence[tuple[Drill, DrillNotificationRecord]]:
        """Return the results of the newest *drill_count* drills."""
        return await self._drills.latest(drill_count)


def _may_change(record: DrillNotificationRecord, now: datetime) -> bool:
    """Whether the state may still change: a call is under way, or the provider is still queried."""
    is_calling = record.state is DrillState.CALLING and is_recent(record.started_at, now, _MAX_CALLING)
    return record.state not in ENDED and (is_calling or record.query_at is not None)
