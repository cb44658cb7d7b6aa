"""How things stand, for people: what the page, the API and the command line show. Read from the store and the judge.

No telephone number leaves the service this way: a person's name and the channel say enough.
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
from alerts.model.incident import HOLDS_FOR, OUTAGES, Incident, IncidentState
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

#: Of a run that arrived whole, and whose sender was left without a word.
TAKEN_UNANSWERED = "no answer, though it was taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route and its last run."""

    name: str
    direction: Direction
    health: Health
    last_run_at: datetime | None = None
    outcome: Outcome | None = None
    #: What the last run is counted as; `None`: it waits for a proof, or ended before Pantau was started.
    verdict: RunVerdict | None = None
    #: Where and why the last run failed, in words for an operator; empty if it did not.
    reason: str = ""
    #: The same in its parts.
    failure: Failure | None = None
    #: How long the sender's server took to answer for the message.
    data_seconds: float | None = None
    transit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """What one kind of check last found. It says nothing about whether mail flows."""

    kind: str
    #: The gravest of all; `None`: not looked at yet.
    verdict: Verdict | None = None
    last_run_at: datetime | None = None
    #: How many things are as they should be.
    passed: int = 0
    #: Those that are not, the gravest first.
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
    #: What is going on while its mail may be down.
    maintenance: WindowOccurrence | None = None
    #: By whose order nobody is told about it, or about one of its routes, for a while.
    silence: Silence | None = None
    #: Number of the open incident, or `None`.
    incident: str | None = None
    #: What people have declared, whatever `health` says of what is measured, and who has.
    declared: IncidentType | None = None
    declared_by: str = ""
    #: The incident that a person has ended by hand, while the probes see it still; or `None`.
    closed_manually: IncidentView | None = None
    #: Since when it is as bad as that; `None`: it is not, or nobody knows.
    since: datetime | None = None
    #: The directions of which, for a fault of ours or because sign-in is refused, nothing is known now; `health` has what was
    #: judged last.
    unobserved: Sequence[Direction] = ()
    #: People were told that perhaps nobody can sign in: what `unseen` hides may be no fault of ours.
    sign_in_refused: bool = False
    #: What each site says of it, at a hub that hears several; empty elsewhere.
    sites: Sequence[SiteReport] = ()
    #: What is wrong with it as enough sites say, or have said and not taken back: `health` is what this one measures.
    quorum_type: IncidentType | None = None
    #: The directions that are down as this site measures or another says, and not enough say so.
    disputed: Sequence[Direction] = ()
    #: The process that probes it, where that is another than the one that answers: what the checks found is in its memory.
    probed_by: str = ""
    #: All of that in one word, by which agencies are counted, sorted and asked for. It is found; what is given is not heeded.
    state: AgencyStatus = AgencyStatus.UNKNOWN
    #: Over 30 and 90 days; empty where it is not asked for.
    availability: Sequence[Availability] = ()

    def __post_init__(self) -> None:
        """Find the state: whoever shows an agency shows the same. What is told of it goes before what this site measures."""
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
    #: Short code, or "" for something of ours.
    agency: str
    subject: str
    matter: IncidentType
    #: Why mail fails or failed, as far as was seen; `None`: it was not, or there is no single one.
    cause: Cause | None = None
    state: IncidentState
    #: What the probes see of it; `None`: nothing, or nothing any more.
    measured: IncidentType | None = None
    #: Whose word it is open by, or was.
    declared_at: datetime | None = None
    declared_by: str | None = None
    began_at: datetime
    opened_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    #: When that expires if nothing is heard of them.
    acknowledged_until: datetime | None = None
    #: Who had taken it on when that expired, or has handed it on; or `None`.
    had_by: str | None = None
    handed_on: bool = False
    #: When staff are told again, where the last of the plan has handed it on; or `None`.
    told_again_at: datetime | None = None
    #: "none" (nobody outside is to hear of it), "waiting" (for a duty officer), "released".
    announcement: str
    released_by: str | None = None
    resolved_at: datetime | None = None
    #: Who declared it a false alarm, or `None`.
    corrected_by: str | None = None
    #: Who closed it ("": nobody watches it any more), or `None`; and whether they said that mail works again.
    closed_by: str | None = None
    recovered: bool | None = None
    #: Until when what is measured of it, though a person has ended it, opens no new one by itself; `None`: nothing is.
    held_until: datetime | None = None
    #: It opened while mail was only watched: nobody is told of it.
    untold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """A notice."""

    id: int
    incident: str
    agency: str
    plan: Plan
    purpose: Purpose
    channel: Channel
    #: Whose name it goes to.
    person: str
    state: NotificationState
    created_at: datetime
    attempts: int
    #: The gateway's word on the last attempt, if it failed.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One call of one gateway for a notice."""

    channel: Channel
    gateway: str
    state: AttemptState
    started_at: datetime
    ended_at: datetime | None = None
    #: The gateway's word, if it failed.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDetail:
    """A notice, all that it tells of, and every attempt to bring it."""

    notice: NotificationView
    #: Numbers of the incidents that it tells of, the oldest first.
    incidents: Sequence[str]
    #: The oldest first.
    attempts: Sequence[AttemptView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage(Generic[_Row]):
    """A page of a list."""

    rows: Sequence[_Row]
    #: After which id the next page begins, negative where its row is among those that come first; `None`: this is the last.
    after: int | None = None


def view_incident(incident: Incident) -> IncidentView:
    """Return what people are shown of an incident."""
    plan = incident.brief.announcement
    announcement = "none"
    if incident.released_at is not None:
        announcement = "released"
    elif plan.recipients and incident.is_open and incident.matter in OUTAGES:
        announcement = "waiting"
    return IncidentView(
        id=incident.id,
        number=incident.number,
        agency=incident.brief.agency,
        subject=incident.brief.subject or incident.brief.office.name,
        matter=incident.present if incident.is_open else incident.matter,
        cause=incident.brief.cause,
        state=incident.state,
        measured=incident.measured,
        declared_at=incident.declared.at if incident.declared else None,
        declared_by=incident.declared.by if incident.declared else None,
        began_at=incident.told_began_at,
        opened_at=incident.opened_at,
        acknowledged_at=incident.acknowledged_at,
        acknowledged_by=incident.acknowledged_by,
        acknowledged_until=incident.acknowledged_until,
        had_by=incident.had_by,
        handed_on=incident.handed_on,
        told_again_at=told_again_at(incident) if incident.is_open and is_left_to_nobody(incident) else None,
        announcement=announcement,
        released_by=incident.released_by,
        resolved_at=incident.resolved_at,
        corrected_by=incident.corrected_by,
        closed_by=_closed_by(incident),
        recovered=incident.closed.recovered if incident.closed else None,
        held_until=incident.held_since + HOLDS_FOR if incident.held_since else None,
        untold=incident.brief.tells_nobody,
    )


def _closed_by(incident: Incident) -> str | None:
    if incident.closed is None:
        return None
    return "" if incident.closed.by == AUTOMATIC else incident.closed.by


def view_notice(notice: Notification, incident: Incident) -> NotificationView:
    """Return what people are shown of a notice."""
    last = notice.last_attempt
    return NotificationView(
        id=notice.id,
        # Of a bundle the first, and how many more.
        incident=incident.number + (f" +{notice.tells_of - 1}" if notice.tells_of > 1 else ""),
        agency=incident.brief.agency,
        plan=notice.plan,
        purpose=notice.purpose,
        channel=notice.channel,
        person=incident.reader(notice),
        state=notice.state,
        created_at=notice.created_at,
        attempts=len(notice.attempts),
        why=_why(last) if last else "",
    )


def view_detail(notice: Notification, incident: Incident, numbers: Mapping[int, str]) -> NotificationDetail:
    """Return all that people are shown of a notice. *numbers*: of the incidents that it tells of, by their ids."""
    return NotificationDetail(
        notice=view_notice(notice, incident),
        incidents=[numbers[each] for each in notice.incident_ids if each in numbers],
        attempts=[
            AttemptView(
                channel=delivery.address.channel,
                gateway=attempt.gateway,
                state=attempt.state,
                started_at=attempt.started_at,
                ended_at=attempt.ended_at,
                why=_why(attempt),
            )
            for delivery in notice.deliveries
            for attempt in delivery.attempts
        ],
    )


def _why(attempt: Attempt) -> str:
    """Return why an attempt failed, which gateways say in words of ours: without a number."""
    if not attempt.error:
        return ""
    return " ".join(filter(None, (attempt.detail, f"({attempt.code})" if attempt.code else "")))


def view_route(
    name: str, direction: Direction, health: Health, last: ProbeResult | None, verdict: RunVerdict | None = None
) -> RouteView:
    """Return what people are shown of a route."""
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
    """Return where and why a run failed, in words for an operator; "" if it did not."""
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
    """Return what people are shown of the latest inspections, by the kinds of checks.

    A kind that finds nothing to look at (our own mailboxes have no domain of ours) is left out: that is not a pass.
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
