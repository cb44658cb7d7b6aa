"""Handling of alerts that the NOC's Alertmanager posts. One transaction changes all their incidents.

Usually each alert has an incident of its own (a *single* alert). Alerts of a large group share one incident, and so do
alerts beyond `MAX_OPEN_INCIDENTS`. `alerts.model.alert` decides to which incident an alert belongs, and its effect: it
FIRES newly, GOES_ON, IS_OVER now, or WAS_OVER before. `alerts.model.incident` decides how the incident changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.engine.event_handler import handle_events
from alerts.model.alert import (
    MAX_OPEN_INCIDENTS,
    UNGROUPED,
    AlertEffect,
    AlertGroup,
    KnownAlert,
    ReceivedAlert,
    apply_alert,
    incident_key,
    overflow_key,
    shared_agency,
    shared_audit_details,
    shared_subject,
)
from alerts.model.event import Resolve, Trigger
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import AuditEntry, UnitOfWork

#: Function that returns the notification policy for the incident that an alert opens.
PolicyLookup = Callable[[ReceivedAlert], PolicySnapshot]

#: Actor in the audit log.
ACTOR = "alertmanager"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHandlingResult:
    """Result of handling alerts."""

    #: Effect of each alert, in order.
    effects: Sequence[AlertEffect]
    #: Ids of the affected incidents.
    incident_ids: Sequence[int]


async def handle_alerts(
    uow: UnitOfWork,
    alerts: Sequence[ReceivedAlert],
    policy_for: PolicyLookup,
    now: datetime,
    group: AlertGroup = UNGROUPED,
) -> AlertHandlingResult:
    """Process up to some two hundred alerts of a group from Alertmanager."""
    effects, incident_ids = list[AlertEffect](), list[int]()
    for batch in _split_repeated(alerts):
        changes = await _decide_changes(uow, batch, policy_for, now, group)
        await uow.save_alerts(changes.known_alerts)
        incident_ids += await _apply_single_alerts(uow, changes.single_alerts, now)
        incident_ids += await _apply_shared_alerts(uow, changes.shared_alerts, policy_for, now)
        effects += changes.effects
    return AlertHandlingResult(effects=effects, incident_ids=incident_ids)


async def unchanged_effects(
    uow: UnitOfWork,
    alerts: Sequence[ReceivedAlert],
    policy_for: PolicyLookup,
    now: datetime,
    group: AlertGroup = UNGROUPED,
) -> Sequence[AlertEffect] | None:
    """Return the effects of *alerts* if handling them changes nothing in the database; `None` otherwise."""
    if len({alert.fingerprint for alert in alerts}) < len(alerts):
        return None
    changes = await _decide_changes(uow, alerts, policy_for, now, group)
    is_changed = changes.known_alerts or changes.single_alerts or changes.opens_shared_incident
    return None if is_changed else changes.effects


@dataclass(frozen=True, slots=True, kw_only=True)
class _AlertChanges:
    """Decided changes of the database by alerts."""

    effects: Sequence[AlertEffect]
    #: Alert states to store.
    known_alerts: Sequence[KnownAlert]
    #: Alerts with an incident of their own, each with its event.
    single_alerts: Sequence[tuple[ReceivedAlert, Trigger | Resolve]]
    #: Alerts of shared incidents with their effects, by the dedup key of the incident.
    shared_alerts: Mapping[str, Sequence[tuple[ReceivedAlert, AlertEffect]]]
    #: Whether a firing alert opens a shared incident.
    opens_shared_incident: bool


def _split_repeated(alerts: Sequence[ReceivedAlert]) -> Iterator[Sequence[ReceivedAlert]]:
    """Yield the alerts in order, in batches without a repeated fingerprint: usually in one batch.

    The effect of a repeated alert depends on the state that the first one leaves.
    """
    batch: dict[str, ReceivedAlert] = {}
    for alert in alerts:
        if alert.fingerprint in batch:
            yield list(batch.values())
            batch = {}
        batch[alert.fingerprint] = alert
    yield list(batch.values())


async def _apply_single_alerts(
    uow: UnitOfWork, events: Sequence[tuple[ReceivedAlert, Trigger | Resolve]], now: datetime
) -> Sequence[int]:
    """Open and end incidents that have one alert each; return their ids."""
    incidents = await handle_events(uow, [event for _, event in events])
    details = {alert.dedup_key: alert.audit_details() for alert, _ in events}
    for incident in incidents:
        if incident.is_open:
            await _add_audit_entry(uow, incident, details[incident.dedup_key], now)
    return [incident.id for incident in incidents]


async def _apply_shared_alerts(
    uow: UnitOfWork,
    shared_alerts: Mapping[str, Sequence[tuple[ReceivedAlert, AlertEffect]]],
    policy_for: PolicyLookup,
    now: datetime,
) -> Sequence[int]:
    """Open, change and end shared incidents. Return the ids of the opened and ended ones."""
    firing_counts = await uow.count_firing_alerts(shared_alerts)
    last_incidents = await uow.last_incidents(shared_alerts)
    events = list[Trigger | Resolve]()
    open_incidents = dict[str, Incident]()
    for key, alerts_with_effects in shared_alerts.items():
        alerts, count = [alert for alert, _ in alerts_with_effects], firing_counts.get(key, 0)
        firing = [alert for alert in alerts if alert.ended_at is None]
        incident = last_incidents.get(key)
        if incident is None or not incident.is_open:
            if firing:
                policy = _shared_policy(policy_for(firing[0]), key, firing, count)
                events.append(_shared_trigger(key, firing, policy, now))
        elif not count:
            ended_at = max(min(alert.ended_at or now, now) for alert in alerts)
            events.append(Resolve(dedup_key=key, at=now, ended_at=max(ended_at, incident.began_at)))
        else:
            open_incidents[key] = incident
            policy = _shared_policy(incident.policy, key, alerts, count)
            if policy != incident.policy:
                await uow.save_policy(replace(incident, policy=policy))
    changed = await handle_events(uow, events)
    open_incidents |= {incident.dedup_key: incident for incident in changed if incident.is_open}
    for key, incident in open_incidents.items():
        if new_alerts := [alert for alert, effect in shared_alerts[key] if effect is AlertEffect.FIRES]:
            await _add_audit_entry(uow, incident, shared_audit_details(new_alerts, firing_counts[key]), now)
    return [incident.id for incident in changed]


def _shared_policy(policy: PolicySnapshot, key: str, alerts: Sequence[ReceivedAlert], count: int) -> PolicySnapshot:
    """Return *policy* with the subject and agency of the shared incident *key*.

    *count*: number of the incident's firing alerts; *alerts*: the incident's alerts in this webhook.
    """
    # The subject of the incident for alerts beyond the limit has only their number: names would change with each
    # webhook.
    malay, english = shared_subject(() if key == overflow_key(policy.policy_name) else alerts, count)
    # Keep an agency only if all alerts of the incident, also earlier ones, are of that agency: otherwise a silence of
    # the agency would apply to other alerts. A policy without a subject has no earlier alerts.
    agency = shared_agency(alerts)
    of_agency = agency if not policy.subject or policy.of_agency == agency else ""
    return replace(policy, subject=malay, subject_en=english, of_agency=of_agency)


def _shared_trigger(key: str, firing: Sequence[ReceivedAlert], policy: PolicySnapshot, now: datetime) -> Trigger:
    starts = [min(alert.starts_at, now) for alert in firing]
    return Trigger(
        dedup_key=key,
        at=now,
        type=IncidentType.ALERT,
        began_at=min(starts),
        latest_part_began_at=max(starts),
        policy=policy,
    )


async def _add_audit_entry(uow: UnitOfWork, incident: Incident, detail: Mapping[str, str], now: datetime) -> None:
    await uow.add_audit_entry(
        AuditEntry(at=now, actor=ACTOR, event="alert received", incident_id=incident.id, detail=detail)
    )


async def _decide_changes(
    uow: UnitOfWork, alerts: Sequence[ReceivedAlert], policy_for: PolicyLookup, now: datetime, group: AlertGroup
) -> _AlertChanges:
    """Decide the changes by *alerts*, which have different fingerprints. Only read the database."""
    known_alerts = await uow.known_alerts({alert.fingerprint for alert in alerts})
    policy_names = {policy_for(alert).policy_name for alert in alerts}
    # The alerts may share these incidents: the one that a known alert has joined (`merged_into`), that of the group,
    # and that of the alerts beyond `MAX_OPEN_INCIDENTS` (`overflow_key`).
    shared_keys = {known.merged_into for known in known_alerts.values() if known.merged_into is not None}
    shared_keys |= {key for name in policy_names for key in (group.key(name), overflow_key(name))}
    open_keys = set(await uow.open_dedup_keys({alert.dedup_key for alert in alerts} | shared_keys))
    incidents_left = MAX_OPEN_INCIDENTS - await uow.count_open_alert_incidents()
    effects, changed = list[AlertEffect](), list[KnownAlert]()
    single_alerts = list[tuple[ReceivedAlert, Trigger | Resolve]]()
    shared_alerts = dict[str, list[tuple[ReceivedAlert, AlertEffect]]]()
    opens_shared_incident = False
    for alert in alerts:
        before = known_alerts.get(alert.fingerprint)
        effect, after = apply_alert(alert, before, now)
        effects.append(effect)
        policy_name = policy_for(alert).policy_name
        key = incident_key(alert, before, group, policy_name, open_keys=open_keys, may_open=incidents_left > 0)
        is_firing = effect in {AlertEffect.FIRES, AlertEffect.GOES_ON}
        if key == alert.dedup_key:
            event = _single_event(alert, effect, policy_for, now, is_open=key in open_keys)
            if event is not None:
                single_alerts.append((alert, event))
        elif is_firing or effect is AlertEffect.IS_OVER:
            shared_alerts.setdefault(key, []).append((alert, effect))
            opens_shared_incident |= is_firing and key not in open_keys
        if after is not before:
            changed.append(replace(after, merged_into=None if key == alert.dedup_key else key))
        if is_firing and key not in open_keys:
            # This alert opens the incident, and counts as open for the next alerts of the batch.
            open_keys.add(key)
            incidents_left -= 1
    return _AlertChanges(
        effects=effects,
        known_alerts=changed,
        single_alerts=single_alerts,
        shared_alerts=shared_alerts,
        opens_shared_incident=opens_shared_incident,
    )


def _single_event(
    alert: ReceivedAlert, effect: AlertEffect, policy_for: PolicyLookup, now: datetime, *, is_open: bool
) -> Trigger | Resolve | None:
    """Return the event for the incident that *alert* has of its own; `None`: the incident does not change.

    *is_open*: whether that incident is open.
    """
    key, began_at = alert.dedup_key, min(alert.starts_at, now)
    if effect in {AlertEffect.FIRES, AlertEffect.GOES_ON} and not is_open:
        # Either the alert is new, or a person has closed its incident. In the second case the event handler ignores
        # this event for `SUPPRESSION_PERIOD` after the closing.
        policy = replace(policy_for(alert), subject=alert.subject, subject_en=alert.subject, of_agency=alert.agency)
        return Trigger(dedup_key=key, at=now, type=IncidentType.ALERT, began_at=began_at, policy=policy)
    # An incident may be open although its alert is not recorded as firing. It ends with the alert, too.
    is_ended = effect is AlertEffect.IS_OVER or (effect is AlertEffect.WAS_OVER and is_open)
    if alert.ended_at is not None and is_ended:
        return Resolve(dedup_key=key, at=now, ended_at=max(min(alert.ended_at, now), began_at))
    return None
