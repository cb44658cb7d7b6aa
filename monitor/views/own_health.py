"""How Pantau itself stands, for people: what is proven to work, and what is wrong, by its parts. No clock, no I/O.

What is not known is unknown here, too, and never well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from alerts.model.channel import Channel
from monitor.judging.attribution import Blame
from monitor.judging.evidence import ARRIVED
from monitor.judging.liveness import Ailment
from monitor.judging.suspect import Suspect, Trouble
from monitor.model.health import IN_TROUBLE, Health
from monitor.views.overview import RouteView, why_failed
from probes.model.result import ProbeResult


class OwnPart(StrEnum):
    """What Pantau is made of, in the order in which it is shown."""

    #: Where everything is kept.
    STORE = "store"
    #: Probes that start on time, over a network and by accounts that work.
    PROBING = "probing"
    #: Our own mailboxes, and the control routes between them.
    REFERENCE = "reference"
    #: The engine that tells people, and the auditor that looks after it.
    ENGINE = "engine"
    #: The ways on which people are told.
    GATEWAY = "gateway"
    #: Whether what is written in the files is what is in force.
    CONFIGURATION = "configuration"
    #: Whether somebody is on call.
    DUTY = "duty"


class Ill(StrEnum):
    """What can be wrong with a part, or keeps it unproven."""

    STORE_AWAY = "store_away"
    #: The store may be an older copy; letters and faxes wait until somebody has looked.
    PAPER_HELD = "paper_held"
    PROBES_LATE = "probes_late"
    #: Another site is not heard, or cannot judge.
    SITE = "site"
    #: So few sites are heard that no outage can be told.
    QUORUM = "quorum"
    NO_ROUTES = "no_routes"
    NETWORK = "network"
    CREDENTIALS = "credentials"
    #: A mailbox that is probed is full, has sent all that it may, or is held by another session.
    MAILBOX = "mailbox"
    #: Something of ours that broke.
    OURS = "ours"
    REFERENCE = "reference"
    #: A control route that is judged to be down or degraded, or whose last run failed.
    CONTROL = "control"
    ENGINE_STOPPED = "engine_stopped"
    AUDIT_STOPPED = "audit_stopped"
    #: Somebody who should have been told has not been.
    OVERDUE = "overdue"
    #: Nobody is told of anything: so it was chosen.
    WATCH_ONLY = "watch_only"
    #: Nor is anybody told by this site, and a hub that hears it does: so it is meant, and nothing is wrong.
    FOR_HUB = "for_hub"
    #: A hub has let this site join, and does not read what it says now.
    HUB_AWAY = "hub_away"
    GATEWAY_DOWN = "gateway_down"
    #: It takes messages, and the receipts that it used to give do not come.
    GATEWAY_DOUBTED = "gateway_doubted"
    #: No gateway of a channel works.
    CHANNEL_DOWN = "channel_down"
    #: What was last read was refused; the old configuration is in force.
    REFUSED = "refused"
    #: It takes effect at the next start.
    AWAITS_RESTART = "awaits_restart"
    #: An incident is open of an agency that has left the configuration.
    DEPARTED = "departed"
    #: A rota without anybody, now.
    NOBODY_ON_CALL = "nobody_on_call"
    # Unproven: what is to be waited for.
    NO_PROBE_YET = "no_probe_yet"
    REFERENCE_UNPROVEN = "reference_unproven"
    ENGINE_STARTING = "engine_starting"
    #: No gateway of a channel has been used or tested since the start.
    GATEWAY_UNUSED = "gateway_unused"
    DUTY_UNREAD = "duty_unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing that is wrong."""

    ill: Ill
    #: `DOWN`, or `DEGRADED` where the part still does its work; `UNKNOWN` of what is waited for; `UP` of what is only to
    #: be known.
    health: Health
    #: Name of the mailbox, route, site, gateway, setting, rota.
    about: str = ""
    #: In words for an operator.
    why: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """A part of Pantau."""

    part: OwnPart
    health: Health
    #: The worst first.
    complaints: Sequence[Complaint] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A control route, and its last run."""

    route: str
    health: Health
    last: ProbeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStanding:
    """Whether a gateway works; `None`: it has not been used yet."""

    channel: Channel
    gateway: str
    up: bool | None = None
    #: Since when its receipts are overdue by its own habit.
    doubted_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceView:
    """A mailbox of ours, by which the agencies' mail is proven."""

    name: str
    health: Health
    #: What of it is judged to be broken, if anything is, and since when: the mailbox, or our account for it.
    fault: Blame | None = None
    since: datetime | None = None
    #: The routes between it and the others of ours.
    controls: Sequence[RouteView] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What the service knows of itself, apart from what its probes and gateways tell."""

    #: Since when the store is away, and why; `None`: it is there.
    away: tuple[datetime, str] | None = None
    ailments: AbstractSet[Ailment] = frozenset()
    #: Since when paper waits, because the store may be an older copy.
    paper_held_since: datetime | None = None
    #: The engine has come round since the start, and the auditor has looked.
    is_under_way: bool = False
    #: When a configuration was refused, if that was the last one read.
    refused_at: datetime | None = None
    #: Settings that take effect at the next start.
    awaiting_restart: Sequence[str] = ()
    #: What is open of agencies that have left: its number, and when it is closed.
    departed: Mapping[str, datetime] = field(default_factory=dict)
    #: Rotas that have nobody on call now; `None`: not counted yet.
    deserted: Sequence[str] | None = None
    #: Mail is watched, and nobody is told.
    watch_only: bool = False
    #: Mail is watched for a hub, which tells.
    for_hub: bool = False
    #: And the hub does not read now what is seen here.
    is_unheard: bool = False
    #: Other sites, by name, that this hub does not hear or that cannot judge, and since when.
    ailing_sites: Mapping[str, datetime] = field(default_factory=dict)
    #: Since when so few of them are heard that no outage can be told; `None`: enough are.
    short_of_sites_since: datetime | None = None


def own_health(
    signs: Signs,
    *,
    controls: Sequence[Control],
    routes: int,
    troubles: Mapping[Suspect, Trouble],
    gateways: Sequence[GatewayStanding],
) -> Sequence[PartView]:
    """Return how each part stands. *routes*: how many there are; *troubles*: what the judge holds against us."""
    blamed = list(_blamed(troubles))
    # What is wrong with a part, and what it waits for while it is unproven.
    known: dict[OwnPart, tuple[Iterable[Complaint], Iterable[Complaint]]] = {
        OwnPart.STORE: (_of_store(signs), ()),
        OwnPart.PROBING: (
            [*_of_probing(signs, routes), *_only(blamed, False)],
            _unless(any(control.last for control in controls), Ill.NO_PROBE_YET),
        ),
        OwnPart.REFERENCE: (
            [*_only(blamed, True), *_of_controls(controls)],
            _unless(_is_proven(controls), Ill.REFERENCE_UNPROVEN),
        ),
        OwnPart.ENGINE: (_of_engine(signs), _unless(signs.is_under_way, Ill.ENGINE_STARTING)),
        OwnPart.GATEWAY: (
            _of_gateways(gateways),
            _unless(bool(gateways) or signs.for_hub, Ill.GATEWAY_UNUSED) or _unused(gateways),
        ),
        OwnPart.CONFIGURATION: (_of_configuration(signs), ()),
        OwnPart.DUTY: (_of_duty(signs), _unless(signs.deserted is not None, Ill.DUTY_UNREAD)),
    }
    return [_view(part, *known[part]) for part in OwnPart]


def view_reference(name: str, controls: Sequence[RouteView], troubles: Mapping[Suspect, Trouble]) -> ReferenceView:
    """Return how a mailbox of ours stands. *troubles*: what the judge holds against us."""
    for suspect, trouble in troubles.items():
        if suspect.name == name:
            since = trouble.since
            return ReferenceView(name=name, health=Health.DOWN, fault=suspect.blame, since=since, controls=controls)
    found = {control.health for control in controls}
    if Health.DOWN in found or Health.DEGRADED in found:
        # Another end of that route may be the one that is broken.
        health = Health.DEGRADED
    else:
        health = Health.UP if found == {Health.UP} else Health.UNKNOWN
    return ReferenceView(name=name, health=health, controls=controls)


def worst(parts: Iterable[PartView | Complaint]) -> Health:
    """Return the health of whichever is worst off."""
    found = {each.health for each in parts}
    return next((h for h in (Health.DOWN, Health.DEGRADED, Health.UNKNOWN) if h in found), Health.UP)


def _view(part: OwnPart, wrong: Iterable[Complaint], awaited: Iterable[Complaint]) -> PartView:
    complaints = list(wrong)
    if worst(complaints) is Health.UP:
        complaints += awaited
    in_order = sorted(complaints, key=lambda c: (c.health is not Health.DOWN, c.ill, c.about))
    return PartView(part=part, health=worst(complaints), complaints=tuple(in_order))


def _unless(proven: bool, ill: Ill) -> Sequence[Complaint]:  # noqa: FBT001 - a pair of a table
    return () if proven else (Complaint(ill=ill, health=Health.UNKNOWN),)


def _of_store(signs: Signs) -> Iterator[Complaint]:
    if signs.away is not None:
        since, why = signs.away
        yield Complaint(ill=Ill.STORE_AWAY, health=Health.DOWN, why=why, since=since)
    elif Ailment.STORE in signs.ailments:
        yield Complaint(ill=Ill.STORE_AWAY, health=Health.DOWN, why="nothing has been written for a while")
    if signs.paper_held_since is not None:
        why = "look with `pantau paper show`, and let them go with `pantau paper go`"
        yield Complaint(ill=Ill.PAPER_HELD, health=Health.DOWN, why=why, since=signs.paper_held_since)


def _of_probing(signs: Signs, routes: int) -> Iterator[Complaint]:
    if not routes:
        yield Complaint(ill=Ill.NO_ROUTES, health=Health.DOWN)
    if Ailment.PROBING in signs.ailments:
        yield Complaint(ill=Ill.PROBES_LATE, health=Health.DOWN)
    if signs.short_of_sites_since is not None:
        yield Complaint(ill=Ill.QUORUM, health=Health.DOWN, since=signs.short_of_sites_since)
    for site, since in signs.ailing_sites.items():
        yield Complaint(ill=Ill.SITE, health=Health.DEGRADED, about=site, since=since)


_ILLS = {
    Blame.NETWORK: Ill.NETWORK,
    Blame.CREDENTIALS: Ill.CREDENTIALS,
    Blame.MAILBOX: Ill.MAILBOX,
    Blame.OURS: Ill.OURS,
    Blame.REFERENCE: Ill.REFERENCE,
}


def _blamed(troubles: Mapping[Suspect, Trouble]) -> Iterator[Complaint]:
    for suspect, trouble in troubles.items():
        if (ill := _ILLS.get(suspect.blame)) is not None:
            yield Complaint(ill=ill, health=Health.DOWN, about=suspect.name, since=trouble.since)


def _only(blamed: Sequence[Complaint], references: bool) -> Iterator[Complaint]:  # noqa: FBT001 - a pair of a table
    return (each for each in blamed if (each.ill is Ill.REFERENCE) is references)


def _of_controls(controls: Sequence[Control]) -> Iterator[Complaint]:
    for control in controls:
        last = control.last
        failed = last is not None and last.outcome not in ARRIVED
        judged = control.health if control.health in IN_TROUBLE else None
        # One failure proves nothing yet, but a mailbox of ours that refuses is not to be called well meanwhile.
        if judged or failed:
            why = why_failed(last) if failed and last is not None else ""
            yield Complaint(ill=Ill.CONTROL, health=judged or Health.DEGRADED, about=control.route, why=why)


def _is_proven(controls: Sequence[Control]) -> bool:
    return bool(controls) and all(control.health is Health.UP for control in controls)


def _of_engine(signs: Signs) -> Iterator[Complaint]:
    ills = {
        Ailment.ENGINE: Ill.ENGINE_STOPPED,
        Ailment.AUDIT: Ill.AUDIT_STOPPED,
        Ailment.OVERDUE: Ill.OVERDUE,
    }
    if signs.watch_only:
        yield Complaint(ill=Ill.WATCH_ONLY, health=Health.DEGRADED)
    if signs.for_hub:
        if signs.is_unheard:
            yield Complaint(ill=Ill.HUB_AWAY, health=Health.DEGRADED)
        else:
            yield Complaint(ill=Ill.FOR_HUB, health=Health.UP)
    for ailment, ill in ills.items():
        if ailment in signs.ailments:
            yield Complaint(ill=ill, health=Health.DOWN)


def _of_gateways(gateways: Sequence[GatewayStanding]) -> Iterator[Complaint]:
    for each in gateways:
        if each.up is False:
            others = [other.up for other in gateways if other.channel is each.channel]
            dead = all(up is False for up in others)
            yield Complaint(
                ill=Ill.CHANNEL_DOWN if dead else Ill.GATEWAY_DOWN,
                health=Health.DOWN if dead else Health.DEGRADED,
                about=f"{each.channel}: {each.gateway}",
            )
        elif each.doubted_since is not None:
            # What it takes may arrive all the same, and the others of its channel are tried first.
            about = f"{each.channel}: {each.gateway}"
            yield Complaint(ill=Ill.GATEWAY_DOUBTED, health=Health.DEGRADED, about=about, since=each.doubted_since)


def _unused(gateways: Sequence[GatewayStanding]) -> Iterator[Complaint]:
    proven = {each.channel for each in gateways if each.up}
    for each in gateways:
        if each.channel not in proven:
            about = f"{each.channel}: {each.gateway}"
            yield Complaint(ill=Ill.GATEWAY_UNUSED, health=Health.UNKNOWN, about=about)


def _of_configuration(signs: Signs) -> Iterator[Complaint]:
    if signs.refused_at is not None:
        yield Complaint(ill=Ill.REFUSED, health=Health.DEGRADED, since=signs.refused_at)
    for key in signs.awaiting_restart:
        yield Complaint(ill=Ill.AWAITS_RESTART, health=Health.DEGRADED, about=key)
    for number, closes_at in signs.departed.items():
        why = f"closed at {closes_at.isoformat(timespec='minutes')}"
        yield Complaint(ill=Ill.DEPARTED, health=Health.DEGRADED, about=number, why=why)


def _of_duty(signs: Signs) -> Iterator[Complaint]:
    for rota in signs.deserted or ():
        yield Complaint(ill=Ill.NOBODY_ON_CALL, health=Health.DEGRADED, about=rota)
