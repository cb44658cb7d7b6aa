"""Detection of our own faults: network, references, accounts. Only the NOC is notified. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.model.notification import IncidentType
from monitor.evaluation.attribution import Attribution, FaultDomain
from monitor.evaluation.evidence import (
    ARRIVED,
    ON_THE_WAY,
    Ability,
    Evidence,
    EvidenceNeed,
    could_not_reach,
    end_of,
    only_party,
    was_taken_well,
)
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks
from monitor.evaluation.sign_in import SignInEvidence, SignInFault
from monitor.model.health import IN_TROUBLE, Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause


@dataclass(frozen=True, slots=True)
class FaultSource:
    """An own part that may be at fault."""

    blame: FaultDomain
    #: Name of the reference mailbox or account; empty for the network.
    name: str = ""

    def __str__(self) -> str:
        return f"{self.blame}/{self.name}" if self.name else str(self.blame)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveProblem:
    """A problem of an agency's mail or of an own part."""

    type: IncidentType
    since: datetime
    #: Flapping: the incident stays open until the state is stable.
    flapping: bool = False
    #: Start of its latest part; `None`: all began together.
    latest: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Unit with a streak of its own: one of an account's two servers may refuse it."""

    suspect: FaultSource
    server: Party | None = None

    def __str__(self) -> str:
        return f"{self.suspect}#{self.server}" if self.server else str(self.suspect)


_NETWORK = FaultSource(FaultDomain.NETWORK)
_OURS = FaultSource(FaultDomain.OURS)
#: Domains of a probed mailbox, besides being a reference.
_OF_MAILBOXES = (FaultDomain.CREDENTIALS, FaultDomain.MAILBOX)


class MonitoringFaultDetector:
    """Processes finished runs and evaluates own parts."""

    def __init__(self, evidence: Evidence, policy: HealthPolicy) -> None:
        """*evidence*: the current evidence, updated in place."""
        self._evidence = evidence
        self._policy = policy
        self._sign_ins = SignInEvidence()
        #: Control routes of each reference.
        self._around: dict[str, list[tuple[MonitoredRoute, HealthTracker]]] = {}
        #: Names of all mailboxes: thousands, of which few are evaluated.
        self._mailboxes: frozenset[str] = frozenset()
        #: Parts that depend on evidence and time, evaluated each time; their number does not grow.
        self._references: set[FaultSource] = set()
        self._parts: dict[FaultSource, dict[_Part, HealthTracker]] = {}
        #: Parts that are down, by domain, among thousands of accounts.
        self._down: dict[FaultDomain, set[_Part]] = {blame: set() for blame in FaultDomain}
        #: The refused accounts among them.
        self._refused = self._down[FaultDomain.CREDENTIALS]
        #: Mailboxes and references ever refused by an answer about them alone: few of thousands.
        self._once_refused: set[_Part] = set()
        self._rejudged: set[_Part] = set()
        self._streaks = Streaks()
        self._moved: set[FaultSource] = set()
        #: Reference to blame, by control route with failures in transit.
        self._culprits: dict[str, str] = {}

    def follow(
        self,
        controls: Mapping[str, tuple[MonitoredRoute, HealthTracker]],
        accounts: Iterable[str],
        exchanged: Collection[str] = (),
        *,
        routes: Iterable[MonitoredRoute] = (),
    ) -> None:
        """Replace the control routes with their trackers, all mailboxes (*accounts*) and all *routes*.

        Removed parts are dropped. For *exchanged* accounts, replaced under the same name, the streaks are dropped; the
        health stays until the new account is evaluated.
        """
        self._sign_ins.follow(routes, exchanged)
        self._around = {}
        for route, subject in controls.values():
            for end in dict.fromkeys((route.route.sender.name, route.route.recipient.name)):
                self._around.setdefault(end, []).append((route, subject))
        references = self._references
        self._references = {FaultSource(FaultDomain.REFERENCE, name) for name in self._around}
        known = self._references | {_NETWORK, _OURS}
        self._mailboxes = frozenset(accounts)
        evaluated = {*self._parts} | references
        for gone in {each for each in evaluated - known if not self._is_of_mailbox(each)}:
            parts = self._parts.pop(gone, {}).keys()
            for part in parts:
                self._streaks.forget(str(part))
            self._down[gone.blame] -= parts
            self._once_refused -= parts
            self._rejudged -= parts
            self._moved.add(gone)
        for name in exchanged:
            for blame in (*_OF_MAILBOXES, FaultDomain.REFERENCE):
                for part, subject in self._parts.get(FaultSource(blame, name), {}).items():
                    subject.begin_anew(subject.policy)
                    self._streaks.note(str(part), subject)
        untouched = {name for name, (route, _) in controls.items() if not _ends(route) & {*exchanged}}
        self._culprits = {name: end for name, end in self._culprits.items() if name in untouched}

    def govern(self, policy: HealthPolicy) -> None:
        """Replace the policy."""
        self._policy = policy
        for parts in self._parts.values():
            for subject in parts.values():
                subject.policy = policy

    def suspects(self) -> Collection[FaultSource]:
        """Return all parts that may be in trouble: of mailboxes those that were evaluated."""
        return {_NETWORK, _OURS, *self._references, *self._parts}

    def suspect(self, name: str) -> FaultSource | None:
        """Return the part with this name."""
        blame, _, mailbox = name.partition("/")
        with suppress(ValueError):  # Written by another version.
            found = FaultSource(FaultDomain(blame), mailbox)
            return found if found in {_NETWORK, _OURS} | self._references or self._is_of_mailbox(found) else None
        return None

    def _is_of_mailbox(self, suspect: FaultSource) -> bool:
        return suspect.blame in _OF_MAILBOXES and suspect.name in self._mailboxes

    # -- state of an earlier process -----------------------------------------------------------------------------

    def restore(self, name: str, health: Health, since: datetime) -> None:
        """Restore the health of a part from before a restart, unless removed or evaluated since."""
        part = self._known(name)
        if part is not None and part not in self._parts.get(part.suspect, {}):
            self._note(part, self._enter(part, HealthTracker(policy=self._policy, health=health, changed_at=since)))
            if part.suspect.blame is FaultDomain.CREDENTIALS and part.server is not None and health is Health.DOWN:
                self._sign_ins.restore_refusal(part.suspect.name, part.server, since)

    def restore_streak(self, name: str, streak: Sequence[GradedRun], now: datetime) -> None:
        """Restore the latest runs of a part from before a restart, unless there are newer ones."""
        if (part := self._known(name)) is None:
            return
        subject = self._subject(part)
        if not subject.recent:
            subject.restore(streak)
            self._settle(part, subject, now)

    def _known(self, name: str) -> _Part | None:
        """Return the part with this name if the configuration has it."""
        suspect_name, _, server = name.partition("#")
        suspect = self.suspect(suspect_name)
        with suppress(ValueError):  # Written by another version.
            return _Part(suspect, Party(server) if server else None) if suspect is not None else None
        return None

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return the health states for `restore`."""
        parts = (each for parts in self._parts.values() for each in parts.items())
        return {str(part): (s.health, s.changed_at) for part, s in parts if s.changed_at is not None}

    def rejudged(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return those of `healths` that changed since the last call."""
        parts, self._rejudged = self._rejudged, set()
        subjects = ((part, self._parts[part.suspect][part]) for part in parts)
        return {str(part): (s.health, s.changed_at) for part, s in subjects if s.changed_at is not None}

    def other_streaks(self) -> Mapping[str, tuple[GradedRun, ...]]:
        """Return the changed streaks for `restore_streak` since the last call."""
        return self._streaks.others()

    def moved(self) -> set[FaultSource]:
        """Return the parts whose status may have changed since the last call."""
        moved, self._moved = self._moved, set()
        return moved | self._references

    # -- evaluation ----------------------------------------------------------------------------------------------

    def hear(self, route: MonitoredRoute, result: ProbeResult, verdict: Attribution, now: datetime) -> Collection[str]:
        """Record a run's result for our accounts and, for a control run, our network and ourselves.

        Without control routes every run counts. Return the refused accounts at the servers of *route*, whose cause this
        run may have decided.
        """
        refused = self._sign_ins.record(route, result)
        self._moved.update(FaultSource(FaultDomain.CREDENTIALS, name) for name in refused)
        grades = _account_grades(route, result, verdict)
        if self._once_refused and result.outcome in ARRIVED:
            grades |= {part: Grade.GOOD for part in _proven_well(route) if part in self._once_refused}
        if route.direction is Direction.CONTROL or not self._around:
            grades |= _control_grades(result, verdict)
        if refused:
            grades = {
                part: g for part, g in grades.items() if g is not Grade.GOOD or not self._is_contradicted(part, result)
            }
        for part, grade in grades.items():
            subject = self._subject(part)
            subject.note(result, Attribution(grade=grade))
            self._settle(part, subject, now)
        return refused

    def rewind(self, now: datetime, back: timedelta) -> None:
        """Move times after *now* by *back*: the clock was set back."""
        for parts in self._parts.values():
            for subject in parts.values():
                subject.rewind(now, back)
        self._sign_ins.rewind(now, back)

    def _subject(self, part: _Part) -> HealthTracker:
        found = self._parts.get(part.suspect, {}).get(part)
        return found or self._enter(part, HealthTracker(policy=self._policy))

    def _enter(self, part: _Part, subject: HealthTracker) -> HealthTracker:
        self._parts.setdefault(part.suspect, {})[part] = subject
        if part.suspect.blame in {FaultDomain.MAILBOX, FaultDomain.REFERENCE}:
            self._once_refused.add(part)
        return subject

    def _settle(self, part: _Part, subject: HealthTracker, now: datetime) -> None:
        if subject.settle(now):
            self._rejudged.add(part)
            self._note(part, subject)
        self._streaks.note(str(part), subject)

    def _note(self, part: _Part, subject: HealthTracker) -> None:
        """Record a changed health."""
        self._moved.add(part.suspect)
        down = self._down[part.suspect.blame]
        (down.add if subject.health is Health.DOWN else down.discard)(part)

    def is_suspicious(self) -> bool:
        """Whether another control run soon would clarify the network's state."""
        return any(subject.is_suspicious() for suspect in (_NETWORK, _OURS) for subject in self._of(suspect))

    # -- sign-in -------------------------------------------------------------------------------------------------

    def restore_arrival(self, route: MonitoredRoute, started_at: datetime) -> None:
        """Restore a run from before a restart whose message arrived."""
        self._sign_ins.restore_arrival(route, started_at)

    def mark_stale(self, route: MonitoredRoute) -> None:
        """Reset why accounts of *route* are refused until they are tried again."""
        self._sign_ins.mark_stale(route)

    def is_refused(self, route: MonitoredRoute) -> bool:
        """Whether an account of *route* is refused."""
        return bool(self._refused) and any(part in self._refused for part in _sign_in_parts(route))

    def is_undecided(self, route: MonitoredRoute, now: datetime) -> bool:
        """Whether another run of *route* soon would clarify one of its accounts.

        Not if the account is at fault: repeating a wrong password locks it.
        """
        if not self._refused and not self._sign_ins.is_refused(route):
            return False
        for part in _sign_in_parts(route):
            subject = self._parts.get(part.suspect, {}).get(part)
            if subject is None or not subject.is_suspicious():
                continue
            if subject.recent[-1].grade is Grade.GOOD:
                if subject.health is Health.DOWN:
                    return True
            elif self._fault(part, now) is not SignInFault.ACCOUNT:
                return True
        return False

    def refused_since(self, routes: Iterable[MonitoredRoute], now: datetime) -> datetime | None:
        """Return since when accounts on an agency's *routes* are refused that may not be at fault; `None` without any."""
        if not self._refused:
            return None
        parts = {part for route in routes for part in _sign_in_parts(route) if _is_agencys(part)} & self._refused
        since = [
            at
            for part in parts
            if self._fault(part, now) in {SignInFault.SUSPECTED, SignInFault.SERVICE}
            and (at := self._parts[part.suspect][part].trouble_since())
        ]
        return min(since, default=None)

    def accepted_since(self, routes: Iterable[MonitoredRoute]) -> Iterator[datetime]:
        """Yield since when the accounts of an agency's own mailboxes on *routes* are accepted.

        Accounts of reference mailboxes are excluded: routes of many agencies use them, so they say nothing about one of
        them.
        """
        for part in {part for route in routes for part in _sign_in_parts(route) if _is_agencys(part)}:
            subject = self._parts.get(part.suspect, {}).get(part)
            if subject is not None and subject.health is Health.UP and subject.working_since is not None:
                yield subject.working_since

    def _is_contradicted(self, part: _Part, result: ProbeResult) -> bool:
        if part.suspect.blame is not FaultDomain.CREDENTIALS or part.server is None:
            return False
        return self._sign_ins.is_contradicted(part.suspect.name, part.server, result.started_at)

    def _fault(self, part: _Part, now: datetime) -> SignInFault:
        return SignInFault.ACCOUNT if part.server is None else self._sign_ins.fault(part.suspect.name, part.server, now)

    # -- status --------------------------------------------------------------------------------------------------

    def faults(self, now: datetime) -> set[FaultSource]:
        """Return the parts in trouble."""
        down = {part.suspect for blame in _OF_MAILBOXES for part in self._down[blame]}
        faults = down | {s for s in (_NETWORK, _OURS) if self._down[s.blame]}
        return faults | {reference for reference in self._references if self.trouble(reference, now)}

    def trouble(self, suspect: FaultSource, now: datetime) -> ActiveProblem | None:
        """Return the problem of a part. References cannot be evaluated while our network is down."""
        began = [
            at
            for part, s in self._parts.get(suspect, {}).items()
            if s.health is Health.DOWN and self._is_held_against_us(part, now) and (at := s.trouble_since())
        ]
        if suspect.blame is FaultDomain.REFERENCE and not self._down[FaultDomain.NETWORK]:
            around = self._around.get(suspect.name, ())
            guilty = (s for r, s in around if self._culprit(r, s, now) == suspect.name)
            began += [at for s in guilty if (at := s.trouble_since())]
        return ActiveProblem(type=IncidentType.MONITORING_FAULT, since=min(began)) if began else None

    def _is_held_against_us(self, part: _Part, now: datetime) -> bool:
        """Whether the NOC is notified of an account; otherwise its agency's staff, if the service may be at fault."""
        if part.suspect.blame is not FaultDomain.CREDENTIALS or not _is_agencys(part):
            return True
        return self._fault(part, now) is SignInFault.ACCOUNT

    def up_since(self, suspect: FaultSource, now: datetime) -> datetime | None:
        """Return since when a part works; `None` if it does not."""
        if suspect.blame is FaultDomain.REFERENCE:
            around = self._around.get(suspect.name, ())
            # A route that fails at its other end says nothing about this one.
            subjects = [s for r, s in around if self._culprit(r, s, now) in {suspect.name, None}]
            proven = {Health.UP}
            listed = [s for s in self._of(suspect) if s.health is not Health.UNKNOWN]
            subjects += listed
        else:
            subjects, proven = [*self._of(suspect)], {Health.UP, Health.UNKNOWN}
        if any(s.health not in proven for s in subjects):
            return None
        well = [at for s in subjects if s.health is Health.UP and (at := s.working_since or s.changed_at)]
        return max(well, default=None)

    def _of(self, suspect: FaultSource) -> Collection[HealthTracker]:
        return self._parts.get(suspect, {}).values()

    def _culprit(self, route: MonitoredRoute, subject: HealthTracker, now: datetime) -> str | None:
        """Return the end of a control route that is at fault; `None` if none is, or it is undecided."""
        since, last = subject.trouble_since(), _last_bad(subject.recent)
        if subject.health not in IN_TROUBLE or since is None or last is None:
            self._culprits.pop(route.name, None)
            return None
        sender, recipient = route.route.sender.name, route.route.recipient.name
        failure = last.result.failure if last.result is not None else None
        if failure is not None and last.outcome not in ON_THE_WAY | ARRIVED:
            return sender if failure.party is Party.SENDER else recipient
        if last.outcome in ARRIVED and last.result is not None and not was_taken_well(route, last.result):
            return sender
        # Kept once decided: after the failed end recovers, both ends will have worked.
        if (known := self._culprits.get(route.name)) is not None:
            return known
        late = last.outcome not in ON_THE_WAY
        send, receive = (Ability.SEND_WELL, Ability.RECEIVE_WELL) if late else (Ability.SEND, Ability.RECEIVE)
        found: str | None = None
        if self._evidence.proof(EvidenceNeed(receive, recipient)).was_seen_since(since):
            found = sender
        elif self._evidence.proof(EvidenceNeed(send, sender)).was_seen_since(since):
            found = recipient
        elif now - since > 2 * route.probing.interval + route.probing.patience.whole:
            # Agencies' mail would have decided by now; the NOC must examine both.
            found = recipient
        if found is not None:
            self._culprits[route.name] = found
        return found


def _sign_in_parts(route: MonitoredRoute) -> tuple[_Part, _Part]:
    ends = route.route
    return (
        _Part(FaultSource(FaultDomain.CREDENTIALS, ends.sender.name), Party.SENDER),
        _Part(FaultSource(FaultDomain.CREDENTIALS, ends.recipient.name), Party.RECIPIENT),
    )


def _is_agencys(part: _Part) -> bool:
    """Whether the mailbox belongs to an agency and is named "CODE/key"."""
    return "/" in part.suspect.name


def _ends(route: MonitoredRoute) -> set[str]:
    return {route.route.sender.name, route.route.recipient.name}


def _account_grades(route: MonitoredRoute, result: ProbeResult, verdict: Attribution) -> dict[_Part, Grade]:
    grades: dict[_Part, Grade] = {}
    if Phase.AUTH in result.phases:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, route.route.sender.name), Party.SENDER)] = Grade.GOOD
    if result.outcome in ARRIVED or result.outcome in ON_THE_WAY:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, route.route.recipient.name), Party.RECIPIENT)] = Grade.GOOD
    if verdict.blame is FaultDomain.CREDENTIALS and result.failure is not None:
        grades[_Part(FaultSource(FaultDomain.CREDENTIALS, verdict.suspect), result.failure.party)] = Grade.BAD
    elif verdict.blame is FaultDomain.MAILBOX:
        grades[_Part(FaultSource(FaultDomain.MAILBOX, verdict.suspect), only_party(result.failure))] = Grade.BAD
    elif verdict.blame is FaultDomain.REFERENCE and _is_listed(result):
        grades[_Part(FaultSource(FaultDomain.REFERENCE, verdict.suspect), Party.SENDER)] = Grade.BAD
    return grades


def _is_listed(result: ProbeResult) -> bool:
    return result.failure is not None and result.failure.cause is RefusalCause.BLOCK_LIST


def _proven_well(route: MonitoredRoute) -> Iterator[_Part]:
    """Yield the parts that a delivered message proves, besides the sign-ins."""
    for party in Party:
        yield _Part(FaultSource(FaultDomain.MAILBOX, end_of(route, party).name), party)
    if route.direction is Direction.INBOUND:
        yield _Part(FaultSource(FaultDomain.REFERENCE, route.route.sender.name), Party.SENDER)


def _control_grades(result: ProbeResult, verdict: Attribution) -> dict[_Part, Grade]:
    network, ours = _Part(_NETWORK), _Part(_OURS)
    if result.outcome is Outcome.INCONCLUSIVE and verdict.blame is not FaultDomain.MAILBOX:
        # This machine could not open a connection; or a bug or a suspension of ours.
        return {network if could_not_reach(result) else ours: Grade.BAD}
    if verdict.blame is FaultDomain.NETWORK:
        return {network: Grade.BAD, ours: Grade.GOOD} if verdict.grade is Grade.NONE else {}
    # It was delivered or failed at a server, so the network works.
    return {network: Grade.GOOD, ours: Grade.GOOD}


def _last_bad(recent: Sequence[GradedRun]) -> GradedRun | None:
    return next((run for run in reversed(recent) if run.grade in {Grade.BAD, Grade.SLOW}), None)
