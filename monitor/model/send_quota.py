"""Send quotas of probe messages. Pure.

Before the start: whether a configuration would send more from an account than its mail provider allows. At run time:
when an account may send its next message. `alerts.decide.gateway.rate_limit` limits notifications.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.pool import SINGLE_SITE, Spread
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox

#: Factor that adds the runs besides the regular ones: repetitions after failures, and control runs (from one reference
#: mailbox to another) that give evidence about a failure.
EXTRA_RUNS_FACTOR = 1.1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
#: Start of the days for which active hours are computed: any date would do.
_SAMPLE_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
#: Sent messages of the last day are counted in buckets of this length.
_BUCKET_SPAN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaExceeded:
    """An account that would have to send more than allowed."""

    sender: Mailbox
    mail_provider: MailProvider
    #: Number of messages on the busiest day.
    messages_per_day: int
    #: Probing interval that would suffice if all routes from the account had it.
    interval: timedelta
    #: Number of sites (locations that probe) that send with this account.
    sites: int = 1
    #: Whether one site alone would stay within the quota.
    is_within_quota_alone: bool = False

    @property
    def allowed(self) -> str:
        """The provider's limit as text."""
        per_day, per_minute = self.mail_provider.messages_per_day, self.mail_provider.messages_per_minute
        limits = [f"{per_day} a day" if per_day else "", f"{per_minute} a minute" if per_minute else ""]
        return " and ".join(filter(None, limits))


def accounts_over_quota(
    routes: Iterable[MonitoredRoute], mail_providers: MailProviders, spread: Spread = SINGLE_SITE
) -> list[QuotaExceeded]:
    """Return the accounts whose quota the runs of *routes* would exceed."""
    by_sender: dict[str, list[MonitoredRoute]] = {}
    for route in routes:
        by_sender.setdefault(route.route.sender.name, []).append(route)
    return [
        found for each in by_sender.values() if (found := _quota_exceeded(each, mail_providers, spread)) is not None
    ]


def _quota_exceeded(
    routes: list[MonitoredRoute], mail_providers: MailProviders, spread: Spread
) -> QuotaExceeded | None:
    sender = routes[0].route.sender
    mail_provider = mail_providers.sending_provider(sender)
    if mail_provider is None:
        return None
    exceeded = _exceeded_limit(routes, mail_provider, spread)
    if exceeded is None or spread.sites == 1:
        return exceeded
    alone_exceeded = _exceeded_limit(routes, mail_provider, replace(spread, sites=1))
    return replace(exceeded, sites=spread.sites, is_within_quota_alone=alone_exceeded is None)


def _exceeded_limit(routes: list[MonitoredRoute], mail_provider: MailProvider, spread: Spread) -> QuotaExceeded | None:
    sender = routes[0].route.sender
    shares = [spread.share(each, sender.name) for each in routes]
    active_spans = [
        each.probing.hours.longest_active_day(_SAMPLE_MONDAY) * share
        for each, share in zip(routes, shares, strict=True)
    ]
    intervals = [each.probing.interval for each in routes]
    per_day = _messages(span / interval for span, interval in zip(active_spans, intervals, strict=True))
    per_minute = _messages(share * (_MINUTE / interval) for share, interval in zip(shares, intervals, strict=True))
    min_interval = timedelta(0)
    if mail_provider.messages_per_day is not None and per_day > mail_provider.messages_per_day:
        min_interval = sum(active_spans, timedelta(0)) * EXTRA_RUNS_FACTOR / mail_provider.messages_per_day
    if mail_provider.messages_per_minute is not None and per_minute > mail_provider.messages_per_minute:
        min_interval = max(min_interval, sum(shares) * _MINUTE * EXTRA_RUNS_FACTOR / mail_provider.messages_per_minute)
    if not min_interval:
        return None
    return QuotaExceeded(
        sender=sender,
        mail_provider=mail_provider,
        messages_per_day=math.ceil(per_day),
        interval=round_up_interval(min_interval),
    )


def _messages(runs: Iterable[float]) -> float:
    """Return the number of messages, including those of extra runs. *runs*: number of regular runs of each route."""
    # 2,880 times 1.1 has a floating-point error, which must not count as one more message.
    return round(EXTRA_RUNS_FACTOR * sum(runs), 6)


def round_up_interval(span: timedelta) -> timedelta:
    """Return *span* rounded up to ten seconds, or from five minutes on to a minute."""
    step = timedelta(seconds=10) if span < 5 * _MINUTE else _MINUTE
    return math.ceil(span / step) * step


@dataclass(slots=True)
class _Account:
    address: str
    #: The provider's limits; infinite without a limit.
    per_day: float
    per_minute: float
    #: Number of messages by bucket, for the last day.
    counts: dict[int, int] = field(default_factory=dict)
    #: Times of the latest messages, at most as many as `per_minute`; empty without such a limit.
    last_minute: deque[datetime] = field(default_factory=deque)
    #: By route: time of the latest recorded message.
    latest_by_route: dict[str, datetime] = field(default_factory=dict)
    #: Time of the latest message of all routes.
    latest_sent_at: datetime = _EPOCH

    def record(self, at: datetime, route: str) -> None:
        self.latest_by_route[route] = at
        self.latest_sent_at = max(self.latest_sent_at, at)
        bucket = _bucket(at)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        if self.per_minute < math.inf:
            # Messages of another process may be recorded out of order.
            insort(self.last_minute, at)
            while len(self.last_minute) > self.per_minute:
                self.last_minute.popleft()

    def clamp_future_times(self, now: datetime) -> None:
        """Move messages with a later time to *now*. The clock was ahead, and they would block the account too long."""
        self.latest_sent_at = now
        current_bucket = _bucket(now)
        if ahead := [bucket for bucket in self.counts if bucket > current_bucket]:
            self.counts[current_bucket] = self.counts.get(current_bucket, 0) + sum(
                self.counts.pop(bucket) for bucket in ahead
            )
        if self.last_minute and self.last_minute[-1] > now:
            self.last_minute = deque(min(at, now) for at in self.last_minute)
        self.latest_by_route = {route: min(at, now) for route, at in self.latest_by_route.items()}


@dataclass(slots=True)
class SendQuota:
    """Messages that accounts with a limit have sent in the last day and minute."""

    _accounts: dict[str, _Account] = field(default_factory=dict)

    def set_senders(self, senders: Iterable[Mailbox], mail_providers: MailProviders) -> None:
        """Track the accounts of *senders* whose provider has a limit. Recorded messages are kept."""
        accounts_before, self._accounts = self._accounts, {}
        for sender in senders:
            mail_provider = mail_providers.sending_provider(sender)
            if mail_provider is None or not (mail_provider.messages_per_day or mail_provider.messages_per_minute):
                continue
            account = accounts_before.get(sender.name)
            if account is None or account.address != sender.address:
                account = _Account(address=sender.address, per_day=math.inf, per_minute=math.inf)
            account.per_day = mail_provider.messages_per_day or math.inf
            account.per_minute = mail_provider.messages_per_minute or math.inf
            self._accounts[sender.name] = account

    def record(self, sender: str, at: datetime, route: str = "") -> None:
        """Record a message of the account *sender* on a route at *at*."""
        account = self._accounts.get(sender)
        if account is not None:
            account.record(at, route)

    def record_earlier(self, sender: str, at: datetime, route: str) -> None:
        """Record a message that was sent before the start or by another process, unless it is recorded already.

        A message is recorded already if its route was removed and is added again while the account stayed in use, as
        that of a reference mailbox does.
        """
        account = self._accounts.get(sender)
        if account is not None and at > account.latest_by_route.get(route, _EPOCH):
            account.record(at, route)

    def next_send_at(self, sender: str, now: datetime) -> datetime:
        """Return when *sender* may send its next message: *now*, or later."""
        account = self._accounts.get(sender)
        if account is None:
            return now
        if account.latest_sent_at > now:
            account.clamp_future_times(now)
        oldest = _bucket(now - _DAY)
        for bucket in [bucket for bucket in account.counts if bucket < oldest]:
            del account.counts[bucket]
        at = now
        if sum(account.counts.values()) >= account.per_day:
            at = _EPOCH + (min(account.counts) + 1) * _BUCKET_SPAN + _DAY
        if len(account.last_minute) >= account.per_minute:
            at = max(at, account.last_minute[0] + _MINUTE)
        return max(at, now)


def _bucket(at: datetime) -> int:
    """Return the number of the bucket of a time."""
    return (at - _EPOCH) // _BUCKET_SPAN
