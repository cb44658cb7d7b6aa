"""Notification policy, frozen into an incident when it opens.

The policy has two plans: the escalation notifies staff step by step, the announcement notifies offices outside the
agency (recipients) after a person has released (approved) it. An edit of the configuration while an incident is open
changes people and numbers in the snapshot, but not its steps (`alerts.decide.edit`). The person on call is determined
when a step starts (`alerts.model.oncall`). Snapshots are stored as JSON, so that field names never change.
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

#: How long before an acknowledgement expires its assignee is reminded: enough to find the telephone and respond.
REMIND_BEFORE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedialPolicy:
    """Policy for repeating unacknowledged calls within a step."""

    #: Time from the end of a call to the start of the next.
    interval: timedelta
    #: Number of calls per person after the first.
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the escalation."""

    #: Delay after the previous step (for the first: after the opening).
    after: timedelta
    contacts: tuple[Contact, ...] = ()
    #: Names of rotas. The person who is on call in each rota at the start of the step is notified.
    rotas: tuple[str, ...] = ()
    #: In order of preference: a channel is used after all attempts on the previous channel have failed.
    channels: tuple[Channel, ...]
    #: `None`: unacknowledged calls are not repeated within the step.
    redial: RedialPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationPolicy:
    """Steps of the escalation and their repetition."""

    steps: tuple[Step, ...]
    #: How often all steps are gone through; at least 1.
    rounds: int = 3
    #: Time from the last step of a round to the first step of the next round.
    repeat_after: timedelta = timedelta(minutes=15)
    #: Interval of calls to the staff on duty after the last round, until somebody acknowledges.
    repeat_interval: timedelta = timedelta(hours=1)
    #: After the last round everybody is notified again whenever these hours begin, and at each handover of a rota;
    #: `None`: only at handovers.
    office_hours: OfficeHours | None = None
    #: How long an acknowledgement is valid after the assignee's last response.
    acknowledgement_timeout: timedelta = timedelta(minutes=60)
    #: The rotas that `steps` name.
    rotas: tuple[Rota, ...] = ()
    #: Person who is notified when a rota has nobody on call; `None`: nobody is.
    fallback: Contact | None = None
    #: Substitutes: people who were notified because an override of a rota named them, and who are in no rota or step.
    #: They are added while the incident is open.
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
        """How long before an acknowledgement expires its assignee is reminded."""
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
        """Return the staff member whom *by*, the actor of an event, names; `None`: nobody in the policy.

        The portal writes "Full Name (user)": the contact with that portal account, even if the name differs. Commands
        and API clients may write a contact's name or key.
        """
        name, _, user = by.removesuffix(")").partition(" (")
        with_account = (contact for contact in self.people if user and contact.user == user)
        with_name = (contact for contact in self.people if {by, name} & {contact.name, contact.key})
        return next(with_account, None) or next(with_name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPlan:
    """Offices outside the agency, which are notified once the announcement is released."""

    recipients: tuple[Recipient, ...] = ()
    #: Whether the announcement is released without a person. Off by default, because a false letter cannot be recalled.
    automatic: bool = False
    #: How long an outage must last before staff are asked to release the announcement, or before it is released
    #: automatically.
    release_offered_after: timedelta = timedelta(minutes=30)
    #: The agency's office hours, in which follow-ups (updates) are sent and a clerk posts letters; `None`: unknown.
    updates: OfficeHours | None = None
    #: Whether recipients get a follow-up on each working day, if the office hours are known.
    follows_up: bool = True

    @property
    def is_followed_up(self) -> bool:
        """Whether recipients get follow-ups of the announcement."""
        return self.follows_up and self.updates is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """Sender, staff and recipients of an incident's notifications."""

    #: The agency's short code; empty for a monitoring fault (a problem of Pantau itself).
    agency: str
    #: Sender of the notifications.
    office: IssuingOffice
    escalation: EscalationPolicy
    announcement: AnnouncementPlan = AnnouncementPlan()
    #: For a monitoring fault: what is affected, in Malay and English; empty otherwise.
    subject: str = ""
    subject_en: str = ""
    #: For an alert of the NOC's Alertmanager: name of its policy in the configuration; "": the default.
    policy_name: str = ""
    #: For such an alert: code of the agency in its labels, so that the agency's silences apply to it; "": none.
    of_agency: str = ""
    #: Latest known cause of the problem; it changes while the incident is open. `None`: unknown.
    cause: Cause | None = None

    @property
    def has_nobody_to_notify(self) -> bool:
        """Whether the policy has nobody to notify."""
        return not self.escalation.steps

    def without_people(self) -> PolicySnapshot:
        """Return a copy that notifies nobody."""
        return replace(self, escalation=EscalationPolicy(steps=()), announcement=AnnouncementPlan())

    @property
    def prefix(self) -> str:
        """Prefix of the incident's number."""
        return number_prefix(self.agency)
