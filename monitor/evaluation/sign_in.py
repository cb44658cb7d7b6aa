"""Cause of refused sign-ins: the account, or the service that checks passwords. No clock, no I/O.

A server that cannot check passwords often answers as if the password were wrong: Sendmail replies 535 if saslauthd is
dead, Dovecot AUTHENTICATIONFAILED without its password file. If the server refuses many accounts at once, the sign-in
service is at fault; if it accepts other accounts, the refused account is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from monitor.evaluation.evidence import ARRIVED, FAILED_IN_TRANSIT, mailbox_at
from monitor.model.route import MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.result import Party, Phase, ProbeResult

#: If the last success of a refused account is older, the account may have been locked, or its password changed.
_RECENT: Final = timedelta(days=1)
#: If refusals of several accounts begin at most this long apart, they have one cause.
_MAX_GAP: Final = timedelta(minutes=30)
#: A success so close to a refusal of the same account proves nothing. Dovecot without its password file was observed to
#: refuse and accept an account within a second.
_CONTRADICTION_SPAN: Final = timedelta(seconds=10)
#: Maximum lifetime of a connection for reading a mailbox. The sign-in may be as old as the connection.
_CONNECTION_LIFETIME: Final = PollingPolicy().connection_lifetime


class SignInFault(StrEnum):
    """Why an account is refused at sign-in."""

    #: The account: the server gives a reason that is specific to the account, accepts more accounts than it refuses, or
    #: has not accepted this account with its present secret within a day before the refusal.
    ACCOUNT = "account"
    #: Not decided. Either the other accounts have not been tried since this one was refused, or this account has not
    #: been tried since the others were accepted or since a restart.
    UNDECIDED = "undecided"
    #: Perhaps the sign-in service: it accepted the account lately, and there is no other account for a comparison.
    SUSPECTED = "suspected"
    #: The sign-in service: it refuses several accounts together, and accepts at most as many others.
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A series of refused runs of one account."""

    #: Start of the first and of the latest run in the series.
    since: datetime
    latest: datetime
    #: Whether the server's answer gives no reason that is specific to the account; `None`: unknown, because the account
    #: was not tried since a restart or an interruption.
    is_unspecific: bool | None
    #: Whether the account was found at fault at its latest run, because the server accepted other accounts.
    is_outvoted: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """Accounts that are refused together."""

    size: int
    #: Start of the series of refusals that began last.
    since: datetime
    #: Whether one of them was accepted before.
    has_worked: bool
    #: Number of other accounts that were accepted since *since*, and of other accounts that were not tried since then.
    accepted: int
    untested: int

    @property
    def is_service(self) -> bool:
        """Whether the sign-in service is more likely at fault than these accounts."""
        return self.size > 1 and self.has_worked and self.size >= self.accepted

    def is_outvoted(self, at: datetime, within: timedelta) -> bool:
        """Whether the accounts are at fault at *at*, because the server accepts other accounts.

        Untested accounts must be too few to change the result, or overdue. *within*: the time in which all are tried.
        """
        refused = self.size + self.untested
        is_final = not self.untested or self.accepted > refused or at >= self.since + within
        return bool(self.accepted) and not self.is_service and is_final


@dataclass(slots=True)
class _Server:
    """Accounts that sign in to one server, either for submission or for reading."""

    #: Time of the last certain success of each account with its present secret; `None`: never. All accounts are keys.
    accepted: dict[str, datetime | None] = field(default_factory=dict)
    #: The currently refused accounts.
    refused: dict[str, _Refusal] = field(default_factory=dict)
    #: Time after a refusal in which all other accounts are tried.
    retry_span: timedelta = timedelta(0)

    def groups(self) -> dict[str, _Group]:
        """Return the group of each account that is refused without a specific reason.

        Accounts whose refusals begin closely one after another belong to one group.
        """
        unspecific = sorted((refusal.since, name) for name, refusal in self.refused.items() if refusal.is_unspecific)
        clusters: list[set[str]] = []
        previous: datetime | None = None
        for since, name in unspecific:
            if previous is None or since - previous > _MAX_GAP:
                clusters.append(set())
            clusters[-1].add(name)
            previous = since
        groups: dict[str, _Group] = {}
        for names in clusters:
            groups |= dict.fromkeys(names, self._group(names))
        return groups

    def _group(self, names: Collection[str]) -> _Group:
        since = max(self.refused[name].since for name in names)
        other_accounts = [(name, at) for name, at in self.accepted.items() if name not in names]
        accepted = sum(at is not None and at >= since for _, at in other_accounts)
        return _Group(
            size=len(names),
            since=since,
            has_worked=any(self.accepted[name] for name in names),
            accepted=accepted,
            untested=sum((at is None or at < since) and name not in self.refused for name, at in other_accounts),
        )

    def faults(self) -> dict[str, SignInFault | None]:
        """Return why each refused account is refused; `None`: undecided until `retry_span` is over, then suspected."""
        groups = self.groups()
        return {name: self._fault(name, groups.get(name)) for name in self.refused}

    def _fault(self, name: str, group: _Group | None) -> SignInFault | None:
        """Return the cause for one account (`faults`); *group*: `None` if the refusal has a specific reason."""
        refusal, accepted_at = self.refused[name], self.accepted[name]
        if group is None:
            return SignInFault.UNDECIDED if refusal.is_unspecific is None else SignInFault.ACCOUNT
        if group.is_service:
            return SignInFault.SERVICE
        if accepted_at is None or refusal.since - accepted_at > _RECENT:
            return SignInFault.ACCOUNT
        if group.accepted:
            return SignInFault.ACCOUNT if refusal.is_outvoted else SignInFault.UNDECIDED
        return None if len(self.accepted) > len(self.refused) else SignInFault.SUSPECTED


class SignInEvidence:
    """Accepted and refused accounts of each server."""

    def __init__(self) -> None:
        self._servers: dict[tuple[Party, str, int], _Server] = {}
        #: Server of each account, for submission (the sender's) and for reading (the recipient's).
        self._server_by_account: Mapping[Party, dict[str, _Server]] = {party: {} for party in Party}

    def replace_routes(self, routes: Iterable[MonitoredRoute], replaced: Collection[str]) -> None:
        """Replace the accounts by those of *routes*. Drop the history of *replaced* names, which have a new secret."""
        servers_before, self._servers, self._server_by_account = self._servers, {}, {party: {} for party in Party}
        for route in routes:
            probing = route.probing
            for party in Party:
                mailbox = mailbox_at(route, party)
                if (key := _server_of(mailbox, party)) is None:
                    continue
                name, server_before = mailbox.name, servers_before.get(key, _Server())
                server = self._servers.setdefault(key, _Server())
                self._server_by_account[party][name] = server
                server.retry_span = max(
                    server.retry_span, probing.interval + probing.timeouts.total + _CONNECTION_LIFETIME
                )
                server.accepted[name] = None if name in replaced else server_before.accepted.get(name)
                if name in server_before.refused and name not in replaced:
                    server.refused[name] = server_before.refused[name]

    def restore_arrival(self, route: MonitoredRoute, started_at: datetime) -> None:
        """Restore the start of a run from before a restart whose message arrived: both accounts were accepted."""
        for party in Party:
            self._accept(mailbox_at(route, party), party, started_at)

    def restore_refusal(self, account: str, party: Party, since: datetime) -> None:
        """Restore a refusal from before a restart. Its cause is undecided until the next run."""
        if (server := self._server_by_account[party].get(account)) is not None:
            server.refused.setdefault(account, _Refusal(since, since, is_unspecific=None))

    def mark_stale(self, route: MonitoredRoute) -> None:
        """Treat the causes of refusals of accounts of *route* as undecided until the next run."""
        for party in Party:
            name = mailbox_at(route, party).name
            server = self._server_by_account[party].get(name)
            if server is not None and (refusal := server.refused.get(name)) is not None:
                server.refused[name] = replace(refusal, is_unspecific=None, is_outvoted=False)

    def rewind(self, now: datetime, step: timedelta) -> None:
        """Move times after *now* back by *step*, because the clock was set back."""

        def moved(at: datetime) -> datetime:
            return at if at <= now else min(at - step, now)

        for server in self._servers.values():
            server.accepted = {name: at and moved(at) for name, at in server.accepted.items()}
            server.refused = {
                name: replace(refusal, since=moved(refusal.since), latest=moved(refusal.latest))
                for name, refusal in server.refused.items()
            }

    def record_run(self, route: MonitoredRoute, result: ProbeResult) -> Collection[str]:
        """Record a run. Return the refused accounts for which `fault` may have changed."""
        sender, recipient, failure = route.route.sender, route.route.recipient, result.failure
        changed: set[str] = set()
        if Phase.AUTH in result.phases:
            changed |= self._accept(sender, Party.SENDER, result.started_at)
        if result.outcome in ARRIVED or result.outcome in FAILED_IN_TRANSIT:
            changed |= self._accept(recipient, Party.RECIPIENT, result.started_at)
        if failure is not None and failure.credentials_refused:
            name = mailbox_at(route, failure.party).name
            if (server := self._server_by_account[failure.party].get(name)) is not None:
                changed |= self._refuse(server, name, result.started_at, is_unspecific=failure.cause is None)
        return changed

    def _refuse(self, server: _Server, name: str, at: datetime, *, is_unspecific: bool) -> set[str]:
        """Record a refusal. Return the refused accounts for which the cause may have changed."""
        earlier, faults_before = server.refused.get(name), server.faults()
        refusal = _Refusal(earlier.since if earlier is not None else at, at, is_unspecific=is_unspecific)
        server.refused[name] = refusal
        if is_unspecific and server.groups()[name].is_outvoted(at, server.retry_span):
            server.refused[name] = replace(refusal, is_outvoted=True)
        return {name, *_changed(faults_before, server.faults())}

    def _accept(self, mailbox: Mailbox, party: Party, at: datetime) -> set[str]:
        """Record a success. Return the accounts for which the cause may have changed."""
        name = mailbox.name
        if (server := self._server_by_account[party].get(name)) is None:
            return set()
        refusal, accepted_at = server.refused.get(name), server.accepted[name]
        if refusal is not None and self.is_contradicted(name, party, at):
            return {name}
        faults_before = server.faults() if server.refused else {}
        # An IMAP connection may be older than the run, and so may its sign-in.
        certain_at = at - _CONNECTION_LIFETIME if party is Party.RECIPIENT and mailbox.imap is not None else at
        if refusal is not None and refusal.since <= at:
            del server.refused[name]
            # The mailbox was read after the refusal, so its connection was opened after it. The sign-in is at least as
            # recent as the latest refusal.
            certain_at = max(certain_at, min(refusal.latest, at))
        if accepted_at is None or accepted_at < certain_at:
            server.accepted[name] = certain_at
        if not faults_before:
            return set()
        return {*([name] if refusal is not None else []), *_changed(faults_before, server.faults())}

    def is_contradicted(self, account: str, party: Party, at: datetime) -> bool:
        """Whether a success of *account* at *at* proves nothing, because a refusal came at nearly the same time."""
        server = self._server_by_account[party].get(account)
        refusal = server.refused.get(account) if server is not None else None
        return (
            refusal is not None and refusal.is_unspecific is not None and abs(at - refusal.latest) < _CONTRADICTION_SPAN
        )

    def is_refused(self, route: MonitoredRoute) -> bool:
        """Whether an account of *route* was refused in its latest run."""
        sender, recipient = route.route.sender.name, route.route.recipient.name
        smtp_server = self._server_by_account[Party.SENDER].get(sender)
        mailbox_server = self._server_by_account[Party.RECIPIENT].get(recipient)
        return (smtp_server is not None and sender in smtp_server.refused) or (
            mailbox_server is not None and recipient in mailbox_server.refused
        )

    def fault(self, account: str, party: Party, now: datetime) -> SignInFault:
        """Return why an account is refused.

        *party*: whether the submission server (sender) or the mailbox server (recipient) refuses it.
        """
        server = self._server_by_account[party].get(account)
        refusal = server.refused.get(account) if server is not None else None
        if server is None or refusal is None:
            return SignInFault.UNDECIDED
        if (fault := server.faults()[account]) is not None:
            return fault
        return SignInFault.UNDECIDED if now < refusal.since + server.retry_span else SignInFault.SUSPECTED


def _changed(before: Mapping[str, SignInFault | None], after: Mapping[str, SignInFault | None]) -> set[str]:
    """Return the accounts in *after* whose cause is new or differs."""
    return {name for name, fault in after.items() if name not in before or before[name] is not fault}


def _server_of(mailbox: Mailbox, party: Party) -> tuple[Party, str, int] | None:
    """Return the key of the server at which a mailbox signs in; `None`: it does not sign in."""
    server = mailbox.smtp if party is Party.SENDER else mailbox.imap or mailbox.pop3
    return None if server is None else (party, server.host, server.port)
