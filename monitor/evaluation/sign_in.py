"""Cause of refused sign-ins: the account, or the service that checks passwords. No clock, no I/O.

A server that cannot look up passwords often answers as for a wrong one: Sendmail with a dead saslauthd replies 535,
Dovecot without its password file AUTHENTICATIONFAILED. The number of other accounts accepted at the server
distinguishes the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from monitor.evaluation.evidence import ARRIVED, ON_THE_WAY, end_of
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.result import Party, Phase, ProbeResult

#: An account whose last success is older may have been locked, or its password changed.
_LATELY: Final = timedelta(days=1)
#: Refusals that begin at most this long apart have one cause.
_TOGETHER: Final = timedelta(minutes=30)
#: An account that is accepted this soon after a refusal proves nothing: Dovecot without its password file was observed
#: to refuse and accept one account within a second.
_MIXED: Final = timedelta(seconds=10)
#: A mailbox is read over a connection opened at most this long ago.
_CONNECTION: Final = PollingPolicy().renewal


class SignInFault(StrEnum):
    """Why an account is refused at sign-in."""

    #: The account: the server says so, or accepts more other accounts than it refuses, or never accepted this one with
    #: its present secret.
    ACCOUNT = "account"
    #: Not decided: other accounts have not been tried since, or this one has not been tried since they were accepted or
    #: since a restart.
    UNDECIDED = "undecided"
    #: Perhaps the sign-in service: it accepted the account lately, and there is no other account to compare with.
    SUSPECTED = "suspected"
    #: The sign-in service: it refuses several accounts together, and accepts no more others.
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class _Refusal:
    #: Start of the first and the latest of consecutive refused runs.
    since: datetime
    latest: datetime
    #: The answer gives no reason that is specific to the account; `None`: not tried since a restart or a silence.
    is_plain: bool | None
    #: At the last attempt more others were accepted than refused.
    is_outvoted: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """Accounts that are refused together."""

    size: int
    #: Start of the latest refusal.
    since: datetime
    #: One of them was accepted before.
    has_worked: bool
    #: Others accepted since then, and others not tried since.
    accepted: int
    untried: int

    @property
    def is_service(self) -> bool:
        """Whether the service is more likely than these accounts."""
        return self.size > 1 and self.has_worked and self.size >= self.accepted

    def is_outvoted(self, at: datetime, within: timedelta) -> bool:
        """Whether the accounts are at fault: others are accepted, and untried ones cannot change that or are overdue."""
        refused = self.size + self.untried
        is_final = not self.untried or self.accepted > refused or at >= self.since + within
        return bool(self.accepted) and not self.is_service and is_final


@dataclass(slots=True)
class _Server:
    """Accounts that sign in to one server for one purpose."""

    #: Last certain success of each account with its present secret; `None`: never.
    accepted: dict[str, datetime | None] = field(default_factory=dict)
    refused: dict[str, _Refusal] = field(default_factory=dict)
    #: Time after a refusal in which all others are tried.
    round: timedelta = timedelta(0)

    def groups(self) -> dict[str, _Group]:
        """Return the group of each plainly refused account."""
        plain = sorted((refusal.since, name) for name, refusal in self.refused.items() if refusal.is_plain)
        runs: list[list[tuple[datetime, str]]] = []
        for since, name in plain:
            if runs and since - runs[-1][-1][0] <= _TOGETHER:
                runs[-1].append((since, name))
            else:
                runs.append([(since, name)])
        return {name: group for run in runs for group in [self._group(run)] for _, name in run}

    def _group(self, run: Sequence[tuple[datetime, str]]) -> _Group:
        since, names = run[-1][0], {name for _, name in run}
        others = [(name, at) for name, at in self.accepted.items() if name not in names]
        accepted = sum(at is not None and at >= since for _, at in others)
        return _Group(
            size=len(names),
            since=since,
            has_worked=any(self.accepted[name] for name in names),
            accepted=accepted,
            untried=sum((at is None or at < since) and name not in self.refused for name, at in others),
        )

    def faults(self) -> dict[str, SignInFault | None]:
        """Return the cause for each account; `None`: undecided until the others are tried, then suspected."""
        groups = self.groups()
        return {name: self._fault(name, groups.get(name)) for name in self.refused}

    def _fault(self, name: str, group: _Group | None) -> SignInFault | None:
        refusal, accepted_at = self.refused[name], self.accepted[name]
        if group is None:
            return SignInFault.UNDECIDED if refusal.is_plain is None else SignInFault.ACCOUNT
        if group.is_service:
            return SignInFault.SERVICE
        if accepted_at is None or refusal.since - accepted_at > _LATELY:
            return SignInFault.ACCOUNT
        if group.accepted:
            return SignInFault.ACCOUNT if refusal.is_outvoted else SignInFault.UNDECIDED
        return None if len(self.accepted) > len(self.refused) else SignInFault.SUSPECTED


class SignInEvidence:
    """Accepted and refused accounts of each server."""

    def __init__(self) -> None:
        self._servers: dict[tuple[Party, str, int], _Server] = {}
        #: Server of an account for submission and for reading.
        self._by: Mapping[Party, dict[str, _Server]] = {party: {} for party in Party}

    def follow(self, routes: Iterable[MonitoredRoute], exchanged: Collection[str]) -> None:
        """Replace the accounts by those of *routes*; the history of *exchanged* ones, with a new secret, is dropped."""
        before, self._servers, self._by = self._servers, {}, {party: {} for party in Party}
        for route in routes:
            probing = route.probing
            for party in Party:
                mailbox = end_of(route, party)
                if (at := _server_of(mailbox, party)) is None:
                    continue
                name, known = mailbox.name, before.get(at, _Server())
                server = self._servers.setdefault(at, _Server())
                self._by[party][name] = server
                server.round = max(server.round, probing.interval + probing.patience.whole + _CONNECTION)
                server.accepted[name] = None if name in exchanged else known.accepted.get(name)
                if name in known.refused and name not in exchanged:
                    server.refused[name] = known.refused[name]

    def restore_arrival(self, route: MonitoredRoute, started_at: datetime) -> None:
        """Restore a run from before a restart whose message arrived: both accounts were accepted."""
        for party in Party:
            self._accept(end_of(route, party), party, started_at)

    def restore_refusal(self, account: str, party: Party, since: datetime) -> None:
        """Restore a refusal from before a restart; its cause is undecided until the next attempt."""
        if (server := self._by[party].get(account)) is not None:
            server.refused.setdefault(account, _Refusal(since, since, is_plain=None))

    def mark_stale(self, route: MonitoredRoute) -> None:
        """Reset the causes for accounts of *route* from before a silence."""
        for party in Party:
            name = end_of(route, party).name
            server = self._by[party].get(name)
            if server is not None and (known := server.refused.get(name)) is not None:
                server.refused[name] = replace(known, is_plain=None, is_outvoted=False)

    def rewind(self, now: datetime, back: timedelta) -> None:
        """Move times after *now* by *back*: the clock was set back."""

        def moved(at: datetime) -> datetime:
            return at if at <= now else min(at - back, now)

        for server in self._servers.values():
            server.accepted = {name: at and moved(at) for name, at in server.accepted.items()}
            server.refused = {
                name: replace(r, since=moved(r.since), latest=moved(r.latest)) for name, r in server.refused.items()
            }

    def record(self, route: MonitoredRoute, result: ProbeResult) -> Collection[str]:
        """Record a run. Return the accounts whose `fault` may have changed."""
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
        known, before = server.refused.get(name), server.faults()
        refusal = _Refusal(known.since if known is not None else at, at, is_plain=is_plain)
        server.refused[name] = refusal
        if is_plain and server.groups()[name].is_outvoted(at, server.round):
            server.refused[name] = replace(refusal, is_outvoted=True)
        return {name, *_changed(before, server.faults())}

    def _accept(self, mailbox: Mailbox, party: Party, at: datetime) -> set[str]:
        name = mailbox.name
        if (server := self._by[party].get(name)) is None:
            return set()
        refusal, known = server.refused.get(name), server.accepted[name]
        if refusal is not None and self.is_contradicted(name, party, at):
            return {name}
        before = server.faults() if server.refused else {}
        certain = at - _CONNECTION if party is Party.RECIPIENT and mailbox.imap is not None else at
        if refusal is not None and refusal.since <= at:
            del server.refused[name]
            # Reading after a refusal uses a later connection.
            certain = max(certain, min(refusal.latest, at))
        if known is None or known < certain:
            server.accepted[name] = certain
        if not before:
            return set()
        return {*([name] if refusal is not None else []), *_changed(before, server.faults())}

    def is_contradicted(self, account: str, party: Party, at: datetime) -> bool:
        """Whether a success then proves nothing, because *account* was refused a moment before."""
        server = self._by[party].get(account)
        refusal = server.refused.get(account) if server is not None else None
        return refusal is not None and refusal.is_plain is not None and abs(at - refusal.latest) < _MIXED

    def is_refused(self, route: MonitoredRoute) -> bool:
        """Whether the server refused an account of *route* at its last attempt."""
        sender, recipient = route.route.sender.name, route.route.recipient.name
        sending, reading = self._by[Party.SENDER].get(sender), self._by[Party.RECIPIENT].get(recipient)
        return (sending is not None and sender in sending.refused) or (
            reading is not None and recipient in reading.refused
        )

    def fault(self, account: str, party: Party, now: datetime) -> SignInFault:
        """Return why *account* is refused; *party*: at the submission server or the mailbox server."""
        server = self._by[party].get(account)
        refusal = server.refused.get(account) if server is not None else None
        if server is None or refusal is None:
            return SignInFault.UNDECIDED
        if (fault := server.faults()[account]) is not None:
            return fault
        return SignInFault.UNDECIDED if now < refusal.since + server.round else SignInFault.SUSPECTED


def _changed(before: Mapping[str, SignInFault | None], after: Mapping[str, SignInFault | None]) -> set[str]:
    return {name for name, fault in after.items() if name not in before or before[name] is not fault}


def _server_of(mailbox: Mailbox, party: Party) -> tuple[Party, str, int] | None:
    server = mailbox.smtp if party is Party.SENDER else mailbox.imap or mailbox.pop3
    return None if server is None else (party, server.host, server.port)
