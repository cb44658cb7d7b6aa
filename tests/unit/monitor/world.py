"""Fictional agencies and references, and the behaviour of their mail, for tests of the evaluation.

A `World` has the fault of each side. Its runs end as real ones do, in the order in which a prober would run them: first
the agencies', then the control runs. Time is an argument.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import HealthPolicy
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import Route
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult, RefusalCause

T0 = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
PROBING = ProbingPolicy()

_SERVER = Server(host="mel.contoh.gov.my", port=993, security=Security.IMPLICIT, tls=ssl.create_default_context())


def mailbox(name: str) -> Mailbox:
    return Mailbox(
        name=name,
        address=f"{name.lower().replace('/', '-')}@contoh.gov.my",
        smtp=_SERVER,
        imap=_SERVER,
        login=Password(username=name, secret="kata-laluan-contoh"),
    )


def route(
    agency: str, direction: Direction, sender: str, recipient: str, probing: ProbingPolicy = PROBING
) -> MonitoredRoute:
    name = f"{agency or 'control'}/{direction}/{sender}/{recipient}"
    return MonitoredRoute(
        route=Route(name=name, sender=mailbox(sender), recipient=mailbox(recipient)),
        agency=agency,
        direction=direction,
        probing=probing,
    )


def controls(references: Sequence[str] = ("a", "b")) -> list[MonitoredRoute]:
    return [
        route("", Direction.CONTROL, one, other)
        for one, other in zip(references, [*references[1:], references[0]], strict=True)
    ]


def agency_routes(
    agency: str,
    references: Sequence[str] = ("a", "b"),
    directions: Iterable[Direction] = (Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND),
    probing: ProbingPolicy = PROBING,
) -> list[MonitoredRoute]:
    box, found = f"{agency}/utama", []
    for direction in directions:
        if direction is Direction.INTERNAL:
            found.append(route(agency, direction, box, box, probing))
            continue
        for ours in references:
            ends = (box, ours) if direction is Direction.OUTBOUND else (ours, box)
            found.append(route(agency, direction, *ends, probing))
    return found


def forwarded(agency: str, sender: str = "a", arrives_in: str = "b") -> MonitoredRoute:
    """Return the route to an address of *agency* that is forwarded to a reference."""
    plain = route(agency, Direction.INBOUND, sender, arrives_in)
    return replace(plain, forwarded=True, route=replace(plain.route, to=f"pro@{agency.lower()}.contoh.gov.my"))


ALL_PHASES = dict.fromkeys(Phase, SECOND)


def arrived(of: MonitoredRoute, at: datetime, transit: timedelta = SECOND, *, junk: bool = False) -> ProbeResult:
    return ProbeResult(
        route=of.name,
        token_id="00c0ffee00c0ffee",
        started_at=at,
        duration=transit + SECOND,
        outcome=Outcome.JUNK if junk else Outcome.DELIVERED,
        phases={**ALL_PHASES, Phase.TRANSIT: transit},
    )


def failed(
    of: MonitoredRoute,
    at: datetime,
    outcome: Outcome,
    phase: Phase,
    party: Party = Party.RECIPIENT,
    *,
    credentials: bool = False,
    cause: RefusalCause | None = None,
    lasted: timedelta = SECOND,
    token: str = "00c0ffee00c0ffee",
) -> ProbeResult:
    sent = phase in {Phase.SUBMIT, Phase.TRANSIT, Phase.RETRIEVE} or outcome in {Outcome.BOUNCED, Outcome.CORRUPTED}
    return ProbeResult(
        route=of.name,
        token_id=token,
        started_at=at,
        duration=lasted,
        outcome=outcome,
        phases=dict.fromkeys((Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH), SECOND) if sent else {},
        failure=Failure(phase=phase, party=party, reason="contoh", credentials_refused=credentials, cause=cause),
    )


#: Fault of one side: the result of a run there, or `None` if the run is not affected.
Fault = Callable[[MonitoredRoute, datetime, Party], "ProbeResult | None"]


def smtp(outcome: Outcome, phase: Phase, *, credentials: bool = False, cause: RefusalCause | None = None) -> Fault:
    """Fail all mail that this side sends."""

    def fault(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
        if party is Party.RECIPIENT:
            return None
        return failed(of, at, outcome, phase, party, credentials=credentials, cause=cause)

    return fault


def imap(outcome: Outcome, phase: Phase, *, credentials: bool = False, cause: RefusalCause | None = None) -> Fault:
    """Fail all mail that is read on this side."""

    def fault(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
        if party is Party.SENDER:
            return None
        return failed(of, at, outcome, phase, party, credentials=credentials, cause=cause)

    return fault


def both(first: Fault, second: Fault) -> Fault:
    return lambda of, at, party: first(of, at, party) or second(of, at, party)


def on_the_way(outcome: Outcome, *, only: Party | None = None) -> Fault:
    """Lose, return or change mail of this side: when it sends, when it receives, or always."""
    phase = Phase.RETRIEVE if outcome is Outcome.CORRUPTED else Phase.TRANSIT

    def fault(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
        lasted = PROBING.timeouts.arrival if outcome is Outcome.LOST else SECOND
        return failed(of, at, outcome, phase, lasted=lasted) if only in {None, party} else None

    return fault


def slow(transit: timedelta = 2 * MINUTE, *, junk: bool = False) -> Fault:
    return lambda of, at, party: arrived(of, at, transit, junk=junk)


def unanswered(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    """Accept a message and close the connection without a reply."""
    return replace(arrived(of, at), uncertain=True) if party is Party.SENDER else None


REFUSED = both(imap(Outcome.CONNECT, Phase.CONNECT), smtp(Outcome.CONNECT, Phase.CONNECT))
NO_SIGN_IN = both(imap(Outcome.AUTH, Phase.AUTH), smtp(Outcome.AUTH, Phase.AUTH))
GREYLISTS = smtp(Outcome.DEFERRED, Phase.SUBMIT, cause=RefusalCause.GREYLISTING)
LOSES = on_the_way(Outcome.LOST)
WRONG_PASSWORD = both(
    imap(Outcome.AUTH, Phase.AUTH, credentials=True), smtp(Outcome.AUTH, Phase.AUTH, credentials=True)
)


@dataclass
class World:
    """Routes, their evaluator, and the fault of each mailbox."""

    routes: list[MonitoredRoute]
    faults: dict[str, Fault] = field(default_factory=dict)
    #: Our network has failed: no server is reached.
    cut_off: bool = False
    now: datetime = T0

    def __post_init__(self) -> None:
        self.evaluator = HealthEvaluator(self.routes, HealthPolicy())

    def result(self, of: MonitoredRoute, at: datetime) -> ProbeResult:
        """Return the result of a run: the recipient's mailbox is opened first, then the message is sent."""
        if self.cut_off:
            return failed(of, at, Outcome.CONNECT, Phase.CONNECT)
        ends = [(of.route.recipient.name, Party.RECIPIENT), (of.route.sender.name, Party.SENDER)]
        if of.forwarded:
            # Forwarded mail passes the agency without a sign-in: only faults in transit apply.
            ends.append((f"{of.agency}/utama", Party.RECIPIENT))
        found = [r for name, party in ends if name in self.faults and (r := self.faults[name](of, at, party))]
        # A refusal occurs before the message can be lost.
        found.sort(key=lambda r: r.outcome in {Outcome.LOST, Outcome.BOUNCED, Outcome.CORRUPTED, Outcome.DELIVERED})
        return found[0] if found else arrived(of, at)

    def rounds(self, count: int) -> World:
        """Run every route *count* times, five minutes apart; requested control runs start at once."""
        for _ in range(count):
            ordered = sorted(self.routes, key=lambda r: r.direction is Direction.CONTROL)
            ends = [self.result(r, self.now + index * SECOND) for index, r in enumerate(ordered)]
            for end in sorted(ends, key=lambda e: e.started_at + e.duration):
                self.evaluator.record_run(end, end.started_at + end.duration)
            after = max(end.started_at + end.duration for end in ends)
            for _ in range(3):
                after += SECOND
                for name in self.evaluator.control_routes_to_run():
                    end = self.result(next(r for r in self.routes if r.name == name), after)
                    self.evaluator.record_run(end, after + SECOND)
            self.now += 5 * MINUTE
        return self

    def trouble(self, agency: str) -> ActiveProblem | None:
        # After undecided routes are no longer waited for.
        return self.evaluator.trouble(agency, self.now + 30 * MINUTE)

    def own(self) -> set[str]:
        return {str(suspect) for suspect in self.evaluator.source_troubles(self.now)}

    def source_up_since(self, name: str) -> datetime | None:
        suspect = self.evaluator.find_fault_source(name)
        assert suspect is not None
        return self.evaluator.source_up_since(suspect, self.now)


def world(*agencies: str, references: Sequence[str] = ("a", "b")) -> World:
    routes = [r for agency in agencies for r in agency_routes(agency, references)]
    return World([*routes, *controls(references)])


def hosted(routes: Iterable[MonitoredRoute], hosts: Mapping[str, str]) -> list[MonitoredRoute]:
    """Return *routes* with mailboxes on other servers: *hosts* by mailbox name. The others keep their server."""

    def moved(box: Mailbox) -> Mailbox:
        server = replace(_SERVER, host=hosts.get(box.name, _SERVER.host))
        return replace(box, smtp=server, imap=server)

    return [
        replace(r, route=replace(r.route, sender=moved(r.route.sender), recipient=moved(r.route.recipient)))
        for r in routes
    ]
