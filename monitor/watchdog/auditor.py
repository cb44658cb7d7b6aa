"""Escalation auditor: periodic audit of all active incidents.

The auditor is independent of the cycle in which the engine processes incidents: it reads the database itself, calls
`alerts.decide.auditor`, and continues when the cycle stops. It logs and exports overdue actions. It opens incidents
for the NOC (network operations centre) about escalation failures: people were not reached, although Pantau did what was
due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

import structlog

from alerts.decide.auditor import (
    GRACE,
    AuditResult,
    EscalationFailure,
    OverdueAction,
    audit_incident,
    needs_noc_incident,
)
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.silence import SilenceLookup, active_silence
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.event import Resolve, Trigger
from alerts.model.gateway import MAX_CALL_DURATION
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.restoration import Restoration
from alerts.persistence.store import AuditEntry
from monitor.bridge.incident_reporter import Alerting
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.unit_of_work import SqlStore

log = structlog.get_logger()

#: Interval between two audits.
INTERVAL = timedelta(seconds=30)

# Prefixes of the stored dedup keys of NOC incidents.
#: About an escalation failure: the number of the escalated incident follows.
UNREACHED_PREFIX = "unreached/"
#: About an announcement to offices outside that nobody has released (approved): the number of its incident follows.
UNRELEASED_PREFIX = "unreleased/"
#: About a notification of unknown delivery: the id of the notification follows.
DOUBTFUL_PREFIX = "doubtful/"
#: About letters and faxes that are paused after a restore of the database: the id of the restore follows.
RESTORED_PREFIX = "restored/"


class AlertingEngine(Alerting, Protocol):
    """The methods of `alerts.engine.dispatcher.Dispatcher` that the auditor uses: `wake`, and `submit` of an event."""

    def wake(self) -> None:
        """Start a cycle of the engine now."""


class EscalationAuditor:
    """Task that audits all active incidents periodically."""

    def __init__(
        self,
        *,
        store: SqlStore,
        pool: GatewayPool,
        alerting: AlertingEngine,
        noc_policy: Callable[[str], PolicySnapshot],
        metrics: WatchdogSeries,
        clock: Clock,
        silence_lookup: SilenceLookup = active_silence,
        is_monitor_only: Callable[[], bool] = lambda: False,
    ) -> None:
        """*noc_policy* returns the policy of a NOC incident about a subject.

        *silence_lookup* returns the active silence of an incident. *is_monitor_only* returns whether nobody is
        notified. The engine uses the same functions.
        """
        self._store = store
        self._pool = pool
        self._alerting = alerting
        self._noc_policy = noc_policy
        self._metrics = metrics
        self._clock = clock
        self._delivery_policy = DeliveryPolicy()
        self._silence_lookup = silence_lookup
        self._is_monitor_only = is_monitor_only
        #: Overdue actions of the last audit, by key.
        self._overdue: Mapping[str, OverdueAction] = {}

    async def run(self) -> NoReturn:
        """Audit until cancelled. Start after one interval, in which the engine processes overdue actions."""
        await asyncio.sleep(INTERVAL.total_seconds())
        # If audits fail for some time, the heartbeat of the process stops (`LivenessFailure.AUDIT`).
        await run_periodically("auditor", self.audit, INTERVAL)

    async def audit(self) -> None:
        """Audit once: export the result, log changes, wake the engine, and notify the NOC of escalation failures."""
        now = self._clock.now()
        if self._is_monitor_only():
            # In this mode nobody is notified, so that no action is overdue.
            self._overdue = {}
            self._metrics.record_audit(now, [], [])
            return
        results, restoration = await self._audit_incidents(now)
        overdue = {action.key: action for _, result in results for action in result.overdue}
        failures = [failure for _, result in results for failure in result.failures]
        self._metrics.record_audit(now, [(action.action, action.since) for action in overdue.values()], failures)
        await self._record_changes(overdue, now)
        if overdue:
            self._alerting.wake()
        # Keys of NOC incidents that stay open, if they are open, although the audit yields no event for them: during a
        # silence failures are not determined, and an unreleased announcement may have a further failure.
        kept_keys = set[str]()
        for incident, result in results:
            if result.is_silenced:
                kept_keys |= {f"{UNREACHED_PREFIX}{incident.number}", f"{UNRELEASED_PREFIX}{incident.number}"}
            if EscalationFailure.UNRELEASED in result.failures:
                kept_keys.add(f"{UNRELEASED_PREFIX}{incident.number}")
        events = {event.dedup_key: event for event in self._noc_events(results, restoration, now)}
        await self._notify_noc(events, kept_keys, now)

    async def _audit_incidents(self, now: datetime) -> tuple[list[tuple[Incident, AuditResult]], Restoration | None]:
        gateways = self._pool.preference(now)
        async with self._store.reading() as uow:
            active = await uow.active_incidents()
            # Include silences that ended within `GRACE`, the tolerated delay of an action: the engine only now starts
            # the actions that they delayed.
            silences = await uow.silences(now - GRACE)
            restoration = await uow.restorations.pending()
            busy_telephones = {
                telephone for telephone, _ in await uow.telephone_calls_under_way(now - MAX_CALL_DURATION)
            }
        results = []
        for incident_id in active:
            # Read each incident in its own transaction, so that other transactions do not wait for the auditor.
            async with self._store.reading() as uow:
                incident = await uow.incident(incident_id)
                notifications = await uow.notifications(incident_id)
            if incident is not None:
                is_silenced = any(self._silence_lookup(incident, silences, at) for at in (now - GRACE, now))
                result = audit_incident(
                    incident,
                    notifications,
                    gateways,
                    self._delivery_policy,
                    now,
                    is_silenced=is_silenced,
                    is_paper_paused=restoration is not None,
                    busy_telephones=busy_telephones,
                )
                results.append((incident, result))
        return results, restoration

    async def _record_changes(self, overdue: Mapping[str, OverdueAction], now: datetime) -> None:
        """Record actions that are newly overdue, or overdue no more, in the audit log; log the newly overdue ones."""
        new = [action for key, action in overdue.items() if key not in self._overdue]
        resolved = [action for key, action in self._overdue.items() if key not in overdue]
        if new or resolved:
            async with self._store.transaction() as uow:
                for action in new:
                    await uow.add_audit_entry(_entry(action, "overdue", now))
                for action in resolved:
                    await uow.add_audit_entry(_entry(action, "overdue no more", now))
        for action in new:
            number, since = action.incident.number, action.since.isoformat()
            log.error("action overdue", incident=number, action=action.action, since=since)
        self._overdue = overdue

    def _noc_events(
        self, results: Sequence[tuple[Incident, AuditResult]], restoration: Restoration | None, now: datetime
    ) -> Iterator[Trigger]:
        """Yield a trigger for each incident that must be open for the NOC now.

        `needs_noc_incident` excludes incidents that are themselves for the NOC.
        """

        def event(key: str, incident_type: IncidentType, subject: str, began_at: datetime) -> Trigger:
            return Trigger(
                dedup_key=key, at=now, type=incident_type, began_at=began_at, policy=self._noc_policy(subject)
            )

        for incident, result in results:
            failed_since = [
                at for failure, at in result.failed_since.items() if failure is not EscalationFailure.UNRELEASED
            ]
            if failed_since and needs_noc_incident(incident):
                subject = (
                    f"{incident.number} ({incident.previous_assignee})"
                    if incident.previous_assignee
                    else incident.number
                )
                yield event(f"{UNREACHED_PREFIX}{incident.number}", IncidentType.UNREACHED, subject, min(failed_since))
        for incident, result in results:
            # If there is another failure, too, the NOC has the incident from the loop above, and is not notified twice.
            if result.failures == {EscalationFailure.UNRELEASED}:
                yield event(
                    f"{UNRELEASED_PREFIX}{incident.number}",
                    IncidentType.UNRELEASED,
                    incident.number,
                    result.failed_since[EscalationFailure.UNRELEASED],
                )
        for incident, result in results:
            for notification_id in result.doubtful:
                # The subject begins with the id that `pantau set-status` expects.
                yield event(
                    f"{DOUBTFUL_PREFIX}{notification_id}",
                    IncidentType.DOUBTFUL,
                    f"{notification_id} ({incident.number})",
                    incident.opened_at,
                )
        if restoration is not None:
            yield event(f"{RESTORED_PREFIX}{restoration.id}", IncidentType.RESTORED, "", restoration.noticed_at)

    async def _notify_noc(self, events: Mapping[str, Trigger], kept_keys: AbstractSet[str], now: datetime) -> None:
        """Open NOC incidents for new *events* (by dedup key), and resolve the other open ones, except *kept_keys*."""
        async with self._store.reading() as uow:
            open_keys = {
                key
                for key in await uow.detected_keys()
                if key.startswith((UNREACHED_PREFIX, UNRELEASED_PREFIX, DOUBTFUL_PREFIX, RESTORED_PREFIX))
            }
        for key, event in events.items():
            if key not in open_keys:
                await self._alerting.submit(event)
        for key in sorted(open_keys - events.keys() - kept_keys):
            await self._alerting.submit(Resolve(dedup_key=key, at=now, ended_at=now))


def _entry(action: OverdueAction, event: str, now: datetime) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor="auditor",
        event=f"{action.action} {event}",
        incident_id=action.incident.id,
        notification_id=action.notification_id,
        detail={"number": action.incident.number, "since": action.since.isoformat()},
    )
