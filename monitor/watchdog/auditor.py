"""Look again and again whether anybody who should have been told has not been, and see to it.

A shell of its own beside the cycle: it reads the store for itself, asks `alerts.decide.auditor`, and goes on when the
cycle does not.
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

#: Dedup keys of incidents about incidents; the number of the other one follows.
PREFIX = "unreached/"
#: And about announcements that wait for their release; that number, too.
WAITING = "unreleased/"
#: And about notices of unknown fate; the notice's id follows.
DOUBT = "doubtful/"
#: And about paper that waits because the store may be an older copy; when that was noticed follows.
RESTORED = "restored/"


class AlertingEngine(Alerting, Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` that is needed here."""

    def poke(self) -> None:
        """Run the cycle soon."""


class EscalationAuditor:
    """Looks until cancelled."""

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
        """*muter* and *rests*: as the cycle's; *brief*: whom the NOC's incident about that incident or notice tells, called by its subject."""
        self._store = store
        self._pool = pool
        self._alerting = alerting
        self._brief = brief
        self._metrics = metrics
        self._clock = clock
        self._policy = DeliveryPolicy()
        self._muter = muter
        self._rests = rests
        #: What was overdue at the last look, by its key.
        self._known: Mapping[str, OverdueAction] = {}

    async def run(self) -> NoReturn:
        """Look until cancelled; first after a while, in which the cycle catches up with what a stop has missed."""
        await asyncio.sleep(EVERY.total_seconds())
        # While it cannot look, for a store that is away or a bug of ours, the heartbeat stops.
        await run_periodically("auditor", self.look, EVERY)

    async def look(self) -> None:
        """Look once: show what is found, write it down once, poke the cycle, and tell the NOC what came to nothing."""
        now = self._clock.now()
        if self._rests():
            # Nobody is to be told, so nobody is left untold.
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
            # Also those that have just ended: what they held back is begun by the next cycle.
            silences = await ledger.silences(now - GRACE)
            restoration = await ledger.restorations.waiting()
            busy = {telephone for telephone, _ in await ledger.calls_under_way(now - CALL_LASTS)}
        found = []
        for incident_id in active:
            # One at a time: nobody is to wait for the auditor.
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
        """Journal each lapse when it is found and when it is made good, and not at every look."""
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
            log.error("somebody is not told in time", incident=number, lapse=lapse.lapse, since=since)
        self._known = overdue

    def _owed(
        self, found: Sequence[tuple[Incident, Examination]], restoration: Restoration | None, now: datetime
    ) -> Iterator[Trigger]:
        """Yield what the NOC is to be told of."""

        def event(key: str, matter: IncidentType, subject: str, began_at: datetime) -> Trigger:
            return Trigger(dedup_key=key, at=now, matter=matter, began_at=began_at, brief=self._brief(subject))

        for i, e in found:
            since = [at for how, at in e.unheard_since.items() if how is not EscalationFailure.UNRELEASED]
            if since and deserves_own_incident(i):
                subject = f"{i.number} ({i.had_by})" if i.had_by else i.number
                yield event(f"{PREFIX}{i.number}", IncidentType.UNREACHED, subject, min(since))
        for i, e in found:
            # While nobody has the incident the operations centre hears of that, and need not hear twice of one outage.
            if e.unheard == {EscalationFailure.UNRELEASED}:
                yield event(
                    f"{WAITING}{i.number}",
                    IncidentType.UNRELEASED,
                    i.number,
                    e.unheard_since[EscalationFailure.UNRELEASED],
                )
        for i, e in found:
            for notice_id in e.doubtful:
                # As `pantau set-status` asks for it, and whom it is about.
                yield event(f"{DOUBT}{notice_id}", IncidentType.DOUBTFUL, f"{notice_id} ({i.number})", i.opened_at)
        if restoration is not None:
            yield event(f"{RESTORED}{restoration.id}", IncidentType.RESTORED, "", restoration.noticed_at)

    async def _tell_noc(self, owed: Mapping[str, Trigger], still: AbstractSet[str], now: datetime) -> None:
        """Tell of what is *owed*, and that it is over of what was told and is not any more; nothing of *still*."""
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
        notice_id=lapse.notice_id,
        detail={"number": lapse.incident.number, "since": lapse.since.isoformat()},
    )
