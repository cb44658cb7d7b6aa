"""Health of Pantau itself, by component. No clock, no I/O.

Unknown components are unknown here too, never up.
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
from monitor.model.health import IN_TROUBLE, Health
from monitor.views.overview import RouteView, why_failed
from probes.model.result import ProbeResult


class Component(StrEnum):
    """Part of Pantau, in the order of the status page; each meaning says when it is well."""

    #: The store can be written.
    STORE = "store"
    #: Probes start on time, and our network and accounts work; at a hub, every site is fresh.
    PROBING = "probing"
    #: Every control run between the reference mailboxes arrives.
    REFERENCE = "reference"
    #: The engine and the auditor run, and no notification is overdue.
    ENGINE = "engine"
    #: A gateway of every channel works.
    GATEWAY = "gateway"
    #: The newest configuration is accepted and in force.
    CONFIGURATION = "configuration"
    #: Every rota has a contact on call.
    DUTY = "duty"


class ProblemCode(StrEnum):
    """What is wrong with a part of Pantau, or why it is not proven."""

    #: Nothing can be written to the store.
    STORE_UNAVAILABLE = "store_unavailable"
    #: The store may be an older copy: letters and faxes wait until a person resumes them.
    PAPER_PAUSED = "paper_paused"
    #: Probes do not start on time.
    PROBES_LATE = "probes_late"
    #: Another site is not fresh or cannot evaluate.
    SITE = "site"
    #: Too few sites are fresh to decide about any agency.
    QUORUM = "quorum"
    #: No route is configured.
    NO_ROUTES = "no_routes"
    #: Our network reaches no reference mailbox.
    NETWORK = "network"
    #: An account of ours is refused.
    CREDENTIALS = "credentials"
    #: A probe mailbox is full, at its sending limit, or in use by another session.
    MAILBOX = "mailbox"
    #: A part of Pantau failed.
    MONITORING_FAULT = "monitoring_fault"
    #: A reference mailbox is down.
    REFERENCE = "reference"
    #: A control route is down or degraded, or its newest run failed.
    CONTROL = "control"
    #: The engine has not finished a cycle in time.
    ENGINE_STOPPED = "engine_stopped"
    #: A person who should have been notified was not.
    AUDITOR_STOPPED = "auditor_stopped"
    #: Somebody who should have been notified was not.
    NOTIFICATION_OVERDUE = "notification_overdue"
    #: Nobody is notified, as configured by `mode`.
    MONITOR_ONLY = "monitor_only"
    #: Nobody is notified by this site: its hub does it. Nothing is wrong.
    FOR_HUB = "for_hub"
    #: The hub does not read this site's data at present, so nobody is notified of it.
    HUB_UNAVAILABLE = "hub_unavailable"
    #: A gateway does not work; another of its channel may.
    GATEWAY_DOWN = "gateway_down"
    #: A gateway accepts messages, and their receipts are overdue.
    RECEIPTS_OVERDUE = "receipts_overdue"
    #: No gateway of a channel works.
    CHANNEL_DOWN = "channel_down"
    #: The newest configuration was refused; the one before is in force.
    CONFIGURATION_REJECTED = "configuration_rejected"
    #: A setting takes effect at the next start.
    AWAITS_RESTART = "awaits_restart"
    #: A rota has nobody on call.
    ORPHANED_INCIDENT = "orphaned_incident"
    #: Unproven: these resolve with time.
    NOBODY_ON_CALL = "nobody_on_call"
    # Unproven: what is to be waited for.
    #: No probe has run since the start.
    NO_PROBE_YET = "no_probe_yet"
    #: The control routes are not proven yet.
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
    #: `DOWN`, or `DEGRADED` if the component still works; `UNKNOWN` while waiting; `UP` for information only.
    health: Health
    #: Name of the mailbox, route, site, gateway, setting or rota.
    target: str = ""
    #: Reason, for an operator.
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """A component of Pantau."""

    component: Component
    health: Health
    #: The worst first.
    problems: Sequence[ComponentProblem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A control route and its last run."""

    route: str
    health: Health
    last: ProbeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """Whether a gateway works; `None`: not used yet."""

    channel: Channel
    gateway: str
    up: bool | None = None
    #: Since when its receipts are overdue.
    receipts_overdue_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceView:
    """A reference mailbox."""

    name: str
    health: Health
    #: Its monitoring fault, if any, and since when: the mailbox, or our account for it.
    fault: FaultDomain | None = None
    since: datetime | None = None
    #: The control routes of this mailbox.
    controls: Sequence[RouteView] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfHealthInputs:
    """State of the service, without its probes and gateways."""

    #: Since when the database is unavailable, and why; `None`: available.
    away: tuple[datetime, str] | None = None
    ailments: AbstractSet[LivenessFailure] = frozenset()
    #: Since when paper is paused, because the database may be an older copy.
    paper_held_since: datetime | None = None
    #: The engine's cycle and the auditor have run since the start.
    is_under_way: bool = False
    #: When the last read configuration was rejected; `None`: it was not.
    refused_at: datetime | None = None
    #: Settings that need a restart.
    awaiting_restart: Sequence[str] = ()
    #: Open incidents of removed agencies: number, and time of closing.
    departed: Mapping[str, datetime] = field(default_factory=dict)
    #: Rotas without anybody on call; `None`: not counted yet.
    deserted: Sequence[str] | None = None
    #: Monitor-only mode.
    monitor_only: bool = False
    #: Monitor-only mode for a hub, which notifies.
    for_hub: bool = False
    #: The hub does not read this site at present.
    is_unheard: bool = False
    #: Sites that are silent or cannot evaluate, by name, and since when.
    ailing_sites: Mapping[str, datetime] = field(default_factory=dict)
    #: Since when too few of them are connected for any report; `None`: enough are.
    short_of_sites_since: datetime | None = None


def own_health(
    signs: SelfHealthInputs,
    *,
    controls: Sequence[Control],
    routes: int,
    troubles: Mapping[FaultSource, ActiveProblem],
    gateways: Sequence[GatewayStatus],
) -> Sequence[PartView]:
    """Return the health of each component. *routes*: their number; *troubles*: monitoring faults."""
    blamed = list(_blamed(troubles))
    # Problems of a component, and what it waits for while it is unknown.
    known: dict[Component, tuple[Iterable[ComponentProblem], Iterable[ComponentProblem]]] = {
        Component.STORE: (_of_store(signs), ()),
        Component.PROBING: (
            [*_of_probing(signs, routes), *_only(blamed, False)],
            _unless(any(control.last for control in controls), ProblemCode.NO_PROBE_YET),
        ),
        Component.REFERENCE: (
            [*_only(blamed, True), *_of_controls(controls)],
            _unless(_is_proven(controls), ProblemCode.REFERENCE_UNKNOWN),
        ),
        Component.ENGINE: (_of_engine(signs), _unless(signs.is_under_way, ProblemCode.ENGINE_STARTING)),
        Component.GATEWAY: (
            _of_gateways(gateways),
            _unless(bool(gateways) or signs.for_hub, ProblemCode.GATEWAY_UNUSED) or _unused(gateways),
        ),
        Component.CONFIGURATION: (_of_configuration(signs), ()),
        Component.DUTY: (_of_duty(signs), _unless(signs.deserted is not None, ProblemCode.ROTAS_LOADING)),
    }
    return [_view(part, *known[part]) for part in Component]


def view_reference(
    name: str, controls: Sequence[RouteView], troubles: Mapping[FaultSource, ActiveProblem]
) -> ReferenceView:
    """Return the view of a reference mailbox. *troubles*: monitoring faults."""
    for suspect, trouble in troubles.items():
        if suspect.name == name:
            since = trouble.since
            return ReferenceView(name=name, health=Health.DOWN, fault=suspect.blame, since=since, controls=controls)
    found = {control.health for control in controls}
    if Health.DOWN in found or Health.DEGRADED in found:
        # The other end of the route may be at fault.
        health = Health.DEGRADED
    else:
        health = Health.UP if found == {Health.UP} else Health.UNKNOWN
    return ReferenceView(name=name, health=health, controls=controls)


def worst(parts: Iterable[PartView | ComponentProblem]) -> Health:
    """Return the worst health."""
    found = {each.health for each in parts}
    return next((h for h in (Health.DOWN, Health.DEGRADED, Health.UNKNOWN) if h in found), Health.UP)


def _view(part: Component, wrong: Iterable[ComponentProblem], awaited: Iterable[ComponentProblem]) -> PartView:
    complaints = list(wrong)
    if worst(complaints) is Health.UP:
        complaints += awaited
    in_order = sorted(complaints, key=lambda c: (c.health is not Health.DOWN, c.code, c.target))
    return PartView(component=part, health=worst(complaints), problems=tuple(in_order))


def _unless(proven: bool, ill: ProblemCode) -> Sequence[ComponentProblem]:  # noqa: FBT001 - a pair of a table
    return () if proven else (ComponentProblem(code=ill, health=Health.UNKNOWN),)


def _of_store(signs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    if signs.away is not None:
        since, why = signs.away
        yield ComponentProblem(code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason=why, since=since)
    elif LivenessFailure.STORE in signs.ailments:
        yield ComponentProblem(
            code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason="nothing has been written for a while"
        )
    if signs.paper_held_since is not None:
        why = "look with `pantau paper status`, and let them go with `pantau paper resume`"
        yield ComponentProblem(
            code=ProblemCode.PAPER_PAUSED, health=Health.DOWN, reason=why, since=signs.paper_held_since
        )


def _of_probing(signs: SelfHealthInputs, routes: int) -> Iterator[ComponentProblem]:
    if not routes:
        yield ComponentProblem(code=ProblemCode.NO_ROUTES, health=Health.DOWN)
    if LivenessFailure.PROBING in signs.ailments:
        yield ComponentProblem(code=ProblemCode.PROBES_LATE, health=Health.DOWN)
    if signs.short_of_sites_since is not None:
        yield ComponentProblem(code=ProblemCode.QUORUM, health=Health.DOWN, since=signs.short_of_sites_since)
    for site, since in signs.ailing_sites.items():
        yield ComponentProblem(code=ProblemCode.SITE, health=Health.DEGRADED, target=site, since=since)


_ILLS = {
    FaultDomain.NETWORK: ProblemCode.NETWORK,
    FaultDomain.CREDENTIALS: ProblemCode.CREDENTIALS,
    FaultDomain.MAILBOX: ProblemCode.MAILBOX,
    FaultDomain.OURS: ProblemCode.MONITORING_FAULT,
    FaultDomain.REFERENCE: ProblemCode.REFERENCE,
}


def _blamed(troubles: Mapping[FaultSource, ActiveProblem]) -> Iterator[ComponentProblem]:
    for suspect, trouble in troubles.items():
        if (ill := _ILLS.get(suspect.blame)) is not None:
            yield ComponentProblem(code=ill, health=Health.DOWN, target=suspect.name, since=trouble.since)


def _only(blamed: Sequence[ComponentProblem], references: bool) -> Iterator[ComponentProblem]:  # noqa: FBT001 - a pair of a table
    return (each for each in blamed if (each.code is ProblemCode.REFERENCE) is references)


def _of_controls(controls: Sequence[Control]) -> Iterator[ComponentProblem]:
    for control in controls:
        last = control.last
        failed = last is not None and last.outcome not in ARRIVED
        evaluated = control.health if control.health in IN_TROUBLE else None
        # One failure proves nothing yet, but a reference mailbox that refuses must not look up meanwhile.
        if evaluated or failed:
            why = why_failed(last) if failed and last is not None else ""
            yield ComponentProblem(
                code=ProblemCode.CONTROL, health=evaluated or Health.DEGRADED, target=control.route, reason=why
            )


def _is_proven(controls: Sequence[Control]) -> bool:
    return bool(controls) and all(control.health is Health.UP for control in controls)


def _of_engine(signs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    ills = {
        LivenessFailure.ENGINE: ProblemCode.ENGINE_STOPPED,
        LivenessFailure.AUDIT: ProblemCode.AUDITOR_STOPPED,
        LivenessFailure.OVERDUE: ProblemCode.NOTIFICATION_OVERDUE,
    }
    if signs.monitor_only:
        yield ComponentProblem(code=ProblemCode.MONITOR_ONLY, health=Health.DEGRADED)
    if signs.for_hub:
        if signs.is_unheard:
            yield ComponentProblem(code=ProblemCode.HUB_UNAVAILABLE, health=Health.DEGRADED)
        else:
            yield ComponentProblem(code=ProblemCode.FOR_HUB, health=Health.UP)
    for ailment, ill in ills.items():
        if ailment in signs.ailments:
            yield ComponentProblem(code=ill, health=Health.DOWN)


def _of_gateways(gateways: Sequence[GatewayStatus]) -> Iterator[ComponentProblem]:
    for each in gateways:
        if each.up is False:
            others = [other.up for other in gateways if other.channel is each.channel]
            dead = all(up is False for up in others)
            yield ComponentProblem(
                code=ProblemCode.CHANNEL_DOWN if dead else ProblemCode.GATEWAY_DOWN,
                health=Health.DOWN if dead else Health.DEGRADED,
                target=f"{each.channel}: {each.gateway}",
            )
        elif each.receipts_overdue_since is not None:
            # Its messages may arrive all the same, and the channel's other gateways are used first.
            about = f"{each.channel}: {each.gateway}"
            yield ComponentProblem(
                code=ProblemCode.RECEIPTS_OVERDUE,
                health=Health.DEGRADED,
                target=about,
                since=each.receipts_overdue_since,
            )


def _unused(gateways: Sequence[GatewayStatus]) -> Iterator[ComponentProblem]:
    proven = {each.channel for each in gateways if each.up}
    for each in gateways:
        if each.channel not in proven:
            about = f"{each.channel}: {each.gateway}"
            yield ComponentProblem(code=ProblemCode.GATEWAY_UNUSED, health=Health.UNKNOWN, target=about)


def _of_configuration(signs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    if signs.refused_at is not None:
        yield ComponentProblem(code=ProblemCode.CONFIGURATION_REJECTED, health=Health.DEGRADED, since=signs.refused_at)
    for key in signs.awaiting_restart:
        yield ComponentProblem(code=ProblemCode.AWAITS_RESTART, health=Health.DEGRADED, target=key)
    for number, closes_at in signs.departed.items():
        why = f"closed at {closes_at.isoformat(timespec='minutes')}"
        yield ComponentProblem(code=ProblemCode.ORPHANED_INCIDENT, health=Health.DEGRADED, target=number, reason=why)


def _of_duty(signs: SelfHealthInputs) -> Iterator[ComponentProblem]:
    for rota in signs.deserted or ():
        yield ComponentProblem(code=ProblemCode.NOBODY_ON_CALL, health=Health.DEGRADED, target=rota)
