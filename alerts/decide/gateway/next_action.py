"""Next action for a notification: try, retry, query, fall back, give up. Pure: the caller passes the time.

Order of the rules: never resend what may have been sent (query first); retry the same gateway after a transient error;
then the channel's next gateway; then the person's next address; then give up.

A page to a recipient outside is not given up before it expires, unless its address is wrong: after the attempts of
every gateway the best one redials at growing intervals (`redial_after`). It has no later round.

An address with office hours is not used outside of them. Staff are notified at the next address that answers now;
without any, at this one, because silence is worse. An office outside is notified when it opens.

A call without a key press has failed and is retried like an unanswered one, except in a step with `redial`, for
which `alerts.decide.escalation` decides, and except for an all-clear.
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
    """Delays and limits by channel. The values follow common practice (HylaFAX, GoAlert)."""

    #: A call to a gateway without a result by then is queried, unless it still runs.
    lease: timedelta = timedelta(seconds=30)
    #: A call to a gateway is cancelled after this. Gateways have deadlines of their own (at most 60 s); this is for
    #: those that cannot: a tray on a hanging network share would occupy its slots for ever.
    deadline: timedelta = timedelta(seconds=90)
    #: Lease for paper: longer than any call. An engine without a database connection may still be calling while another
    #: queries, finds nothing, and sends a second page.
    lease_on_paper: timedelta = timedelta(seconds=100)
    #: Delays between attempts on one gateway after a transient error; their number limits the attempts.
    retry_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.SMS: (timedelta(seconds=15), timedelta(seconds=60)),
            Channel.VOICE: (timedelta(seconds=60), timedelta(seconds=120)),
            # A busy fax line is free after a page or two: 3 min, as in HylaFAX.
            Channel.FAX: (timedelta(minutes=3), timedelta(minutes=3), timedelta(minutes=5), timedelta(minutes=10)),
            Channel.LETTER: (timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30)),
        }
    )
    #: Delays between further attempts of a page to a recipient outside; the last one repeats until the page expires. A
    #: fax machine without paper is busy for hours. Growing, because a person may answer a wrong number each time.
    redial_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.FAX: (timedelta(minutes=20), timedelta(minutes=40), timedelta(hours=1)),
            Channel.LETTER: (timedelta(hours=1),),
        }
    )
    #: Interval, from acceptance on, of queries for an overdue receipt.
    check_every: Mapping[Channel, timedelta] = field(
        default_factory=lambda: {
            # Without callbacks the query is the only source, and redials wait for it.
            Channel.SMS: timedelta(seconds=30),
            Channel.VOICE: timedelta(seconds=30),
            Channel.FAX: timedelta(minutes=2),
            Channel.LETTER: timedelta(minutes=1),
        }
    )
    #: Delays between queries about an attempt of unknown result; their number limits the queries.
    ask_after: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=5),
        timedelta(seconds=15),
        timedelta(seconds=40),
        timedelta(seconds=60),
    )

    def lease_on(self, channel: Channel) -> timedelta:
        """Return the lease of a call on a channel."""
        return self.lease_on_paper if channel in ON_PAPER else self.lease


@dataclass(frozen=True, slots=True)
class Try:
    """Call this gateway now; store the attempt first."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Query whether the gateway has this attempt (reconcile before resending)."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AskForReceipt:
    """Query the status of an accepted attempt whose receipt is overdue."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; `None`: without another event."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class FallBack:
    """Give up this address and use the person's next one."""

    to: Address


@dataclass(frozen=True, slots=True)
class Finish:
    """The notification has reached its final state."""

    state: NotificationState


#: Final states without delivery.
CAME_TO_NOTHING = frozenset({AttemptState.FAILED, AttemptState.NEVER_SENT, AttemptState.NOT_FOUND})

#: Codes of a refused SMS whose reader sent STOP to us or to Twilio.
STOPPED = frozenset({"STOP", "21610"})
#: Purposes that need no action of the reader.
_TELLS_THE_END = frozenset({Purpose.RECOVERY, Purpose.CLOSED, Purpose.CORRECTION})

Move = Try | Reconcile | AskForReceipt | Wait | FallBack | Finish


def next_move(
    notice: Notification, gateways: Mapping[Channel, Sequence[str]], policy: DeliveryPolicy, now: datetime
) -> Move:
    """Return the next action of an unsettled notification.

    *gateways*: names by channel, best first; gateways known to be down come last or are absent.
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
            return Reconcile(last) if now >= last.query_at else Wait(last.query_at)
        case AttemptState.NOT_FOUND:
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
    """Return the attempt that determines the notification's state: the last one.

    Unless it failed and an earlier one, given up as lost, turns out to have been sent: a late receipt.
    """
    attempts = notice.attempts
    if attempts and attempts[-1].state in CAME_TO_NOTHING:
        return next((a for a in reversed(attempts) if a.state in LEFT), attempts[-1])
    return attempts[-1] if attempts else None


def _await_receipt(notice: Notification, last: Attempt, now: datetime) -> Move:
    """Decide about a submitted message: query its receipt as long as it matters.

    A letter in the tray is queried for ever: only a clerk's record ends it.
    """
    in_the_tray = notice.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED
    if now >= notice.expires_at and not in_the_tray:
        return Wait(None)
    return AskForReceipt(last) if now >= last.query_at else Wait(last.query_at)


def _without_trace(notice: Notification, delivery: Delivery, lines: Sequence[str], now: datetime) -> Move:
    """Decide about an attempt that may not have been sent.

    A second SMS or call is better than silence, once. A second signed fax or letter is not: a person decides.
    """
    if delivery.address.channel in ON_PAPER:
        return Finish(NotificationState.UNKNOWN)
    if now >= notice.expires_at:
        return Finish(NotificationState.FAILED)
    doubtful = sum(a.state is AttemptState.NOT_FOUND for a in delivery.attempts)
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
        return _next_address(notice, now)  # No action is needed, so one delivery is enough.
    if rang_in_vain(last) and _as_decided(notice, delivery).once:
        return _next_address(notice, now)
    passing = last.state is AttemptState.NEVER_SENT or last.error is ErrorClass.TRANSIENT
    worth_another = passing and last.query_at < notice.expires_at
    waits = policy.retry_after[delivery.address.channel]
    if worth_another and last.gateway in lines and _failures(delivery, last.gateway) <= len(waits):
        return Try(last.gateway) if now >= last.query_at else Wait(last.query_at)
    tried = {a.gateway for a in delivery.attempts}
    if (untried := next((line for line in lines if line not in tried), None)) is not None:
        return Try(untried)
    following = _next_address(notice, now)
    redials = notice.plan is Plan.ANNOUNCEMENT and delivery.address.channel in policy.redial_after
    if isinstance(following, FallBack) or not redials or not lines or last.query_at >= notice.expires_at:
        return following
    return Try(lines[0]) if now >= last.query_at else Wait(last.query_at)


def wants_call_instead(notice: Notification, now: datetime) -> bool:
    """Return whether a notification that failed as SMS continues as a call, although its step has none.

    Its reader sent STOP. After a wrong number the next step starts at once instead. Nobody is called about an
    acknowledged incident.
    """
    last = notice.last_attempt
    stopped = last is not None and last.code in STOPPED and notice.channel is Channel.SMS
    return (
        stopped and now < notice.expires_at and notice.plan is Plan.ESCALATION and notice.purpose is not Purpose.TAKEN
    )


def rang_in_vain(last: Attempt) -> bool:
    """Whether a call was placed and ended unanswered or without a key press. A call that was not placed has no id."""
    return last.state is AttemptState.FAILED and last.error is ErrorClass.TRANSIENT and last.provider_id is not None


def _as_decided(notice: Notification, delivery: Delivery) -> Address:
    """Return the address of a delivery with all details of the notification; a delivery stores its identity only."""
    return next((a for a in notice.addresses if a == delivery.address), delivery.address)


def _next_address(notice: Notification, now: datetime) -> Move:
    tried = {d.address for d in notice.deliveries}
    untried = [a for a in notice.addresses if a not in tried]
    answering = [a for a in untried if a.answers(now)]
    following = next(iter(answering or untried), None)
    return FallBack(following) if following else Finish(NotificationState.FAILED)


def _at_the_office(notice: Notification, delivery: Delivery, move: Move, now: datetime) -> Move:
    """Delay an attempt to an outside office until it opens.

    For staff without any available address it is not delayed.
    """
    hours = _as_decided(notice, delivery).hours
    if isinstance(move, Try) and notice.plan is Plan.ANNOUNCEMENT and hours and (opening := hours.opening(now)) > now:
        return Wait(opening)
    return move  # Open; or closed for months, when waiting would be useless.


def _failures(delivery: Delivery, gateway: str) -> int:
    """Count the attempts that *gateway* certainly did not send."""
    definite = {AttemptState.FAILED, AttemptState.NEVER_SENT}
    return sum(a.gateway == gateway and a.state in definite for a in delivery.attempts)


def retry_at(
    delivery: Delivery, gateway: str, policy: DeliveryPolicy, now: datetime, asked: timedelta | None
) -> datetime:
    """Return when a transient failure may be retried; *asked*: the provider's Retry-After."""
    channel = delivery.address.channel
    waits = (*policy.retry_after[channel], *policy.redial_after.get(channel, ()))
    wait = waits[min(_failures(delivery, gateway), len(waits) - 1)]
    return now + max(wait, asked or timedelta(0))


def shown_state(notice: Notification) -> NotificationState:
    """Return the state of an unsettled notification."""
    last = decisive(notice)
    return NotificationState.SENT if last and last.state in LEFT else NotificationState.PENDING
