"""Events that change incidents: detections, and what people and time do. Data only.

`alerts.model.incident.apply` gives the incident after an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from alerts.model.contradiction import Contradiction
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A problem is detected. While the problem lasts, the event is sent again whenever its `type` changes."""

    #: Key of the problem: one open incident per key.
    dedup_key: str
    at: datetime
    type: IncidentType
    #: Start, as far as known: the first failed run.
    began_at: datetime
    #: Policy as configured now, frozen when this event opens an incident.
    policy: PolicySnapshot
    #: Mail goes down and up repeatedly: the incident stays open until the state is stable.
    flapping: bool = False
    #: Start of the part that began last, such as receiving after sending; `None`: all parts began at `began_at`.
    latest_at: datetime | None = None
    #: If the `type` has become less severe: when it did; `None`: at `at`.
    less_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declare:
    """A person reports an outage, detected or not: users cannot read or send mail."""

    #: Key of the problem: one open incident per key, declared or detected.
    dedup_key: str
    at: datetime
    by: str
    #: Type of the outage.
    type: IncidentType
    #: Start, as far as the person knows.
    began_at: datetime
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: Policy as configured now, frozen when this event opens an incident.
    policy: PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """The probes do not detect the problem any more."""

    dedup_key: str
    at: datetime
    #: End, as far as known: the first good run.
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """A person acknowledges the incident, or confirms an acknowledgement."""

    incident_id: int
    at: datetime
    by: str
    #: The assignee from whom the person takes over; `None`: it is no takeover.
    of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNote:
    """A person adds a note: somebody is at work on the incident."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the audit log, never for a notification.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate:
    """A person passes the incident on: the next staff are notified at once."""

    incident_id: int
    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The acknowledgement has expired without an answer of the assignee."""

    incident_id: int
    at: datetime


#: Actor of an automatic release, and of closing an incident that is no longer monitored.
AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A duty officer releases the announcement, or it is released automatically (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: The contradiction that the person was shown and overrides.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFalseAlarm:
    """A person marks a false alarm: nothing was wrong, and everybody notified gets a correction."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: The contradiction that the person was shown and overrides.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A person closes the incident, or it is no longer monitored (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: Whether mail works again, so that everybody notified gets a recovery. `None`: only the declaration ends, and a
    #: detected outage continues.
    recovered: bool | None = None
    #: The contradiction that the person was shown and overrides.
    despite: Contradiction | None = None


Event = Trigger | Declare | Resolve | Acknowledge | AddNote | Escalate | Expire | Release | MarkFalseAlarm | Close
