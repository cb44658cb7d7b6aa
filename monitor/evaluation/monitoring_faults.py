"""Detection of monitoring faults: faults of our own side that prevent an evaluation of the agencies. No clock, no I/O.

Only the NOC (network operations centre) is notified of monitoring faults, not the agencies. A *fault source* is what
may be at fault: our network, this process, a *reference mailbox* (ours, outside of the agencies), or the account or the
mailbox at either end of a route. *Control runs*, between two reference mailboxes, show whether our own side works.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.model.notification import IncidentType
from monitor.evaluation.attribution import Attribution, FaultDomain
from monitor.evaluation.evidence import (
    ARRIVED,
    FAILED_IN_TRANSIT,
    Ability,
    Evidence,
    EvidenceNeed,
    affected_party,
    failed_to_connect,
    mailbox_at,
    was_confirmed_in_time,
)
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks
from monitor.evaluation.sign_in import SignInEvidence, SignInFault
from monitor.model.health import UNHEALTHY, Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause


@dataclass(frozen=True, slots=True)
class FaultSource:
    """What may be at fault on our own side."""

    domain: FaultDomain
    #: Name of the mailbox; empty for the network and this process.
    name: str = ""

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}" if self.name else str(self.domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveProblem:
    """A problem of an agency's mail or of a fault source."""

    type: IncidentType
    #: Start of the problem.
    since: datetime
    #: Whether the problem comes and goes. Its incident stays open until the state is stable.
    flapping: bool = False
    #: Start of the latest failure; `None`: the same as `since`.
    latest: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Part of a fault source that has its own health.

    An account has two parts, because only one of its two servers may refuse it.
    """

    source: FaultSource
    #: End of the route at which the account or mailbox is used: as sender (submission) or recipient (reading). `None`:
    #: the source has one part.
    server: Party | None = None

    def __str__(self) -> str:
        return f"{self.source}#{self.server}" if self.server else str(self.source)


_NETWORK = FaultSource(FaultDomain.NETWORK)
_PROCESS = FaultSource(FaultDomain.PANTAU)
#: Domains of fault sources that belong to a mailbox at an end of a route.
_MAILBOX_DOMAINS = (FaultDomain.CREDENTIALS, FaultDomain.MAILBOX)


class MonitoringFaultDetector:
    """Evaluates fault sources by finished runs."""

    def __init__(self, evidence: Evidence, policy: HealthPolicy) -> None:
        """Take *evidence*, which the caller updates in place, and the *policy* of all fault sources."""
        self._evidence = evidence
        self._policy = policy
        self._sign_ins = SignInEvidence()
        #: Control routes with their trackers, by reference mailbox.
        self._control_routes: dict[str, list[tuple[MonitoredRoute, HealthTracker]]] = {}
        #: Names of all mailboxes. Of these thousands, few have a `_Part`.
        self._mailboxes: frozenset[str] = frozenset()
        #: The few reference mailboxes. They are always evaluated, because their state also depends on time.
        self._references: set[FaultSource] = set()
        #: Trackers of the evaluated parts.
        self._parts: dict[FaultSource, dict[_Part, HealthTracker]] = {}
        #: Parts that are down, by domain. This index avoids a search of thousands of parts.
        self._down: dict[FaultDomain, set[_Part]] = {domain: set() for domain in FaultDomain}
        #: Refused accounts: the same set as in `_down`.
        self._refused = self._down[FaultDomain.CREDENTIALS]
        #: Mailboxes that a server ever refused because of the mailbox itself: it was full, or on a block list.
        self._ever_refused: set[_Part] = set()
        #: Parts and sources for the next `take_changed_healths` and `take_changed_sources`.
        self._changed_parts: set[_Part] = set()
        self._streaks = Streaks()
        self._changed_sources: set[FaultSource] = set()
        #: Decisions which reference mailbox is at fault, by control route whose messages fail in transit or are slow.
        self._mailboxes_at_fault: dict[str, str] = {}

    def replace_routes(
        self,
        controls: Mapping[str, tuple[MonitoredRoute, HealthTracker]],
        accounts: Iterable[str],
        replaced: Collection[str] = (),
        *,
        routes: Iterable[MonitoredRoute] = (),
    ) -> None:
        """Replace the control routes with their trackers, the names of all mailboxes (*accounts*), and all *routes*.

        The state of removed fault sources is dropped. *replaced*: names that now belong to other mailboxes. The runs of
        these names are dropped; their health stays until new runs change it.
        """
        self._sign_ins.replace_routes(routes, replaced)
        self._control_routes = {}
        for route, tracker in controls.values():
            for mailbox_name in dict.fromkeys((route.route.sender.name, route.route.recipient.name)):
                self._control_routes.setdefault(mailbox_name, []).append((route, tracker))
        references_before = self._references
        self._references = {FaultSource(FaultDomain.REFERENCE, name) for name in self._control_routes}
        permanent = self._references | {_NETWORK, _PROCESS}
        self._mailboxes = frozenset(accounts)
        evaluated = {*self._parts} | references_before
        for removed_source in {source for source in evaluated - permanent if not self._is_mailbox_source(source)}:
            parts = self._parts.pop(removed_source, {}).keys()
            for part in parts:
                self._streaks.remove(str(part))
            self._down[removed_source.domain] -= parts
            self._ever_refused -= parts
            self._changed_parts -= parts
            self._changed_sources.add(removed_source)
        for name in replaced:
            for domain in (*_MAILBOX_DOMAINS, FaultDomain.REFERENCE):
                for part, tracker in self._parts.get(FaultSource(domain, name), {}).items():
                    tracker.reset(tracker.policy)
                    self._streaks.record(str(part), tracker)
        unchanged = {name for name, (route, _) in controls.items() if not _mailbox_names(route) & {*replaced}}
        self._mailboxes_at_fault = {
            name: mailbox_name for name, mailbox_name in self._mailboxes_at_fault.items() if name in unchanged
        }

    def set_policy(self, policy: HealthPolicy) -> None:
        """Replace the policy."""
        self._policy = policy
        for parts in self._parts.values():
            for tracker in parts.values():
                tracker.policy = policy

    def fault_sources(self) -> Collection[FaultSource]:
        """Return all fault sources that may have a problem."""
        return {_NETWORK, _PROCESS, *self._references, *self._parts}

    def find_source(self, name: str) -> FaultSource | None:
        """Return the fault source with this name; `None` if the configuration has none."""
        domain, _, mailbox = name.partition("/")
        with suppress(ValueError):  # A stored name may be from another version, with a domain that is unknown here.
            source = FaultSource(FaultDomain(domain), mailbox)
            return (
                source if source in {_NETWORK, _PROCESS} | self._references or self._is_mailbox_source(source) else None
            )
        return None

    def _is_mailbox_source(self, source: FaultSource) -> bool:
        return source.domain in _MAILBOX_DOMAINS and source.name in self._mailboxes

    # -- state of an earlier process -----------------------------------------------------------------------------

    def restore(self, name: str, health: Health, since: datetime) -> None:
        """Restore the health of a part from before a restart, unless it was removed, or evaluated since."""
        part = self._find_part(name)
        if part is not None and part not in self._parts.get(part.source, {}):
            self._update_index(
                part, self._add_part(part, HealthTracker(policy=self._policy, health=health, changed_at=since))
            )
            if part.source.domain is FaultDomain.CREDENTIALS and part.server is not None and health is Health.DOWN:
                self._sign_ins.restore_refusal(part.source.name, part.server, since)

    def restore_streak(self, name: str, streak: Sequence[GradedRun], now: datetime) -> None:
        """Restore the latest runs of a part from before a restart, unless it has newer runs."""
        if (part := self._find_part(name)) is None:
            return
        tracker = self._tracker(part)
        if not tracker.recent:
            tracker.restore(streak)
            self._evaluate(part, tracker, now)

    def _find_part(self, name: str) -> _Part | None:
        """Return the part with this name; `None` if the configuration has none."""
        source_name, _, server = name.partition("#")
        source = self.find_source(source_name)
        with suppress(ValueError):  # A stored name may be from another version.
            return _Part(source, Party(server) if server else None) if source is not None else None
        return None

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return the health states for `restore`, with the time of the last change, by name of the part."""
        return {
            str(part): (tracker.health, tracker.changed_at)
            for trackers in self._parts.values()
            for part, tracker in trackers.items()
            if tracker.changed_at is not None
        }

    def take_changed_healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return the entries of `healths` that changed since the last call."""
        parts, self._changed_parts = self._changed_parts, set()
        trackers = ((part, self._parts[part.source][part]) for part in parts)
        return {
            str(part): (tracker.health, tracker.changed_at)
            for part, tracker in trackers
            if tracker.changed_at is not None
        }

    def take_changed_streaks(self) -> Mapping[str, tuple[GradedRun, ...]]:
        """Return the changed streaks for `restore_streak` since the last call."""
        return self._streaks.take_changed()

    def take_changed_sources(self) -> set[FaultSource]:
        """Return the fault sources whose status may have changed since the last call."""
        changed, self._changed_sources = self._changed_sources, set()
        return changed | self._references

    # -- evaluation ----------------------------------------------------------------------------------------------

    def record_run(
        self, route: MonitoredRoute, result: ProbeResult, attribution: Attribution, now: datetime
    ) -> Collection[str]:
        """Record a run for the accounts at its ends and, if it is a control run, for our network and this process.

        Without control routes, every run counts as a control run. Return the names of the refused accounts for which
        the cause of the refusal may have changed.
        """
        refused_accounts = self._sign_ins.record_run(route, result)
        self._changed_sources.update(FaultSource(FaultDomain.CREDENTIALS, name) for name in refused_accounts)
        grades = _account_grades(route, result, attribution)
        if self._ever_refused and result.outcome in ARRIVED:
            grades |= {part: Grade.GOOD for part in _proven_parts(route) if part in self._ever_refused}
        if route.direction is Direction.CONTROL or not self._control_routes:
            grades |= _control_grades(result, attribution)
        if refused_accounts:
            grades = {
                part: grade
                for part, grade in grades.items()
                if grade is not Grade.GOOD or not self._is_contradicted(part, result)
            }
        for part, grade in grades.items():
            tracker = self._tracker(part)
            tracker.record(result, Attribution(grade=grade))
            self._evaluate(part, tracker, now)
        return refused_accounts

    def rewind(self, now: datetime, step: timedelta) -> None:
        """Move times after *now* back by *step*, because the clock was set back."""
        for parts in self._parts.values():
            for tracker in parts.values():
                tracker.rewind(now, step)
        self._sign_ins.rewind(now, step)

    def _tracker(self, part: _Part) -> HealthTracker:
        tracker = self._parts.get(part.source, {}).get(part)
        return tracker or self._add_part(part, HealthTracker(policy=self._policy))

    def _add_part(self, part: _Part, tracker: HealthTracker) -> HealthTracker:
        self._parts.setdefault(part.source, {})[part] = tracker
        if part.source.domain in {FaultDomain.MAILBOX, FaultDomain.REFERENCE}:
            self._ever_refused.add(part)
        return tracker

    def _evaluate(self, part: _Part, tracker: HealthTracker, now: datetime) -> None:
        if tracker.evaluate(now):
            self._changed_parts.add(part)
            self._update_index(part, tracker)
        self._streaks.record(str(part), tracker)

    def _update_index(self, part: _Part, tracker: HealthTracker) -> None:
        """Add or remove a part in the index of parts that are down."""
        self._changed_sources.add(part.source)
        down = self._down[part.source.domain]
        (down.add if tracker.health is Health.DOWN else down.discard)(part)

    def needs_another_run(self) -> bool:
        """Whether to repeat a control run soon, because the state of our network or this process is in doubt."""
        return any(
            tracker.needs_another_run() for source in (_NETWORK, _PROCESS) for tracker in self._trackers_of(source)
        )

    # -- sign-in -------------------------------------------------------------------------------------------------

    def restore_arrival(self, route: MonitoredRoute, started_at: datetime) -> None:
        """Restore the start of a run from before a restart whose message arrived: both accounts were accepted."""
        self._sign_ins.restore_arrival(route, started_at)

    def mark_stale(self, route: MonitoredRoute) -> None:
        """Treat the causes of refusals of accounts of *route* as unknown until the next sign-in."""
        self._sign_ins.mark_stale(route)

    def is_refused(self, route: MonitoredRoute) -> bool:
        """Whether a server refuses an account of *route* at sign-in."""
        return bool(self._refused) and any(part in self._refused for part in _sign_in_parts(route))

    def needs_another_sign_in(self, route: MonitoredRoute, now: datetime) -> bool:
        """Whether to run *route* again soon, because the state of an account is in doubt.

        An account that is itself at fault is not tried again soon, because repeated wrong passwords would lock it.
        """
        if not self._refused and not self._sign_ins.is_refused(route):
            return False
        for part in _sign_in_parts(route):
            tracker = self._parts.get(part.source, {}).get(part)
            if tracker is None or not tracker.needs_another_run():
                continue
            if tracker.recent[-1].grade is Grade.GOOD:
                if tracker.health is Health.DOWN:
                    return True
            elif self._fault(part, now) is not SignInFault.ACCOUNT:
                return True
        return False

    def refused_since(self, routes: Iterable[MonitoredRoute], now: datetime) -> datetime | None:
        """Return since when the sign-in service of an agency has perhaps refused accounts on the agency's *routes*.

        Return `None` if no account is refused, or if the refused accounts are themselves at fault.
        """
        if not self._refused:
            return None
        parts = {part for route in routes for part in _sign_in_parts(route) if _is_agency_account(part)} & self._refused
        times = [
            at
            for part in parts
            if self._fault(part, now) in {SignInFault.SUSPECTED, SignInFault.SERVICE}
            and (at := self._parts[part.source][part].trouble_since())
        ]
        return min(times, default=None)

    def accepted_since(self, routes: Iterable[MonitoredRoute]) -> Iterator[datetime]:
        """Yield since when the accounts of an agency's own mailboxes on *routes* are accepted.

        Accounts of reference mailboxes are ignored, because routes of many agencies use them.
        """
        for part in {part for route in routes for part in _sign_in_parts(route) if _is_agency_account(part)}:
            tracker = self._parts.get(part.source, {}).get(part)
            if tracker is not None and tracker.health is Health.UP and tracker.working_since is not None:
                yield tracker.working_since

    def _is_contradicted(self, part: _Part, result: ProbeResult) -> bool:
        """Whether a success proves nothing, because the account was refused at nearly the same time."""
        if part.source.domain is not FaultDomain.CREDENTIALS or part.server is None:
            return False
        return self._sign_ins.is_contradicted(part.source.name, part.server, result.started_at)

    def _fault(self, part: _Part, now: datetime) -> SignInFault:
        """Return why an account is refused."""
        return SignInFault.ACCOUNT if part.server is None else self._sign_ins.fault(part.source.name, part.server, now)

    # -- status --------------------------------------------------------------------------------------------------

    def faults(self, now: datetime) -> set[FaultSource]:
        """Return the fault sources that have a problem."""
        down = {part.source for domain in _MAILBOX_DOMAINS for part in self._down[domain]}
        faults = down | {source for source in (_NETWORK, _PROCESS) if self._down[source.domain]}
        return faults | {reference for reference in self._references if self.trouble(reference, now)}

    def trouble(self, source: FaultSource, now: datetime) -> ActiveProblem | None:
        """Return the problem of a fault source; `None` without a problem.

        Control routes say nothing about reference mailboxes while our network is down.
        """
        starts = [
            at
            for part, tracker in self._parts.get(source, {}).items()
            if tracker.health is Health.DOWN and self._concerns_noc(part, now) and (at := tracker.trouble_since())
        ]
        if source.domain is FaultDomain.REFERENCE and not self._down[FaultDomain.NETWORK]:
            routes = self._control_routes.get(source.name, ())
            trackers_at_fault = (
                tracker for r, tracker in routes if self._mailbox_at_fault(r, tracker, now) == source.name
            )
            starts += [at for tracker in trackers_at_fault if (at := tracker.trouble_since())]
        return ActiveProblem(type=IncidentType.MONITORING_FAULT, since=min(starts)) if starts else None

    def _concerns_noc(self, part: _Part, now: datetime) -> bool:
        """Whether the NOC must act on a part that is down.

        It must not if an agency's account is refused and the agency's sign-in service may be at fault.
        """
        if part.source.domain is not FaultDomain.CREDENTIALS or not _is_agency_account(part):
            return True
        return self._fault(part, now) is SignInFault.ACCOUNT

    def up_since(self, source: FaultSource, now: datetime) -> datetime | None:
        """Return since when a fault source works; `None` if it does not."""
        if source.domain is FaultDomain.REFERENCE:
            routes = self._control_routes.get(source.name, ())
            # Control routes that fail at their other end are ignored.
            trackers = [
                tracker for r, tracker in routes if self._mailbox_at_fault(r, tracker, now) in {source.name, None}
            ]
            accepted_healths = {Health.UP}
            known_trackers = [tracker for tracker in self._trackers_of(source) if tracker.health is not Health.UNKNOWN]
            trackers += known_trackers
        else:
            # One of two parts may have too few runs yet.
            trackers, accepted_healths = [*self._trackers_of(source)], {Health.UP, Health.UNKNOWN}
        if any(tracker.health not in accepted_healths for tracker in trackers):
            return None
        times = [
            at
            for tracker in trackers
            if tracker.health is Health.UP and (at := tracker.working_since or tracker.changed_at)
        ]
        return max(times, default=None)

    def _trackers_of(self, source: FaultSource) -> Collection[HealthTracker]:
        return self._parts.get(source, {}).values()

    def _mailbox_at_fault(self, route: MonitoredRoute, tracker: HealthTracker, now: datetime) -> str | None:
        """Return the name of the mailbox at fault for a failing control route; `None`: none is, or it is undecided."""
        since, last_run = tracker.trouble_since(), _last_unhealthy_run(tracker.recent)
        if tracker.health not in UNHEALTHY or since is None or last_run is None:
            self._mailboxes_at_fault.pop(route.name, None)
            return None
        sender, recipient = route.route.sender.name, route.route.recipient.name
        failure = last_run.result.failure if last_run.result is not None else None
        if failure is not None and last_run.outcome not in FAILED_IN_TRANSIT | ARRIVED:
            return sender if failure.party is Party.SENDER else recipient
        if (
            last_run.outcome in ARRIVED
            and last_run.result is not None
            and not was_confirmed_in_time(route, last_run.result)
        ):
            return sender
        # A decision is kept, because the evidence is not conclusive any more when both ends have worked since.
        if (decided := self._mailboxes_at_fault.get(route.name)) is not None:
            return decided
        has_arrived = last_run.outcome not in FAILED_IN_TRANSIT
        send, receive = (
            (Ability.SEND_PROMPTLY, Ability.RECEIVE_PROMPTLY) if has_arrived else (Ability.SEND, Ability.RECEIVE)
        )
        at_fault: str | None = None
        if self._evidence.record(EvidenceNeed(receive, recipient)).has_succeeded_since(since):
            at_fault = sender
        elif self._evidence.record(EvidenceNeed(send, sender)).has_succeeded_since(since):
            at_fault = recipient
        elif now - since > 2 * route.probing.interval + route.probing.timeouts.total:
            # By now, runs of agencies should have given evidence. One end is named, and the NOC examines both.
            at_fault = recipient
        if at_fault is not None:
            self._mailboxes_at_fault[route.name] = at_fault
        return at_fault


def _sign_in_parts(route: MonitoredRoute) -> tuple[_Part, _Part]:
    """Return the parts for the sign-ins of a route: the sender's at submission, the recipient's for reading."""
    mailboxes = route.route
    return (
        _Part(FaultSource(FaultDomain.CREDENTIALS, mailboxes.sender.name), Party.SENDER),
        _Part(FaultSource(FaultDomain.CREDENTIALS, mailboxes.recipient.name), Party.RECIPIENT),
    )


def _is_agency_account(part: _Part) -> bool:
    """Whether the mailbox is an agency's: its name is "CODE/key"."""
    return "/" in part.source.name


def _mailbox_names(route: MonitoredRoute) -> set[str]:
    return {route.route.sender.name, route.route.recipient.name}


def _account_grades(route: MonitoredRoute, result: ProbeResult, attribution: Attribution) -> dict[_Part, Grade]:
    """Return what a run shows about the accounts and mailboxes at its ends."""
    grades: dict[_Part, Grade] = {}
    if Phase.AUTH in result.phases:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, route.route.sender.name), Party.SENDER)] = Grade.GOOD
    if result.outcome in ARRIVED or result.outcome in FAILED_IN_TRANSIT:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, route.route.recipient.name), Party.RECIPIENT)] = Grade.GOOD
    if attribution.domain is FaultDomain.CREDENTIALS and result.failure is not None:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, attribution.mailbox), result.failure.party)] = Grade.BAD
    elif attribution.domain is FaultDomain.MAILBOX:
        grades[_Part(FaultSource(FaultDomain.MAILBOX, attribution.mailbox), affected_party(result.failure))] = Grade.BAD
    elif attribution.domain is FaultDomain.REFERENCE and _is_on_block_list(result):
        grades[_Part(FaultSource(FaultDomain.REFERENCE, attribution.mailbox), Party.SENDER)] = Grade.BAD
    return grades


def _is_on_block_list(result: ProbeResult) -> bool:
    return result.failure is not None and result.failure.cause is RefusalCause.BLOCK_LIST


def _proven_parts(route: MonitoredRoute) -> Iterator[_Part]:
    """Yield the parts, besides the accounts, that a delivered message proves to work."""
    for party in Party:
        yield _Part(FaultSource(FaultDomain.MAILBOX, mailbox_at(route, party).name), party)
    if route.direction is Direction.INBOUND:
        yield _Part(FaultSource(FaultDomain.REFERENCE, route.route.sender.name), Party.SENDER)


def _control_grades(result: ProbeResult, attribution: Attribution) -> dict[_Part, Grade]:
    """Return what a control run shows about our network and this process."""
    network, process = _Part(_NETWORK), _Part(_PROCESS)
    if result.outcome is Outcome.INCONCLUSIVE and attribution.domain is not FaultDomain.MAILBOX:
        # Either this machine could not open a connection, or the cause is a bug or a suspension of the process. (If the
        # mailbox is at fault, a server has answered.)
        return {network if failed_to_connect(result) else process: Grade.BAD}
    if attribution.domain is FaultDomain.NETWORK:
        return {network: Grade.BAD, process: Grade.GOOD} if attribution.grade is Grade.NONE else {}
    # The message was delivered, or the run failed at a server. Both prove that the network works.
    return {network: Grade.GOOD, process: Grade.GOOD}


def _last_unhealthy_run(recent: Sequence[GradedRun]) -> GradedRun | None:
    return next((run for run in reversed(recent) if run.grade in {Grade.BAD, Grade.SLOW}), None)
