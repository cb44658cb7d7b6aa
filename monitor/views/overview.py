"""Views of the current state for pages, API and commands: agencies, routes, checks, incidents, notifications.

The API returns the views as JSON, so that their fields keep their names. The views contain no telephone numbers: a
person's name and the channel are enough. A route leads from one mailbox to another; its direction (internal, outbound,
inbound) is seen from the agency. A hub is an installation that decides for several sites (places from which mail is
probed); its quorum is the number of sites that have to agree. A person may declare an outage that no probe finds.
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

#: Failure reason of a run whose message arrived, although the sender's server did not answer the submission.
ACCEPTED_WITHOUT_ANSWER = "accepted without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route and its last run."""

    #: For example "JCM/outbound/rujukan-a".
    name: str
    direction: Direction
    health: Health
    #: End of the last run; `None`, as for its other fields: no run is known.
    last_run_at: datetime | None = None
    #: Outcome of the last run.
    outcome: Outcome | None = None
    #: Verdict on the last run, also by whose fault it failed; `None`: pending, or the run is older than the process.
    verdict: RunVerdict | None = None
    #: Where and why the last run failed, as text for an operator; empty if the run did not fail.
    reason: str = ""
    #: Where and why the last run failed, as data.
    failure: Failure | None = None
    #: Time that the sender's server took to answer the message (SMTP DATA).
    data_seconds: float | None = None
    #: Time from the acceptance of the message until it was in the mailbox.
    transit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """Latest findings of one kind of check, a probe that sends no message and does not decide health."""

    kind: str
    #: Verdict of the most severe finding; `None`: not run yet.
    verdict: Verdict | None = None
    last_run_at: datetime | None = None
    #: Number of findings that passed.
    passed: int = 0
    #: Findings that did not pass, the most severe first.
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyView:
    """State of an agency's mail."""

    #: The agency's code.
    agency: str
    name: str
    #: Mail domain.
    domain: str
    #: Health of each probed direction.
    health: Mapping[Direction, Health]
    routes: Sequence[RouteView]
    checks: Sequence[CheckView] = ()
    #: Current maintenance window.
    maintenance: WindowOccurrence | None = None
    #: Active silence of the agency or of one of its routes.
    silence: Silence | None = None
    #: Number of the agency's open incident; `None`: no incident is open.
    incident: str | None = None
    #: Type of outage that a person has declared, independent of `health`, and the person's name.
    declared: IncidentType | None = None
    declared_by: str = ""
    #: Incident that a person closed although probes still detect the problem; `None`: there is none.
    closed_manually: IncidentView | None = None
    #: Since when the agency has the status `state`; `None`: the agency is up or unknown.
    since: datetime | None = None
    #: Directions that cannot be evaluated now because of a monitoring fault (a fault of Pantau) or refused sign-ins;
    #: `health` has their last known health.
    unobserved: Sequence[Direction] = ()
    #: Whether an incident about sign-in is open. Then the agency's server, and not a monitoring fault, may be the
    #: reason of `unobserved`.
    sign_in_refused: bool = False
    #: Status at each site, if this process is a hub with several sites; otherwise empty.
    sites: Sequence[SiteReport] = ()
    #: Type of problem on which a quorum of sites agrees; `None`: on none. `health` is what this site alone detects.
    quorum_type: IncidentType | None = None
    #: Directions that are down at too few sites for a quorum.
    disputed: Sequence[Direction] = ()
    #: Name of the process that probes the agency; only that process has the findings of checks. "": this process.
    probed_by: str = ""
    #: Combined status for counts, order and filters, computed in `__post_init__`.
    state: AgencyStatus = AgencyStatus.UNKNOWN
    #: Availability over 30 and over 90 days; empty unless requested.
    availability: Sequence[Availability] = ()

    def __post_init__(self) -> None:
        """Compute `state`, so that all views show the same status.

        At a hub, the quorum of sites takes precedence over what this site detects. A disputed direction counts as
        degraded. A direction that cannot be evaluated because of refused sign-ins counts as unknown, unless it is down.
        """
        healths = [
            Health.UNKNOWN
            if self.sign_in_refused and direction in self.unobserved and health is not Health.DOWN
            else health
            for direction, health in self.health.items()
            if health is not Health.DOWN or direction not in self.disputed
        ]
        is_quorum_outage = self.quorum_type in OUTAGES
        if self.disputed or (self.quorum_type is not None and not is_quorum_outage):
            healths.append(Health.DEGRADED)
        state = agency_status(
            healths,
            is_reported_down=is_quorum_outage or self.declared is not None,
            has_monitoring_fault=bool(self.unobserved) and not self.sign_in_refused,
            in_maintenance=self.maintenance is not None,
            is_silenced=self.silence is not None,
        )
        object.__setattr__(self, "state", state)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentView:
    """An incident."""

    id: int
    number: str
    #: Code of the agency; "" for a monitoring fault.
    agency: str
    #: The affected system, or part of Pantau; by default the name of the affected office.
    subject: str
    type: IncidentType
    #: Detected cause; `None`: unknown, or there are several.
    cause: Cause | None = None
    state: IncidentState
    #: Type that probes detect now; `None`: probes detect no problem any more.
    detected: IncidentType | None = None
    #: When a person declared the outage, and who; `None`: nobody did.
    declared_at: datetime | None = None
    declared_by: str | None = None
    #: When the problem that is reported now began: if mail became worse, later than the incident's first problem.
    began_at: datetime
    #: When Pantau opened the incident.
    opened_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    #: Expiry of the acknowledgement without a further response.
    acknowledged_until: datetime | None = None
    #: Assignee whose acknowledgement expired, or person who escalated; `None`: neither happened.
    previous_assignee: str | None = None
    #: Whether `previous_assignee` escalated.
    escalated: bool = False
    #: When staff are notified next, if a person has escalated and the policy has no further person; otherwise `None`.
    next_notification_at: datetime | None = None
    #: Whether recipients outside are informed: "waiting" until a duty officer releases (approves) the announcement,
    #: then "released"; "none" if there is nothing to release.
    announcement: str
    released_by: str | None = None
    resolved_at: datetime | None = None
    #: Who marked the incident as a false alarm; `None`: nobody did.
    false_alarm_by: str | None = None
    #: Who closed the incident; "": Pantau did, because its subject is not monitored any more; `None`: nobody.
    closed_by: str | None = None
    #: Whether mail works again, as stated at the closure; `None`: the incident was not closed.
    recovered: bool | None = None
    #: If a person ended the incident while its problem was detected: until when the same problem opens no new incident.
    suppressed_until: datetime | None = None
    #: Whether the incident opened in monitor-only mode, so that nobody is notified of it.
    not_notified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """A notification: one message to one person."""

    id: int
    #: Number of the incident; for a bundle (a notification about several incidents) with the count of the others:
    #: "JCM-01 +2".
    incident: str
    #: Code of the agency; "" for a monitoring fault.
    agency: str
    #: Whether the notification belongs to the escalation to staff or to the announcement to offices outside.
    plan: Plan
    #: Why the notification is sent, for example that an outage began or ended.
    purpose: Purpose
    channel: Channel
    #: The recipient's name.
    person: str
    state: NotificationState
    created_at: datetime
    #: Number of requests to gateways.
    attempts: int
    #: Error of the last attempt; "": it had none.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One request to a gateway to send a notification."""

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
    #: Attempts in order, the oldest first.
    attempts: Sequence[AttemptView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage(Generic[_Row]):
    """A page of a list."""

    rows: Sequence[_Row]
    #: Cursor of the next page; `None`: this is the last page. The cursor is the id of the last row, negated if that row
    #: is in the group that is sorted first (open incidents).
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


def view_notification(notification: Notification, incident: Incident) -> NotificationView:
    """Return the view of a notification."""
    last = notification.last_attempt
    return NotificationView(
        id=notification.id,
        incident=incident.number + (f" +{notification.incident_count - 1}" if notification.incident_count > 1 else ""),
        agency=incident.policy.agency,
        plan=notification.plan,
        purpose=notification.purpose,
        channel=notification.channel,
        person=incident.reader_name(notification),
        state=notification.state,
        created_at=notification.created_at,
        attempts=len(notification.attempts),
        reason=_attempt_error(last) if last else "",
    )


def view_detail(notification: Notification, incident: Incident, numbers: Mapping[int, str]) -> NotificationDetail:
    """Return the detailed view of a notification. *numbers*: the numbers of its incidents, by incident id."""
    return NotificationDetail(
        notification=view_notification(notification, incident),
        incidents=[numbers[each] for each in notification.incident_ids if each in numbers],
        attempts=[
            AttemptView(
                channel=delivery.address.channel,
                gateway=attempt.gateway,
                state=attempt.state,
                started_at=attempt.started_at,
                ended_at=attempt.ended_at,
                reason=_attempt_error(attempt),
            )
            for delivery in notification.deliveries
            for attempt in delivery.attempts
        ],
    )


def _attempt_error(attempt: Attempt) -> str:
    """Return why an attempt failed, with the provider's error code; "" if it did not fail."""
    if not attempt.error:
        return ""
    return " ".join(filter(None, (attempt.detail, f"({attempt.code})" if attempt.code else "")))


def view_route(
    name: str, direction: Direction, health: Health, last: ProbeResult | None, verdict: RunVerdict | None = None
) -> RouteView:
    """Return the view of a route. *last*: its last run; `None`: no run is known."""
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
    """Return where and why a run failed, for an operator; "" if the run did not fail."""
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
    """Return the views of the latest check runs, by kind of check; `None`: the check has not run yet.

    Leave out a check that ran and had nothing to examine, because such a check has not passed: for example, the check
    of the domain of a reference mailbox (a mailbox of Pantau outside the agencies) that has no domain.
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
