"""Decide whose fault a failed run is. Pure.

Never red for our own fault: what might be our network, a reference mailbox or our account is held against an agency
only after we have proven ourselves *since* the run began. Until then it is pending; if the proof fails, it counts
for nothing and the NOC is told instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.evidence import REACHING, Evidence, Proof
from monitor.health import Grade
from monitor.route import Direction, WatchedRoute
from probes.result import Failure, Outcome, Party, Phase, ProbeResult


class Blame(StrEnum):
    """Whose fault a failed run is."""

    AGENCY = "agency"
    #: Our own network: no reference mailbox could be reached either.
    NETWORK = "network"
    REFERENCE = "reference"
    #: A server refused our account's password, and serves others.
    CREDENTIALS = "credentials"
    #: Our own bug or configuration.
    OURS = "ours"
    #: Nobody's yet, or nobody's at all.
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one run says: about the agency (`grade`), and about whom to tell otherwise."""

    grade: Grade
    blame: Blame = Blame.NOBODY
    #: Name of the reference mailbox or of the account, where `blame` is one of those.
    suspect: str = ""


def weigh(route: WatchedRoute, result: ProbeResult, evidence: Evidence) -> Verdict:
    """Say what *result* means, given what is known of our own side now."""
    match result.outcome:
        case Outcome.DELIVERED:
            transit = result.phases.get(Phase.TRANSIT)
            slow = transit is not None and transit > route.probing.slow_after
            return Verdict(grade=Grade.SLOW if slow else Grade.GOOD)
        case Outcome.JUNK:
            return Verdict(grade=Grade.SLOW)
        case Outcome.INCONCLUSIVE:
            return Verdict(grade=Grade.NONE, blame=Blame.OURS)
    failure = result.failure
    if failure is None:
        # A failed run that does not say where is a bug of ours, not evidence against an agency.
        return Verdict(grade=Grade.NONE, blame=Blame.OURS)
    mailbox = route.route.sender if failure.party is Party.SENDER else route.route.recipient
    if failure.credentials_refused:
        return Verdict(grade=Grade.NONE, blame=Blame.CREDENTIALS, suspect=mailbox.name)
    if route.direction is Direction.CONTROL:
        return _between_references(route, failure, result, evidence)
    if _is_on_the_way(failure, result):
        return _on_the_way(route, result, evidence)
    if mailbox.name == route.reference:
        return Verdict(grade=Grade.NONE, blame=Blame.REFERENCE, suspect=mailbox.name)
    return _at_the_agency(failure, result, evidence)


#: Outcomes that name the server they happened at.
_AT_A_SERVER = frozenset({Outcome.AUTH, Outcome.TLS, Outcome.DNS, Outcome.CONNECT, Outcome.REJECTED, Outcome.DEFERRED})


def _is_on_the_way(failure: Failure, result: ProbeResult) -> bool:
    return failure.phase in {Phase.TRANSIT, Phase.RETRIEVE} and result.outcome not in _AT_A_SERVER


def _at_the_agency(failure: Failure, result: ProbeResult, evidence: Evidence) -> Verdict:
    """Weigh a failure at the agency's own server: it is theirs once our network is proven."""
    if failure.phase in REACHING or result.outcome in {Outcome.CONNECT, Outcome.TIMEOUT, Outcome.DNS}:
        return _if(evidence.network_stands(result.started_at), otherwise=Blame.NETWORK)
    return Verdict(grade=Grade.BAD, blame=Blame.AGENCY)


def _on_the_way(route: WatchedRoute, result: ProbeResult, evidence: Evidence) -> Verdict:
    """Weigh a message that did not arrive, or not whole: it is theirs once the reference is proven."""
    if route.direction is Direction.INTERNAL or route.reference is None:
        return Verdict(grade=Grade.BAD, blame=Blame.AGENCY)
    proofs = evidence.receives if route.direction is Direction.OUTBOUND else evidence.sends
    proof = proofs.get(route.reference, Proof())
    return _if(proof.stands_for(result.started_at), otherwise=Blame.REFERENCE, suspect=route.reference)


def _between_references(route: WatchedRoute, failure: Failure, result: ProbeResult, evidence: Evidence) -> Verdict:
    """Weigh a control run: it judges a reference, or our network."""
    sender, recipient = route.route.sender.name, route.route.recipient.name
    at = sender if failure.party is Party.SENDER else recipient
    if failure.phase in REACHING:
        stands = evidence.network_stands(result.started_at)
        return _if(stands, yes=Blame.REFERENCE, otherwise=Blame.NETWORK, suspect=at)
    if _is_on_the_way(failure, result) and evidence.receives.get(recipient, Proof()).stands_for(result.started_at):
        at = sender
    return Verdict(grade=Grade.BAD, blame=Blame.REFERENCE, suspect=at)


def _if(proven: bool | None, *, yes: Blame = Blame.AGENCY, otherwise: Blame, suspect: str = "") -> Verdict:  # noqa: FBT001
    if proven is None:
        return Verdict(grade=Grade.PENDING)
    if proven:
        return Verdict(grade=Grade.BAD, blame=yes, suspect="" if yes is Blame.AGENCY else suspect)
    return Verdict(grade=Grade.NONE, blame=otherwise, suspect="" if otherwise is Blame.NETWORK else suspect)
