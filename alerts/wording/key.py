"""Key of the text for an SMS or a call about one incident, from the facts of the notification."""

from __future__ import annotations

from alerts.model.notification import ABOUT_NOTIFICATIONS, Facts, IncidentType, Plan, Purpose

#: Types that are announced to the agency's recipients. Slow mail and faults of the monitoring are not announced.
ANNOUNCED = frozenset({IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING})

#: Purposes of notifications that only staff on duty receive, and never on paper.
FOR_STAFF = frozenset({Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.CLOSED, Purpose.RESULT})

#: Types that an outage may change into, by plan. Only staff are notified of slow mail and of refused sign-ins.
CHANGED_TYPES = {
    Plan.ANNOUNCEMENT: ANNOUNCED,
    Plan.ESCALATION: ANNOUNCED | {IncidentType.DEGRADED, IncidentType.SIGN_IN},
}
#: Types of incidents that concern Pantau itself and no agency's mail.
_ABOUT_PANTAU = ABOUT_NOTIFICATIONS | {IncidentType.MONITORING_FAULT}


def can_escalate(facts: Facts) -> bool:
    """Whether the recipient can escalate to the next staff."""
    expects_answer = facts.purpose in {Purpose.OUTAGE, Purpose.RELEASE, Purpose.REMINDER} or facts.is_handover
    return facts.plan is Plan.ESCALATION and expects_answer


def situation_key(facts: Facts) -> str:
    """Return the part of a text's key after "sms." or "call.", such as "escalation.outage.both".

    Raise `ValueError` for facts about which nobody is notified, such as an announcement of slow mail: that is a bug.
    """
    if facts.plan is Plan.ANNOUNCEMENT and facts.type not in ANNOUNCED:
        raise ValueError(f"{facts.type} is never announced outside the agency")
    if facts.plan is Plan.ANNOUNCEMENT and facts.purpose in FOR_STAFF:
        raise ValueError(f"a {facts.purpose} is for staff only")
    if facts.previous_type is not None and facts.type not in CHANGED_TYPES[facts.plan]:
        raise ValueError(f"an outage does not become {facts.type}")
    match facts.purpose, facts.plan:
        case Purpose.OUTAGE, Plan.ESCALATION if facts.by:
            # The previous assignee escalated, or their acknowledgement expired.
            return f"escalation.lapsed.{facts.type}"
        case Purpose.OUTAGE, Plan.ESCALATION if facts.flapping:
            return "escalation.outage.unsteady"
        case ((Purpose.OUTAGE | Purpose.UPDATE), plan):
            return f"{plan}.{occasion(facts)}.{facts.type}"
        case Purpose.RECOVERY, Plan.ESCALATION:
            return f"escalation.{occasion(facts)}.{'mail' if facts.type in ANNOUNCED else recovery_type(facts.type)}"
        case ((Purpose.CLOSED | Purpose.CORRECTION), Plan.ESCALATION) if facts.type is IncidentType.ALERT:
            return f"escalation.{facts.purpose}_alert"
        case ((Purpose.CLOSED | Purpose.CORRECTION), Plan.ESCALATION) if facts.type in _ABOUT_PANTAU:
            return f"escalation.{facts.purpose}_ours"
        case Purpose.CLOSED, _ if not facts.by:
            # Pantau closed the incident, because the agency is not monitored any more.
            return "escalation.unwatched"
        case Purpose.RESULT, _:
            return f"escalation.{occasion(facts)}"
        case purpose, plan:
            return f"{plan}.{purpose}"


def recovery_type(incident_type: IncidentType) -> IncidentType:
    """Return the type whose texts report the recovery. Refused sign-ins use the texts of slow mail."""
    return IncidentType.DEGRADED if incident_type is IncidentType.SIGN_IN else incident_type


def occasion(facts: Facts) -> str:
    """Return the part of a text's key that says why the notification is sent.

    It is the purpose, with four exceptions: a first notification of an incident that is over ("belated"), a handover of
    duty, a report on letters that nobody has posted, and an outage that changed its type.
    """
    if facts.is_belated:
        return "belated"
    if facts.is_handover:
        return "handover"
    if facts.unposted:
        return "unposted"
    return "changed" if facts.purpose is Purpose.UPDATE and facts.previous_type is not None else str(facts.purpose)
