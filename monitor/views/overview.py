"""Views of the current state for pages, API and commands: agencies, routes, checks, incidents, notifications.

They contain no telephone numbers: a person's name and the channel are enough. A route leads from one mailbox to
another; its direction is seen from the agency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from alerts.decide.escalation import has_no_next_person, next_notification_at
from alerts.decide.silence import Silence
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, AttemptState, Notification, NotificationState
from alerts.model.event import AUTOMATIC
from alerts.model.incident import OUTAGES, SUPPRESSION_PERIOD, Incident, IncidentState
from alerts.model.notification import Cause, IncidentType, Plan, Purpose
from monitor.evaluation.attribution import RunVerdict
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.window import WindowOccurrence
from monitor.planning.check_run import CheckRun, problem_findings, worst_verdict
from monitor.views.agency_status import AgencyStatus, agency_status
from monitor.views.days import Availability
from monitor.views.site_report import SiteReport
from probes.model.check import Finding, Verdict
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult

_Row = TypeVar("_Row")

#: Reason of a run whose message arrived, although the server did not answer when it was submitted.
ACCEPTED_WITHOUT_ANSWER = "no answer, though it was taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route and its last run."""

    name: str
    direction: Direction
    health: Health
    last_run_at: datetime | None = None
    outcome: Outcome | None = None
    #: Verdict of the last run; `None`: pending, or the run is older than the process.
    verdict: RunVerdict | None = None
    #: Where and why the last run failed, for an operator; empty if it did not.
    reason: str = ""
    #: The same as data.
    failure: Failure | None = None
    #: Time that the sender's server took to answer the message (SMTP DATA).
    data_seconds: float | None = None
    transit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """Latest findings of one kind of check, a probe that sends no message and does not decide health."""

    kind: str
    #: The most severe verdict; `None`: not run yet.
    verdict: Verdict | None = None
    last_run_at: datetime | None = None
    #: Number of findings that passed.
    passed: int = 0
    #: Findings that did not pass, the most severe first.
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
    #: Current maintenance window.
    maintenance: WindowOccurrence | None = None
    #: Active silence of the agency or of one of its routes.
    silence: Silence | None = None
    #: Number of its open incident; `None`: none.
    incident: str | None = None
    #: Type of outage that a person has declared, whatever `health` is, and who declared it.
    declared: IncidentType | None = None
    declared_by: str = ""
    #: An incident that a person closed while it is still detected; or `None`.
    closed_manually: IncidentView | None = None
    #: Since when it has its status; `None`: it is up or unknown.
    since: datetime | None = None
    #: Directions that cannot be evaluated now because of a monitoring fault or refused sign-ins; `health` has their
    #: last state.
    unobserved: Sequence[Direction] = ()
    #: An incident about sign-in is open: the agency's server, and no monitoring fault, may be the reason of
    #: `unobserved`.
    sign_in_refused: bool = False
    #: Status at each site, at a hub with several; empty elsewhere.
    sites: Sequence[SiteReport] = ()
    #: Type by the quorum of sites; `health` is what this site detects.
    quorum_type: IncidentType | None = None
    #: Directions that are down at some site, without a quorum.
    disputed: Sequence[Direction] = ()
    #: The process that probes it, if another one: its memory has the check findings.
    probed_by: str = ""
    #: The combined status for counts, order and filters. It is computed in `__post_init__`; a given value is ignored.
    state: AgencyStatus = AgencyStatus.UNKNOWN
    #: Over 30 and 90 days; empty unless requested.
    availability: Sequence[Availability] = ()

    def __post_init__(self) -> None:
        """Compute `state`, so that all views show the same.

        At a hub the quorum of sites takes precedence over what this site detects.
        """
        healths = [
            Health.UNKNOWN
            if self.sign_in_refused and direction in self.unobserved and health is not Health.DOWN
            else health
            for direction, health in self.health.items()
            if health is not Health.DOWN or direction not in self.disputed
        ]
        is_down = self.quorum_type in OUTAGES
        if self.disputed or (self.quorum_type is not None and not is_down):
            healths.append(Health.DEGRADED)
        state = agency_status(
            healths,
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
    #: Expiry of the acknowledgement without a further response.
    acknowledged_until: datetime | None = None
    #: Assignee whose acknowledgement expired, or person who escalated; `None`: neither.
    previous_assignee: str | None = None
    #: Whether `previous_assignee` escalated.
    escalated: bool = False
    #: If a person has escalated and the policy has nobody else: when staff are notified next. Otherwise `None`.
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
    #: Whether it opened in monitor-only mode, so that nobody is notified of it.
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
    #: Error of the last attempt; "": none.
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
    #: Cursor of the next page: id of the last row, negative while rows that are sorted first remain; `None`: no more.
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
        next_notification_at=next_notification_at(incident)
        if incident.is_open and has_no_next_person(incident)
        else None,
        announcement=announcement,
        released_by=incident.released_by,
        resolved_at=incident.resolved_at,
        false_alarm_by=incident.false_alarm_by,
        closed_by=_closed_by(incident),
        recovered=incident.closed.recovered if incident.closed else None,
        suppressed_until=incident.suppressed_since + SUPPRESSION_PERIOD if incident.suppressed_since else None,
        not_notified=incident.policy.has_nobody_to_notify,
    )


def _closed_by(incident: Incident) -> str | None:
    if incident.closed is None:
        return None
    return "" if incident.closed.by == AUTOMATIC else incident.closed.by


def view_notification(notice: Notification, incident: Incident) -> NotificationView:
    """Return the view of a notification."""
    last = notice.last_attempt
    return NotificationView(
        id=notice.id,
        # For a bundle: "JCM-01 +2".
        incident=incident.number + (f" +{notice.incident_count - 1}" if notice.incident_count > 1 else ""),
        agency=incident.policy.agency,
        plan=notice.plan,
        purpose=notice.purpose,
        channel=notice.channel,
        person=incident.reader_name(notice),
        state=notice.state,
        created_at=notice.created_at,
        attempts=len(notice.attempts),
        reason=_attempt_error(last) if last else "",
    )


def view_detail(notice: Notification, incident: Incident, numbers: Mapping[int, str]) -> NotificationDetail:
    """Return the detailed view of a notification. *numbers*: of its incidents, by id."""
    return NotificationDetail(
        notification=view_notification(notice, incident),
        incidents=[numbers[each] for each in notice.incident_ids if each in numbers],
        attempts=[
            AttemptView(
                channel=delivery.address.channel,
                gateway=attempt.gateway,
                state=attempt.state,
                started_at=attempt.started_at,
                ended_at=attempt.ended_at,
                reason=_attempt_error(attempt),
            )
            for delivery in notice.deliveries
            for attempt in delivery.attempts
        ],
    )


def _attempt_error(attempt: Attempt) -> str:
    """Return why an attempt failed, with the provider's code, and without a telephone number; "" if it did not."""
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
        reason=failure_text(last),
        failure=_failure_of(last),
        data_seconds=None if data is None else round(data.total_seconds(), 3),
        transit_seconds=None if transit is None else round(transit.total_seconds(), 3),
    )


def failure_text(result: ProbeResult) -> str:
    """Return where and why a run failed, for an operator; "" if it did not."""
    failure = _failure_of(result)
    if failure is None:
        return ""
    code = f" {failure.code}" if failure.code else ""
    detail = f": {failure.detail}" if failure.detail else ""
    return f"{failure.phase} ({failure.party}){code}: {failure.reason}{detail}"


def _failure_of(result: ProbeResult) -> Failure | None:
    if result.failure is None and result.uncertain:
        return Failure(phase=Phase.DATA, party=Party.SENDER, reason=ACCEPTED_WITHOUT_ANSWER)
    return result.failure


def view_checks(latest: Mapping[str, CheckRun | None]) -> Sequence[CheckView]:
    """Return the views of the latest check runs.

    A kind of check that had nothing to examine, as for a reference mailbox without a domain, is left out, because it
    has not passed.
    """
    return [
        CheckView(kind=kind)
        if check_run is None
        else CheckView(
            kind=kind,
            verdict=worst_verdict(check_run.findings),
            last_run_at=check_run.at,
            passed=len(check_run.findings) - len(problems := problem_findings(check_run.findings)),
            findings=problems,
        )
        for kind, check_run in latest.items()
        if check_run is None or check_run.findings
    ]
