"""Effects of alerts from the NOC's monitoring on the store, within one transaction.

`alerts.model.alert` decides their effect and their incidents; `alerts.model.incident` applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.engine.event_handler import take_in_all
from alerts.model.alert import (
    MOST_OPEN,
    UNGROUPED,
    AlertEffect,
    AlertGroup,
    KnownAlert,
    ReceivedAlert,
    folded_agency,
    folded_subject,
    heed,
    incident_key,
    rest_key,
    told_together,
)
from alerts.model.event import Resolve, Trigger
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import AuditEntry, UnitOfWork

#: Returns the policy of an incident that the alert opens.
BriefOf = Callable[[ReceivedAlert], PolicySnapshot]

#: Actor in the audit log.
ACTOR = "alertmanager"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsHandled:
    """Result of handling alerts."""

    effects: Sequence[AlertEffect]
    #: Ids of the affected incidents.
    concerned: Sequence[int]


async def take_alerts(
    ledger: UnitOfWork, alerts: Sequence[ReceivedAlert], brief: BriefOf, now: datetime, group: AlertGroup = UNGROUPED
) -> AlertsHandled:
    """Process up to some two hundred alerts of a group from Alertmanager."""
    news, concerned = list[AlertEffect](), list[int]()
    for part in _apart(alerts):
        decided = await _decide(ledger, part, brief, now, group)
        await ledger.save_alerts(decided.changed)
        concerned += await _take_own(ledger, decided.own, now)
        concerned += await _take_folded(ledger, decided.folded, brief, now)
        news += decided.effects
    return AlertsHandled(effects=news, concerned=concerned)


async def known_before(
    ledger: UnitOfWork, alerts: Sequence[ReceivedAlert], brief: BriefOf, now: datetime, group: AlertGroup = UNGROUPED
) -> Sequence[AlertEffect] | None:
    """Return the result if nothing needs to be written; `None` otherwise."""
    if len({each.fingerprint for each in alerts}) < len(alerts):
        return None
    decided = await _decide(ledger, alerts, brief, now, group)
    return None if decided.changed or decided.own or decided.opens_folded else decided.effects


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """Effects of alerts."""

    effects: Sequence[AlertEffect]
    #: Alerts to store.
    changed: Sequence[KnownAlert]
    #: Events of incidents with one alert, with the alert.
    own: Sequence[tuple[ReceivedAlert, Trigger | Resolve]]
    #: Alerts of shared incidents with their effects, by dedup key.
    folded: Mapping[str, Sequence[tuple[ReceivedAlert, AlertEffect]]]
    #: Whether a firing alert has no incident.
    opens_folded: bool


def _apart(alerts: Sequence[ReceivedAlert]) -> Iterator[Sequence[ReceivedAlert]]:
    """Return the alerts in order, in parts without duplicates: usually one."""
    part: dict[str, ReceivedAlert] = {}
    for alert in alerts:
        if alert.fingerprint in part:
            yield list(part.values())
            part = {}
        part[alert.fingerprint] = alert
    yield list(part.values())


async def _take_own(
    ledger: UnitOfWork, events: Sequence[tuple[ReceivedAlert, Trigger | Resolve]], now: datetime
) -> Sequence[int]:
    """Open and end incidents of one alert each; return their ids."""
    concerned = await take_in_all(ledger, [event for _, event in events])
    told = {alert.dedup_key: alert.told() for alert, _ in events}
    for incident in concerned:
        if incident.is_open:
            await _journal(ledger, incident, told[incident.dedup_key], now)
    return [each.id for each in concerned]


async def _take_folded(
    ledger: UnitOfWork, folded: Mapping[str, Sequence[tuple[ReceivedAlert, AlertEffect]]], brief: BriefOf, now: datetime
) -> Sequence[int]:
    """Open, change and end shared incidents; return the ids of those opened or ended."""
    firing, before = await ledger.firing_among(folded), await ledger.last_incidents(folded)
    events = list[Trigger | Resolve]()
    incidents = dict[str, Incident]()
    for key, some in folded.items():
        alerts, count = [alert for alert, _ in some], firing.get(key, 0)
        fires = [alert for alert in alerts if alert.ended_at is None]
        incident = before.get(key)
        if incident is None or not incident.is_open:
            if fires:
                events.append(_shared_trigger(key, fires, _shared(brief(fires[0]), key, fires, count), now))
        elif not count:
            ended_at = max(min(each.ended_at or now, now) for each in alerts)
            events.append(Resolve(dedup_key=key, at=now, ended_at=max(ended_at, incident.began_at)))
        else:
            incidents[key] = incident
            told = _shared(incident.policy, key, alerts, count)
            if told != incident.policy:
                await ledger.save_brief(replace(incident, policy=told))
    concerned = await take_in_all(ledger, events)
    incidents |= {each.dedup_key: each for each in concerned if each.is_open}
    for key, incident in incidents.items():
        if new := [alert for alert, said in folded[key] if said is AlertEffect.FIRES]:
            await _journal(ledger, incident, told_together(new, firing[key]), now)
    return [each.id for each in concerned]


def _shared(brief: PolicySnapshot, key: str, alerts: Sequence[ReceivedAlert], count: int) -> PolicySnapshot:
    """Return *brief* for the shared incident *key* of *count* alerts, of which *alerts* are new."""
    # The name of the rest must not change with each alert.
    malay, english = folded_subject(() if key == rest_key(brief.policy_name) else alerts, count)
    agency = folded_agency(alerts)
    of_agency = agency if not brief.subject or brief.of_agency == agency else ""
    return replace(brief, subject=malay, subject_en=english, of_agency=of_agency)


def _shared_trigger(key: str, fires: Sequence[ReceivedAlert], brief: PolicySnapshot, now: datetime) -> Trigger:
    starts = [min(each.starts_at, now) for each in fires]
    return Trigger(
        dedup_key=key, at=now, type=IncidentType.ALERT, began_at=min(starts), latest_at=max(starts), policy=brief
    )


async def _journal(ledger: UnitOfWork, incident: Incident, detail: Mapping[str, str], now: datetime) -> None:
    await ledger.journal(
        AuditEntry(at=now, actor=ACTOR, event="alert received", incident_id=incident.id, detail=detail)
    )


async def _decide(
    ledger: UnitOfWork, alerts: Sequence[ReceivedAlert], brief: BriefOf, now: datetime, group: AlertGroup
) -> _Decided:
    known = await ledger.known_alerts({each.fingerprint for each in alerts})
    plans = {brief(each).policy_name for each in alerts}
    shared = {each.merged_into for each in known.values() if each.merged_into is not None}
    shared |= {key for plan in plans for key in (group.key(plan), rest_key(plan))}
    open_keys = set(await ledger.open_among({each.dedup_key for each in alerts} | shared))
    room = MOST_OPEN - await ledger.open_alerts()
    news, changed = list[AlertEffect](), list[KnownAlert]()
    own = list[tuple[ReceivedAlert, Trigger | Resolve]]()
    folded = dict[str, list[tuple[ReceivedAlert, AlertEffect]]]()
    opens_folded = False
    for alert in alerts:
        before = known.get(alert.fingerprint)
        said, after = heed(alert, before, now)
        news.append(said)
        told_by = brief(alert).policy_name
        key = incident_key(alert, before, group, told_by, open_keys=open_keys, has_room=room > 0)
        fires = said in {AlertEffect.FIRES, AlertEffect.GOES_ON}
        if key == alert.dedup_key:
            event = _event(alert, said, brief, now, is_open=key in open_keys)
            if event is not None:
                own.append((alert, event))
        elif fires or said is AlertEffect.IS_OVER:
            folded.setdefault(key, []).append((alert, said))
            opens_folded |= fires and key not in open_keys
        if after is not before:
            changed.append(replace(after, merged_into=None if key == alert.dedup_key else key))
        if fires and key not in open_keys:
            # It is open from now on.
            open_keys.add(key)
            room -= 1
    return _Decided(effects=news, changed=changed, own=own, folded=folded, opens_folded=opens_folded)


def _event(
    alert: ReceivedAlert, news: AlertEffect, brief: BriefOf, now: datetime, *, is_open: bool
) -> Trigger | Resolve | None:
    """Return the event of an alert with an incident of its own, if its effect needs one."""
    key, began_at = alert.dedup_key, min(alert.starts_at, now)
    if news in {AlertEffect.FIRES, AlertEffect.GOES_ON} and not is_open:
        # A firing alert without an open incident was closed by a person, which holds for a while.
        told = replace(brief(alert), subject=alert.subject, subject_en=alert.subject, of_agency=alert.agency)
        return Trigger(dedup_key=key, at=now, type=IncidentType.ALERT, began_at=began_at, policy=told)
    # Also for an unknown earlier alert.
    if alert.ended_at is not None and (news is AlertEffect.IS_OVER or (news is AlertEffect.WAS_OVER and is_open)):
        return Resolve(dedup_key=key, at=now, ended_at=max(min(alert.ended_at, now), began_at))
    return None
