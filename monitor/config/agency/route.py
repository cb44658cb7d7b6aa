"""Configuration of routes: the sender and the recipient mailbox of each probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.circular import domain_of
from monitor.config.files.section import MailAddress, Section, Slug
from monitor.model.route import Direction
from probes.model.domain import normal_domain


class RouteDirection(StrEnum):
    """Directions that an agency may list; control routes follow from the references."""

    INTERNAL = "internal"
    OUTBOUND = "outbound"
    INBOUND = "inbound"


class RouteSettings(Section):
    """Configuration of one route of an agency."""

    direction: RouteDirection = Field(examples=["outbound"])
    """Direction of the messages."""
    mailbox: Slug | None = None
    """The agency's mailbox; default: its first one."""
    reference: Slug | None = None
    """The reference mailbox of an outbound or inbound route."""
    recipient: Slug | None = None
    """The receiving mailbox of an internal route; default: the next one of the agency, or the same if it is the only one."""
    to: MailAddress | None = None
    """Recipient address of an inbound message, if it is not the mailbox's own: a public or secondary address."""
    arrives_in: Slug | None = None
    """The reference mailbox to which `to` is forwarded, for an agency that grants no access to a mailbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """Route by the names of its mailboxes: the agency's own, or those of `references`."""

    name: str
    direction: Direction
    sender: str
    recipient: str
    #: Address that the message is sent to, if it is not the recipient's own.
    to: str | None = None
    #: The message is sent to the agency, but arrives in a reference mailbox.
    forwarded: bool = False


#: Mailboxes by name.
Mailboxes = Mapping[str, MailboxSettings]


def default_routes(mailboxes: Mailboxes, references: Mailboxes) -> tuple[RouteSettings, ...]:
    """Return the routes of an agency that lists none: internal, and both ways with every reference."""
    ours, own = _Ends.of(references), _Ends.of(mailboxes)
    routes = [RouteSettings(direction=RouteDirection.INTERNAL, mailbox=each) for each in own.senders if own.readers]
    for direction, near, far in (
        (RouteDirection.OUTBOUND, own.senders, ours.readers),
        (RouteDirection.INBOUND, own.readers, ours.senders),
    ):
        routes += [
            RouteSettings(direction=direction, mailbox=mailbox, reference=reference)
            for reference in far
            for mailbox in near
        ]
    return tuple(routes)


def leg(code: str, route: RouteSettings, mailboxes: Mailboxes, domain: str) -> Leg:
    """Return the effective route of agency *code*, whose first domain is *domain*.

    The first mailbox stays unnamed, so that adding a second renames nothing.
    """
    names = tuple(mailboxes)
    own = route.mailbox or next(iter(names), "")
    aside = [] if own == next(iter(names), "") else [own]
    direction = Direction(route.direction.value)
    if direction is Direction.INTERNAL:
        following = _following(own, names, _Ends.of(mailboxes).readers)
        recipient = route.recipient or following
        aside = aside if recipient == following else [own, recipient]
        return Leg(name="/".join([code, direction, *aside]), direction=direction, sender=own, recipient=recipient)
    ours = route.reference or ""
    if direction is Direction.OUTBOUND:
        return Leg(name="/".join([code, direction, ours, *aside]), direction=direction, sender=own, recipient=ours)
    aside = [] if route.arrives_in else aside
    return Leg(
        name="/".join([code, direction, ours, *aside, *_called(route.to, domain)]),
        direction=direction,
        sender=ours,
        recipient=route.arrives_in or own,
        to=route.to,
        forwarded=route.arrives_in is not None,
    )


def control_legs(references: Mailboxes) -> tuple[Leg, ...]:
    """Return the routes among the reference mailboxes, each to the next: while they fail, routes across sides prove nothing."""
    names, ends = tuple(references), _Ends.of(references)
    pairs = dict.fromkeys((one, _following(one, names, ends.readers, itself=False)) for one in ends.senders)
    # A read-only mailbox needs a sender too; in a ring where all mailboxes do both, each has one.
    reached = {other for _, other in pairs}
    for lonely in (name for name in ends.readers if name not in reached):
        pairs[(_following(lonely, names[::-1], ends.senders, itself=False), lonely)] = None
    return tuple(
        Leg(name=f"control/{one}/{other}", direction=Direction.CONTROL, sender=one, recipient=other)
        for one, other in pairs
        if one and other
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Mailboxes that can send, and mailboxes that can be read."""

    senders: tuple[str, ...]
    readers: tuple[str, ...]

    @classmethod
    def of(cls, mailboxes: Mailboxes) -> _Ends:
        return cls(
            senders=tuple(name for name, mailbox in mailboxes.items() if mailbox.sends),
            readers=tuple(name for name, mailbox in mailboxes.items() if mailbox.is_read),
        )


def _following(name: str, names: Sequence[str], wanted: Sequence[str], *, itself: bool = True) -> str:
    """Return the next of *names* after *name*, in a ring, that is among *wanted*; *name* comes last, if at all."""
    place = names.index(name)
    ring = [*names[place + 1 :], *names[:place], *([name] if itself else [])]
    return next((other for other in ring if other in wanted), name if itself else "")


def _called(to: str | None, domain: str) -> Iterator[str]:
    """Yield the part of a route's name that an address adds: its local part, or all of it at another domain."""
    if to is not None:
        local, _, _ = to.lower().partition("@")
        yield local if normal_domain(domain_of(to)) == normal_domain(domain) else to.lower()
