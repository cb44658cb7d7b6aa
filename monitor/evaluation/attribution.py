"""Decide whose fault a failed run is. Pure.

Never red for our own fault: what might be our network, a reference mailbox or our account is held against an agency
only after we have proven ourselves *since* the run began. Until then it is pending; if the proof fails, it counts
for nothing and the NOC is told instead. What was blamed in the agency's place is judged in `monitor.evaluation.monitoring_faults` and
shown by `monitor.views.self_health`; the route shows how its run ended, and what it is counted as (`HealthEvaluator.counted_as`).
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
    """Whose fault a failed run is."""

    AGENCY = "agency"
    #: Our own network: no reference mailbox could be reached either.
    NETWORK = "network"
    REFERENCE = "reference"
    #: A server refused our account's password, and serves others.
    CREDENTIALS = "credentials"
    #: A mailbox that is probed: it is over its quota, has sent all that it may, or other sessions hold it.
    MAILBOX = "mailbox"
    #: Our own bug or configuration.
    OURS = "ours"
    #: Another site of ours: nothing is heard of it, or it cannot judge.
    SITE = "site"
    #: Too few sites of ours are heard for anything to be told.
    QUORUM = "quorum"
    #: Nobody's yet, or nobody's at all.
    NOBODY = "nobody"


class RunVerdict(StrEnum):
    """What a run is counted as, once and for good."""

    GOOD = "good"
    #: It arrived, but late, in junk, or with an error for who sent it.
    SLOW = "slow"
    FAILED = "failed"
    #: A fault of the monitoring caused the failure; it does not count against the agency.
    MONITORING_FAULT = "monitoring_fault"
    #: The fault domain was not found in time; or the message was deferred and may still arrive.
    UNDETERMINED = "undetermined"


_COUNTED = {Grade.GOOD: RunVerdict.GOOD, Grade.SLOW: RunVerdict.SLOW, Grade.BAD: RunVerdict.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What one run says: about the agency (`grade`), and about whom to tell otherwise."""

    grade: Grade
    blame: FaultDomain = FaultDomain.NOBODY
    #: Name of the reference mailbox or of the account, where `blame` is one of those.
    suspect: str = ""
    #: It has waited for a proof for as long as it may, and none came.
    unproven: bool = False

    @property
    def verdict(self) -> RunVerdict | None:
        """What the run is counted as; `None`: it waits for a proof."""
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
    """Say what *result* means, given what is known of our own side now."""
    failure = result.failure
    if failure is not None and (one := only_mailbox(route, failure)) is not None:
        return _of_one_mailbox(route, one, failure, result, evidence)
    match result.outcome:
        case Outcome.DELIVERED | Outcome.JUNK if _is_taken_badly(route, result):
            return _taken_badly(route, result, evidence)
        case Outcome.DELIVERED if is_prompt(route, result):
            return Attribution(grade=Grade.GOOD)
        case Outcome.DELIVERED | Outcome.JUNK:
            # It came late, or among the junk: that is theirs once the reference is proven to do better.
            return _once_proven(route, result, evidence, Grade.SLOW)
        case Outcome.INCONCLUSIVE:
            return Attribution(grade=Grade.NONE, blame=FaultDomain.OURS)
    if failure is None:
        # A failed run that does not say where is a bug of ours, not evidence against an agency.
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
    """Blame our account or mailbox; and the agency once others of its mailboxes are refused as well."""
    if failure.credentials_refused:
        return Attribution(grade=Grade.NONE, blame=FaultDomain.CREDENTIALS, suspect=one.name)
    if evidence.others_are_refused(one.name, result.started_at - 2 * route.probing.interval):
        return Attribution(grade=Grade.BAD, blame=FaultDomain.AGENCY)
    return Attribution(grade=Grade.NONE, blame=FaultDomain.MAILBOX, suspect=one.name)


def rests_on(route: MonitoredRoute, result: ProbeResult) -> Sequence[EvidenceNeed]:
    """Return what has to be proven of our own side before a run that did not go well is held against anybody.

    Of a message on its way, that every reference on the route does its part of it; of all else, that our network works.
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
    """Whether a message arrived that its sender's server did not answer for, or too late.

    How a reference's server takes messages is no agency's matter.
    """
    is_about_sending = route.direction is Direction.CONTROL or route.route.sender.name not in route.references
    return is_about_sending and result.outcome in ARRIVED and not was_taken_well(route, result)


def _taken_badly(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Hold it against the agency once our network is proven: that breaks connections in the middle, too."""
    if route.direction is Direction.CONTROL:
        return Attribution(grade=Grade.SLOW, blame=FaultDomain.REFERENCE, suspect=route.route.sender.name)
    return _if(evidence.network_stands(result.started_at), Grade.SLOW, otherwise=FaultDomain.NETWORK)


def _on_the_way(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Weigh a message that did not arrive, or not whole: it is theirs once the reference is proven."""
    if route.forwarded and result.failure is not None and result.failure.reason == Reason.COPY_RETURNED:
        # The agency took the message and sent it on. That our mailbox takes no forwarded mail is no fault of theirs.
        return Attribution(grade=Grade.NONE, blame=FaultDomain.REFERENCE, suspect=route.route.recipient.name)
    sender = route.route.sender.name
    if sender in route.references and result.failure is not None and result.failure.cause is RefusalCause.BLOCK_LIST:
        return Attribution(grade=Grade.NONE, blame=FaultDomain.REFERENCE, suspect=sender)
    return _once_proven(route, result, evidence, Grade.BAD)


def _once_proven(route: MonitoredRoute, result: ProbeResult, evidence: Evidence, grade: Grade) -> Attribution:
    """Hold a run against the agency if every reference on the route is proven in the part that it has there."""
    stands = [(evidence.proof(want).stands_for(result.started_at), want.reference) for want in rests_on(route, result)]
    # One that is known to fail is a clearer answer than one of which nothing is known.
    for doubt in (False, None):
        for proven, name in stands:
            if proven is doubt:
                return _if(doubt, grade, otherwise=FaultDomain.REFERENCE, suspect=name)
    return _if(True, grade, otherwise=FaultDomain.NOBODY)


def _at_the_agency(failure: Failure, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Weigh a failure at the agency's own server: it is theirs once our network is proven."""
    if failure.phase in REACHING or result.outcome in UNANSWERED:
        return _if(evidence.network_stands(result.started_at), otherwise=FaultDomain.NETWORK)
    return Attribution(grade=Grade.BAD, blame=FaultDomain.AGENCY)


def _between_references(at: str, failure: Failure, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Weigh a control run: it judges the references, or our network."""
    if result.outcome not in ON_THE_WAY and (failure.phase in REACHING or result.outcome in UNANSWERED):
        verdict = _if(evidence.network_stands(result.started_at), otherwise=FaultDomain.NETWORK)
        return (
            Attribution(grade=Grade.BAD, blame=FaultDomain.REFERENCE, suspect=at)
            if verdict.grade is Grade.BAD
            else verdict
        )
    return Attribution(grade=Grade.BAD, blame=FaultDomain.REFERENCE, suspect=at)


def _if(proven: bool | None, grade: Grade = Grade.BAD, *, otherwise: FaultDomain, suspect: str = "") -> Attribution:  # noqa: FBT001
    """Hold a run against the agency if we are proven; while nothing is known, name who it will be if that stays so."""
    if proven:
        return Attribution(grade=grade, blame=FaultDomain.AGENCY if grade is Grade.BAD else FaultDomain.NOBODY)
    return Attribution(grade=Grade.PENDING if proven is None else Grade.NONE, blame=otherwise, suspect=suspect)
