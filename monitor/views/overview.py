"""Current state for pages, API and commands, read from the store and the evaluator.

No telephone number leaves the service this way: a person's name and the channel are enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from alerts.decide.escalation import is_left_to_nobody, told_again_at
from alerts.decide.silence import Silence
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, AttemptState, Notification, NotificationState
from alerts.model.event import AUTOMATIC
from alerts.model.incident import OUTAGES, SUPPRESSED_FOR, Incident, IncidentState
from alerts.model.notification import Cause, IncidentType, Plan, Purpose
from monitor.evaluation.attribution import RunVerdict
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.window import WindowOccurrence
from monitor.planning.check_run import CheckRun, amiss, worst
from monitor.views.agency_status import AgencyStatus, standing
from monitor.views.days import Availability
from monitor.views.site_report import SiteReport
from probes.model.check import Finding, Verdict
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult

_Row = TypeVar("_Row")

#: Reason of a run that arrived, although the sender got no answer.
TAKEN_UNANSWERED = "no answer, though it was taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route and its last run."""

    name: str
    direction: Direction
    health: Health
    last_run_at: datetime | None = None
    outcome: Outcome | None = None
    #: Verdict of the last run; `None`: pending, or from before the start.
    verdict: RunVerdict | None = None
    #: Where and why the last run failed, for an operator; empty if it did not.
    reason: str = ""
    #: The same in parts.
    failure: Failure | None = None
    #: Time that the sender's server took to answer the message.
    data_seconds: float | None = None
    transit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """Latest findings of one kind of check. They say nothing about mail flow."""

    kind: str
    #: The most severe verdict; `None`: not run yet.
    verdict: Verdict | None = None
    last_run_at: datetime | None = None
    #: Number of findings that passed.
    passed: int = 0
    #: The others, the most severe first.
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyView:
    """An agency's mail."""

    agency: str
    name: str
    domain: str
    #: By direction; a direction that is not probed is missing.
    health: Mapping[Direction, Health]
    routes: Sequence[RouteView]
    checks: Sequence[CheckView] = ()
    #: Current maintenance.
    maintenance: WindowOccurrence | None = None
    #: Active silence of the agency or of one of its routes.
    silence: Silence | None = None
    #: Number of the open incident, or `None`.
    incident: str | None = None
    #: Declared type, regardless of `health`, and who declared it.
    declared: IncidentType | None = None
    declared_by: str = ""
    #: An incident that a person closed while it is still detected; or `None`.
    closed_manually: IncidentView | None = None
    #: Since when it has its status; `None`: it is up, or unknown.
    since: datetime | None = None
    #: Directions that are unknown now because of a monitoring fault or refused sign-ins; `health` has their last state.
    unobserved: Sequence[Direction] = ()
    #: An incident about sign-in is open: what `unseen` hides may be no monitoring fault.
    sign_in_refused: bool = False
    #: Status at each site, at a hub with several; empty elsewhere.
    sites: Sequence[SiteReport] = ()
    #: Type by the quorum of sites; `health` is what this site detects.
    quorum_type: IncidentType | None = None
    #: Directions that are down at some site, without a quorum.
    disputed: Sequence[Direction] = ()
    #: The process that probes it, if another one: its memory has the check findings.
    probed_by: str = ""
    #: The combined status for counts, order and filters. Computed; a given value is ignored.
    state: AgencyStatus = AgencyStatus.UNKNOWN
    #: Over 30 and 90 days; empty unless requested.
    availability: Sequence[Availability] = ()

    def __post_init__(self) -> None:
        """Compute the status, so that all views show the same. Reports have precedence over what this site detects."""
        found = [
            Health.UNKNOWN
            if self.sign_in_refused and direction in self.unobserved and health is not Health.DOWN
            else health
            for direction, health in self.health.items()
            if health is not Health.DOWN or direction not in self.disputed
        ]
        is_down = self.quorum_type in OUTAGES
        if self.disputed or (self.quorum_type is not None and not is_down):
            found.append(Health.DEGRADED)
        state = standing(
            found,
            is_declared=is_down or self.declared is not None,
            is_hidden=bool(self.unobserved) and not self.sign_in_refused,
            in_maintenance=self.maintenance is not None,
            is_silenced=self.silence is not None,
        )
        object.__setattr__(self, "state", state)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentView:
    """An incident."""

    id: int
    number: str
    #: Short code, or "" for a monitoring fault.
    agency: str
    subject: str
    type: IncidentType
    #: Cause as detected; `None`: unknown or not unique.
    cause: Cause | None = None
    state: IncidentState
    #: Detected type; `None`: nothing is detected any more.
    detected: IncidentType | None = None
    #: Who declared it.
    declared_at: datetime | None = None
    declared_by: str | None = None
    began_at: datetime
    opened_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    #: Expiry of the acknowledgement without a further answer.
    acknowledged_until: datetime | None = None
    #: The assignee at an expiry or escalation; or `None`.
    previous_assignee: str | None = None
    escalated: bool = False
    #: When staff are notified again after the last step was escalated; or `None`.
    next_notification_at: datetime | None = None
    #: "none" (no recipients outside), "waiting" (for a duty officer), "released".
    announcement: str
    released_by: str | None = None
    resolved_at: datetime | None = None
    #: Who marked it as a false alarm, or `None`.
    false_alarm_by: str | None = None
    #: Who closed it ("": no longer monitored), or `None`; and whether with a recovery.
    closed_by: str | None = None
    recovered: bool | None = None
    #: Until when a closed but still detected incident opens no new one; `None`: nothing is detected.
    suppressed_until: datetime | None = None
    #: It opened in monitor-only mode: nobody is notified of it.
    not_notified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """A notification."""

    id: int
    incident: str
    agency: str
    plan: Plan
    purpose: Purpose
    channel: Channel
    #: The recipient's name.
    person: str
    state: NotificationState
    created_at: datetime
    attempts: int
    #: The gateway's error of the last attempt.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One gateway call for a notification."""

    channel: Channel
    gateway: str
    state: AttemptState
    started_at: datetime
    ended_at: datetime | None = None
    #: The gateway's error.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDetail:
    """A notification with its incidents and all attempts."""

    notification: NotificationView
    #: Numbers of its incidents, the oldest first.
    incidents: Sequence[str]
    #: The oldest first.
    attempts: Sequence[AttemptView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage(Generic[_Row]):
    """A page of a list."""

    rows: Sequence[_Row]
    #: Id after which the next page begins, negative within the rows that come first; `None`: the last page.
    after: int | None = None


def view_incident(incident: Incident) -> IncidentView:
    """Return the view of an incident."""
    plan = incident.policy.announcement
    announcement = "none"
    if incident.released_at is not None:
        announcement = "released"
    elif plan.recipients and incident.is_open and incident.type in OUTAGES:
        announcement = "waiting"
    return IncidentView(
        id=incident.id,
        number=incident.number,
        agency=incident.policy.agency,
        subject=incident.policy.subject or incident.policy.office.name,
        type=incident.current_type if incident.is_open else incident.type,
        cause=incident.policy.cause,
        state=incident.state,
        detected=incident.detected,
        declared_at=incident.declared.at if incident.declared else None,
        declared_by=incident.declared.by if incident.declared else None,
        began_at=incident.reported_type_began_at,
        opened_at=incident.opened_at,
        acknowledged_at=incident.acknowledged_at,
        acknowledged_by=incident.acknowledged_by,
        acknowledged_until=incident.acknowledged_until,
        previous_assignee=incident.previous_assignee,
        escalated=incident.escalated,
        next_notification_at=told_again_at(incident) if incident.is_open and is_left_to_nobody(incident) else None,
        announcement=announcement,
        released_by=incident.released_by,
        resolved_at=incident.resolved_at,
        false_alarm_by=incident.false_alarm_by,
        closed_by=_closed_by(incident),
        recovered=incident.closed.recovered if incident.closed else None,
        suppressed_until=incident.suppressed_since + SUPPRESSED_FOR if incident.suppressed_since else None,
        not_notified=incident.policy.has_nobody_to_notify,
    )


def _closed_by(incident: Incident) -> str | None:
    if incident.closed is None:
        return None
    return "" if incident.closed.by == AUTOMATIC else incident.closed.by


def view_notice(notice: Notification, incident: Incident) -> NotificationView:
    """Return the view of a notification."""
    last = notice.last_attempt
    return NotificationView(
        id=notice.id,
        # For a bundle the first number, and how many more.
        incident=incident.number + (f" +{notice.tells_of - 1}" if notice.tells_of > 1 else ""),
        agency=incident.policy.agency,
        plan=notice.plan,
        purpose=notice.purpose,
        channel=notice.channel,
        person=incident.reader(notice),
        state=notice.state,
        created_at=notice.created_at,
        attempts=len(notice.attempts),
        reason=_why(last) if last else "",
    )


def view_detail(notice: Notification, incident: Incident, numbers: Mapping[int, str]) -> NotificationDetail:
    """Return the detailed view of a notification. *numbers*: of its incidents, by id."""
    return NotificationDetail(
        notification=view_notice(notice, incident),
        incidents=[numbers[each] for each in notice.incident_ids if each in numbers],
        attempts=[
            AttemptView(
                channel=delivery.address.channel,
                gateway=attempt.gateway,
                state=attempt.state,
                started_at=attempt.started_at,
                ended_at=attempt.ended_at,
                reason=_why(attempt),
            )
            for delivery in notice.deliveries
            for attempt in delivery.attempts
        ],
    )


def _why(attempt: Attempt) -> str:
    """Return why an attempt failed, in the gateway's words of ours: without a number."""
    if not attempt.error:
        return ""
    return " ".join(filter(None, (attempt.detail, f"({attempt.code})" if attempt.code else "")))


def view_route(
    name: str, direction: Direction, health: Health, last: ProbeResult | None, verdict: RunVerdict | None = None
) -> RouteView:
    """Return the view of a route."""
    if last is None:
        return RouteView(name=name, direction=direction, health=health)
    data, transit = last.phases.get(Phase.DATA), last.phases.get(Phase.TRANSIT)
    return RouteView(
        name=name,
        direction=direction,
        health=health,
        last_run_at=last.started_at + last.duration,
        outcome=last.outcome,
        verdict=verdict,
        reason=why_failed(last),
        failure=_failure_of(last),
        data_seconds=None if data is None else round(data.total_seconds(), 3),
        transit_seconds=None if transit is None else round(transit.total_seconds(), 3),
    )


def why_failed(result: ProbeResult) -> str:
    """Return where and why a run failed, for an operator; "" if it did not."""
    failure = _failure_of(result)
    if failure is None:
        return ""
    code = f" {failure.code}" if failure.code else ""
    detail = f": {failure.detail}" if failure.detail else ""
    return f"{failure.phase} ({failure.party}){code}: {failure.reason}{detail}"


def _failure_of(result: ProbeResult) -> Failure | None:
    if result.failure is None and result.uncertain:
        return Failure(phase=Phase.DATA, party=Party.SENDER, reason=TAKEN_UNANSWERED)
    return result.failure


def view_checks(latest: Mapping[str, CheckRun | None]) -> Sequence[CheckView]:
    """Return the views of the latest check runs.

    A kind without anything to check is left out (reference mailboxes have no domain of ours): that is no pass.
    """
    return [
        CheckView(kind=kind)
        if inspection is None
        else CheckView(
            kind=kind,
            verdict=worst(inspection.findings),
            last_run_at=inspection.at,
            passed=len(inspection.findings) - len(odd := amiss(inspection.findings)),
            findings=odd,
        )
        for kind, inspection in latest.items()
        if inspection is None or inspection.findings
    ]
