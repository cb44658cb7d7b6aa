"""Everything about *whom to tell* that is frozen into an incident when it opens.

An edit of the configuration while an incident runs changes the next incident, not this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from alerts.channel import Channel
from alerts.contact import Contact, Recipient
from alerts.notice import Office


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Whom to tell next while nobody has acknowledged."""

    #: How long after the step before (the first: after the opening).
    after: timedelta
    contacts: tuple[Contact, ...]
    #: In this order, each only when the one before failed for good.
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationPolicy:
    """The steps, and how often to go through them."""

    steps: tuple[Step, ...]
    #: How many times all steps are gone through; at least 1.
    rounds: int = 3
    #: From the last step of a round to the first of the next.
    repeat_after: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPlan:
    """Whom outside the agency to tell of an outage, once released."""

    recipients: tuple[Recipient, ...] = ()
    #: Release without a duty officer's word. Opt-in: a false letter cannot be called back.
    automatic: bool = False
    #: When release is offered (or, if automatic, happens): an outage shorter than this needs no letter.
    offered_after: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """Who speaks, who of the staff is told, who outside is told."""

    #: The agency's short code; empty for something of ours.
    agency: str
    office: Office
    escalation: EscalationPolicy
    announcement: AnnouncementPlan = AnnouncementPlan()
    #: For our own fault: what is affected, in Malay and English; empty otherwise.
    subject: str = ""
    subject_en: str = ""

    @property
    def prefix(self) -> str:
        """What the incident's number begins with: at most 5 letters, so that it fits an SMS and is quick to spell."""
        return self.agency[:5].upper() or "NOC"
