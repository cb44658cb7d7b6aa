"""Everything about *whom to tell* that is frozen into an incident when it opens.

An edit while an incident is open changes its people and numbers (`alerts.decide.edit`), not its steps. Who is on call is
decided when a step starts (`alerts.model.oncall`).
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

#: Time to find the telephone, look, and answer.
REMIND_BEFORE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedialPolicy:
    """A call that ended and was not acknowledged is made again while its step runs."""

    #: From the end of a call to the next.
    every: timedelta
    #: How many calls follow the first, for each person.
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Whom to tell next while nobody has acknowledged."""

    #: How long after the step before (the first: after the opening).
    after: timedelta
    contacts: tuple[Contact, ...] = ()
    #: Names of rotas of the policy: whoever is on call when the step starts.
    rotas: tuple[str, ...] = ()
    #: In this order, each only when the one before failed for good.
    channels: tuple[Channel, ...]
    call_again: RedialPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationPolicy:
    """The steps, and how often to go through them."""

    steps: tuple[Step, ...]
    #: How many times all steps are gone through; at least 1.
    rounds: int = 3
    #: From the last step of a round to the first of the next.
    repeat_after: timedelta = timedelta(minutes=15)
    #: After the last round the staff on duty are called again this often, for as long as nobody has acknowledged.
    repeat_interval: timedelta = timedelta(hours=1)
    #: At each start of these hours everybody is told again then; `None`: at handovers only.
    office_hours: OfficeHours | None = None
    #: How long an acknowledgement stands after whoever has taken it on was last heard of.
    acknowledge_for: timedelta = timedelta(minutes=60)
    #: Those that steps name.
    rotas: tuple[Rota, ...] = ()
    #: Told in the place of a rota that has nobody on call.
    fallback: Contact | None = None
    #: Who was told because of an override and is named nowhere else. The only part of a brief that grows.
    stand_ins: tuple[Contact, ...] = ()

    @property
    def quiet_at_most(self) -> timedelta:
        """Return how long no member of the staff is told while nobody has the incident."""
        return max(self.repeat_interval, self.repeat_after, *(step.after for step in self.steps))

    @property
    def channels(self) -> frozenset[Channel]:
        """Return the channels that any of its steps uses."""
        return frozenset(channel for step in self.steps for channel in step.channels)

    def rota(self, name: str) -> Rota | None:
        """Return the rota with this name."""
        return next((rota for rota in self.rotas if rota.name == name), None)

    @property
    def remind_before(self) -> timedelta:
        """How long before an acknowledgement expires whoever has taken the incident on is reminded."""
        return min(REMIND_BEFORE, self.acknowledge_for / 4)

    @property
    def people(self) -> tuple[Contact, ...]:
        """All staff whom the policy names; somebody may be there more than once."""
        named = [contact for step in self.steps for contact in step.contacts]
        named += [person for rota in self.rotas for person in rota.people]
        named += [*self.stand_ins]
        return (*named, self.fallback) if self.fallback else tuple(named)

    def contact(self, key: str) -> Contact | None:
        """Return the member of staff with this key, wherever the policy names them."""
        return next((contact for contact in self.people if contact.key == key), None)

    def named(self, by: str) -> Contact | None:
        """Return the member of staff in whose name something was done: at the console also by key, or by a program.

        Who did it in the portal is "Full Name (user)", and is whoever names that user, however their name is written.
        """
        name, _, user = by.removesuffix(")").partition(" (")
        signed_in = (contact for contact in self.people if user and contact.user == user)
        called = (contact for contact in self.people if {by, name} & {contact.name, contact.key})
        return next(signed_in, None) or next(called, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPlan:
    """Whom outside the agency to tell of an outage, once released."""

    recipients: tuple[Recipient, ...] = ()
    #: Release without a duty officer's word. Opt-in: a false letter cannot be called back.
    automatic: bool = False
    #: When release is offered (or, if automatic, happens): an outage shorter than this needs no letter.
    offered_after: timedelta = timedelta(minutes=30)
    #: The agency's office hours, in which a clerk posts letters; `None`: not known.
    updates: OfficeHours | None = None
    #: Whoever was told is told again on each working day on which it lasts, in those hours.
    follows_up: bool = True

    @property
    def is_followed_up(self) -> bool:
        """Whether an announcement has follow-ups."""
        return self.follows_up and self.updates is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """Who speaks, who of the staff is told, who outside is told."""

    #: The agency's short code; empty for something of ours.
    agency: str
    office: IssuingOffice
    escalation: EscalationPolicy
    announcement: AnnouncementPlan = AnnouncementPlan()
    #: For our own fault: what is affected, in Malay and English; empty otherwise.
    subject: str = ""
    subject_en: str = ""
    #: Of an alert: which of several plans of the office it is told by, as the configuration calls it; "": the office's own.
    told_by: str = ""
    #: Of an alert: the agency that its labels name, whose silence holds for it, too; "": none.
    of_agency: str = ""
    #: Why mail fails, as far as was seen when it was last told of.
    cause: Cause | None = None

    @property
    def tells_nobody(self) -> bool:
        """Whether it is a brief by which nobody is told."""
        return not self.escalation.steps

    def with_nobody(self) -> PolicySnapshot:
        """Return it with nobody to tell."""
        return replace(self, escalation=EscalationPolicy(steps=()), announcement=AnnouncementPlan())

    @property
    def prefix(self) -> str:
        """What the incident's number begins with."""
        return number_prefix(self.agency)
