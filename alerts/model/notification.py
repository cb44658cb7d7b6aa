"""Notification: one message to one person about an incident, and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """One of an incident's two plans."""

    #: Notifies staff step by step; stops at an acknowledgement.
    ESCALATION = "escalation"
    #: Notifies the agency's recipients; waits for a release, and ends with a recovery or a correction.
    ANNOUNCEMENT = "announcement"


class Purpose(StrEnum):
    """Why a notification is sent."""

    #: Mail has failed.
    OUTAGE = "outage"
    #: The outage continues or has changed. For everybody who was notified, and for whoever comes on duty.
    UPDATE = "update"
    #: Mail works again.
    RECOVERY = "recovery"
    #: It was a false alarm. For everybody who was notified of the outage.
    CORRECTION = "correction"
    #: Asks staff whether the announcement may be sent: first the assignee, then each step.
    RELEASE = "release"
    #: Says who acknowledged. For the other staff who were notified.
    TAKEN = "taken"
    #: An acknowledgement is about to expire. For the person who gave it.
    REMINDER = "reminder"
    #: Somebody closed the incident without saying that mail works again. For the staff who were notified.
    CLOSED = "closed"
    #: Result of a release: how much arrived, who was not reached, which letters are not posted. For the person who
    #: released.
    RESULT = "result"
    #: A test of numbers and gateways.
    DRILL = "drill"


class IncidentType(StrEnum):
    """What an incident is about. Decides the texts, and whether recipients are notified."""

    #: Nothing can be sent and nothing received.
    BOTH = "both"
    #: Nothing can be sent.
    SENDING = "sending"
    #: Nothing can be received.
    RECEIVING = "receiving"
    #: Mail is slow, in the junk folder, reported to its sender as failed, or works on some routes only. Staff only.
    DEGRADED = "degraded"
    #: Accounts are refused, perhaps everybody's. Staff only.
    SIGN_IN = "sign_in"
    #: Our own network, reference mailbox, account or process. NOC only.
    MONITORING_FAULT = "monitoring_fault"
    #: Nobody acknowledged an incident, or a recipient could not be notified. NOC only.
    UNREACHED = "unreached"
    #: Nobody knows whether a fax or letter arrived. The NOC asks and sets its status.
    DOUBTFUL = "doubtful"
    #: Nobody releases an announcement. The NOC ensures a decision.
    UNRELEASED = "unreleased"
    #: The store may be an older copy, and paper is paused. The NOC ensures that it is resumed.
    RESTORED = "restored"
    #: An alert of the NOC's own Alertmanager. Staff only.
    ALERT = "alert"

    @classmethod
    def _missing_(cls, value: object) -> IncidentType | None:
        """Return the member for the value that databases of 0.2.0 have."""
        return cls.MONITORING_FAULT if value == "own_fault" else None


class Cause(StrEnum):
    """Why mail fails, as most routes show it; for staff only."""

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
    #: The server accepts nobody's sign-in.
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


#: Values of 0.2.0.
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
    #: The person who acknowledged first, and other staff after them.
    SELF = "self"
    #: The person who acknowledged; the policy has nobody else.
    NOBODY = "nobody"


class Language(StrEnum):
    """BCP 47."""

    MALAY = "ms-MY"
    ENGLISH = "en-GB"


#: Purposes that report a problem, as opposed to its end.
OUTAGE_PURPOSES = frozenset({Purpose.OUTAGE, Purpose.UPDATE})

#: Types of the NOC's incidents about notifications that fail or wait. The NOC is not notified of their end.
ABOUT_NOTIFICATIONS = frozenset(
    {IncidentType.UNREACHED, IncidentType.DOUBTFUL, IncidentType.UNRELEASED, IncidentType.RESTORED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingOffice:
    """Sender of a notification: the agency (or the NOC, for monitoring faults). Frozen into the incident."""

    #: At most 11 characters: "JKR". The agency's name in an SMS.
    short: str
    name: str
    #: The mail domain, e.g. "jabatan-contoh.gov.my". Never in an SMS (it looks like a link).
    domain: str
    #: Postal address lines without the name; the last is "<postcode> <TOWN>".
    address: tuple[str, ...] = ()
    #: As printed: "03-8872 3000".
    telephone: str = ""
    fax: str = ""
    #: "8.00 pagi - 5.00 petang, Isnin - Jumaat"
    hours: str = ""
    hours_en: str = ""
    website: str = ""
    division: str = ""
    #: File reference for these letters, without an enclosure number, or "" (to fill in by hand).
    reference: str = ""
    signatory_name: str = ""
    signatory_post: str = ""
    #: Title of the head of department; printed after "b.p." unless the signatory is the head.
    head_title: str = ""
    contact_name: str = ""
    contact_post: str = ""
    contact_telephone: str = ""
    #: Quoted lines above the signature, which change with governments and states.
    slogans: tuple[str, ...] = ('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"')
    copies: tuple[str, ...] = ()
    #: Print "Surat ini ialah cetakan komputer dan tidak memerlukan tandatangan." instead of leaving room to sign.
    unsigned: bool = False
    #: Add the English translation as an attachment to the letter.
    english_attachment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Addressee of a page."""

    #: "Ketua Setiausaha"
    title: str
    organisation: str
    address: tuple[str, ...] = ()
    #: "(u.p.: ...)"
    attention: str = ""
    #: As printed: "03-8872 3001".
    fax: str = ""
    salutation: str = "Tuan/Puan,"

    def __str__(self) -> str:
        """Return the title and organisation, as in a list of readers."""
        return f"{self.title}, {self.organisation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts of a notification, from which the texts of all channels are written."""

    purpose: Purpose
    plan: Plan
    type: IncidentType
    office: IssuingOffice
    #: "JKR-07": letters and few digits; the same for all notifications of an incident.
    number: str
    #: Start of the incident (aware UTC).
    began_at: datetime
    #: Time of the decision (aware UTC); the date of a page.
    notified_at: datetime
    #: Time of the notification that an update, a recovery or a correction refers to; `None`: staff got none before the
    #: end, or it is unknown whether the recipient outside got it.
    first_notified_at: datetime | None = None
    ended_at: datetime | None = None
    #: Enclosure number: counts the pages to a recipient about the incident, from 1. It is printed at the end of the
    #: page's reference. 0: not numbered.
    enclosure: int = 0
    #: Enclosure number of the page of `first_notified_at`.
    cited: int = 1
    #: Type in the reader's previous notification, if it has changed.
    previous_type: IncidentType | None = None
    #: For a monitoring fault: what is affected, in Malay ("peti rujukan A"); empty otherwise.
    subject: str = ""
    #: The same in English.
    subject_en: str = ""
    #: Cause, if known; for staff only.
    cause: Cause | None = None
    #: Person who declared the problem, if the probes do not detect all of it; for staff only.
    declared_by: str = ""
    #: Mail goes down and up repeatedly, which counts as one incident until mail is stable.
    flapping: bool = False
    #: Whether recipients outside get a follow-up on each working day.
    followed_up: bool = False
    #: Whether the release of the announcement is offered: key 5 in a call.
    may_release: bool = False
    #: Person who acknowledged (`Purpose.TAKEN`, or an update at a handover), who closed the incident
    #: (`Purpose.CLOSED`), or who escalated or whose acknowledgement expired (`Purpose.OUTAGE`); "": nobody.
    by: str = ""
    #: Whether `by` escalated.
    escalated: bool = False
    #: Who was on duty before the reader (`Purpose.UPDATE`); "": nobody.
    relieved: str = ""
    #: Last response of the current or previous assignee.
    last_response_at: datetime | None = None
    #: Expiry of the acknowledgement, and who is notified then.
    until: datetime | None = None
    successors: Successors = Successors.OTHERS
    #: Result of a release (`Purpose.RESULT`): number of arrived notifications, readers that were not reached, and
    #: number of unposted letters of `first_notified_at`.
    arrived: int = 0
    undelivered: tuple[str, ...] = ()
    unposted: int = 0

    @property
    def is_handover(self) -> bool:
        """Whether it notifies a person who comes on duty."""
        return self.purpose is Purpose.UPDATE and self.plan is Plan.ESCALATION and self.previous_type is None

    @property
    def is_belated(self) -> bool:
        """Whether it reports a problem that ended before staff could be notified."""
        return self.purpose is Purpose.RECOVERY and self.plan is Plan.ESCALATION and self.first_notified_at is None
