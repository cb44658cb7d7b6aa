"""Decide why an account is refused at sign-in: because of the account, or of the service that checks passwords. No clock, no I/O.

A server that cannot look passwords up often answers as for a wrong one: Sendmail whose saslauthd is dead says 535, and Dovecot
whose password file is gone AUTHENTICATIONFAILED. What tells the two apart is whether other accounts are accepted there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from monitor.judging.evidence import ARRIVED, ON_THE_WAY, end_of
from monitor.model.route import WatchedRoute
from probes.model.mailbox import Mailbox
from probes.model.pace import Pace
from probes.model.result import Party, Phase, ProbeResult

#: An account that was last accepted longer ago than this may have been locked meanwhile, or its password changed.
_LATELY: Final = timedelta(days=1)
#: Accounts whose refusals began within this of each other were refused together.
_TOGETHER: Final = timedelta(minutes=30)
#: A mailbox is read over a connection that was opened at most this long ago.
_CONNECTION: Final = Pace().renewal


class SignInFault(StrEnum):
    """Why an account is refused."""

    #: The account: the server says so, or accepts others, or never accepted this one with its present secret.
    ACCOUNT = "account"
    #: Not decided: no other account has been tried there since, or it was accepted at the last attempt, or has not been tried
    #: since a restart or a silence of the site.
    UNDECIDED = "undecided"
    #: Perhaps the service: the account was accepted lately with the same secret, and there is no other to compare with.
    SUSPECTED = "suspected"
    #: The service, as far as can be seen: several accounts are refused together.
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class _Refusal:
    #: Start of the first of the runs that were refused in a row.
    since: datetime
    #: The server gives no reason that concerns this account only; `None`: not tried since a restart or a silence of the site.
    is_plain: bool | None


@dataclass(slots=True)
class _Server:
    """The accounts that sign in to one server for one purpose."""

    #: When each was last accepted with its present secret; `None`: never.
    accepted: dict[str, datetime | None] = field(default_factory=dict)
    refused: dict[str, _Refusal] = field(default_factory=dict)
    #: When any of them was last accepted for certain.
    accepted_at: datetime | None = None
    #: Within this after a refusal all others are tried as well.
    round: timedelta = timedelta(0)

    def is_refused_together(self, name: str) -> bool:
        """Whether another account is refused together with *name*, and one of these was accepted before."""
        refusal, was_accepted = self.refused[name], self.accepted[name] is not None
        return refusal.is_plain is True and any(
            other.is_plain and (was_accepted or self.accepted[each]) and abs(other.since - refusal.since) <= _TOGETHER
            for each, other in self.refused.items()
            if each != name
        )

    def refused_alone(self) -> set[str]:
        """Return the accounts whose `SignInFault` changes with which others are refused."""
        return {name for name in self.refused if not self.is_refused_together(name)}


class SignInEvidence:
    """Which accounts each server accepts and refuses."""

    def __init__(self) -> None:
        self._servers: dict[tuple[Party, str, int], _Server] = {}
        #: By account: the server that it sends by, and the one that it is read from.
        self._by: Mapping[Party, dict[str, _Server]] = {party: {} for party in Party}

    def follow(self, routes: Iterable[WatchedRoute], exchanged: Collection[str]) -> None:
        """Replace the accounts by those of *routes*; *exchanged* are those with a new secret, whose history is dropped."""
        before, self._servers, self._by = self._servers, {}, {party: {} for party in Party}
        for route in routes:
            probing = route.probing
            for party in Party:
                mailbox = end_of(route, party)
                if (at := _server_of(mailbox, party)) is None:
                    continue
                name, known = mailbox.name, before.get(at, _Server())
                server = self._servers.setdefault(at, _Server(accepted_at=known.accepted_at))
                self._by[party][name] = server
                server.round = max(server.round, probing.interval + probing.patience.whole + _CONNECTION)
                server.accepted[name] = None if name in exchanged else known.accepted.get(name)
                if name in known.refused and name not in exchanged:
                    server.refused[name] = known.refused[name]

    def restore_arrival(self, route: WatchedRoute, started_at: datetime) -> None:
        """Add a run from before a restart whose message arrived: both its accounts were accepted."""
        for party in Party:
            self._accept(end_of(route, party), party, started_at)

    def restore_refusal(self, account: str, party: Party, since: datetime) -> None:
        """Add an account that was refused before a restart; the reason is not known until it is tried again."""
        if (server := self._by[party].get(account)) is not None:
            server.refused.setdefault(account, _Refusal(since, is_plain=None))

    def mark_stale(self, route: WatchedRoute) -> None:
        """Forget why accounts of *route* were refused before the site was silent."""
        for party in Party:
            name = end_of(route, party).name
            server = self._by[party].get(name)
            if server is not None and (known := server.refused.get(name)) is not None:
                server.refused[name] = _Refusal(known.since, is_plain=None)

    def rewind(self, now: datetime, back: timedelta) -> None:
        """Move by *back* what lies ahead of *now*: the clock was set back."""

        def moved(at: datetime) -> datetime:
            return at if at <= now else min(at - back, now)

        for server in self._servers.values():
            server.accepted_at = server.accepted_at and moved(server.accepted_at)
            server.accepted = {name: at and moved(at) for name, at in server.accepted.items()}
            server.refused = {name: _Refusal(moved(r.since), r.is_plain) for name, r in server.refused.items()}

    def record(self, route: WatchedRoute, result: ProbeResult) -> Collection[str]:
        """Add the result of a run; return the accounts whose `fault` may be another one by it."""
        sender, recipient, failure = route.route.sender, route.route.recipient, result.failure
        affected: set[str] = set()
        if Phase.AUTH in result.phases:
            affected |= self._accept(sender, Party.SENDER, result.started_at)
        if result.outcome in ARRIVED or result.outcome in ON_THE_WAY:
            affected |= self._accept(recipient, Party.RECIPIENT, result.started_at)
        if failure is not None and failure.credentials_refused:
            name = end_of(route, failure.party).name
            if (server := self._by[failure.party].get(name)) is not None:
                affected |= self._refuse(server, name, result.started_at, is_plain=failure.cause is None)
        return affected

    def _refuse(self, server: _Server, name: str, at: datetime, *, is_plain: bool) -> set[str]:
        known = server.refused.get(name)
        if known is not None and known.is_plain is is_plain:
            return {name}
        before = server.refused_alone()
        server.refused[name] = _Refusal(at if known is None else known.since, is_plain=is_plain)
        return before | server.refused_alone() | {name}

    def _accept(self, mailbox: Mailbox, party: Party, at: datetime) -> set[str]:
        name = mailbox.name
        if (server := self._by[party].get(name)) is None:
            return set()
        affected: set[str] = set()
        refusal, known = server.refused.get(name), server.accepted[name]
        if known is None or known < at:
            server.accepted[name] = at
        if refusal is not None:
            if refusal.since <= at:
                del server.refused[name]
            affected = server.refused_alone() | {name}
        for_certain = at - _CONNECTION if party is Party.RECIPIENT and mailbox.imap is not None else at
        before = server.accepted_at
        if before is None or before < for_certain:
            server.accepted_at = for_certain
            begun = ((each, other.since) for each, other in server.refused.items())
            affected |= {each for each, since in begun if (before is None or before < since) and since <= for_certain}
        return affected

    def is_refused(self, route: WatchedRoute) -> bool:
        """Whether the server refused an account of *route* at its last attempt."""
        sender, recipient = route.route.sender.name, route.route.recipient.name
        sending, reading = self._by[Party.SENDER].get(sender), self._by[Party.RECIPIENT].get(recipient)
        return (sending is not None and sender in sending.refused) or (
            reading is not None and recipient in reading.refused
        )

    def fault(self, account: str, party: Party, now: datetime) -> SignInFault:
        """Return why *account* is refused; *party*: at the server it sends by, or at the one it is read from."""
        server = self._by[party].get(account)
        refusal = server.refused.get(account) if server is not None else None
        if server is None or refusal is None or refusal.is_plain is None:
            return SignInFault.UNDECIDED
        if not refusal.is_plain or (server.accepted_at is not None and server.accepted_at >= refusal.since):
            return SignInFault.ACCOUNT
        if server.is_refused_together(account):
            return SignInFault.SERVICE
        accepted_at = server.accepted[account]
        if accepted_at is None or refusal.since - accepted_at > _LATELY:
            return SignInFault.ACCOUNT
        has_others = len(server.accepted) > len(server.refused)
        return SignInFault.UNDECIDED if has_others and now < refusal.since + server.round else SignInFault.SUSPECTED


def _server_of(mailbox: Mailbox, party: Party) -> tuple[Party, str, int] | None:
    server = mailbox.smtp if party is Party.SENDER else mailbox.imap or mailbox.pop3
    return None if server is None else (party, server.host, server.port)
