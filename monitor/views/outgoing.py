"""Incidents as alerts for the API of the Alertmanager of the network operations centre (`POST /api/v2/alerts`)."""

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

#: Alertmanager resolves an alert that is not repeated within this time. It is long, so that alerts stay when the
#: process dies; the alert `PantauDown` fires then.
ALERT_LIFETIME = timedelta(hours=1)

#: Agency label of monitoring faults (faults of Pantau). It must not be empty: inhibition rules treat an empty label as
#: missing, and two missing labels as equal.
PANTAU_AGENCY = "pantau"

#: Summary of an alert: one sentence, without values.
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


def is_sent(incident: Incident) -> bool:
    """Whether an incident is sent to Alertmanager.

    An incident of the type `ALERT`, which an alert from Alertmanager opened, is not sent back: it has no summary.
    """
    return incident.type in SUMMARIES


def alert_labels(incident: Incident) -> Mapping[str, str]:
    """Return the labels that identify the alert. They change only when an incident becomes an outage.

    The direction of the outage is an annotation. If it were a label, each change of direction would be a new alert.
    """
    return _labels(incident, incident.type)


def _labels(incident: Incident, incident_type: IncidentType) -> Mapping[str, str]:
    return {
        "alertname": OWN_ALERT,
        "agency": incident.policy.agency or PANTAU_AGENCY,
        "severity": "critical" if incident_type in _CRITICAL else "warning",
        "incident": incident.number,
    }


def former_alert(incident: Incident, now: datetime) -> Mapping[str, Any] | None:
    """Return the alert of the degradation that preceded the outage, so that it can be resolved.

    Return `None` if the incident is no outage, has not become worse since it opened, or became worse so long ago that
    the alert of the degradation has expired.
    """
    if (
        incident.type not in OUTAGES
        or incident.since <= incident.opened_at
        or not is_recent(incident.since, now, ALERT_LIFETIME)
    ):
        return None
    return {**build_alert(incident, now), "labels": _labels(incident, IncidentType.DEGRADED)}


def build_alert(incident: Incident, now: datetime, silence: Silence | None = None) -> Mapping[str, Any]:
    """Return the alert of an open incident. For an ended one, the caller changes `endsAt`.

    *silence*: the incident's active silence.
    """
    policy, assignee = incident.policy, incident.acknowledged_by
    sentences = [f"{policy.office.name}, since {incident.reported_type_began_at.isoformat(timespec='seconds')}."]
    sentences += [f"Affected: {policy.subject_en or policy.subject}."] if policy.subject or policy.subject_en else []
    sentences += [f"Cause: {policy.cause}."] if policy.cause else []
    sentences += [f"Declared by {incident.declared_by}."] if incident.declared_by else []
    sentences += [f"Acknowledged by {assignee}." if assignee else "Nobody has acknowledged it."]
    silenced = (
        f"until {silence.ends_at.isoformat(timespec='seconds')} by {silence.by}: {silence.reason}" if silence else ""
    )
    sentences += [f"Nobody is notified of it {silenced}"] if silenced else []
    annotations = {
        "summary": SUMMARIES[incident.type],
        "summary_ms": f"{phrase.INCIDENT_TYPES[incident.type]}.",
        "direction": str(incident.current_type) if incident.current_type in OUTAGES else "none",
        "description": " ".join(sentences),
    }
    return {
        "labels": alert_labels(incident),
        "annotations": annotations | ({"silenced": silenced} if silenced else {}),
        # If the clock was set back, the incident's start is in the future. Alertmanager rejects a start after the end.
        "startsAt": min(incident.reported_type_began_at, now).isoformat(),
        "endsAt": (now + ALERT_LIFETIME).isoformat(),
    }
