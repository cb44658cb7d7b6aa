"""Our incidents as alerts of an Alertmanager's API (`POST /api/v2/alerts`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from alerts.decide.silence import Silence
from alerts.documents import phrase
from alerts.hours.elapsed import is_recent
from alerts.model.alert import OWN_ALERT
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import IncidentType

#: Alertmanager resolves an alert that is not repeated for so long. A dead process must not resolve alerts soon:
#: `PantauDown` fires then.
LASTS = timedelta(hours=1)

#: Agency label of monitoring faults. Not empty: inhibition rules treat two missing labels as equal.
OURS = "pantau"

#: One sentence, without values.
SUMMARIES: Mapping[IncidentType, str] = MappingProxyType(
    {
        IncidentType.BOTH: "Official e-mail can be neither sent nor received.",
        IncidentType.SENDING: "Official e-mail cannot be sent.",
        IncidentType.RECEIVING: "Official e-mail cannot be received.",
        IncidentType.DEGRADED: "Official e-mail is slow, lands in spam folders or gives errors on sending.",
        IncidentType.SIGN_IN: "Nobody may be able to sign in to official e-mail.",
        IncidentType.MONITORING_FAULT: "Part of the monitoring of official e-mail fails.",
        IncidentType.UNREACHED: "A notice was not received, or not confirmed by anybody.",
        IncidentType.DOUBTFUL: "It is not known whether a notice has arrived.",
        IncidentType.UNRELEASED: "A notice to outside parties waits to be released.",
        IncidentType.RESTORED: "Letters and faxes wait: the records may be an older copy.",
    }
)

#: Types that need action at once.
_CRITICAL = OUTAGES | {IncidentType.UNREACHED, IncidentType.UNRELEASED}


def is_told(incident: Incident) -> bool:
    """Whether an incident is sent to Alertmanager: not one that an alert opened."""
    return incident.type in SUMMARIES


def labels_of(incident: Incident) -> Mapping[str, str]:
    """Return the labels that identify the alert. They change once at most: when a degradation becomes an outage.

    The direction is no label: otherwise an outage that spreads would be resolved.
    """
    return _labels(incident, incident.type)


def _labels(incident: Incident, matter: IncidentType) -> Mapping[str, str]:
    return {
        "alertname": OWN_ALERT,
        "agency": incident.policy.agency or OURS,
        "severity": "critical" if matter in _CRITICAL else "warning",
        "incident": incident.number,
    }


def former_alert_of(incident: Incident, now: datetime) -> Mapping[str, Any] | None:
    """Return the alert of the degradation that an outage was before; `None`: none, or already expired."""
    if (
        incident.type not in OUTAGES
        or incident.since <= incident.opened_at
        or not is_recent(incident.since, now, LASTS)
    ):
        return None
    return {**alert_of(incident, now), "labels": _labels(incident, IncidentType.DEGRADED)}


def alert_of(incident: Incident, now: datetime, silence: Silence | None = None) -> Mapping[str, Any]:
    """Return the alert of an open or ended incident. *silence*: the active one."""
    brief, by = incident.policy, incident.acknowledged_by
    told = [f"{brief.office.name}, since {incident.reported_type_began_at.isoformat(timespec='seconds')}."]
    told += [f"Affected: {brief.subject_en or brief.subject}."] if brief.subject or brief.subject_en else []
    told += [f"Cause: {brief.cause}."] if brief.cause else []
    told += [f"Declared by {incident.declared_by}."] if incident.declared_by else []
    told += [f"Acknowledged by {by}." if by else "Nobody has acknowledged it."]
    silenced = (
        f"until {silence.ends_at.isoformat(timespec='seconds')} by {silence.by}: {silence.reason}" if silence else ""
    )
    told += [f"Nobody is told of it {silenced}"] if silenced else []
    annotations = {
        "summary": SUMMARIES[incident.type],
        "summary_ms": f"{phrase.MATTERS[incident.type]}.",
        "direction": str(incident.current_type) if incident.current_type in OUTAGES else "none",
        "description": " ".join(told),
    }
    return {
        "labels": labels_of(incident),
        "annotations": annotations | ({"silenced": silenced} if silenced else {}),
        # Alertmanager rejects an alert that starts after its end: the clock may have been set back.
        "startsAt": min(incident.reported_type_began_at, now).isoformat(),
        "endsAt": (now + LASTS).isoformat(),
    }
