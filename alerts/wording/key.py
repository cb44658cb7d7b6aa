"""Which text tells a situation by SMS and by voice."""

from __future__ import annotations

from alerts.notice import Facts, Matter, Plan, Purpose

#: What is announced to people outside; slowness and our own faults never are.
ANNOUNCED = frozenset({Matter.BOTH, Matter.SENDING, Matter.RECEIVING})

#: What is asked of or told to officers on duty: nobody outside, and never on paper.
FOR_STAFF = frozenset({Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER})

#: What is told to people outside only.
FOR_OUTSIDE = frozenset({Purpose.UPDATE})


def can_hand_on(facts: Facts) -> bool:
    """Whether whoever is told this can hand it on to the next of the staff."""
    return facts.plan is Plan.ESCALATION and facts.purpose in {Purpose.OUTAGE, Purpose.RELEASE, Purpose.REMINDER}


def key(facts: Facts) -> str:
    """Return the part of a text's key after "sms." or "call.".

    Raise `ValueError` for an announcement of what nobody outside is told: that is our bug.
    """
    if facts.plan is Plan.ANNOUNCEMENT and facts.matter not in ANNOUNCED:
        raise ValueError(f"{facts.matter} is never announced outside the agency")
    if facts.plan is Plan.ANNOUNCEMENT and facts.purpose in FOR_STAFF:
        raise ValueError(f"a {facts.purpose} is told to staff only")
    if facts.plan is Plan.ESCALATION and facts.purpose in FOR_OUTSIDE:
        raise ValueError(f"a {facts.purpose} is told to people outside only")
    match facts.purpose, facts.plan:
        case Purpose.OUTAGE, Plan.ESCALATION if facts.by:
            return f"escalation.lapsed.{facts.matter}"
        case Purpose.OUTAGE, Plan.ESCALATION if facts.unsteady:
            return "escalation.outage.unsteady"
        case (Purpose.OUTAGE | Purpose.UPDATE) as purpose, plan:
            return f"{plan}.{purpose}.{facts.matter}"
        case Purpose.RECOVERY, Plan.ESCALATION:
            return f"escalation.{news(facts)}.{'mail' if facts.matter in ANNOUNCED else facts.matter}"
        case purpose, plan:
            return f"{plan}.{purpose}"


def news(facts: Facts) -> str:
    """Return what a notice is about, as the texts call it: its purpose, or that all is over already."""
    return "belated" if facts.is_belated else str(facts.purpose)
