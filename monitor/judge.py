"""Remember what the latest runs showed, and judge: routes, agencies, and what is our own. No clock, no I/O.

Each run is weighed when it ends (`attribution.weigh`). A run that is pending is weighed again whenever something
new is known of our own side; once it has counted, or come to nothing, it stays so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.notice import Matter
from monitor.attribution import Blame, Verdict, weigh
from monitor.evidence import ARRIVED, Witness
from monitor.health import Grade, Health, HealthPolicy, assess, combine, is_suspicious
from monitor.route import Direction, WatchedRoute
from probes.result import Outcome, Party, Phase, ProbeResult


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something of ours that may be at fault."""

    blame: Blame
    #: Name of the reference mailbox or account; empty for our network.
    name: str = ""

    def __str__(self) -> str:
        return f"{self.blame}/{self.name}" if self.name else str(self.blame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with an agency's mail, or with something of ours."""

    matter: Matter
    since: datetime


@dataclass(slots=True)
class _Subject:
    """A route's or a suspect's recent past."""

    policy: HealthPolicy
    health: Health = Health.UNKNOWN
    changed_at: datetime | None = None
    #: Start of the run that began the present streak of failures; of successes.
    failing_since: datetime | None = None
    working_since: datetime | None = None
    recent: deque[tuple[ProbeResult, Verdict]] = field(default_factory=deque)
    deferred_since: datetime | None = None

    def grades(self) -> list[Grade]:
        return [verdict.grade for _, verdict in self.recent]

    def note(self, result: ProbeResult, verdict: Verdict) -> None:
        if verdict.grade is Grade.NONE:
            return
        self.recent.append((result, verdict))
        while len(self.recent) > self.policy.memory + 2:
            self.recent.popleft()

    def settle(self, now: datetime) -> bool:
        """Judge again; return whether the health changed."""
        for result, verdict in self.recent:
            if verdict.grade is Grade.BAD:
                self.failing_since, self.working_since = self.failing_since or result.started_at, None
            elif verdict.grade in {Grade.GOOD, Grade.SLOW}:
                self.working_since, self.failing_since = self.working_since or result.started_at, None
        health = assess(self.grades(), self.health, self.policy)
        if health is self.health:
            return False
        self.health, self.changed_at = health, now
        return True


class Judge:
    """Takes in the ends of runs; says how things stand."""

    def __init__(self, routes: Iterable[WatchedRoute], policy: HealthPolicy) -> None:
        """Judge *routes*; *policy* is for what is our own."""
        self._routes = {route.name: route for route in routes}
        self._subjects = {r.name: _Subject(policy=r.probing.health) for r in self._routes.values()}
        self._suspects: dict[Suspect, _Subject] = {}
        self._policy = policy
        references = {
            m.name
            for r in self._routes.values()
            if r.direction is Direction.CONTROL
            for m in (r.route.sender, r.route.recipient)
        }
        self._witness = Witness(references)

    # -- remembering ---------------------------------------------------------------------------------------------

    def restore(self, healths: Mapping[str, tuple[Health, datetime]]) -> None:
        """Take up how routes and suspects were judged before a restart, by `subject` name."""
        for name, (health, since) in healths.items():
            if name in self._subjects:
                self._subjects[name].health = health
                self._subjects[name].changed_at = since
            elif name.startswith(_OURS):
                blame, _, who = name.removeprefix(_OURS).partition("/")
                subject = self._suspect(Suspect(Blame(blame), who))
                subject.health, subject.changed_at = health, since

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return all judgements that a restart should take up."""
        named = self._subjects | {f"{_OURS}{suspect}": s for suspect, s in self._suspects.items()}
        return {name: (s.health, s.changed_at) for name, s in named.items() if s.changed_at is not None}

    # -- judging -------------------------------------------------------------------------------------------------

    def take_in(self, result: ProbeResult, now: datetime) -> Verdict | None:
        """Weigh the end of a run, and again all runs that waited for what it proves; `None`: no such route."""
        route = self._routes.get(result.route)
        if route is None:
            return None
        self._witness.hear(route, result)
        subject = self._subjects[route.name]
        verdict = self._weigh(route, subject, result)
        subject.note(result, verdict)
        self._note_suspects(route, result, verdict, now)
        for name, other in self._subjects.items():
            if any(v.grade is Grade.PENDING for _, v in other.recent):
                self._weigh_again(self._routes[name], other, now)
            elif name == route.name:
                other.settle(now)
        return verdict

    def _weigh(self, route: WatchedRoute, subject: _Subject, result: ProbeResult) -> Verdict:
        verdict = weigh(route, result, self._witness.evidence())
        if result.outcome is not Outcome.DEFERRED:
            subject.deferred_since = None
            return verdict
        subject.deferred_since = subject.deferred_since or result.started_at
        if result.started_at - subject.deferred_since < route.probing.deferred_budget:
            return Verdict(grade=Grade.NONE)
        return verdict

    def _weigh_again(self, route: WatchedRoute, subject: _Subject, now: datetime) -> None:
        weighed = list(subject.recent)
        subject.recent.clear()
        for result, verdict in weighed:
            again = weigh(route, result, self._witness.evidence()) if verdict.grade is Grade.PENDING else verdict
            subject.note(result, again)
            if again != verdict:
                self._note_suspects(route, result, again, now)
        subject.settle(now)

    def _note_suspects(self, route: WatchedRoute, result: ProbeResult, verdict: Verdict, now: datetime) -> None:
        """Judge what is our own: our network and the references by control runs, accounts by every run."""
        touched: dict[Suspect, Grade] = {}
        if verdict.blame is Blame.CREDENTIALS:
            touched[Suspect(Blame.CREDENTIALS, verdict.suspect)] = Grade.BAD
        if Phase.AUTH in result.phases:
            touched.setdefault(Suspect(Blame.CREDENTIALS, route.route.sender.name), Grade.GOOD)
        if Phase.RETRIEVE in result.phases:
            touched.setdefault(Suspect(Blame.CREDENTIALS, route.route.recipient.name), Grade.GOOD)
        if route.direction is Direction.CONTROL:
            touched |= _control_grades(route, result, verdict)
        for suspect, grade in touched.items():
            subject = self._suspect(suspect)
            subject.note(result, Verdict(grade=grade))
            subject.settle(now)

    def _suspect(self, suspect: Suspect) -> _Subject:
        return self._suspects.setdefault(suspect, _Subject(policy=self._policy))

    # -- how things stand ----------------------------------------------------------------------------------------

    def is_suspicious(self, route_name: str) -> bool:
        """Whether another look at this route is wanted soon."""
        subject = self._subjects[route_name]
        return is_suspicious(subject.grades(), subject.health)

    def wants_proof(self) -> bool:
        """Whether any run waits for a proof that only control runs can give."""
        return any(v.grade is Grade.PENDING for s in self._subjects.values() for _, v in s.recent)

    def route_health(self, route_name: str) -> Health:
        """Return how a route is judged."""
        return self._subjects[route_name].health

    def directions(self, agency: str) -> Mapping[Direction, Health]:
        """Return how an agency's mail is judged in each direction that is probed."""
        by_direction: dict[Direction, list[Health]] = {}
        for route in self._of(agency):
            by_direction.setdefault(route.direction, []).append(self._subjects[route.name].health)
        return {direction: combine(healths) for direction, healths in by_direction.items()}

    def trouble(self, agency: str, now: datetime) -> Trouble | None:
        """Return what is wrong with an agency's mail, once it is clear how much; `None` if nothing is."""
        directions = self.directions(agency)
        subjects = [self._subjects[route.name] for route in self._of(agency)]
        if any(s.health is Health.DOWN for s in subjects) and self._is_spreading(agency, now):
            return None
        if Health.DOWN in directions.values():
            matter = self._matter(agency, directions)
        elif Health.DEGRADED in directions.values():
            matter = Matter.DEGRADED
        else:
            return None
        began = [s.failing_since for s in subjects if s.failing_since and s.health is not Health.UP]
        changed = [s.changed_at for s in subjects if s.changed_at and s.health is not Health.UP]
        return Trouble(matter=matter, since=min(began or changed))

    def is_well(self, agency: str) -> datetime | None:
        """Return since when every direction of an agency is proven to work; `None` if not all are."""
        directions = self.directions(agency)
        if not directions or any(h is not Health.UP for h in directions.values()):
            return None
        subjects = [self._subjects[route.name] for route in self._of(agency)]
        return max(
            (at for s in subjects if s.health is Health.UP and (at := s.working_since or s.changed_at)), default=None
        )

    def own_troubles(self) -> Mapping[Suspect, Trouble]:
        """Return what is wrong with something of ours. While our network is, the references cannot be judged."""
        down = {suspect: s for suspect, s in self._suspects.items() if s.health is Health.DOWN}
        if Suspect(Blame.NETWORK) in down:
            down = {suspect: s for suspect, s in down.items() if suspect.blame is not Blame.REFERENCE}
        return {
            suspect: Trouble(matter=Matter.OWN_FAULT, since=since)
            for suspect, s in down.items()
            if (since := s.failing_since or s.changed_at)
        }

    def own_well(self) -> Mapping[Suspect, datetime]:
        """Return what of ours is proven to work, and since when."""
        return {
            suspect: since
            for suspect, s in self._suspects.items()
            if s.health in {Health.UP, Health.DEGRADED} and (since := s.working_since or s.changed_at)
        }

    def _of(self, agency: str) -> list[WatchedRoute]:
        return [route for route in self._routes.values() if route.agency == agency]

    def _is_spreading(self, agency: str, now: datetime) -> bool:
        """Whether, beside a route that is down, another is failing and not judged yet.

        What to say (slow, cannot send, cannot receive, both) is clear only then; for two confirmations that is waited
        for, so that staff are not told twice within a minute.
        """
        subjects = [(route, self._subjects[route.name]) for route in self._of(agency)]
        down_since = min(s.changed_at for _, s in subjects if s.health is Health.DOWN and s.changed_at)
        patience: timedelta = max(2 * (r.probing.confirmation + r.probing.patience.whole) for r, _ in subjects)
        undecided = any(
            s.health is not Health.DOWN and s.recent and s.recent[-1][1].grade in {Grade.BAD, Grade.PENDING}
            for _, s in subjects
        )
        return undecided and now - down_since < patience

    def _matter(self, agency: str, directions: Mapping[Direction, Health]) -> Matter:
        sending = directions.get(Direction.OUTBOUND) is Health.DOWN
        receiving = directions.get(Direction.INBOUND) is Health.DOWN
        if directions.get(Direction.INTERNAL) is Health.DOWN:
            parties = self._failing_parties(agency)
            sending = sending or Party.SENDER in parties
            receiving = receiving or Party.RECIPIENT in parties
        if sending and receiving:
            return Matter.BOTH
        if sending or receiving:
            return Matter.SENDING if sending else Matter.RECEIVING
        # Only mail within the agency fails, somewhere on the way: staff must look, but nobody outside is affected.
        return Matter.DEGRADED

    def _failing_parties(self, agency: str) -> set[Party]:
        """Return which ends of the agency's internal routes fail, where that is known."""
        return {
            result.failure.party
            for route in self._of(agency)
            if route.direction is Direction.INTERNAL
            for result, verdict in self._subjects[route.name].recent
            if verdict.grade is Grade.BAD and result.failure and result.failure.phase is not Phase.TRANSIT
        }


_OURS = "ours/"


def _control_grades(route: WatchedRoute, result: ProbeResult, verdict: Verdict) -> dict[Suspect, Grade]:
    """Return what a control run says of our network and of the references at its ends."""
    network = Suspect(Blame.NETWORK)
    ends = [Suspect(Blame.REFERENCE, m.name) for m in (route.route.sender, route.route.recipient)]
    if result.outcome in ARRIVED:
        return dict.fromkeys([network, *ends], Grade.GOOD)
    if verdict.blame is Blame.NETWORK:
        return {network: Grade.BAD}
    if verdict.blame is Blame.REFERENCE:
        # It failed at a server, so the network that led there is well.
        return {network: Grade.GOOD, Suspect(Blame.REFERENCE, verdict.suspect): Grade.BAD}
    return {}
