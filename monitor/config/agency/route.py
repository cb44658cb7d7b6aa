"""Section `routes`: the sender and the recipient mailbox of each probe.

A *reference* is a mailbox of the operator outside the agencies. The direction of a route is seen from the agency:
internal, outbound (to a reference) or inbound (from a reference). *Control routes* lead from reference to reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.circular import domain_of
from monitor.config.files.section import MailAddress, Section, Slug
from monitor.model.route import Direction
from probes.model.domain import normalize_domain


class RouteDirection(StrEnum):
    """Directions of routes in an agency's file. Control routes are not configured but derived from the references."""

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
    """The receiving mailbox of an internal route; default: the agency's next mailbox, or its only one."""
    to: MailAddress | None = None
    """Recipient address of an inbound message, if it is not the mailbox's own: a public or secondary address."""
    arrives_in: Slug | None = None
    """The reference mailbox to which the agency forwards mail for `to`, if the agency grants no access to a mailbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRoute:
    """Route with all defaults applied."""

    #: "CODE/outbound/rujukan-a"; also a metric label.
    name: str
    direction: Direction
    #: Names of the sending and the receiving mailbox: their keys in the agency's file or in `references`.
    sender: str
    recipient: str
    #: Address that the message is sent to, if it is not the recipient's own.
    to: str | None = None
    #: Whether the message is sent to the agency, which forwards it to a reference.
    forwarded: bool = False


#: Mailboxes by name.
Mailboxes = Mapping[str, MailboxSettings]


def default_routes(mailboxes: Mailboxes, references: Mailboxes) -> tuple[RouteSettings, ...]:
    """Return the routes of an agency that lists none: internal ones, and both directions with every reference."""
    reference_ends, agency_ends = _Ends.of(references), _Ends.of(mailboxes)
    routes = [
        RouteSettings(direction=RouteDirection.INTERNAL, mailbox=each)
        for each in agency_ends.senders
        if agency_ends.readable
    ]
    for direction, agency_mailboxes, reference_mailboxes in (
        (RouteDirection.OUTBOUND, agency_ends.senders, reference_ends.readable),
        (RouteDirection.INBOUND, agency_ends.readable, reference_ends.senders),
    ):
        routes += [
            RouteSettings(direction=direction, mailbox=mailbox, reference=reference)
            for reference in reference_mailboxes
            for mailbox in agency_mailboxes
        ]
    return tuple(routes)


def resolve_route(agency_code: str, route: RouteSettings, mailboxes: Mailboxes, domain: str) -> ResolvedRoute:
    """Return *route* of the agency *agency_code* with all defaults applied. *domain*: the agency's first domain.

    The name of a route omits the agency's first mailbox, so that a second mailbox does not rename existing routes.
    """
    names = tuple(mailboxes)
    agency_mailbox = route.mailbox or next(iter(names), "")
    suffix = [] if agency_mailbox == next(iter(names), "") else [agency_mailbox]
    direction = Direction(route.direction.value)
    if direction is Direction.INTERNAL:
        default_recipient = _next_in_ring(agency_mailbox, names, _Ends.of(mailboxes).readable)
        recipient = route.recipient or default_recipient
        suffix = suffix if recipient == default_recipient else [agency_mailbox, recipient]
        return ResolvedRoute(
            name="/".join([agency_code, direction, *suffix]),
            direction=direction,
            sender=agency_mailbox,
            recipient=recipient,
        )
    reference = route.reference or ""
    if direction is Direction.OUTBOUND:
        return ResolvedRoute(
            name="/".join([agency_code, direction, reference, *suffix]),
            direction=direction,
            sender=agency_mailbox,
            recipient=reference,
        )
    # A forwarded route uses no mailbox of the agency.
    suffix = [] if route.arrives_in else suffix
    return ResolvedRoute(
        name="/".join([agency_code, direction, reference, *suffix, *_address_suffix(route.to, domain)]),
        direction=direction,
        sender=reference,
        recipient=route.arrives_in or agency_mailbox,
        to=route.to,
        forwarded=route.arrives_in is not None,
    )


def control_routes(references: Mailboxes) -> tuple[ResolvedRoute, ...]:
    """Return the control routes, which lead from each reference to the next one.

    While control routes fail, a failing route between an agency and a reference does not prove a fault of the agency.
    """
    names, ends = tuple(references), _Ends.of(references)
    # An ordered set of senders and recipients.
    pairs = dict.fromkeys(
        (sender, _next_in_ring(sender, names, ends.readable, may_return_itself=False)) for sender in ends.senders
    )
    # If all mailboxes can send and be read, the routes form a ring. Otherwise some mailboxes may receive no message
    # yet: add a route to each from the nearest sender before it.
    reached_mailboxes = {recipient for _, recipient in pairs}
    for unreached in (name for name in ends.readable if name not in reached_mailboxes):
        pairs[(_next_in_ring(unreached, names[::-1], ends.senders, may_return_itself=False), unreached)] = None
    return tuple(
        ResolvedRoute(
            name=f"control/{sender}/{recipient}", direction=Direction.CONTROL, sender=sender, recipient=recipient
        )
        for sender, recipient in pairs
        if sender and recipient
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Names of the possible ends of routes: the mailboxes that can send, and those that can be read."""

    senders: tuple[str, ...]
    readable: tuple[str, ...]

    @classmethod
    def of(cls, mailboxes: Mailboxes) -> _Ends:
        return cls(
            senders=tuple(name for name, mailbox in mailboxes.items() if mailbox.can_send),
            readable=tuple(name for name, mailbox in mailboxes.items() if mailbox.is_readable),
        )


def _next_in_ring(name: str, names: Sequence[str], candidates: Sequence[str], *, may_return_itself: bool = True) -> str:
    """Return the first of *candidates* after *name* in *names*; the last of *names* is followed by the first.

    If no other name is a candidate, return *name* with *may_return_itself*, and otherwise "".
    """
    position = names.index(name)
    ring = [*names[position + 1 :], *names[:position], *([name] if may_return_itself else [])]
    return next((candidate for candidate in ring if candidate in candidates), name if may_return_itself else "")


def _address_suffix(to: str | None, domain: str) -> Iterator[str]:
    """Yield the part of a route's name for the address *to*; nothing without an address.

    For an address in *domain* this is its local part; for any other address, the whole address.
    """
    if to is not None:
        local, _, _ = to.lower().partition("@")
        yield local if normalize_domain(domain_of(to)) == normalize_domain(domain) else to.lower()
