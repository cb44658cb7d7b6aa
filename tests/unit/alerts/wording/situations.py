"""Every situation of a notification, with a fictional agency."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.model.notification import ABOUT_NOTIFICATIONS, Facts, IncidentType, IssuingOffice, Plan, Purpose
from alerts.wording.key import CHANGED_TYPES, FOR_STAFF
from alerts.wording.texts import load

#: Tuesday, 24 November 2026, 2.15 petang.
BEGAN = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
WORDING = load()
JCM = IssuingOffice(short="JCM", name="Jabatan Contoh Malaysia", domain="jabatan-contoh.gov.my")
OUTAGE = Facts(
    purpose=Purpose.OUTAGE,
    plan=Plan.ANNOUNCEMENT,
    type=IncidentType.BOTH,
    office=JCM,
    number="JCM-07",
    began_at=BEGAN,
    notified_at=BEGAN + timedelta(minutes=30),
    first_notified_at=BEGAN + timedelta(minutes=30),
    ended_at=BEGAN + timedelta(hours=3, minutes=25),
    last_response_at=BEGAN + timedelta(minutes=40),
    until=BEGAN + timedelta(minutes=100),
    followed_up=True,
)


def situations(facts: Facts = OUTAGE) -> list[Facts]:
    """Return *facts* with every plan, purpose and type, and as belated recoveries."""
    announced = set(IncidentType) - {
        IncidentType.DEGRADED,
        IncidentType.SIGN_IN,
        IncidentType.MONITORING_FAULT,
        IncidentType.ALERT,
        *ABOUT_NOTIFICATIONS,
    }
    belated = replace(facts, plan=Plan.ESCALATION, purpose=Purpose.RECOVERY, first_notified_at=None)
    return (
        [
            replace(belated, type=incident_type)
            for incident_type in IncidentType
            if incident_type not in ABOUT_NOTIFICATIONS
        ]
        + [
            replace(facts, plan=plan, purpose=purpose, type=incident_type)
            for plan in Plan
            for purpose in Purpose
            for incident_type in IncidentType
            if plan is Plan.ESCALATION
            or (plan is Plan.ANNOUNCEMENT and incident_type in announced and purpose not in FOR_STAFF)
        ]
        + [
            replace(facts, plan=plan, purpose=Purpose.UPDATE, type=incident_type, previous_type=IncidentType.BOTH)
            for plan in Plan
            for incident_type in sorted(CHANGED_TYPES[plan])
        ]
        + [
            replace(facts, plan=Plan.ESCALATION, type=incident_type, by="Siti binti Contoh")
            for incident_type in IncidentType
        ]
    )
