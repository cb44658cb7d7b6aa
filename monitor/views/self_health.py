"""Health of Pantau itself, by component, for the status page and the API. Pure: no clock, no I/O.

A component whose health is not proven yet is unknown, and not up. A reference mailbox is a mailbox of Pantau outside
the agencies. A control route leads from one reference mailbox to another; its runs prove that Pantau itself can send
and receive. A hub is an installation that decides for several sites; its quorum is the number of sites that must agree.
The engine processes incidents and notifications; the auditor checks independently that no notification is overdue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from alerts.model.channel import Channel
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.evidence import ARRIVED
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource
from monitor.model.health import UNHEALTHY, Health
from monitor.views.overview import RouteView, failure_text
from probes.model.result import ProbeResult


class Component(StrEnum):
    """Component of Pantau, in the order of the status page. Each comment says when the component is up."""

    #: The store can be written.
    STORE = "store"
    #: Probes start on time, and Pantau's network and accounts work; at a hub, every site is fresh.
    PROBING = "probing"
    #: Every control run between the reference mailboxes arrives.
    REFERENCE = "reference"
    #: The engine and the auditor run, and no notification is overdue.
    ENGINE = "engine"
    #: A gateway of every channel works.
    GATEWAY = "gateway"
    #: The latest configuration is accepted and in use.
    CONFIGURATION = "configuration"
    #: Every rota has a contact on call.
    DUTY = "duty"


class ProblemCode(StrEnum):
    """What is wrong with a component of Pantau, or why its health is unknown."""

    #: The store (database) cannot be written.
    STORE_UNAVAILABLE = "store_unavailable"
    #: The store may be a restored older copy: letters and faxes wait until a person resumes them.
    PAPER_PAUSED = "paper_paused"
    #: Probes do not start on time.
    PROBES_LATE = "probes_late"
    #: Another site sends no recent data, or cannot evaluate.
    SITE = "site"
    #: Too few sites send recent data for a quorum on any agency.
    QUORUM = "quorum"
    #: No route is configured.
    NO_ROUTES = "no_routes"
    #: Pantau's network reaches no reference mailbox.
    NETWORK = "network"
    #: A mailbox account of Pantau is refused.
    CREDENTIALS = "credentials"
    #: A probe mailbox is full, at its sending limit, or in use by another session.
    MAILBOX = "mailbox"
    #: Another part of Pantau failed.
    MONITORING_FAULT = "monitoring_fault"
    #: A reference mailbox is down.
    REFERENCE = "reference"
    #: A control route is down or degraded, or its latest run failed.
    CONTROL = "control"
    #: The engine has not finished a cycle in time.
    ENGINE_STOPPED = "engine_stopped"
    #: The auditor has not finished an audit in time.
    AUDITOR_STOPPED = "auditor_stopped"
    #: A person who should have been notified was not.
    NOTIFICATION_OVERDUE = "notification_overdue"
    #: Nobody is notified, as configured by `mode`.
    MONITOR_ONLY = "monitor_only"
    #: The hub of this site notifies people, and not this site. This is information, not a problem.
    FOR_HUB = "for_hub"
    #: The hub does not read this site's data at present, so nobody is notified of it.
    HUB_UNAVAILABLE = "hub_unavailable"
    #: A gateway does not work; another gateway of the same channel may work.
    GATEWAY_DOWN = "gateway_down"
    #: A gateway accepts messages, but their delivery receipts are overdue.
    RECEIPTS_OVERDUE = "receipts_overdue"
    #: No gateway of a channel works.
    CHANNEL_DOWN = "channel_down"
    #: The latest configuration was rejected; the previous one is in use.
    CONFIGURATION_REJECTED = "configuration_rejected"
    #: A setting takes effect at the next start.
    AWAITS_RESTART = "awaits_restart"
    #: An incident of a removed agency is open.
    ORPHANED_INCIDENT = "orphaned_incident"
    #: A rota has nobody on call.
    NOBODY_ON_CALL = "nobody_on_call"
    # The following members explain why the health of a component is unknown.
    #: No probe has run since the start.
    NO_PROBE_YET = "no_probe_yet"
    #: Not every control route is proven to work yet.
    REFERENCE_UNKNOWN = "reference_unknown"
    #: The engine or the auditor has not finished its first cycle.
    ENGINE_STARTING = "engine_starting"
    #: No gateway of a channel has been used or tested since the start.
    GATEWAY_UNUSED = "gateway_unused"
    #: The rotas have not been read yet.
    ROTAS_LOADING = "rotas_loading"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentProblem:
    """A problem of a component."""

    code: ProblemCode
    #: Effect on the component: `DOWN`; `DEGRADED` if the component still works; `UNKNOWN` while its health is not
    #: proven; `UP` if the entry is only information.
    health: Health
    #: Name of the mailbox, route, site, gateway, setting or rota, or number of the incident, that has the problem.
    target: str = ""
    #: Reason, for an operator.
    reason: str = ""
    #: Start of the problem; `None`: unknown.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentView:
    """Health of a component of Pantau."""

    component: Component
    health: Health
    #: Problems of the component, or why its health is unknown; `DOWN` first.
    problems: Sequence[ComponentProblem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRoute:
    """A control route and its last run."""

    #: Name of the route.
    route: str
    health: Health
    #: Last run; `None`: none is known.
    last: ProbeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """State of a gateway."""

    channel: Channel
    #: Name of the gateway.
    gateway: str
    #: Whether the gateway works; `None`: it was not used yet.
    up: bool | None = None
    #: Since when its delivery receipts are overdue; `None`: they are not.
    receipts_overdue_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceView:
    """State of a reference mailbox."""

    name: str
    health: Health
    #: Current fault of the mailbox or of Pantau's account for it, and since when; `None`: no fault.
    fault: FaultDomain | None = None
    since: datetime | None = None
    #: The control routes of this mailbox.
    controls: Sequence[RouteView] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfHealthInputs:
    """State of this process, from which `self_health` is computed."""

    #: Since when the database is unavailable, and why; `None`: the database is available.
    store_outage: tuple[datetime, str] | None = None
    #: Failures that suppress the heartbeat of this process.
    liveness_failures: AbstractSet[LivenessFailure] = frozenset()
    #: Since when paper (letters and faxes) is paused, because the database may be a restored older copy; `None`: paper
    #: is not paused.
    paper_paused_since: datetime | None = None
    #: Whether the engine and the auditor have run since the start.
    has_started: bool = False
    #: When the newest configuration was rejected; `None`: it was accepted.
    config_rejected_at: datetime | None = None
    #: Settings that need a restart.
    awaiting_restart: Sequence[str] = ()
    #: When Pantau closes each open incident of a removed agency, by incident number.
    orphaned_incidents: Mapping[str, datetime] = field(default_factory=dict)
    #: Names of rotas (on-call schedules) without anybody on call; `None`: not determined yet.
    empty_rotas: Sequence[str] | None = None
    #: Whether the service runs in monitor-only mode, in which nobody is notified.
    monitor_only: bool = False
    #: Whether this process only probes, and a hub notifies.
    for_hub: bool = False
    #: Whether the hub does not read this site's data at present.
    is_hub_disconnected: bool = False
    #: Sites that are silent or cannot evaluate: since when, by name.
    failing_sites: Mapping[str, datetime] = field(default_factory=dict)
    #: Since when too few sites are connected for a quorum; `None`: enough are.
    quorum_lost_since: datetime | None = None


def self_health(
    inputs: SelfHealthInputs,
    *,
    controls: Sequence[ControlRoute],
    routes: int,
    faults: Mapping[FaultSource, ActiveProblem],
    gateways: Sequence[GatewayStatus],
) -> Sequence[ComponentView]:
    """Return the health of each component.

    *routes*: number of all probed routes. *faults*: active monitoring faults (faults of Pantau), by source.
    """
    fault_problems = list(_fault_problems(faults))
    reference_faults = [each for each in fault_problems if each.code is ProblemCode.REFERENCE]
    other_faults = [each for each in fault_problems if each.code is not ProblemCode.REFERENCE]
    # For each component: its problems, and the reasons why its health is unknown. The reasons count only if it has no
    # problems.
    problems_by_component: dict[Component, tuple[Iterable[ComponentProblem], Iterable[ComponentProblem]]] = {
        Component.STORE: (_store_problems(inputs), ()),
        Component.PROBING: (
            [*_probing_problems(inputs, routes), *other_faults],
            _unknown_unless(any(control.last for control in controls), ProblemCode.NO_PROBE_YET),
        ),
        Component.REFERENCE: (
            [*reference_faults, *_control_problems(controls)],
            _unknown_unless(_is_proven(controls), ProblemCode.REFERENCE_UNKNOWN),
        ),
        Component.ENGINE: (_engine_problems(inputs), _unknown_unless(inputs.has_started, ProblemCode.ENGINE_STARTING)),
        Component.GATEWAY: (
            _gateway_problems(gateways),
            _unknown_unless(bool(gateways) or inputs.for_hub, ProblemCode.GATEWAY_UNUSED) or _unused_gateways(gateways),
        ),
        Component.CONFIGURATION: (_configuration_problems(inputs), ()),
        Component.DUTY: (
            _duty_problems(inputs),
            _unknown_unless(inputs.empty_rotas is not None, ProblemCode.ROTAS_LOADING),
        ),
    }
    return [_view_component(component, *problems_by_component[component]) for component in Component]


def view_reference(
    name: str, controls: Sequence[RouteView], faults: Mapping[FaultSource, ActiveProblem]
) -> ReferenceView:
    """Return the view of the reference mailbox *name*.

    *controls*: its control routes. *faults*: active monitoring faults, by source, which has the name of the mailbox.
    """
    for source, fault in faults.items():
        if source.name == name:
            since = fault.since
            return ReferenceView(name=name, health=Health.DOWN, fault=source.domain, since=since, controls=controls)
    healths = {control.health for control in controls}
    if Health.DOWN in healths or Health.DEGRADED in healths:
        # DEGRADED instead of DOWN, because the mailbox at the other end of the control route may be at fault.
        health = Health.DEGRADED
    else:
        health = Health.UP if healths == {Health.UP} else Health.UNKNOWN
    return ReferenceView(name=name, health=health, controls=controls)


def worst(parts: Iterable[ComponentView | ComponentProblem]) -> Health:
    """Return the worst health of *parts*; UP if there are none."""
    healths = {each.health for each in parts}
    return next((h for h in (Health.DOWN, Health.DEGRADED, Health.UNKNOWN) if h in healths), Health.UP)


def _view_component(
    component: Component, known_problems: Iterable[ComponentProblem], unknown_reasons: Iterable[ComponentProblem]
) -> ComponentView:
    problems = list(known_problems)
    if worst(problems) is Health.UP:
        problems += unknown_reasons
    in_order = sorted(problems, key=lambda each: (each.health is not Health.DOWN, each.code, each.target))
    return ComponentView(component=component, health=worst(problems), problems=tuple(in_order))


def _unknown_unless(is_proven: bool, code: ProblemCode) -> Sequence[ComponentProblem]:  # noqa: FBT001 - short calls
    """Return the reason *code* why a health is unknown; nothing if the health is proven."""
    return () if is_proven else (ComponentProblem(code=code, health=Health.UNKNOWN),)


def _store_problems(inputs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    if inputs.store_outage is not None:
        since, reason = inputs.store_outage
        yield ComponentProblem(code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason=reason, since=since)
    elif LivenessFailure.STORE in inputs.liveness_failures:
        yield ComponentProblem(
            code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason="nothing has been written for a while"
        )
    if inputs.paper_paused_since is not None:
        reason = "see `pantau paper status`, and resume them with `pantau paper resume`"
        yield ComponentProblem(
            code=ProblemCode.PAPER_PAUSED, health=Health.DOWN, reason=reason, since=inputs.paper_paused_since
        )


def _probing_problems(inputs: SelfHealthInputs, routes: int) -> Iterator[ComponentProblem]:
    if not routes:
        yield ComponentProblem(code=ProblemCode.NO_ROUTES, health=Health.DOWN)
    if LivenessFailure.PROBING in inputs.liveness_failures:
        yield ComponentProblem(code=ProblemCode.PROBES_LATE, health=Health.DOWN)
    if inputs.quorum_lost_since is not None:
        yield ComponentProblem(code=ProblemCode.QUORUM, health=Health.DOWN, since=inputs.quorum_lost_since)
    for site, since in inputs.failing_sites.items():
        yield ComponentProblem(code=ProblemCode.SITE, health=Health.DEGRADED, target=site, since=since)


#: Code for each domain of a monitoring fault. `_probing_problems` reports faults of sites and of their quorum.
_FAULT_CODES = {
    FaultDomain.NETWORK: ProblemCode.NETWORK,
    FaultDomain.CREDENTIALS: ProblemCode.CREDENTIALS,
    FaultDomain.MAILBOX: ProblemCode.MAILBOX,
    FaultDomain.PANTAU: ProblemCode.MONITORING_FAULT,
    FaultDomain.REFERENCE: ProblemCode.REFERENCE,
}


def _fault_problems(faults: Mapping[FaultSource, ActiveProblem]) -> Iterator[ComponentProblem]:
    for source, fault in faults.items():
        if (code := _FAULT_CODES.get(source.domain)) is not None:
            yield ComponentProblem(code=code, health=Health.DOWN, target=source.name, since=fault.since)


def _control_problems(controls: Sequence[ControlRoute]) -> Iterator[ComponentProblem]:
    for control in controls:
        last = control.last
        has_failed = last is not None and last.outcome not in ARRIVED
        health = control.health if control.health in UNHEALTHY else None
        # A single failed run does not change the health of a route, but the component must not be shown as up.
        if health or has_failed:
            reason = failure_text(last) if has_failed and last is not None else ""
            yield ComponentProblem(
                code=ProblemCode.CONTROL, health=health or Health.DEGRADED, target=control.route, reason=reason
            )


def _is_proven(controls: Sequence[ControlRoute]) -> bool:
    return bool(controls) and all(control.health is Health.UP for control in controls)


def _engine_problems(inputs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    codes = {
        LivenessFailure.ENGINE: ProblemCode.ENGINE_STOPPED,
        LivenessFailure.AUDIT: ProblemCode.AUDITOR_STOPPED,
        LivenessFailure.OVERDUE: ProblemCode.NOTIFICATION_OVERDUE,
    }
    if inputs.monitor_only:
        yield ComponentProblem(code=ProblemCode.MONITOR_ONLY, health=Health.DEGRADED)
    if inputs.for_hub:
        if inputs.is_hub_disconnected:
            yield ComponentProblem(code=ProblemCode.HUB_UNAVAILABLE, health=Health.DEGRADED)
        else:
            yield ComponentProblem(code=ProblemCode.FOR_HUB, health=Health.UP)
    for failure, code in codes.items():
        if failure in inputs.liveness_failures:
            yield ComponentProblem(code=code, health=Health.DOWN)


def _gateway_problems(gateways: Sequence[GatewayStatus]) -> Iterator[ComponentProblem]:
    for each in gateways:
        if each.up is False:
            channel_states = [other.up for other in gateways if other.channel is each.channel]
            is_channel_down = all(up is False for up in channel_states)
            yield ComponentProblem(
                code=ProblemCode.CHANNEL_DOWN if is_channel_down else ProblemCode.GATEWAY_DOWN,
                health=Health.DOWN if is_channel_down else Health.DEGRADED,
                target=f"{each.channel}: {each.gateway}",
            )
        elif each.receipts_overdue_since is not None:
            # DEGRADED instead of DOWN, because messages of this gateway may arrive without a receipt, and the channel's
            # other gateways are used before this one.
            target = f"{each.channel}: {each.gateway}"
            yield ComponentProblem(
                code=ProblemCode.RECEIPTS_OVERDUE,
                health=Health.DEGRADED,
                target=target,
                since=each.receipts_overdue_since,
            )


def _unused_gateways(gateways: Sequence[GatewayStatus]) -> Iterator[ComponentProblem]:
    """Yield each gateway of a channel that has no gateway known to work."""
    working = {each.channel for each in gateways if each.up}
    for each in gateways:
        if each.channel not in working:
            target = f"{each.channel}: {each.gateway}"
            yield ComponentProblem(code=ProblemCode.GATEWAY_UNUSED, health=Health.UNKNOWN, target=target)


def _configuration_problems(inputs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    if inputs.config_rejected_at is not None:
        yield ComponentProblem(
            code=ProblemCode.CONFIGURATION_REJECTED, health=Health.DEGRADED, since=inputs.config_rejected_at
        )
    for key in inputs.awaiting_restart:
        yield ComponentProblem(code=ProblemCode.AWAITS_RESTART, health=Health.DEGRADED, target=key)
    for number, closes_at in inputs.orphaned_incidents.items():
        reason = f"closed at {closes_at.isoformat(timespec='minutes')}"
        yield ComponentProblem(code=ProblemCode.ORPHANED_INCIDENT, health=Health.DEGRADED, target=number, reason=reason)


def _duty_problems(inputs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    for rota in inputs.empty_rotas or ():
        yield ComponentProblem(code=ProblemCode.NOBODY_ON_CALL, health=Health.DEGRADED, target=rota)
