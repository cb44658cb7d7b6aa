"""Kinds of notifications, and their facts. A notification is one message to one person about an incident.

Facts are stored as JSON, so that field names and enumeration values never change. A *page* is a fax or a letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """One of an incident's two plans."""

    #: Notifies staff step by step, until somebody acknowledges.
    ESCALATION = "escalation"
    #: Notifies the agency's recipients (offices outside) once a person has released (approved) it. It ends with a
    #: recovery or a correction.
    ANNOUNCEMENT = "announcement"


class Purpose(StrEnum):
    """Why a notification is sent."""

    #: Mail has failed.
    OUTAGE = "outage"
    #: The outage continues or has changed. For everybody who was notified, and for people who come on duty.
    UPDATE = "update"
    #: Mail works again. For everybody who was notified of the outage.
    RECOVERY = "recovery"
    #: The outage was a false alarm. For everybody who was notified of it.
    CORRECTION = "correction"
    #: Asks staff to release the announcement: first the assignee, then the people of each step.
    RELEASE = "release"
    #: Names the person who acknowledged. For the other staff who were notified.
    TAKEN = "taken"
    #: An acknowledgement is about to expire. For the assignee.
    REMINDER = "reminder"
    #: A person closed the incident without stating that mail works again. For the staff who were notified.
    CLOSED = "closed"
    #: Result of a release: how many notifications arrived, who was not reached, how many letters are unposted. For the
    #: person who released the announcement.
    RESULT = "result"
    #: Tests numbers and gateways.
    DRILL = "drill"


class IncidentType(StrEnum):
    """What an incident is about. It decides the texts, and whether offices outside (recipients) are notified."""

    #: No mail can be sent or received.
    BOTH = "both"
    #: No mail can be sent.
    SENDING = "sending"
    #: No mail can be received.
    RECEIVING = "receiving"
    #: Mail is slow, goes to the junk folder, bounces although it arrives, or works on some routes (pairs of mailboxes)
    #: only. Only staff are notified.
    DEGRADED = "degraded"
    #: The server refuses logins, perhaps everybody's. Only staff are notified.
    SIGN_IN = "sign_in"
    #: Pantau's own network, reference mailbox (the other end of probes), account or process fails. For the NOC.
    MONITORING_FAULT = "monitoring_fault"
    #: Nobody acknowledged an incident, or an office outside could not be notified. For the NOC.
    UNREACHED = "unreached"
    #: It is unknown whether a fax or letter arrived. For the NOC, which finds out and sets the status.
    DOUBTFUL = "doubtful"
    #: Nobody releases an announcement. For the NOC, which obtains a decision.
    UNRELEASED = "unreleased"
    #: The database may be an older copy, and letters and faxes are paused. For the NOC, which has them resumed.
    RESTORED = "restored"
    #: The NOC's own Alertmanager has sent an alert. Only staff are notified.
    ALERT = "alert"

    @classmethod
    def _missing_(cls, value: object) -> IncidentType | None:
        """Return the member for the value that databases of 0.2.0 have."""
        return cls.MONITORING_FAULT if value == "own_fault" else None


class Cause(StrEnum):
    """Why mail fails, as most routes (pairs of mailboxes) show it. Only notifications to staff state it."""

    #: The mail server's name is not found.
    DNS = "dns"
    #: The server refuses the connection or cannot be reached.
    CONNECT = "connect"
    #: The server does not answer or closes the connection.
    TIMEOUT = "timeout"
    #: The server offers no trusted encryption.
    TLS = "tls"
    #: The server's certificate has expired or has another name.
    CERTIFICATE = "certificate"
    #: The server refuses all logins.
    AUTH = "auth"
    #: The server refuses messages.
    REJECTED = "rejected"
    #: The server accepts messages, and they bounce.
    BOUNCED = "bounced"
    #: The server accepts messages, and they do not arrive.
    LOST = "lost"
    #: Messages arrive changed.
    CORRUPTED = "corrupted"

    @classmethod
    def _missing_(cls, value: object) -> Cause | None:
        """Return the member for a value that databases of 0.2.0 have."""
        return _CAUSES_BEFORE.get(value)


#: Values in databases of version 0.2.0.
_CAUSES_BEFORE: Final[Mapping[object, Cause]] = {
    "name": Cause.DNS,
    "refused": Cause.CONNECT,
    "silent": Cause.TIMEOUT,
    "encryption": Cause.TLS,
    "sign_in": Cause.AUTH,
    "returned": Cause.BOUNCED,
    "changed": Cause.CORRUPTED,
}


class Successors(StrEnum):
    """Who is notified when an acknowledgement expires."""

    #: Other staff, at once.
    OTHERS = "others"
    #: First the assignee again, then other staff.
    SELF = "self"
    #: Only the assignee: the policy has nobody else.
    NOBODY = "nobody"


class Language(StrEnum):
    """Language of a notification, as a BCP 47 tag."""

    MALAY = "ms-MY"
    ENGLISH = "en-GB"


#: Purposes that report a problem, as opposed to its end.
OUTAGE_PURPOSES = frozenset({Purpose.OUTAGE, Purpose.UPDATE})

#: Types of incidents about notifications that fail or wait. The NOC is notified of them, but not of their end.
ABOUT_NOTIFICATIONS = frozenset(
    {IncidentType.UNREACHED, IncidentType.DOUBTFUL, IncidentType.UNRELEASED, IncidentType.RESTORED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingOffice:
    """Sender of a notification: the agency, or the NOC for monitoring faults. Frozen into the incident."""

    #: The agency's name in an SMS, at most 11 characters: "JKR".
    short: str
    #: Full name.
    name: str
    #: The mail domain, such as "jabatan-contoh.gov.my". Never in an SMS, where it looks like a link.
    domain: str
    #: Lines of the postal address without the name; the last is "<postcode> <TOWN>".
    address: tuple[str, ...] = ()
    #: As printed: "03-8872 3000".
    telephone: str = ""
    fax: str = ""
    #: Office hours as printed, in Malay ("8.00 pagi - 5.00 petang, Isnin - Jumaat") and English.
    hours: str = ""
    hours_en: str = ""
    website: str = ""
    #: Name of the division within the agency.
    division: str = ""
    #: The office's file reference for letters and faxes, without an enclosure number; "": to be filled in by hand.
    reference: str = ""
    #: Name and post (job title) of the person who signs letters.
    signatory_name: str = ""
    signatory_post: str = ""
    #: Title of the head of department. It is printed after "b.p." ("on behalf of") unless the head signs.
    head_title: str = ""
    #: Person whom readers may call.
    contact_name: str = ""
    contact_post: str = ""
    contact_telephone: str = ""
    #: Quoted lines above the signature, which change with governments and states.
    slogans: tuple[str, ...] = ('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"')
    #: Who gets a copy ("s.k.") of a letter.
    copies: tuple[str, ...] = ()
    #: Whether letters state "Surat ini ialah cetakan komputer dan tidak memerlukan tandatangan." (computer print, needs
    #: no signature) instead of leaving room to sign.
    unsigned: bool = False
    #: Whether the English translation is attached to a letter.
    english_attachment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Office to which a fax or letter is addressed."""

    #: Job title of the reader: "Ketua Setiausaha".
    title: str
    organisation: str
    #: Lines of the postal address without the organisation.
    address: tuple[str, ...] = ()
    #: Person or division to whose attention the page is sent; printed as "(u.p.: ...)".
    attention: str = ""
    #: As printed: "03-8872 3001".
    fax: str = ""
    salutation: str = "Tuan/Puan,"

    def __str__(self) -> str:
        """Return title and organisation, as lists of readers show them."""
        return f"{self.title}, {self.organisation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts of a notification, from which the texts of all channels are composed."""

    purpose: Purpose
    plan: Plan
    type: IncidentType
    #: The sender.
    office: IssuingOffice
    #: Number of the incident: "JKR-07".
    number: str
    #: Start of the problem that the notification reports (aware UTC).
    began_at: datetime
    #: Time of the decision to notify (aware UTC); the date of a page.
    notified_at: datetime
    #: Time of the earlier notification to which an update, a recovery or a correction refers; `None`: the reader got
    #: none, or it is unknown whether a recipient outside got it.
    first_notified_at: datetime | None = None
    #: End of the problem; `None`: it lasts, or its end is unknown.
    ended_at: datetime | None = None
    #: Enclosure number: counts the pages to a recipient about the incident, from 1. It is printed at the end of the
    #: page's reference. 0: not numbered.
    enclosure: int = 0
    #: Enclosure number of the earlier page to which this page refers, sent at `first_notified_at`.
    cited: int = 1
    #: Type in the reader's previous notification, if it was another one; `None` otherwise.
    previous_type: IncidentType | None = None
    #: Affected object of a monitoring fault ("peti rujukan A") or name of an alert, in Malay; empty otherwise.
    subject: str = ""
    #: The same in English.
    subject_en: str = ""
    #: `None`: unknown, or not for this reader, because only staff are notified of it.
    cause: Cause | None = None
    #: Person who declared the problem, if the probes do not detect all of it; only for staff.
    declared_by: str = ""
    #: Mail goes down and up repeatedly, which counts as one incident until mail is stable.
    flapping: bool = False
    #: Whether recipients outside get a follow-up on each working day.
    followed_up: bool = False
    #: Whether the reader may release the announcement: by key 5 in a call.
    may_release: bool = False
    #: The person who acknowledged (`Purpose.TAKEN`, and an update at a handover), who closed the incident
    #: (`Purpose.CLOSED`), or who escalated or let the acknowledgement expire (`Purpose.OUTAGE`); "": nobody.
    by: str = ""
    #: Whether `by` escalated.
    escalated: bool = False
    #: Who was on duty before the reader (`Purpose.UPDATE`); "": nobody.
    relieved: str = ""
    #: Last response of the current or previous assignee.
    last_response_at: datetime | None = None
    #: For a reminder: when the acknowledgement expires.
    until: datetime | None = None
    #: For a reminder: who is notified then.
    successors: Successors = Successors.OTHERS
    #: For the result of a release: number of arrived notifications.
    arrived: int = 0
    #: For the result of a release: names of the readers that were not reached.
    undelivered: tuple[str, ...] = ()
    #: For the result of a release: number of unposted letters that were decided at `first_notified_at`.
    unposted: int = 0

    @property
    def is_handover(self) -> bool:
        """Whether the notification informs a person who comes on duty while the incident is open."""
        return self.purpose is Purpose.UPDATE and self.plan is Plan.ESCALATION and self.previous_type is None

    @property
    def is_belated(self) -> bool:
        """Whether the notification reports a problem that ended before staff could be notified."""
        return self.purpose is Purpose.RECOVERY and self.plan is Plan.ESCALATION and self.first_notified_at is None
