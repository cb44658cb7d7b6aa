"""Next action for a notification: try, retry, query, fall back, give up. Pure: the caller passes the time.

A notification has addresses in order of preference; each address has a channel, and each channel has gateways. The
rules in order: query the gateway about a message that may have been sent, before it is resent; retry the same gateway
after a transient error; then use the channel's next gateway; then the person's next address; then give up. An attempt
is one request to a gateway.

A fax or letter to a recipient (an office outside) is given up only when it expires or its address is wrong, because the
escalation does not repeat it. After all gateways have failed, the best gateway is retried at growing intervals
(`paper_retry_after`).

Staff are notified at the next address whose office hours include now; if there is none, at the next address anyway. A
recipient is notified when the office opens.

A call without a key press has failed and is retried like an unanswered call, with two exceptions: in an escalation step
with redial, `alerts.decide.escalation` decides about it, and a call about the end of an incident is not retried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import SUBMITTED, Attempt, AttemptState, Delivery, Notification, NotificationState
from alerts.model.gateway import NO_KEY, ErrorClass
from alerts.model.notification import Plan, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """Delays and limits by channel. The values follow common practice (HylaFAX, GoAlert)."""

    #: Time after which the gateway is queried about the result of a request, unless the request still runs in this
    #: process.
    lease: timedelta = timedelta(seconds=30)
    #: Time after which a request to a gateway is cancelled. Most gateways have a deadline of their own (at most 60 s).
    #: A tray (the directory for letters) has none, and on a hanging network share would occupy its slots for ever.
    deadline: timedelta = timedelta(seconds=90)
    #: `lease` for fax and letters, longer than `deadline`. With a shorter lease a page could be sent twice: one engine
    #: loses its database connection while its request still runs; another queries the gateway, which does not find the
    #: page yet, and sends it again.
    lease_on_paper: timedelta = timedelta(seconds=100)
    #: Delays between attempts by one gateway after a transient error; their number limits the retries.
    retry_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.SMS: (timedelta(seconds=15), timedelta(seconds=60)),
            Channel.VOICE: (timedelta(seconds=60), timedelta(seconds=120)),
            # A busy fax line is free after a page or two: 3 min, as in HylaFAX.
            Channel.FAX: (timedelta(minutes=3), timedelta(minutes=3), timedelta(minutes=5), timedelta(minutes=10)),
            Channel.LETTER: (timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30)),
        }
    )
    #: Delays between further attempts of a fax or letter to a recipient. The last delay repeats until expiry, because a
    #: fax machine without paper is busy for hours. The delays grow, because the number may be wrong and disturb a
    #: person.
    paper_retry_after: Mapping[Channel, tuple[timedelta, ...]] = field(
        default_factory=lambda: {
            Channel.FAX: (timedelta(minutes=20), timedelta(minutes=40), timedelta(hours=1)),
            Channel.LETTER: (timedelta(hours=1),),
        }
    )
    #: Interval of status queries for a message without a receipt, from its acceptance on.
    check_interval: Mapping[Channel, timedelta] = field(
        default_factory=lambda: {
            # Without callbacks only a query shows the end of a telephone call, for which the redial waits.
            Channel.SMS: timedelta(seconds=30),
            Channel.VOICE: timedelta(seconds=30),
            Channel.FAX: timedelta(minutes=2),
            Channel.LETTER: timedelta(minutes=1),
        }
    )
    #: Delays before each query about an attempt of unknown result; their number limits the queries.
    query_delays: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=5),
        timedelta(seconds=15),
        timedelta(seconds=40),
        timedelta(seconds=60),
    )

    def lease_for(self, channel: Channel) -> timedelta:
        """Return the lease of a request on a channel."""
        return self.lease_on_paper if channel in ON_PAPER else self.lease


@dataclass(frozen=True, slots=True)
class Try:
    """Send by this gateway now; store the attempt first."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Query whether the gateway received the message of this attempt, before it is resent."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class QueryReceipt:
    """Query the status of an accepted attempt whose receipt is overdue."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due now."""

    #: When an action may be due; `None`: not before another event, such as a callback.
    until: datetime | None


@dataclass(frozen=True, slots=True)
class FallBack:
    """Give up the present address and use the person's next one, `to`."""

    to: Address


@dataclass(frozen=True, slots=True)
class Finish:
    """The notification has reached its final state."""

    state: NotificationState


#: States of an attempt that was not submitted, or did not arrive. NEVER_SENT: a query proved that the gateway did not
#: receive the message. NOT_FOUND: a query did not find the message, but the search is not reliable.
UNDELIVERED = frozenset({AttemptState.FAILED, AttemptState.NEVER_SENT, AttemptState.NOT_FOUND})

#: `Attempt.code` of an SMS whose reader has opted out: Pantau's and Twilio's.
OPT_OUT_CODES = frozenset({"STOP", "21610"})
#: Purposes that need no action of the reader.
_END_PURPOSES = frozenset({Purpose.RECOVERY, Purpose.CLOSED, Purpose.CORRECTION})

NextAction = Try | Reconcile | QueryReceipt | Wait | FallBack | Finish


def next_action(
    notification: Notification, gateways: Mapping[Channel, Sequence[str]], policy: DeliveryPolicy, now: datetime
) -> NextAction:
    """Return the next action of a notification without a final state.

    *gateways*: names by channel, the best first. Gateways that are down come last or are left out.
    """
    if not notification.deliveries:
        return _next_address(notification, now)
    delivery = notification.deliveries[-1]
    gateway_names = gateways.get(delivery.address.channel, ())
    last = decisive_attempt(notification)
    if last is None or (not delivery.attempts and last.state not in SUBMITTED):
        # This address has no attempt yet, and no attempt at an earlier address was sent after all.
        if now >= notification.expires_at:
            return Finish(NotificationState.FAILED)
        if not gateway_names:
            return _next_address(notification, now)
        return _delay_until_open(notification, delivery, Try(gateway_names[0]), now)

    match last.state:
        case AttemptState.CALLING | AttemptState.UNKNOWN:
            return Reconcile(last) if now >= last.query_at else Wait(last.query_at)
        case AttemptState.NOT_FOUND:
            return _delay_until_open(
                notification, delivery, _after_not_found(notification, delivery, gateway_names, now), now
            )
        case AttemptState.ACCEPTED | AttemptState.SENT:
            return _await_receipt(notification, last, now)
        case AttemptState.DELIVERED:
            return Finish(NotificationState.DELIVERED)
        case AttemptState.WITHDRAWN:
            return Finish(NotificationState.WITHDRAWN)
        case AttemptState.NEVER_SENT | AttemptState.FAILED:
            return _delay_until_open(
                notification, delivery, _after_failure(notification, delivery, gateway_names, policy, now), now
            )


def decisive_attempt(notification: Notification) -> Attempt | None:
    """Return the attempt that determines the notification's state; `None` without attempts.

    It is the last attempt or, if that failed, the last one that was submitted: an attempt that counted as lost may have
    been sent, as a late receipt shows.
    """
    attempts = notification.attempts
    if attempts and attempts[-1].state in UNDELIVERED:
        return next((a for a in reversed(attempts) if a.state in SUBMITTED), attempts[-1])
    return attempts[-1] if attempts else None


def _await_receipt(notification: Notification, last: Attempt, now: datetime) -> NextAction:
    """Return the next action for a submitted message: query its status until the notification expires.

    The status of a letter in the tray is queried until a clerk records its posting.
    """
    is_in_tray = notification.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED
    if now >= notification.expires_at and not is_in_tray:
        return Wait(None)
    return QueryReceipt(last) if now >= last.query_at else Wait(last.query_at)


def _after_not_found(
    notification: Notification, delivery: Delivery, gateway_names: Sequence[str], now: datetime
) -> NextAction:
    """Return the next action after an attempt that the gateway does not find, although it may have been sent.

    An SMS or call is resent once, because a duplicate is better than no message. A fax or letter is a signed document
    and is not resent: a person finds out whether it was sent.
    """
    if delivery.address.channel in ON_PAPER:
        return Finish(NotificationState.UNKNOWN)
    if now >= notification.expires_at:
        return Finish(NotificationState.FAILED)
    not_found_count = sum(a.state is AttemptState.NOT_FOUND for a in delivery.attempts)
    if not_found_count > 1 or not gateway_names:
        return _next_address(notification, now)
    return Try(next((name for name in gateway_names if name != delivery.attempts[-1].gateway), gateway_names[0]))


def _after_failure(
    notification: Notification, delivery: Delivery, gateway_names: Sequence[str], policy: DeliveryPolicy, now: datetime
) -> NextAction:
    """Return the next action after an attempt that certainly failed."""
    last = delivery.attempts[-1]
    if now >= notification.expires_at:
        return Finish(NotificationState.FAILED)
    if last.error is ErrorClass.PERMANENT:
        return _next_address(notification, now)
    if last.code == NO_KEY and notification.purpose in _END_PURPOSES:
        return _next_address(notification, now)  # The reader need not act, so one call to the address is enough.
    # `once`: the address is called only once, without retries.
    if is_unanswered_call(last) and _full_address(notification, delivery).once:
        return _next_address(notification, now)
    # `query_at` of a failed attempt is the time from which on it may be retried.
    is_transient = last.state is AttemptState.NEVER_SENT or last.error is ErrorClass.TRANSIENT
    may_retry = is_transient and last.query_at < notification.expires_at
    delays = policy.retry_after[delivery.address.channel]
    if may_retry and last.gateway in gateway_names and _failures(delivery, last.gateway) <= len(delays):
        return Try(last.gateway) if now >= last.query_at else Wait(last.query_at)
    tried_gateways = {a.gateway for a in delivery.attempts}
    if (untried_gateway := next((name for name in gateway_names if name not in tried_gateways), None)) is not None:
        return Try(untried_gateway)
    fallback = _next_address(notification, now)
    # All gateways have failed. A fax or letter to a recipient is retried at growing intervals.
    may_retry_paper = notification.plan is Plan.ANNOUNCEMENT and delivery.address.channel in policy.paper_retry_after
    if (
        isinstance(fallback, FallBack)
        or not may_retry_paper
        or not gateway_names
        or last.query_at >= notification.expires_at
    ):
        return fallback
    return Try(gateway_names[0]) if now >= last.query_at else Wait(last.query_at)


def needs_call_instead(notification: Notification, now: datetime) -> bool:
    """Whether a failed SMS to staff is followed by a call, although its step has no voice channel.

    Only if the reader has opted out of SMS; after another failure the next step starts at once instead. An SMS that
    only names the assignee (`Purpose.TAKEN`) is never followed by a call.
    """
    last = notification.last_attempt
    is_opted_out = last is not None and last.code in OPT_OUT_CODES and notification.channel is Channel.SMS
    return (
        is_opted_out
        and now < notification.expires_at
        and notification.plan is Plan.ESCALATION
        and notification.purpose is not Purpose.TAKEN
    )


def is_unanswered_call(last: Attempt) -> bool:
    """Whether a call was placed and ended unanswered or without a key press.

    A call that was not placed has no id of the provider.
    """
    return last.state is AttemptState.FAILED and last.error is ErrorClass.TRANSIENT and last.provider_id is not None


def _full_address(notification: Notification, delivery: Delivery) -> Address:
    """Return a delivery's address with office hours and `once`, which are stored with the notification only."""
    return next((a for a in notification.addresses if a == delivery.address), delivery.address)


def _next_address(notification: Notification, now: datetime) -> NextAction:
    """Return the fallback to the person's next address; if all were tried, the end of the notification."""
    tried_addresses = {d.address for d in notification.deliveries}
    untried = [a for a in notification.addresses if a not in tried_addresses]
    available = [a for a in untried if a.is_available(now)]
    next_address = next(iter(available or untried), None)
    return FallBack(next_address) if next_address else Finish(NotificationState.FAILED)


def _delay_until_open(notification: Notification, delivery: Delivery, action: NextAction, now: datetime) -> NextAction:
    """Return *action*; instead of an attempt while the recipient's office is closed, a wait until the office opens."""
    hours = _full_address(notification, delivery).hours
    if not isinstance(action, Try) or notification.plan is not Plan.ANNOUNCEMENT or hours is None:
        return action
    open_at = hours.first_open_time(now)
    return Wait(open_at) if open_at > now else action


def _failures(delivery: Delivery, gateway: str) -> int:
    """Count the attempts by *gateway* that certainly failed."""
    definite = {AttemptState.FAILED, AttemptState.NEVER_SENT}
    return sum(a.gateway == gateway and a.state in definite for a in delivery.attempts)


def retry_at(
    delivery: Delivery, gateway: str, policy: DeliveryPolicy, now: datetime, requested_delay: timedelta | None
) -> datetime:
    """Return when *gateway* may retry the delivery after a transient failure.

    *requested_delay*: delay that the provider requested (Retry-After); `None`: none.
    """
    channel = delivery.address.channel
    delays = (*policy.retry_after[channel], *policy.paper_retry_after.get(channel, ()))
    wait = delays[min(_failures(delivery, gateway), len(delays) - 1)]
    return now + max(wait, requested_delay or timedelta(0))


def unsettled_state(notification: Notification) -> NotificationState:
    """Return the state of *notification* while it has no final one: SENT if a gateway has accepted it, else PENDING."""
    last = decisive_attempt(notification)
    return NotificationState.SENT if last and last.state in SUBMITTED else NotificationState.PENDING
