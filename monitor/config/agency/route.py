"""Configuration of routes: the sender and the recipient mailbox of each probe.

A *reference* is a mailbox of the operator outside the agencies. The direction is seen from the agency: internal,
outbound (to a reference), inbound (from a reference); control routes run between references.
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
    """Directions of routes that an agency may configure. Control routes are derived from the references."""

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
class ResolvedRoute:
    """Route with all defaults applied. Mailboxes are named by their key in the agency's file or in `references`."""

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
    reference_ends, agency_ends = _Ends.of(references), _Ends.of(mailboxes)
    routes = [
        RouteSettings(direction=RouteDirection.INTERNAL, mailbox=each)
        for each in agency_ends.senders
        if agency_ends.readers
    ]
    for direction, agency_mailboxes, reference_mailboxes in (
        (RouteDirection.OUTBOUND, agency_ends.senders, reference_ends.readers),
        (RouteDirection.INBOUND, agency_ends.readers, reference_ends.senders),
    ):
        routes += [
            RouteSettings(direction=direction, mailbox=mailbox, reference=reference)
            for reference in reference_mailboxes
            for mailbox in agency_mailboxes
        ]
    return tuple(routes)


def resolve_route(agency_code: str, route: RouteSettings, mailboxes: Mailboxes, domain: str) -> ResolvedRoute:
    """Return the effective route of agency *agency_code*, whose first domain is *domain*.

    Its name omits the first mailbox, so that adding a second mailbox renames no route.
    """
    names = tuple(mailboxes)
    agency_mailbox = route.mailbox or next(iter(names), "")
    suffix = [] if agency_mailbox == next(iter(names), "") else [agency_mailbox]
    direction = Direction(route.direction.value)
    if direction is Direction.INTERNAL:
        default_recipient = _next_in_ring(agency_mailbox, names, _Ends.of(mailboxes).readers)
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
    """Return the routes among the reference mailboxes, each to the next.

    While control routes fail, failing routes between agencies and references prove no fault of the agencies.
    """
    names, ends = tuple(references), _Ends.of(references)
    pairs = dict.fromkeys(
        (sender, _next_in_ring(sender, names, ends.readers, may_return_itself=False)) for sender in ends.senders
    )
    # Add routes to mailboxes that no sender has reached: in a ring of mailboxes that all send and receive, there are
    # none.
    reached_mailboxes = {recipient for _, recipient in pairs}
    for unreached in (name for name in ends.readers if name not in reached_mailboxes):
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
    """Mailboxes that can send, and mailboxes that can be read."""

    senders: tuple[str, ...]
    readers: tuple[str, ...]

    @classmethod
    def of(cls, mailboxes: Mailboxes) -> _Ends:
        return cls(
            senders=tuple(name for name, mailbox in mailboxes.items() if mailbox.can_send),
            readers=tuple(name for name, mailbox in mailboxes.items() if mailbox.is_readable),
        )


def _next_in_ring(name: str, names: Sequence[str], candidates: Sequence[str], *, may_return_itself: bool = True) -> str:
    """Return the first of *candidates* that follows *name* in the ring of *names*.

    *name* itself comes last, if *may_return_itself*; otherwise the result is "" if there is no other.
    """
    position = names.index(name)
    ring = [*names[position + 1 :], *names[:position], *([name] if may_return_itself else [])]
    return next((candidate for candidate in ring if candidate in candidates), name if may_return_itself else "")


def _address_suffix(to: str | None, domain: str) -> Iterator[str]:
    """Yield the part of a route's name for the address *to*: its local part, or the whole address in another domain."""
    if to is not None:
        local, _, _ = to.lower().partition("@")
        yield local if normalize_domain(domain_of(to)) == normalize_domain(domain) else to.lower()
