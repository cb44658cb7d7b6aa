"""Attribution of failed runs to a fault domain. Pure.

Our own fault never turns an agency red: a failure that our network, a reference mailbox or our account may have caused
counts against an agency only after we are proven to work *since* the run began. Until then it is pending; if the proof
fails, it does not count and the NOC is notified instead. `monitor.evaluation.monitoring_faults` evaluates our own side;
`monitor.views.self_health` shows it; the route shows the run's outcome and its verdict (`HealthEvaluator.counted_as`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.evaluation.evidence import (
    ARRIVED,
    NETWORK,
    ON_THE_WAY,
    REACHING,
    UNANSWERED,
    Ability,
    Evidence,
    EvidenceNeed,
    end_of,
    is_prompt,
    only_mailbox,
    was_taken_well,
)
from monitor.model.health import Grade
from monitor.model.route import Direction, MonitoredRoute
from probes.model.mailbox import Mailbox
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, ProbeResult, RefusalCause


class FaultDomain(StrEnum):
    """Domain at fault for a failed run."""

    #: The agency's mail service.
    AGENCY = "agency"
    #: Our network: no reference mailbox could be reached either.
    NETWORK = "network"
    #: A reference mailbox.
    REFERENCE = "reference"
    #: An account: a server refuses its password and accepts others.
    CREDENTIALS = "credentials"
    #: A probe mailbox: it is full, at its sending limit, or in use by another session.
    MAILBOX = "mailbox"
    #: Pantau: a defect or its configuration.
    OURS = "ours"
    #: Another site: nothing is received from it, or it cannot evaluate.
    SITE = "site"
    #: The sites: too few are fresh to decide.
    QUORUM = "quorum"
    #: Not known yet, or none.
    NOBODY = "nobody"


class RunVerdict(StrEnum):
    """Final verdict of a run, counted once."""

    #: The message arrived in time.
    GOOD = "good"
    #: It arrived late, in the junk folder, or was reported to its sender as failed.
    SLOW = "slow"
    #: It failed by the agency's fault.
    FAILED = "failed"
    #: It failed by our own fault.
    MONITORING_FAULT = "monitoring_fault"
    #: Nothing showed in time whose fault it was; or it was deferred and may still arrive.
    UNDETERMINED = "undetermined"


_COUNTED = {Grade.GOOD: RunVerdict.GOOD, Grade.SLOW: RunVerdict.SLOW, Grade.BAD: RunVerdict.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Meaning of one run: its grade for the agency, and who else is to blame."""

    grade: Grade
    blame: FaultDomain = FaultDomain.NOBODY
    #: Name of the reference mailbox or account that is to blame.
    suspect: str = ""
    #: The time for evidence has run out.
    unproven: bool = False

    @property
    def verdict(self) -> RunVerdict | None:
        """The final verdict; `None` while evidence is pending."""
        if self.grade is Grade.PENDING:
            return None
        if self.grade is Grade.NONE:
            return (
                RunVerdict.UNDETERMINED
                if self.unproven or self.blame is FaultDomain.NOBODY
                else RunVerdict.MONITORING_FAULT
            )
        return _COUNTED[self.grade]


def weigh(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Return the attribution of *result* by the evidence about our own side."""
    failure = result.failure
    if failure is not None and (one := only_mailbox(route, failure)) is not None:
        return _of_one_mailbox(route, one, failure, result, evidence)
    match result.outcome:
        case Outcome.DELIVERED | Outcome.JUNK if _is_taken_badly(route, result):
            return _taken_badly(route, result, evidence)
        case Outcome.DELIVERED if is_prompt(route, result):
            return Attribution(grade=Grade.GOOD)
        case Outcome.DELIVERED | Outcome.JUNK:
            # Late or junk is the agency's fault once the reference is proven to do better.
            return _once_proven(route, result, evidence, Grade.SLOW)
        case Outcome.INCONCLUSIVE:
            return Attribution(grade=Grade.NONE, blame=FaultDomain.OURS)
    if failure is None:
        # A failed run without a location is a bug of ours, not evidence against an agency.
        return Attribution(grade=Grade.NONE, blame=FaultDomain.OURS)
    mailbox = end_of(route, failure.party)
    if route.direction is Direction.CONTROL:
        return _between_references(mailbox.name, failure, result, evidence)
    if result.outcome in ON_THE_WAY:
        return _on_the_way(route, result, evidence)
    if mailbox.name in route.references:
        return Attribution(grade=Grade.NONE, blame=FaultDomain.REFERENCE, suspect=mailbox.name)
    return _at_the_agency(failure, result, evidence)


def _of_one_mailbox(
    route: MonitoredRoute, one: Mailbox, failure: Failure, result: ProbeResult, evidence: Evidence
) -> Attribution:
    """Blame our account or mailbox; the agency once others of its mailboxes are refused too."""
    if failure.credentials_refused:
        return Attribution(grade=Grade.NONE, blame=FaultDomain.CREDENTIALS, suspect=one.name)
    if evidence.others_are_refused(one.name, result.started_at - 2 * route.probing.interval):
        return Attribution(grade=Grade.BAD, blame=FaultDomain.AGENCY)
    return Attribution(grade=Grade.NONE, blame=FaultDomain.MAILBOX, suspect=one.name)


def rests_on(route: MonitoredRoute, result: ProbeResult) -> Sequence[EvidenceNeed]:
    """Return the evidence that a failed run needs before it counts.

    For a message in transit: every reference on the route does its part. For all else: our network works.
    """
    if _is_taken_badly(route, result):
        return (NETWORK,)
    if result.outcome in ARRIVED:
        send, receive = Ability.SEND_WELL, Ability.RECEIVE_WELL
    elif result.outcome in ON_THE_WAY:
        send, receive = Ability.SEND, Ability.RECEIVE
    else:
        return (NETWORK,)
    sender, recipient = route.route.sender.name, route.route.recipient.name
    wants = [EvidenceNeed(send, sender)] if sender in route.references else []
    return [*wants, EvidenceNeed(receive, recipient)] if recipient in route.references else wants


def _is_taken_badly(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether a message arrived although the sender's server had not confirmed it in time.

    A slow reference server does not concern the agency.
    """
    is_about_sending = route.direction is Direction.CONTROL or route.route.sender.name not in route.references
    return is_about_sending and result.outcome in ARRIVED and not was_taken_well(route, result)


def _taken_badly(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Blame the agency once our network is proven, which can also break connections halfway."""
    if route.direction is Direction.CONTROL:
        return Attribution(grade=Grade.SLOW, blame=FaultDomain.REFERENCE, suspect=route.route.sender.name)
    return _if(evidence.network_stands(result.started_at), Grade.SLOW, otherwise=FaultDomain.NETWORK)


def _on_the_way(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a message that did not arrive intact: the agency's fault once the reference is proven."""
    if route.forwarded and result.failure is not None and result.failure.reason == Reason.COPY_RETURNED:
        # The agency accepted and forwarded the message. A reference that refuses forwarded mail is not its fault.
        return Attribution(grade=Grade.NONE, blame=FaultDomain.REFERENCE, suspect=route.route.recipient.name)
    sender = route.route.sender.name
    if sender in route.references and result.failure is not None and result.failure.cause is RefusalCause.BLOCK_LIST:
        return Attribution(grade=Grade.NONE, blame=FaultDomain.REFERENCE, suspect=sender)
    return _once_proven(route, result, evidence, Grade.BAD)


def _once_proven(route: MonitoredRoute, result: ProbeResult, evidence: Evidence, grade: Grade) -> Attribution:
    """Grade a run against the agency if every reference on the route is proven in its part."""
    stands = [(evidence.proof(want).stands_for(result.started_at), want.reference) for want in rests_on(route, result)]
    # A reference that is known to fail explains more than an untested one.
    for doubt in (False, None):
        for proven, name in stands:
            if proven is doubt:
                return _if(doubt, grade, otherwise=FaultDomain.REFERENCE, suspect=name)
    return _if(True, grade, otherwise=FaultDomain.NOBODY)


def _at_the_agency(failure: Failure, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a failure at the agency's own server: its fault once our network is proven."""
    if failure.phase in REACHING or result.outcome in UNANSWERED:
        return _if(evidence.network_stands(result.started_at), otherwise=FaultDomain.NETWORK)
    return Attribution(grade=Grade.BAD, blame=FaultDomain.AGENCY)


def _between_references(at: str, failure: Failure, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a control run: to a reference or to our network."""
    if result.outcome not in ON_THE_WAY and (failure.phase in REACHING or result.outcome in UNANSWERED):
        verdict = _if(evidence.network_stands(result.started_at), otherwise=FaultDomain.NETWORK)
        return (
            Attribution(grade=Grade.BAD, blame=FaultDomain.REFERENCE, suspect=at)
            if verdict.grade is Grade.BAD
            else verdict
        )
    return Attribution(grade=Grade.BAD, blame=FaultDomain.REFERENCE, suspect=at)


def _if(proven: bool | None, grade: Grade = Grade.BAD, *, otherwise: FaultDomain, suspect: str = "") -> Attribution:  # noqa: FBT001
    """Grade a run against the agency if we are proven; otherwise name the alternative."""
    if proven:
        return Attribution(grade=grade, blame=FaultDomain.AGENCY if grade is Grade.BAD else FaultDomain.NOBODY)
    return Attribution(grade=Grade.PENDING if proven is None else Grade.NONE, blame=otherwise, suspect=suspect)
