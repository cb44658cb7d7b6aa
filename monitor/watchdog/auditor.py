"""Escalation auditor: periodic audit of all active incidents.

It is independent of the engine's cycle: it reads the store by itself, calls `alerts.decide.auditor`, and continues when
the cycle stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

import structlog

from alerts.decide.auditor import GRACE, EscalationFailure, Examination, OverdueAction, deserves_own_incident, examine
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.silence import Muter, silence_over
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.event import Resolve, Trigger
from alerts.model.gateway import CALL_LASTS
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.restoration import Restoration
from alerts.persistence.store import AuditEntry
from monitor.bridge.incident_reporter import Alerting
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.ledger import SqlStore

log = structlog.get_logger()

EVERY = timedelta(seconds=30)

#: Prefixes of dedup keys, followed by the number of the incident concerned.
PREFIX = "unreached/"
#: Of unreleased announcements, followed by that number.
WAITING = "unreleased/"
#: Of notifications of unknown delivery, followed by their id.
DOUBT = "doubtful/"
#: Of paused paper after a restore, followed by the time of detection.
RESTORED = "restored/"


class AlertingEngine(Alerting, Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` used here."""

    def poke(self) -> None:
        """Wake the engine."""


class EscalationAuditor:
    """Audits until cancelled."""

    def __init__(
        self,
        *,
        store: SqlStore,
        pool: GatewayPool,
        alerting: AlertingEngine,
        brief: Callable[[str], PolicySnapshot],
        metrics: WatchdogSeries,
        clock: Clock,
        muter: Muter = silence_over,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """*muter*, *rests*: as the engine's; *brief*: returns the policy of the NOC's incident by its subject."""
        self._store = store
        self._pool = pool
        self._alerting = alerting
        self._brief = brief
        self._metrics = metrics
        self._clock = clock
        self._policy = DeliveryPolicy()
        self._muter = muter
        self._rests = rests
        #: Overdue actions of the last audit by key.
        self._known: Mapping[str, OverdueAction] = {}

    async def run(self) -> NoReturn:
        """Audit until cancelled. The first audit waits until the cycle has caught up after a stop."""
        await asyncio.sleep(EVERY.total_seconds())
        # While audits fail, the heartbeat stops.
        await run_periodically("auditor", self.look, EVERY)

    async def look(self) -> None:
        """Audit once: export the result, log changes, wake the engine, and notify the NOC of failed escalations."""
        now = self._clock.now()
        if self._rests():
            # Without notifications nothing is overdue.
            self._known = {}
            self._metrics.audited(now, [], [])
            return
        found, restoration = await self._examine(now)
        overdue = {lapse.key: lapse for _, examination in found for lapse in examination.overdue}
        unheard = [how for _, examination in found for how in examination.unheard]
        self._metrics.audited(now, [(lapse.lapse, lapse.since) for lapse in overdue.values()], unheard)
        await self._write_down(overdue, now)
        if overdue:
            self._alerting.poke()
        still = {f"{prefix}{i.number}" for i, e in found if e.held for prefix in (PREFIX, WAITING)}
        still |= {f"{WAITING}{i.number}" for i, e in found if EscalationFailure.UNRELEASED in e.unheard}
        await self._tell_noc({event.dedup_key: event for event in self._owed(found, restoration, now)}, still, now)

    async def _examine(self, now: datetime) -> tuple[list[tuple[Incident, Examination]], Restoration | None]:
        gateways = self._pool.preference(now)
        async with self._store.reading() as ledger:
            active = await ledger.active_incidents()
            # Include silences that have just ended: the next cycle starts what they delayed.
            silences = await ledger.silences(now - GRACE)
            restoration = await ledger.restorations.waiting()
            busy = {telephone for telephone, _ in await ledger.calls_under_way(now - CALL_LASTS)}
        found = []
        for incident_id in active:
            # One transaction each: nobody must wait for the auditor.
            async with self._store.reading() as ledger:
                incident = await ledger.incident(incident_id)
                notices = await ledger.notices(incident_id)
            if incident is not None:
                held = any(self._muter(incident, silences, at) for at in (now - GRACE, now))
                examination = examine(
                    incident,
                    notices,
                    gateways,
                    self._policy,
                    now,
                    held=held,
                    paper_held=restoration is not None,
                    busy=busy,
                )
                found.append((incident, examination))
        return found, restoration

    async def _write_down(self, overdue: Mapping[str, OverdueAction], now: datetime) -> None:
        """Log an overdue action when it is found and when it is done, not at every audit."""
        new = [lapse for key, lapse in overdue.items() if key not in self._known]
        gone = [lapse for key, lapse in self._known.items() if key not in overdue]
        if new or gone:
            async with self._store.transaction() as ledger:
                for lapse in new:
                    await ledger.journal(_entry(lapse, "overdue", now))
                for lapse in gone:
                    await ledger.journal(_entry(lapse, "overdue no more", now))
        for lapse in new:
            number, since = lapse.incident.number, lapse.since.isoformat()
            log.error("action overdue", incident=number, action=lapse.lapse, since=since)
        self._known = overdue

    def _owed(
        self, found: Sequence[tuple[Incident, Examination]], restoration: Restoration | None, now: datetime
    ) -> Iterator[Trigger]:
        """Yield the events for the NOC."""

        def event(key: str, matter: IncidentType, subject: str, began_at: datetime) -> Trigger:
            return Trigger(dedup_key=key, at=now, type=matter, began_at=began_at, policy=self._brief(subject))

        for i, e in found:
            since = [at for how, at in e.unheard_since.items() if how is not EscalationFailure.UNRELEASED]
            if since and deserves_own_incident(i):
                subject = f"{i.number} ({i.previous_assignee})" if i.previous_assignee else i.number
                yield event(f"{PREFIX}{i.number}", IncidentType.UNREACHED, subject, min(since))
        for i, e in found:
            # While an incident is not acknowledged the NOC is notified of that, and need not be twice.
            if e.unheard == {EscalationFailure.UNRELEASED}:
                yield event(
                    f"{WAITING}{i.number}",
                    IncidentType.UNRELEASED,
                    i.number,
                    e.unheard_since[EscalationFailure.UNRELEASED],
                )
        for i, e in found:
            for notification_id in e.doubtful:
                # In the format that `pantau set-status` expects, with the incident.
                yield event(
                    f"{DOUBT}{notification_id}", IncidentType.DOUBTFUL, f"{notification_id} ({i.number})", i.opened_at
                )
        if restoration is not None:
            yield event(f"{RESTORED}{restoration.id}", IncidentType.RESTORED, "", restoration.noticed_at)

    async def _tell_noc(self, owed: Mapping[str, Trigger], still: AbstractSet[str], now: datetime) -> None:
        """Submit the *owed* events, and end reported ones that are over, except those of *still*."""
        async with self._store.reading() as ledger:
            open_keys = {
                key for key in await ledger.measured_keys() if key.startswith((PREFIX, WAITING, DOUBT, RESTORED))
            }
        for key, event in owed.items():
            if key not in open_keys:
                await self._alerting.submit(event)
        for key in sorted(open_keys - owed.keys() - still):
            await self._alerting.submit(Resolve(dedup_key=key, at=now, ended_at=now))


def _entry(lapse: OverdueAction, event: str, now: datetime) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor="auditor",
        event=f"{lapse.lapse} {event}",
        incident_id=lapse.incident.id,
        notification_id=lapse.notification_id,
        detail={"number": lapse.incident.number, "since": lapse.since.isoformat()},
    )
