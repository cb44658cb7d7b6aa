"""A notice: one message to one person about an incident, and the facts it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """Which of an incident's two plans a notification belongs to."""

    #: Notifies staff, step by step, and stops at an acknowledgement.
    ESCALATION = "escalation"
    #: Notifies the agency's recipients; waits for a release and ends with a recovery or a correction.
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
    #: What a release led to: how much arrived, who was not reached, which letters are not posted. For the person who
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
    #: Nobody knows whether a fax or letter arrived. The NOC finds out and sets its status.
    DOUBTFUL = "doubtful"
    #: Nobody releases an announcement. The NOC sees that somebody decides.
    UNRELEASED = "unreleased"
    #: The store may be an older copy, and paper is paused. The NOC sees that somebody resumes it.
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
    """Who is told when an acknowledgement expires."""

    #: Somebody else, at once.
    OTHERS = "others"
    #: Whoever gave it first, and others after them.
    SELF = "self"
    #: Whoever gave it; the plan has nobody else.
    NOBODY = "nobody"


class Language(StrEnum):
    """BCP 47."""

    MALAY = "ms-MY"
    ENGLISH = "en-GB"


#: What tells somebody that something is wrong, as opposed to that it is over.
TELLS_OF_IT = frozenset({Purpose.OUTAGE, Purpose.UPDATE})

#: What is wrong with telling people. Told to the NOC, and of no interest any more when it is over.
OF_TELLING = frozenset({IncidentType.UNREACHED, IncidentType.DOUBTFUL, IncidentType.UNRELEASED, IncidentType.RESTORED})


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingOffice:
    """Who speaks in a notice: the agency (or the NOC, for our own faults). Frozen into the incident."""

    #: At most 11 characters: "JKR". What an SMS calls the agency.
    short: str
    name: str
    #: The mail domain, e.g. "jabatan-contoh.gov.my". Never put in an SMS (link-like).
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
    #: The file that a clerk has given for these letters, without an enclosure number, or "" (a line to fill in by hand).
    reference: str = ""
    signatory_name: str = ""
    signatory_post: str = ""
    #: Title of the head of department; printed after "b.p." unless the signatory is the head.
    head_title: str = ""
    contact_name: str = ""
    contact_post: str = ""
    contact_telephone: str = ""
    #: Quoted lines above the signature, changing with governments and states.
    slogans: tuple[str, ...] = ('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"')
    copies: tuple[str, ...] = ()
    #: Print "Surat ini ialah cetakan komputer dan tidak memerlukan tandatangan."
    unsigned: bool = False
    #: Add the English translation as an attachment to the letter.
    english_attachment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """To whom a page is addressed."""

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
        """Return it as it is listed."""
        return f"{self.title}, {self.organisation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a notice tells. All that wording and documents need, whatever the channel."""

    purpose: Purpose
    plan: Plan
    matter: IncidentType
    office: IssuingOffice
    #: "JKR-07": letters and few digits; the same for all notices of an incident.
    number: str
    #: When the incident began (aware UTC).
    began_at: datetime
    #: When this notice was decided on (aware UTC); printed as the date of a page.
    noticed_at: datetime
    #: Date of the notice that an update, recovery or correction refers to; `None`: none had left for staff when it was over,
    #: or it may not have arrived outside.
    first_noticed_at: datetime | None = None
    ended_at: datetime | None = None
    #: Which of the notices about the incident this is to an office outside, from 1: a page's reference ends with it, so
    #: that no two letters of an office bear the same. 0: nobody has counted.
    enclosure: int = 0
    #: That of the page of `first_noticed_at`.
    cited: int = 1
    #: What the reader of an update was told before, where something else is wrong by now.
    was: IncidentType | None = None
    #: For our own fault: what is affected, in the words of `monitor` ("peti rujukan A"); empty otherwise.
    subject: str = ""
    #: The same in English.
    subject_en: str = ""
    #: Why, where that is known; staff alone are told.
    cause: Cause | None = None
    #: Who has declared it, where no probe sees it or not all of it; staff alone are told.
    declared_by: str = ""
    #: It has gone down and up again and again, and is told only once until it is steady.
    unsteady: bool = False
    #: Whoever is told of it outside gets a follow-up on each working day on which it lasts.
    followed_up: bool = False
    #: When this notice was decided on, a duty officer could release the announcement: key 5 in a call.
    may_release: bool = False
    #: Who has taken it on (`Purpose.TAKEN`) or closed it (`Purpose.CLOSED`), or had when that expired, or has handed it on (`Purpose.OUTAGE`); "" where it is
    #: nobody's.
    by: str = ""
    handed_on: bool = False
    #: Who had the duty before whoever is told of it now that they have it (`Purpose.UPDATE`); "": nobody.
    relieved: str = ""
    #: When anything was last heard of whoever has taken it on, or had.
    heard_at: datetime | None = None
    #: When that is about to expire, and who is told then.
    until: datetime | None = None
    successors: Successors = Successors.OTHERS
    #: Of a release (`Purpose.RESULT`): how many notices arrived, whom the others did not reach, and how many letters that
    #: were issued at `first_noticed_at` are not posted.
    arrived: int = 0
    undelivered: tuple[str, ...] = ()
    unposted: int = 0

    @property
    def is_handover(self) -> bool:
        """Whether it tells somebody of the staff who comes on duty of what is still open."""
        return self.purpose is Purpose.UPDATE and self.plan is Plan.ESCALATION and self.was is None

    @property
    def is_belated(self) -> bool:
        """Whether it tells staff of something that was over before they could be told of it."""
        return self.purpose is Purpose.RECOVERY and self.plan is Plan.ESCALATION and self.first_noticed_at is None
