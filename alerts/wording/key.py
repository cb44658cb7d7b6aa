"""Selection of the text for SMS and voice."""

from __future__ import annotations

from alerts.model.notification import OF_TELLING, Facts, IncidentType, Plan, Purpose

#: Types that are announced outside; slowness and our own faults never are.
ANNOUNCED = frozenset({IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING})

#: Purposes for officers on duty: nobody outside, and never on paper.
FOR_STAFF = frozenset({Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.CLOSED, Purpose.RESULT})

#: Types that an outage may change into: while mail is only slow, staff alone are notified.
CHANGED = {Plan.ANNOUNCEMENT: ANNOUNCED, Plan.ESCALATION: ANNOUNCED | {IncidentType.DEGRADED, IncidentType.SIGN_IN}}


def can_escalate(facts: Facts) -> bool:
    """Whether the recipient can escalate to the next staff."""
    asked = facts.purpose in {Purpose.OUTAGE, Purpose.RELEASE, Purpose.REMINDER} or facts.is_handover
    return facts.plan is Plan.ESCALATION and asked


def key(facts: Facts) -> str:
    """Return the part of a text's key after "sms." or "call.".

    Raise `ValueError` for an announcement of a type that is never announced: that is a bug.
    """
    if facts.plan is Plan.ANNOUNCEMENT and facts.type not in ANNOUNCED:
        raise ValueError(f"{facts.type} is never announced outside the agency")
    if facts.plan is Plan.ANNOUNCEMENT and facts.purpose in FOR_STAFF:
        raise ValueError(f"a {facts.purpose} is told to staff only")
    if facts.previous_type is not None and facts.type not in CHANGED[facts.plan]:
        raise ValueError(f"an outage does not become {facts.type}")
    match facts.purpose, facts.plan:
        case Purpose.OUTAGE, Plan.ESCALATION if facts.by:
            return f"escalation.lapsed.{facts.type}"
        case Purpose.OUTAGE, Plan.ESCALATION if facts.flapping:
            return "escalation.outage.unsteady"
        case ((Purpose.OUTAGE | Purpose.UPDATE), plan):
            return f"{plan}.{news(facts)}.{facts.type}"
        case Purpose.RECOVERY, Plan.ESCALATION:
            return f"escalation.{news(facts)}.{'mail' if facts.type in ANNOUNCED else recovered(facts.type)}"
        case ((Purpose.CLOSED | Purpose.CORRECTION), Plan.ESCALATION) if facts.type is IncidentType.ALERT:
            return f"escalation.{facts.purpose}_alert"
        case ((Purpose.CLOSED | Purpose.CORRECTION), Plan.ESCALATION) if facts.type in OF_TELLING | {
            IncidentType.MONITORING_FAULT
        }:
            return f"escalation.{facts.purpose}_ours"
        case Purpose.CLOSED, _ if not facts.by:
            return "escalation.unwatched"
        case Purpose.RESULT, _:
            return f"escalation.{news(facts)}"
        case purpose, plan:
            return f"{plan}.{purpose}"


def recovered(matter: IncidentType) -> IncidentType:
    """Return the type whose texts report the recovery from *matter*: mail is normal, after an outage or slowness."""
    return IncidentType.DEGRADED if matter is IncidentType.SIGN_IN else matter


def news(facts: Facts) -> str:
    """Return the subject of a notification, as in the texts' keys.

    It is the purpose; or that all is over, that the type has changed, or a handover of duty.
    """
    if facts.is_belated:
        return "belated"
    if facts.is_handover:
        return "handover"
    if facts.unposted:
        return "unposted"
    return "changed" if facts.purpose is Purpose.UPDATE and facts.previous_type is not None else str(facts.purpose)
