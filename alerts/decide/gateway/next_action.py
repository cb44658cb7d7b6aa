"""Decide what is done next with a notice: try, try again, ask, fall back, give up. Pure: the caller passes the time.

The order of the rules: never send twice what may have been sent (ask first); try the same gateway again after a
passing error; then the channel's next gateway; then the person's next address; then give up.

A page to somebody outside is not given up before it expires, unless its address is wrong: once each gateway has had its
attempts, the best one redials at widening intervals (`redial_after`). It has no second round by which it could arrive.

An address with office hours is not tried outside of them. Staff are told at their next address that answers now; if none
does, at this one all the same, because silence is worse. An office outside is told when it opens.

A call that ended without a keypress has failed and is tried again like one that nobody took. Of a step that says
`call_again` it is not: there `alerts.decide.escalation` decides about another call. Nor is one that says that it is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import LEFT, Attempt, AttemptState, Delivery, Notification, NotificationState
from alerts.model.gateway import NO_KEY, ErrorClass
from alerts.model.notification import Plan, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How long to wait for what, by channel. Numbers follow the conventions of the trade (HylaFAX, GoAlert)."""

    #: A call of a gateway that has not come back by then is asked about, unless it still goes on.
    lease: timedelta = timedelta(seconds=30)
    #: A call is cut off after this long. Gateways keep deadlines of their own (at most 60 s); this is for those that
    #: cannot: a tray on a network share that hangs would hold its slots for ever.
    deadline: timedelta = timedelta(seconds=90)
    #: The same on paper: longer than any call can take. An engine that was cut off from the store may still be calling
    #: while another asks, hears that nothing is there, and sends a second page.
    lease_on_paper: timedelta = timedelta(seconds=100)
    #: Waits between attempts on one gateway after a transient error; their number bounds the attempts.
    retry_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.SMS: (timedelta(seconds=15), timedelta(seconds=60)),
            Channel.VOICE: (timedelta(seconds=60), timedelta(seconds=120)),
            # A busy line is free again after a page or two: 3 min, as HylaFAX does.
            Channel.FAX: (timedelta(minutes=3), timedelta(minutes=3), timedelta(minutes=5), timedelta(minutes=10)),
            Channel.LETTER: (timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30)),
        }
    )
    #: Waits between the further attempts of a page to somebody outside; the last one repeats until the page expires. A line
    #: without paper is busy for hours. Widening, because a person may answer a wrong number each time.
    redial_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.FAX: (timedelta(minutes=20), timedelta(minutes=40), timedelta(hours=1)),
            Channel.LETTER: (timedelta(hours=1),),
        }
    )
    #: How long after acceptance, and then how often, the provider is asked for an overdue receipt.
    check_every: Mapping[Channel, timedelta] = field(
        default_factory=lambda: {
            # Where no callback comes this is how it is known: whom to call again waits for it.
            Channel.SMS: timedelta(seconds=30),
            Channel.VOICE: timedelta(seconds=30),
            Channel.FAX: timedelta(minutes=2),
            Channel.LETTER: timedelta(minutes=1),
        }
    )
    #: Waits between questions about an attempt of unknown fate; their number bounds the questions.
    ask_after: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=5),
        timedelta(seconds=15),
        timedelta(seconds=40),
        timedelta(seconds=60),
    )

    def lease_on(self, channel: Channel) -> timedelta:
        """Return how long a call on a channel is left alone."""
        return self.lease_on_paper if channel in ON_PAPER else self.lease


@dataclass(frozen=True, slots=True)
class Try:
    """Call this gateway now; record the attempt first."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the gateway whether it has this attempt (reconcile before sending again)."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AskForReceipt:
    """Ask the provider what became of an accepted attempt whose receipt is overdue."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; `None`: nothing to do by itself."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class FallBack:
    """Give this address up and use the person's next one."""

    to: Address


@dataclass(frozen=True, slots=True)
class Finish:
    """The notice has come to its end."""

    state: NotificationState


#: Nothing more is expected of an attempt in one of these.
CAME_TO_NOTHING = frozenset({AttemptState.FAILED, AttemptState.NEVER_SENT, AttemptState.NO_TRACE})

#: Why an SMS is not taken: its reader sent STOP to us, or to Twilio.
STOPPED = frozenset({"STOP", "21610"})
#: Asks nothing of whoever is told.
_TELLS_THE_END = frozenset({Purpose.RECOVERY, Purpose.CLOSED, Purpose.CORRECTION})

Move = Try | Reconcile | AskForReceipt | Wait | FallBack | Finish


def next_move(
    notice: Notification, gateways: Mapping[Channel, Sequence[str]], policy: DeliveryPolicy, now: datetime
) -> Move:
    """Decide what to do for a notice that is not settled.

    *gateways* are the names to use for each channel, best first; those known not to work come last or not at all.
    """
    if not notice.deliveries:
        return _next_address(notice, now)
    delivery = notice.deliveries[-1]
    lines = gateways.get(delivery.address.channel, ())
    last = decisive(notice)
    if last is None or (not delivery.attempts and last.state not in LEFT):
        if now >= notice.expires_at:
            return Finish(NotificationState.FAILED)
        return _at_the_office(notice, delivery, Try(lines[0]), now) if lines else _next_address(notice, now)

    match last.state:
        case AttemptState.CALLING | AttemptState.UNKNOWN:
            return Reconcile(last) if now >= last.look_at else Wait(last.look_at)
        case AttemptState.NO_TRACE:
            return _at_the_office(notice, delivery, _without_trace(notice, delivery, lines, now), now)
        case AttemptState.ACCEPTED | AttemptState.SENT:
            return _await_receipt(notice, last, now)
        case AttemptState.DELIVERED:
            return Finish(NotificationState.DELIVERED)
        case AttemptState.WITHDRAWN:
            return Finish(NotificationState.WITHDRAWN)
        case AttemptState.NEVER_SENT | AttemptState.FAILED:
            return _at_the_office(notice, delivery, _after_failure(notice, delivery, lines, policy, now), now)


def decisive(notice: Notification) -> Attempt | None:
    """Return the attempt that decides how the notice stands: the last one.

    Unless it came to nothing and an earlier one, given up as lost, turns out to have left after all: a late receipt.
    """
    attempts = notice.attempts
    if attempts and attempts[-1].state in CAME_TO_NOTHING:
        return next((a for a in reversed(attempts) if a.state in LEFT), attempts[-1])
    return attempts[-1] if attempts else None


def _await_receipt(notice: Notification, last: Attempt, now: datetime) -> Move:
    """Decide about a message that left: ask for its receipt for as long as it matters.

    A letter in the tray is asked about for ever: only a clerk's record ends it.
    """
    in_the_tray = notice.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED
    if now >= notice.expires_at and not in_the_tray:
        return Wait(None)
    return AskForReceipt(last) if now >= last.look_at else Wait(last.look_at)


def _without_trace(notice: Notification, delivery: Delivery, lines: Sequence[str], now: datetime) -> Move:
    """Decide about an attempt that nobody can say was sent.

    A second SMS or call beats silence, once. A second fax or letter under somebody's name does not: a person looks.
    """
    if delivery.address.channel in ON_PAPER:
        return Finish(NotificationState.UNKNOWN)
    if now >= notice.expires_at:
        return Finish(NotificationState.FAILED)
    doubtful = sum(a.state is AttemptState.NO_TRACE for a in delivery.attempts)
    if doubtful > 1 or not lines:
        return _next_address(notice, now)
    return Try(next((line for line in lines if line != delivery.attempts[-1].gateway), lines[0]))


def _after_failure(
    notice: Notification, delivery: Delivery, lines: Sequence[str], policy: DeliveryPolicy, now: datetime
) -> Move:
    last = delivery.attempts[-1]
    if now >= notice.expires_at:
        return Finish(NotificationState.FAILED)
    if last.error is ErrorClass.PERMANENT:
        return _next_address(notice, now)
    if last.code == NO_KEY and notice.purpose in _TELLS_THE_END:
        return _next_address(notice, now)  # Nobody has to do anything about it: heard once is enough.
    if rang_in_vain(last) and _as_decided(notice, delivery).once:
        return _next_address(notice, now)
    passing = last.state is AttemptState.NEVER_SENT or last.error is ErrorClass.TRANSIENT
    worth_another = passing and last.look_at < notice.expires_at
    waits = policy.retry_after[delivery.address.channel]
    if worth_another and last.gateway in lines and _failures(delivery, last.gateway) <= len(waits):
        return Try(last.gateway) if now >= last.look_at else Wait(last.look_at)
    tried = {a.gateway for a in delivery.attempts}
    if (untried := next((line for line in lines if line not in tried), None)) is not None:
        return Try(untried)
    following = _next_address(notice, now)
    redials = notice.plan is Plan.ANNOUNCEMENT and delivery.address.channel in policy.redial_after
    if isinstance(following, FallBack) or not redials or not lines or last.look_at >= notice.expires_at:
        return following
    return Try(lines[0]) if now >= last.look_at else Wait(last.look_at)


def wants_call_instead(notice: Notification, now: datetime) -> bool:
    """Return whether a notice that failed by SMS is to go on as a call, although its step names none.

    Its reader sent STOP. Where a number is wrong the next step begins at once. Who has taken something on rings nobody.
    """
    last = notice.last_attempt
    stopped = last is not None and last.code in STOPPED and notice.channel is Channel.SMS
    return (
        stopped and now < notice.expires_at and notice.plan is Plan.ESCALATION and notice.purpose is not Purpose.TAKEN
    )


def rang_in_vain(last: Attempt) -> bool:
    """Whether a call was made and ended: nobody took it, or nobody pressed a key. One that was not made has no id."""
    return last.state is AttemptState.FAILED and last.error is ErrorClass.TRANSIENT and last.provider_id is not None


def _as_decided(notice: Notification, delivery: Delivery) -> Address:
    """Return the address of a delivery with all that the notice says of it: a delivery is stored by what tells it apart."""
    return next((a for a in notice.addresses if a == delivery.address), delivery.address)


def _next_address(notice: Notification, now: datetime) -> Move:
    tried = {d.address for d in notice.deliveries}
    untried = [a for a in notice.addresses if a not in tried]
    answering = [a for a in untried if a.answers(now)]
    following = next(iter(answering or untried), None)
    return FallBack(following) if following else Finish(NotificationState.FAILED)


def _at_the_office(notice: Notification, delivery: Delivery, move: Move, now: datetime) -> Move:
    """Put a try at an office outside off until it opens. To staff it goes at once: nothing of theirs answers now."""
    hours = _as_decided(notice, delivery).hours
    if isinstance(move, Try) and notice.plan is Plan.ANNOUNCEMENT and hours and (opening := hours.opening(now)) > now:
        return Wait(opening)
    return move  # Open; or closed for months, when to wait would be to wait for ever.


def _failures(delivery: Delivery, gateway: str) -> int:
    """Count what certainly did not go out by *gateway*."""
    definite = {AttemptState.FAILED, AttemptState.NEVER_SENT}
    return sum(a.gateway == gateway and a.state in definite for a in delivery.attempts)


def retry_at(
    delivery: Delivery, gateway: str, policy: DeliveryPolicy, now: datetime, asked: timedelta | None
) -> datetime:
    """When a transient failure may be tried again; *asked* is the provider's own wish (Retry-After)."""
    channel = delivery.address.channel
    waits = (*policy.retry_after[channel], *policy.redial_after.get(channel, ()))
    wait = waits[min(_failures(delivery, gateway), len(waits) - 1)]
    return now + max(wait, asked or timedelta(0))


def shown_state(notice: Notification) -> NotificationState:
    """Return how an unsettled notice stands."""
    last = decisive(notice)
    return NotificationState.SENT if last and last.state in LEFT else NotificationState.PENDING
