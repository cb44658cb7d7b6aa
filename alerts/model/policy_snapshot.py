"""Notification policy, frozen into an incident when it opens.

It has two plans: the escalation notifies staff step by step, the announcement notifies recipients outside the agency.
An edit of the configuration while an incident is open changes people and numbers in the snapshot
(`alerts.decide.edit`), not steps. The person on call is determined when a step starts (`alerts.model.oncall`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Contact, Recipient
from alerts.model.notification import Cause, IssuingOffice
from alerts.model.number import number_prefix
from alerts.model.oncall import Rota

#: How long before an acknowledgement expires its assignee is reminded: time to find the telephone and respond.
REMIND_BEFORE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedialPolicy:
    """Policy for repeating unacknowledged calls within a step."""

    #: From the end of a call to the start of the next.
    interval: timedelta
    #: Number of further calls per person.
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the escalation."""

    #: Delay after the previous step (for the first: after the opening).
    after: timedelta
    contacts: tuple[Contact, ...] = ()
    #: Names of rotas. Of each rota, the person on call at the start of the step is notified.
    rotas: tuple[str, ...] = ()
    #: In order of preference; a channel is used after the previous channel has finally failed.
    channels: tuple[Channel, ...]
    redial: RedialPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationPolicy:
    """Steps of the escalation and their repetition."""

    steps: tuple[Step, ...]
    #: Number of rounds of all steps; at least 1.
    rounds: int = 3
    #: From the last step of a round to the first of the next.
    repeat_after: timedelta = timedelta(minutes=15)
    #: Interval of calls to the staff on duty after the last round, until somebody acknowledges.
    repeat_interval: timedelta = timedelta(hours=1)
    #: After the last round everybody is notified again at each start of these hours; `None`: only at handovers.
    office_hours: OfficeHours | None = None
    #: Duration of an acknowledgement after the assignee's last response.
    acknowledgement_timeout: timedelta = timedelta(minutes=60)
    #: The rotas of the steps.
    rotas: tuple[Rota, ...] = ()
    #: Person who is notified when a rota has nobody on call.
    fallback: Contact | None = None
    #: People who were notified only because an override made them substitutes; added while the incident is open.
    stand_ins: tuple[Contact, ...] = ()

    @property
    def max_quiet_period(self) -> timedelta:
        """Return the longest time without notifications to staff while nobody has acknowledged."""
        return max(self.repeat_interval, self.repeat_after, *(step.after for step in self.steps))

    @property
    def channels(self) -> frozenset[Channel]:
        """Return the channels of all steps."""
        return frozenset(channel for step in self.steps for channel in step.channels)

    def rota(self, name: str) -> Rota | None:
        """Return the rota with this name."""
        return next((rota for rota in self.rotas if rota.name == name), None)

    @property
    def remind_before(self) -> timedelta:
        """How long before its expiry the assignee of an acknowledgement is reminded."""
        return min(REMIND_BEFORE, self.acknowledgement_timeout / 4)

    @property
    def people(self) -> tuple[Contact, ...]:
        """All staff of the policy, possibly repeated."""
        named = [contact for step in self.steps for contact in step.contacts]
        named += [person for rota in self.rotas for person in rota.people]
        named += [*self.stand_ins]
        return (*named, self.fallback) if self.fallback else tuple(named)

    def contact(self, key: str) -> Contact | None:
        """Return the staff member with this key."""
        return next((contact for contact in self.people if contact.key == key), None)

    def contact_by_name(self, by: str) -> Contact | None:
        """Return the staff member whom *by*, the actor of an event, denotes; `None`: nobody in the policy.

        The portal writes "Full Name (user)", which denotes the contact with that portal account, whatever the name.
        Commands and programs may give a contact's name or key.
        """
        name, _, user = by.removesuffix(")").partition(" (")
        with_account = (contact for contact in self.people if user and contact.user == user)
        with_name = (contact for contact in self.people if {by, name} & {contact.name, contact.key})
        return next(with_account, None) or next(with_name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPlan:
    """Recipients outside, notified once the announcement is released."""

    recipients: tuple[Recipient, ...] = ()
    #: Release automatically. It is off by default, because a false letter cannot be recalled.
    automatic: bool = False
    #: How long an outage must last before the release (approval to send) is offered or, if automatic, happens.
    release_offered_after: timedelta = timedelta(minutes=30)
    #: The agency's office hours, in which a clerk posts letters and follow-ups are sent; `None`: unknown.
    updates: OfficeHours | None = None
    #: Whether recipients get a follow-up on each working day, if the office hours are known.
    follows_up: bool = True

    @property
    def is_followed_up(self) -> bool:
        """Whether an announcement has follow-ups."""
        return self.follows_up and self.updates is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """Sender, staff and recipients of an incident's notifications."""

    #: The agency's short code; empty for a monitoring fault.
    agency: str
    office: IssuingOffice
    escalation: EscalationPolicy
    announcement: AnnouncementPlan = AnnouncementPlan()
    #: For a monitoring fault: what is affected, in Malay and English; empty otherwise.
    subject: str = ""
    subject_en: str = ""
    #: For an alert of the NOC's Alertmanager: name of its policy in the configuration; "": the default.
    policy_name: str = ""
    #: For such an alert: code of the agency in its labels, whose silences apply too; "": none.
    of_agency: str = ""
    #: Cause at the last notification, if known.
    cause: Cause | None = None

    @property
    def has_nobody_to_notify(self) -> bool:
        """Whether the policy has nobody to notify."""
        return not self.escalation.steps

    def without_people(self) -> PolicySnapshot:
        """Return a copy without anybody to notify."""
        return replace(self, escalation=EscalationPolicy(steps=()), announcement=AnnouncementPlan())

    @property
    def prefix(self) -> str:
        """Prefix of the incident's number."""
        return number_prefix(self.agency)
