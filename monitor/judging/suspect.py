"""Judge what is our own: our network, the references, our accounts. Only the NOC hears of it. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from alerts.notice import Matter
from monitor.judging.attribution import Blame, Verdict
from monitor.judging.evidence import ARRIVED, ON_THE_WAY, REACHING, Evidence, Proof, was_taken_well
from monitor.judging.health import Grade, Health, HealthPolicy
from monitor.judging.subject import Subject
from monitor.probing.route import Direction, WatchedRoute
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
    #: It has gone down and up too often lately: the incident stays open until it is steady.
    unsteady: bool = False
    #: When the latest of what is wrong with it began; `None`: all of it then.
    latest: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """What has a streak of its own: an account may be refused by one of its two servers and served by the other."""

    suspect: Suspect
    server: Party | None = None

    def __str__(self) -> str:
        return f"{self.suspect}#{self.server}" if self.server else str(self.suspect)


_NETWORK = Suspect(Blame.NETWORK)
_OURS = Suspect(Blame.OURS)


class OwnSide:
    """Takes in the ends of runs; says how what is our own stands."""

    def __init__(self, controls: Mapping[str, tuple[WatchedRoute, Subject]], accounts: Iterable[str]) -> None:
        """Judge by *controls*, the control routes and how each is judged; *accounts* are the names of all mailboxes."""
        self._controls = controls
        self._references = {
            m.name for route, _ in controls.values() for m in (route.route.sender, route.route.recipient)
        }
        self._accounts = set(accounts)
        self._parts: dict[_Part, Subject] = {}
        #: Those that are down, among thousands of accounts; and those judged otherwise than when last asked.
        self._down: set[_Part] = set()
        self._rejudged: set[_Part] = set()
        #: By control route that is in trouble on the way: the reference that is to blame.
        self._culprits: dict[str, str] = {}

    def suspects(self) -> set[Suspect]:
        """Return all that can be suspected in this configuration."""
        references = {Suspect(Blame.REFERENCE, name) for name in self._references}
        accounts = {Suspect(Blame.CREDENTIALS, name) for name in self._accounts}
        return {_NETWORK, _OURS} | references | accounts

    # -- remembering ---------------------------------------------------------------------------------------------

    def restore(self, name: str, health: Health, since: datetime, policy: HealthPolicy) -> None:
        """Take up how a part was judged before a restart; what has left the configuration is forgotten."""
        suspect_name, _, server = name.partition("#")
        blame, _, who = suspect_name.partition("/")
        with suppress(ValueError):  # Written by another version.
            part = _Part(Suspect(Blame(blame), who), Party(server) if server else None)
            if part.suspect in self.suspects():
                self._parts[part] = Subject(policy=policy, health=health, changed_at=since)
                if health is Health.DOWN:
                    self._down.add(part)

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return what `restore` takes up."""
        return {str(part): (s.health, s.changed_at) for part, s in self._parts.items() if s.changed_at is not None}

    def rejudged(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return what of `healths` has changed since this was last asked."""
        parts, self._rejudged = self._rejudged, set()
        subjects = ((part, self._parts[part]) for part in parts)
        return {str(part): (s.health, s.changed_at) for part, s in subjects if s.changed_at is not None}

    # -- judging -------------------------------------------------------------------------------------------------

    def hear(
        self, route: WatchedRoute, result: ProbeResult, verdict: Verdict, now: datetime, policy: HealthPolicy
    ) -> None:
        """Take what a run says of our accounts and, if it is a control run, of our network and of ourselves."""
        grades = _account_grades(route, result, verdict)
        if route.direction is Direction.CONTROL:
            grades |= _control_grades(result, verdict)
        for part, grade in grades.items():
            subject = self._parts.setdefault(part, Subject(policy=policy))
            subject.note(result, Verdict(grade=grade))
            if subject.settle(now):
                self._rejudged.add(part)
                (self._down.add if subject.health is Health.DOWN else self._down.discard)(part)

    def is_suspicious(self) -> bool:
        """Whether another control run is wanted soon to see what our network is about."""
        return any(
            subject.is_suspicious() for part, subject in self._parts.items() if part.suspect in {_NETWORK, _OURS}
        )

    # -- how things stand ----------------------------------------------------------------------------------------

    def troubles(self, evidence: Evidence, now: datetime) -> Mapping[Suspect, Trouble]:
        """Return what is wrong. While our network is, the references cannot be judged."""
        began: dict[Suspect, list[datetime]] = {}
        for part in self._down:
            if since := self._parts[part].trouble_since():
                began.setdefault(part.suspect, []).append(since)
        if _NETWORK not in began:
            for route, subject in self._controls.values():
                culprit, since = self._culprit(route, subject, evidence, now), subject.trouble_since()
                if culprit is not None and since is not None:
                    began.setdefault(Suspect(Blame.REFERENCE, culprit), []).append(since)
        return {s: Trouble(matter=Matter.OWN_FAULT, since=min(times)) for s, times in began.items()}

    def well(self, evidence: Evidence, now: datetime) -> Mapping[Suspect, datetime]:
        """Return what is proven to work, and since when."""
        by_suspect: dict[Suspect, list[Subject]] = {}
        for part, subject in self._parts.items():
            by_suspect.setdefault(part.suspect, []).append(subject)
        for name in self._references:
            around = [
                (r, s) for r, s in self._controls.values() if name in {r.route.sender.name, r.route.recipient.name}
            ]
            # A route that fails because of its other end says nothing against this one.
            guilty = [s for r, s in around if self._culprit(r, s, evidence, now) in {name, None}]
            by_suspect[Suspect(Blame.REFERENCE, name)] = guilty
        return {
            suspect: max(since)
            for suspect, subjects in by_suspect.items()
            if all(
                s.health is Health.UP or (s.health is Health.UNKNOWN and suspect.blame is not Blame.REFERENCE)
                for s in subjects
            )
            and (since := [at for s in subjects if s.health is Health.UP and (at := s.working_since or s.changed_at)])
        }

    def _culprit(self, route: WatchedRoute, subject: Subject, evidence: Evidence, now: datetime) -> str | None:
        """Return which end of a control route is at fault; `None` when none is, or it is not clear yet."""
        since, last = subject.trouble_since(), _last_bad(subject.recent)
        if subject.health not in {Health.DOWN, Health.DEGRADED} or since is None or last is None:
            self._culprits.pop(route.name, None)
            return None
        sender, recipient = route.route.sender.name, route.route.recipient.name
        if last.failure is not None and last.outcome not in ON_THE_WAY | ARRIVED:
            return sender if last.failure.party is Party.SENDER else recipient
        if last.outcome in ARRIVED and not was_taken_well(route, last):
            return sender
        # Said once and kept: when the end that failed works again, both ends will have been seen to work.
        if (known := self._culprits.get(route.name)) is not None:
            return known
        late = last.outcome not in ON_THE_WAY
        sends, receives = (evidence.sends_well, evidence.receives_well) if late else (evidence.sends, evidence.receives)
        found: str | None = None
        if receives.get(recipient, Proof()).was_seen_since(since):
            found = sender
        elif sends.get(sender, Proof()).was_seen_since(since):
            found = recipient
        elif now - since > 2 * route.probing.interval + route.probing.patience.whole:
            # Agencies' mail would have told by now; the NOC has to look at both.
            found = recipient
        if found is not None:
            self._culprits[route.name] = found
        return found


def _account_grades(route: WatchedRoute, result: ProbeResult, verdict: Verdict) -> dict[_Part, Grade]:
    grades: dict[_Part, Grade] = {}
    if Phase.AUTH in result.phases:
        grades[_Part(Suspect(Blame.CREDENTIALS, route.route.sender.name), Party.SENDER)] = Grade.GOOD
    if result.outcome in ARRIVED or result.outcome in ON_THE_WAY:
        grades[_Part(Suspect(Blame.CREDENTIALS, route.route.recipient.name), Party.RECIPIENT)] = Grade.GOOD
    if verdict.blame is Blame.CREDENTIALS and result.failure is not None:
        grades[_Part(Suspect(Blame.CREDENTIALS, verdict.suspect), result.failure.party)] = Grade.BAD
    return grades


def _control_grades(result: ProbeResult, verdict: Verdict) -> dict[_Part, Grade]:
    network, ours = _Part(_NETWORK), _Part(_OURS)
    if result.outcome is Outcome.INCONCLUSIVE:
        # This machine could not open a connection; or something of ours broke.
        reaching = result.failure is not None and result.failure.phase in REACHING
        return {network if reaching else ours: Grade.BAD}
    if verdict.blame is Blame.NETWORK:
        return {network: Grade.BAD, ours: Grade.GOOD} if verdict.grade is Grade.NONE else {}
    # It arrived, or failed at a server: the network that led there is well.
    return {network: Grade.GOOD, ours: Grade.GOOD}


def _last_bad(recent: Sequence[tuple[ProbeResult, Verdict]]) -> ProbeResult | None:
    return next((result for result, v in reversed(recent) if v.grade in {Grade.BAD, Grade.SLOW}), None)
