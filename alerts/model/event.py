"""What the outside world may tell us about a problem. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from alerts.model.contradiction import Contradiction
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Something is wrong. Repeated for as long as it is; a worse `matter` is news, and so is a lesser one that lasts."""

    #: What the trouble is about: one open incident a key.
    dedup_key: str
    at: datetime
    matter: IncidentType
    #: When it began, as far as is known: the first failing run.
    began_at: datetime
    #: Who is to be told, as configured now. Frozen into the incident if this opens one.
    brief: PolicySnapshot
    #: It has gone down and up again and again; the incident will stay open until it is steady.
    unsteady: bool = False
    #: When the latest of what is wrong began; `None`: all of it at `began_at`.
    latest_at: datetime | None = None
    #: Where less is wrong by now than was told: since when; `None`: since just now.
    less_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declare:
    """A person knows of an outage, whatever is measured: users cannot read or send mail."""

    #: What the trouble is about: one open incident a key, declared or measured.
    dedup_key: str
    at: datetime
    by: str
    #: An outage.
    matter: IncidentType
    #: Since when, as far as the person knows.
    began_at: datetime
    #: In the person's words; for the journal, never for a notice.
    why: str
    #: Who is to be told, as configured now. Frozen into the incident if this opens one.
    brief: PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """The trouble is over, as far as it is measured."""

    dedup_key: str
    at: datetime
    #: When it ended, as far as is known: the first good run.
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """A person has taken the incident on; or says again that they have it."""

    incident_id: int
    at: datetime
    by: str
    #: Whom they take it over from: they have come on duty, or say so.
    of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNote:
    """A person says something about the incident: somebody is at work on it."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the journal, never for a notice.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate:
    """A person does not have it, or not any more: the next of the staff are to be told at once."""

    incident_id: int
    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The acknowledgement has come to its end: whoever has taken the incident on was not heard of since."""

    incident_id: int
    at: datetime


#: In whose name an announcement is released that waits for nobody, and an incident closed that nobody watches any more.
AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A duty officer lets the announcement go out; or it goes by itself (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: What the person was shown, and orders it in spite of.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFalseAlarm:
    """A person has found that it was a false alarm: nothing was wrong, and whoever was told must hear so."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the journal, never for a notice.
    why: str
    #: What the person was shown, and orders it in spite of.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A person says that it is over; or nobody watches any more what it is about (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the journal, never for a notice.
    why: str
    #: Whether mail works again, and whoever was told hears so. `None`: it does as far as it was declared, and what is measured
    #: goes on.
    recovered: bool | None = None
    #: What the person was shown, and orders it in spite of.
    despite: Contradiction | None = None


Event = Trigger | Declare | Resolve | Acknowledge | AddNote | Escalate | Expire | Release | MarkFalseAlarm | Close
