"""Send quotas of accounts: what a configuration needs, and what is left at run time. Pure.

For probes only. `alerts.decide.gateway.rate_limit` limits notifications.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.pool import ALONE, Spread
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox

#: Repeated runs after failures, and control runs for evidence: a tenth more than the intervals alone.
CONFIRMATIONS = 1.1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
#: A Monday; windows differ by day, and all weekdays are examined.
_SOME_DAY = datetime(2026, 1, 5, tzinfo=UTC)
#: Sent messages are counted in parts of a day.
_PIECE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaExceeded:
    """An account that would have to send more than allowed."""

    sender: Mailbox
    mail_provider: MailProvider
    #: Messages on the busiest day.
    messages_per_day: int
    #: Interval of all its routes that would suffice.
    interval: timedelta
    #: Number of sites that exceed it together with this account; and whether one alone would not.
    sites: int = 1
    takes_several: bool = False

    @property
    def allowed(self) -> str:
        """The provider's limit as text."""
        a_day, a_minute = self.mail_provider.messages_per_day, self.mail_provider.messages_per_minute
        limits = [f"{a_day} a day" if a_day else "", f"{a_minute} a minute" if a_minute else ""]
        return " and ".join(filter(None, limits))


def overdrafts(
    routes: Iterable[MonitoredRoute], mail_providers: MailProviders, spread: Spread = ALONE
) -> list[QuotaExceeded]:
    """Return the accounts whose quota the runs of *routes* would exceed."""
    by_sender: dict[str, list[MonitoredRoute]] = {}
    for route in routes:
        by_sender.setdefault(route.route.sender.name, []).append(route)
    return [found for each in by_sender.values() if (found := _overdraft(each, mail_providers, spread)) is not None]


def _overdraft(routes: list[MonitoredRoute], mail_providers: MailProviders, spread: Spread) -> QuotaExceeded | None:
    sender = routes[0].route.sender
    mail_provider = mail_providers.of(sender)
    if mail_provider is None:
        return None
    found = _over(routes, mail_provider, spread)
    if found is None or spread.sites == 1:
        return found
    alone = _over(routes, mail_provider, replace(spread, sites=1))
    return replace(found, sites=spread.sites, takes_several=alone is None)


def _over(routes: list[MonitoredRoute], mail_provider: MailProvider, spread: Spread) -> QuotaExceeded | None:
    sender = routes[0].route.sender
    shares = [spread.share(each, sender.name) for each in routes]
    busy = [each.probing.hours.busiest_day(_SOME_DAY) * share for each, share in zip(routes, shares, strict=True)]
    intervals = [each.probing.interval for each in routes]
    a_day = _messages(span / interval for span, interval in zip(busy, intervals, strict=True))
    a_minute = _messages(share * (_MINUTE / interval) for share, interval in zip(shares, intervals, strict=True))
    least = timedelta(0)
    if mail_provider.messages_per_day is not None and a_day > mail_provider.messages_per_day:
        least = sum(busy, timedelta(0)) * CONFIRMATIONS / mail_provider.messages_per_day
    if mail_provider.messages_per_minute is not None and a_minute > mail_provider.messages_per_minute:
        least = max(least, sum(shares) * _MINUTE * CONFIRMATIONS / mail_provider.messages_per_minute)
    if not least:
        return None
    return QuotaExceeded(
        sender=sender, mail_provider=mail_provider, messages_per_day=math.ceil(a_day), interval=rounded(least)
    )


def _messages(runs: Iterable[float]) -> float:
    # Remove the floating-point error of 2,880 times 1.1.
    return round(CONFIRMATIONS * sum(runs), 6)


def rounded(span: timedelta) -> timedelta:
    """Return the next span that a person would write."""
    step = timedelta(seconds=10) if span < 5 * _MINUTE else _MINUTE
    return math.ceil(span / step) * step


@dataclass(slots=True)
class _Account:
    address: str
    a_day: float
    a_minute: float
    #: Messages per part of the last day.
    pieces: dict[int, int] = field(default_factory=dict)
    #: Messages of the last minute, if limited.
    latest: deque[datetime] = field(default_factory=deque)
    #: By route: time of the latest recorded message.
    until: dict[str, datetime] = field(default_factory=dict)
    #: The latest of all routes.
    newest: datetime = _EPOCH

    def spend(self, at: datetime, route: str) -> None:
        self.until[route] = at
        self.newest = max(self.newest, at)
        piece = _piece(at)
        self.pieces[piece] = self.pieces.get(piece, 0) + 1
        if self.a_minute < math.inf:
            # Messages of another process arrive late.
            insort(self.latest, at)
            while len(self.latest) > self.a_minute:
                self.latest.popleft()

    def put_right(self, now: datetime) -> None:
        """Move messages in the future, counted by a clock that was ahead, to *now*: they would block the account until then."""
        self.newest = now
        here = _piece(now)
        if ahead := [piece for piece in self.pieces if piece > here]:
            self.pieces[here] = self.pieces.get(here, 0) + sum(self.pieces.pop(piece) for piece in ahead)
        if self.latest and self.latest[-1] > now:
            self.latest = deque(min(at, now) for at in self.latest)
        self.until = {route: min(at, now) for route, at in self.until.items()}


@dataclass(slots=True)
class SendQuota:
    """Messages of accounts with a limit in the last day and minute."""

    _accounts: dict[str, _Account] = field(default_factory=dict)

    def follow(self, senders: Iterable[Mailbox], mail_providers: MailProviders) -> None:
        """Track the accounts of *senders* whose provider has a limit; recorded messages stay."""
        before, self._accounts = self._accounts, {}
        for sender in senders:
            mail_provider = mail_providers.of(sender)
            if mail_provider is None or not (mail_provider.messages_per_day or mail_provider.messages_per_minute):
                continue
            account = before.get(sender.name)
            if account is None or account.address != sender.address:
                account = _Account(address=sender.address, a_day=math.inf, a_minute=math.inf)
            account.a_day = mail_provider.messages_per_day or math.inf
            account.a_minute = mail_provider.messages_per_minute or math.inf
            self._accounts[sender.name] = account

    def spent(self, sender: str, at: datetime, route: str = "") -> None:
        """Record a message on a route at *at*."""
        account = self._accounts.get(sender)
        if account is not None:
            account.spend(at, route)

    def recall(self, sender: str, at: datetime, route: str) -> None:
        """Record a message from before a start or of another process, unless it is recorded.

        A route may be removed while its account stays, as with references.
        """
        account = self._accounts.get(sender)
        if account is not None and at > account.until.get(route, _EPOCH):
            account.spend(at, route)

    def room_at(self, sender: str, now: datetime) -> datetime:
        """Return when *sender* may send its next message: *now*, or later."""
        account = self._accounts.get(sender)
        if account is None:
            return now
        if account.newest > now:
            account.put_right(now)
        first = _piece(now - _DAY)
        for piece in [one for one in account.pieces if one < first]:
            del account.pieces[piece]
        at = now
        if sum(account.pieces.values()) >= account.a_day:
            at = _EPOCH + (min(account.pieces) + 1) * _PIECE + _DAY
        if len(account.latest) >= account.a_minute:
            at = max(at, account.latest[0] + _MINUTE)
        return max(at, now)


def _piece(at: datetime) -> int:
    return (at - _EPOCH) // _PIECE
