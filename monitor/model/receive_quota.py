"""Receive quotas: whether a reference (a mailbox of the operator) would receive more than its provider allows. Pure.

A pool is a reference with several mailboxes, of which each process uses its own. A `Spread` has the number of sites
(locations that probe) and of mailboxes per pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.pool import SINGLE_SITE, Spread
from monitor.model.route import Direction, MonitoredRoute
from monitor.model.send_quota import EXTRA_RUNS_FACTOR, round_up_interval
from probes.model.mailbox import Mailbox

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
#: The number of messages in the busiest span is estimated as the mean plus this many standard deviations. The number
#: varies, because routes are spread over their intervals by a hash.
_STANDARD_DEVIATIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveQuotaExceeded:
    """An account that would receive more than allowed."""

    recipient: Mailbox
    mail_provider: MailProvider
    #: Span of the limit that is exceeded: a minute or an hour.
    span: timedelta
    #: Estimated number of messages in the busiest span.
    messages: int
    #: Number of messages that the provider allows in the span.
    allowed: int
    #: Probing interval that would suffice if all routes to the account had it.
    interval: timedelta
    #: Number of sites whose messages are counted together.
    sites: int
    #: Number of pool mailboxes, each with its own process, that would suffice; `None`: no number does.
    mailboxes: int | None


def overloaded_references(
    routes: Iterable[MonitoredRoute], mail_providers: MailProviders, spread: Spread = SINGLE_SITE
) -> list[ReceiveQuotaExceeded]:
    """Return the reference mailboxes that the runs of *routes* would overload."""
    by_recipient: dict[str, list[MonitoredRoute]] = {}
    for route in routes:
        if arrives_at_reference(route):
            by_recipient.setdefault(route.route.recipient.name, []).append(route)
    return [
        found for each in by_recipient.values() if (found := _quota_exceeded(each, mail_providers, spread)) is not None
    ]


def arrives_at_reference(route: MonitoredRoute) -> bool:
    """Whether a route's messages arrive in a reference mailbox."""
    return route.direction in (Direction.OUTBOUND, Direction.CONTROL) or route.forwarded


def _quota_exceeded(
    routes: Sequence[MonitoredRoute], mail_providers: MailProviders, spread: Spread
) -> ReceiveQuotaExceeded | None:
    mail_provider = mail_providers.receiving_provider(routes[0].route.recipient)
    if mail_provider is None:
        return None
    limits = ((_MINUTE, mail_provider.received_per_minute), (_HOUR, mail_provider.received_per_hour))
    exceeded = [
        _exceeded_limit(routes, mail_provider, spread, span, allowed) for span, allowed in limits if allowed is not None
    ]
    return max((each for each in exceeded if each is not None), key=lambda each: each.interval, default=None)


def _exceeded_limit(
    routes: Sequence[MonitoredRoute], mail_provider: MailProvider, spread: Spread, span: timedelta, allowed: int
) -> ReceiveQuotaExceeded | None:
    recipient, sufficient_mean = routes[0].route.recipient, _sufficient_mean(allowed)
    shares = [spread.share(each, recipient.name) for each in routes]
    means = [
        EXTRA_RUNS_FACTOR * share * (span / route.probing.interval) for route, share in zip(routes, shares, strict=True)
    ]
    mean = sum(means)
    if mean <= sufficient_mean:
        return None
    # The mailboxes of a pool share the messages from agencies. Messages of control routes arrive in each of them.
    control_mean = sum(mean for mean, route in zip(means, routes, strict=True) if not route.agency)
    shared_mean = (mean - control_mean) * spread.pools.get(recipient.name, 1)
    return ReceiveQuotaExceeded(
        recipient=recipient,
        mail_provider=mail_provider,
        span=span,
        messages=math.ceil(mean + _STANDARD_DEVIATIONS * math.sqrt(mean)),
        allowed=allowed,
        sites=spread.sites,
        interval=round_up_interval(sum(shares) * span * EXTRA_RUNS_FACTOR / sufficient_mean),
        mailboxes=None
        if control_mean >= sufficient_mean
        else math.ceil(shared_mean / (sufficient_mean - control_mean)),
    )


def _sufficient_mean(allowed: int) -> float:
    """Return the largest mean at which the busiest span has at most *allowed* messages.

    It solves mean + `_STANDARD_DEVIATIONS` * sqrt(mean) = allowed: the variance of a Poisson distribution is its mean.
    """
    return ((math.sqrt(_STANDARD_DEVIATIONS**2 + 4 * allowed) - _STANDARD_DEVIATIONS) / 2) ** 2
