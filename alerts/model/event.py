"""Events that change incidents: detections, actions of people, and expiries. Data only.

`alerts.model.incident.apply` returns the incident after an event. A *release* approves the announcement, which is the
notification of offices outside the agency by fax and letter. In all events `at` is the time of the event, and `by` the
name of the person as the audit log shows it.
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
    #: Start of the problem, as far as known: start of the first failed run (probe message).
    began_at: datetime
    #: Notification policy as configured now. It is frozen into an incident that this event opens.
    policy: PolicySnapshot
    #: Mail goes down and up repeatedly: the incident stays open until the state is stable.
    flapping: bool = False
    #: Start of the part of the problem that began last, such as receiving after sending; `None`: at `began_at`.
    latest_part_began_at: datetime | None = None
    #: When the problem became less severe, if `type` is less severe than before; `None`: at `at`.
    less_severe_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declare:
    """A person reports an outage, detected or not: users cannot read or send mail."""

    #: Key of the problem: one open incident per key, declared or detected.
    dedup_key: str
    at: datetime
    by: str
    type: IncidentType
    #: Start, as far as the person knows.
    began_at: datetime
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: Notification policy as configured now. It is frozen into an incident that this event opens.
    policy: PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """The probes do not detect the problem any more, or the alert has ended."""

    dedup_key: str
    at: datetime
    #: End, as far as known: the first good run.
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """A person acknowledges the incident, or extends their earlier acknowledgement."""

    incident_id: int
    at: datetime
    by: str
    #: The assignee from whom the person takes over the incident; `None`: it is no takeover.
    previous_assignee: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNote:
    """A person adds a note to the incident."""

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
    """The acknowledgement has expired, because the assignee did not respond to the reminder."""

    incident_id: int
    at: datetime


#: Value of `by` for an automatic release, and for closing an incident whose agency is no longer monitored.
AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A duty officer releases the announcement, or it is released automatically (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: Contradiction to the newest runs that the person has seen and overrides; `None`: there was none.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFalseAlarm:
    """A person marks a false alarm: nothing was wrong, and everybody notified gets a correction."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: Contradiction to the newest runs that the person has seen and overrides; `None`: there was none.
    despite: Contradiction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A person closes the incident, or it is closed because its agency is no longer monitored (`AUTOMATIC`)."""

    incident_id: int
    at: datetime
    by: str
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    #: Whether mail works again, so that everybody notified gets a recovery. `None`: the person only ends a declaration,
    #: and the incident stays open if the probes detect an outage.
    recovered: bool | None = None
    #: Contradiction to the newest runs that the person has seen and overrides; `None`: there was none.
    despite: Contradiction | None = None


Event = Trigger | Declare | Resolve | Acknowledge | AddNote | Escalate | Expire | Release | MarkFalseAlarm | Close
