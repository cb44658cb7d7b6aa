"""A notice: one message to one person about an incident, and the facts it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """Which of an incident's two plans a notice belongs to."""

    #: Tells staff, step by step, and stops at acknowledgement.
    ESCALATION = "escalation"
    #: Tells the agency's listed recipients; waits for release and ends with recovery or a correction.
    ANNOUNCEMENT = "announcement"


class Purpose(StrEnum):
    """Why a notice is sent."""

    OUTAGE = "outage"
    #: It still lasts, or is something else by now: whoever was told of it is told so, and whoever comes on duty.
    UPDATE = "update"
    RECOVERY = "recovery"
    CORRECTION = "correction"
    #: An outage lasts: whoever has taken it on is asked whether the announcement may go out.
    RELEASE = "release"
    #: Somebody has taken it on: the others of the staff who were told hear who.
    TAKEN = "taken"
    #: An acknowledgement is about to expire: whoever has taken the incident on is asked to say that they have it.
    REMINDER = "reminder"
    #: It was closed, and nobody says that mail works again: the staff who were told of it hear who has.
    CLOSED = "closed"
    #: What came of a release: whoever released the announcement is told how much arrived, and what is not posted.
    RESULT = "result"
    DRILL = "drill"


class IncidentType(StrEnum):
    """What an incident is about. Decides the words, and whether anybody outside hears of it."""

    #: Nothing can be sent and nothing can be received.
    BOTH = "both"
    SENDING = "sending"
    RECEIVING = "receiving"
    #: Mail is slow, lands in junk, or gives errors to who sends: staff hear of it, nobody outside.
    DEGRADED = "degraded"
    #: Our accounts are refused, and perhaps everybody's: staff hear of it, nobody outside.
    SIGN_IN = "sign_in"
    #: The monitoring's own network, reference mailbox or account: only the NOC is notified.
    MONITORING_FAULT = "monitoring_fault"
    #: An incident that nobody has taken on, or a recipient who could not be told: only the NOC hears of it.
    UNREACHED = "unreached"
    #: A notice of which no machine can say whether it arrived: the NOC is asked to find out.
    DOUBTFUL = "doubtful"
    #: An announcement that nobody releases: the NOC is asked to see that somebody decides.
    UNRELEASED = "unreleased"
    #: The store may be an older copy, and paper waits: the NOC is asked to see that somebody looks and lets it go.
    RESTORED = "restored"
    #: An alert of the NOC's own monitoring, which Alertmanager brings: staff hear of it, nobody outside. No agency's mail.
    ALERT = "alert"

    @classmethod
    def _missing_(cls, value: object) -> IncidentType | None:
        """Return the member for the value that databases of 0.2.0 have."""
        return cls.MONITORING_FAULT if value == "own_fault" else None


class Cause(StrEnum):
    """Why mail fails, as far as was seen: in words that whoever is woken up understands."""

    #: The mail server's name is not found.
    DNS = "dns"
    #: It refuses the connection, or cannot be reached.
    CONNECT = "connect"
    #: It does not answer, or hangs up.
    TIMEOUT = "timeout"
    #: It offers no encryption that can be trusted.
    TLS = "tls"
    #: Its certificate has expired, or is another's.
    CERTIFICATE = "certificate"
    #: It lets nobody sign in.
    AUTH = "auth"
    #: It refuses messages.
    REJECTED = "rejected"
    #: It takes messages, and they come back.
    BOUNCED = "bounced"
    #: It takes messages, and they do not arrive.
    LOST = "lost"
    #: They arrive changed.
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
