"""Receive quotas of reference mailboxes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.pool import ALONE, Spread
from monitor.model.route import Direction, MonitoredRoute
from monitor.model.send_quota import CONFIRMATIONS, rounded
from probes.model.mailbox import Mailbox

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
#: Routes are spread over their intervals by hash: few minutes exceed the mean by more standard deviations.
_DEVIATIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveQuotaExceeded:
    """An account that would receive more than allowed."""

    recipient: Mailbox
    mail_provider: MailProvider
    #: The exceeded span: a minute or an hour.
    span: timedelta
    #: Messages in the fullest of these spans.
    messages: int
    allowed: int
    #: Interval of all its routes that would suffice.
    interval: timedelta
    #: Number of sites that send together.
    sites: int
    #: Number of pool mailboxes, and processes, that would suffice; `None`: no pool does.
    mailboxes: int | None


def floods(
    routes: Iterable[MonitoredRoute], mail_providers: MailProviders, spread: Spread = ALONE
) -> list[ReceiveQuotaExceeded]:
    """Return the reference mailboxes that the runs of *routes* would overload."""
    by_recipient: dict[str, list[MonitoredRoute]] = {}
    for route in routes:
        if comes_to_us(route):
            by_recipient.setdefault(route.route.recipient.name, []).append(route)
    return [found for each in by_recipient.values() if (found := _flood(each, mail_providers, spread)) is not None]


def comes_to_us(route: MonitoredRoute) -> bool:
    """Whether a route's messages arrive in a reference mailbox."""
    return route.direction in (Direction.OUTBOUND, Direction.CONTROL) or route.forwarded


def _flood(
    routes: Sequence[MonitoredRoute], mail_providers: MailProviders, spread: Spread
) -> ReceiveQuotaExceeded | None:
    mail_provider = mail_providers.receiving(routes[0].route.recipient)
    if mail_provider is None:
        return None
    limits = ((_MINUTE, mail_provider.received_per_minute), (_HOUR, mail_provider.received_per_hour))
    found = [_over(routes, mail_provider, spread, span, allowed) for span, allowed in limits if allowed is not None]
    return max((each for each in found if each is not None), key=lambda each: each.interval, default=None)


def _over(
    routes: Sequence[MonitoredRoute], mail_provider: MailProvider, spread: Spread, span: timedelta, allowed: int
) -> ReceiveQuotaExceeded | None:
    recipient, fitting = routes[0].route.recipient, _fitting(allowed)
    shares = [spread.share(each, recipient.name) for each in routes]
    means = [CONFIRMATIONS * share * (span / r.probing.interval) for r, share in zip(routes, shares, strict=True)]
    mean = sum(means)
    if mean <= fitting:
        return None
    # Messages from agencies are shared by the processes; control runs come from each of them.
    own = sum(mean for mean, route in zip(means, routes, strict=True) if not route.agency)
    together = (mean - own) * spread.pools.get(recipient.name, 1)
    return ReceiveQuotaExceeded(
        recipient=recipient,
        mail_provider=mail_provider,
        span=span,
        messages=math.ceil(mean + _DEVIATIONS * math.sqrt(mean)),
        allowed=allowed,
        sites=spread.sites,
        interval=rounded(sum(shares) * span * CONFIRMATIONS / fitting),
        mailboxes=None if own >= fitting else math.ceil(together / (fitting - own)),
    )


def _fitting(allowed: int) -> float:
    """Return the mean at which *allowed* suffices for the fullest span."""
    return ((math.sqrt(_DEVIATIONS**2 + 4 * allowed) - _DEVIATIONS) / 2) ** 2
