"""Routes as they are configured: which mailbox is probed towards which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from monitor.config.findings import Findings
from monitor.config.form import nearest
from monitor.config.problem import Path
from monitor.config.section import Section, Slug
from monitor.route import Direction


class RouteDirection(StrEnum):
    """The directions an agency may list; control routes follow from the references."""

    INTERNAL = "internal"
    OUTBOUND = "outbound"
    INBOUND = "inbound"


class RouteSettings(Section):
    """One route of an agency."""

    direction: RouteDirection = Field(examples=["outbound"])
    mailbox: Slug | None = None
    """The agency's side; default: its first mailbox."""
    reference: Slug | None = None
    """Our side, of an outbound or inbound route."""
    recipient: Slug | None = None
    """The receiving mailbox of an internal route; default: the next one of the agency, or the same if it is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A route by the names of its mailboxes: the agency's own, or `references`'."""

    name: str
    direction: Direction
    sender: str
    recipient: str


def default_routes(mailboxes: Sequence[str], references: Sequence[str]) -> tuple[RouteSettings, ...]:
    """Return what an agency is probed on when it lists nothing: inside, and both ways with every reference."""
    routes = [RouteSettings(direction=RouteDirection.INTERNAL, mailbox=mailbox) for mailbox in mailboxes]
    for direction in (RouteDirection.OUTBOUND, RouteDirection.INBOUND):
        routes += [
            RouteSettings(direction=direction, mailbox=mailbox, reference=reference)
            for reference in references
            for mailbox in mailboxes
        ]
    return tuple(routes)


def leg(code: str, route: RouteSettings, mailboxes: Sequence[str]) -> Leg:
    """Return the route of agency *code* as it is run. The first mailbox stays unnamed: adding a second renames nothing."""
    own = route.mailbox or mailboxes[0]
    aside = [] if own == mailboxes[0] else [own]
    direction = Direction(route.direction.value)
    if direction is Direction.INTERNAL:
        following = mailboxes[(mailboxes.index(own) + 1) % len(mailboxes)]
        recipient = route.recipient or following
        aside = aside if recipient == following else [own, recipient]
        return Leg(name="/".join([code, direction, *aside]), direction=direction, sender=own, recipient=recipient)
    ours = route.reference or ""
    sender, recipient = (own, ours) if direction is Direction.OUTBOUND else (ours, own)
    return Leg(name="/".join([code, direction, ours, *aside]), direction=direction, sender=sender, recipient=recipient)


def control_legs(references: Sequence[str]) -> tuple[Leg, ...]:
    """Return the routes among our own mailboxes, each to the next: while they fail, nothing across sides is proven."""
    if len(references) < 2:
        return ()
    following = [*references[1:], references[0]]
    return tuple(
        Leg(name=f"control/{one}/{other}", direction=Direction.CONTROL, sender=one, recipient=other)
        for one, other in zip(references, following, strict=True)
    )


def check_routes(
    routes: Sequence[RouteSettings],
    code: str,
    mailboxes: Sequence[str],
    references: Sequence[str] | None,
    findings: Findings,
) -> None:
    """Note listed routes that lead nowhere, or that stand there twice. *references* is `None` when they are not known."""
    first: dict[str, Path] = {}
    for number, route in enumerate(routes):
        place: Path = ("routes", number)
        sound = _check_ends(route, mailboxes, references, findings, place)
        if not sound or findings.is_broken(place):
            continue
        name = leg(code, route, mailboxes).name
        if name in first:
            findings.error(place, f"the route '{name}' is also at {findings.where(first[name])}", "it once")
        first.setdefault(name, place)


def _check_ends(
    route: RouteSettings,
    mailboxes: Sequence[str],
    references: Sequence[str] | None,
    findings: Findings,
    place: Path,
) -> bool:
    internal = route.direction is RouteDirection.INTERNAL
    sound = bool(mailboxes)
    for field in ("mailbox", "recipient"):
        if (name := getattr(route, field)) is not None and name not in mailboxes:
            sound = False
            if not findings.is_blank(("mailboxes",)):
                instead = nearest(name, mailboxes) or "one of " + ", ".join(mailboxes)
                findings.error((*place, field), f"the agency has no mailbox '{name}'", instead)
    superfluous = "reference" if internal else "recipient"
    if getattr(route, superfluous) is not None:
        sound = False
        instead = "recipient: a mailbox of the agency" if internal else "reference: a reference mailbox"
        findings.error((*place, superfluous), f"an {route.direction} route has no {superfluous}", instead)
    if internal or references is None:
        return sound
    if route.reference is None:
        findings.error(place, f"an {route.direction} route needs a reference", f"reference: {' or '.join(references)}")
        return False
    if route.reference not in references:
        instead = nearest(route.reference, references) or "one of " + ", ".join(references)
        findings.error((*place, "reference"), f"there is no reference mailbox '{route.reference}'", instead)
        return False
    return sound
