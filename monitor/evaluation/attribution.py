"""Attribution of failed runs to a fault domain. Pure.

A monitoring fault (a fault of our own side) must never count as an agency's outage. Our own side is our network, our
accounts, and the reference mailboxes (ours, outside of the agencies). A failure that a part of our own side may have
caused counts against the agency only if *evidence* proves that the part has worked since the run began. Until then the
run is *pending*. If the part has failed, the run does not count, and the NOC (network operations centre) is notified.
`monitor.evaluation.monitoring_faults` evaluates our own side, and `monitor.views.self_health` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.evaluation.evidence import (
    ARRIVED,
    CONNECTING,
    FAILED_IN_TRANSIT,
    NETWORK,
    UNANSWERED,
    Ability,
    Evidence,
    EvidenceNeed,
    affected_mailbox,
    is_prompt,
    mailbox_at,
    was_confirmed_in_time,
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
    #: An account: a server refuses its password, and accepts other accounts.
    CREDENTIALS = "credentials"
    #: A probe mailbox: it is full, at its sending limit, or in use by another session.
    MAILBOX = "mailbox"
    #: Pantau: a defect or its configuration. The value is stored.
    PANTAU = "ours"
    #: A site (place from which mail is probed): nothing is received from it, or it cannot evaluate.
    SITE = "site"
    #: The sites: too few have sent a heartbeat lately to decide together.
    QUORUM = "quorum"
    #: No domain: the run did not fail, or the fault is not known.
    NOBODY = "nobody"


class RunVerdict(StrEnum):
    """Final verdict of a run. Each run is counted once, by its verdict."""

    #: The message arrived in time.
    GOOD = "good"
    #: The message arrived late, in the junk folder, or although its server reported a failure to the sender.
    SLOW = "slow"
    #: The run failed by the agency's fault.
    FAILED = "failed"
    #: The run failed by the fault of our own side.
    MONITORING_FAULT = "monitoring_fault"
    #: No evidence showed in time whose fault it was; or the message was deferred and may still arrive.
    UNDETERMINED = "undetermined"


_GRADE_VERDICTS = {Grade.GOOD: RunVerdict.GOOD, Grade.SLOW: RunVerdict.SLOW, Grade.BAD: RunVerdict.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Result of the attribution of one run: its grade for the agency, and the fault domain."""

    grade: Grade
    domain: FaultDomain = FaultDomain.NOBODY
    #: Name of the mailbox at fault, if the domain is a reference mailbox, an account or a probe mailbox.
    mailbox: str = ""
    #: Whether the run was pending until its deadline, because no evidence arrived.
    is_expired: bool = False

    @property
    def verdict(self) -> RunVerdict | None:
        """The final verdict; `None` while the run is pending."""
        if self.grade is Grade.PENDING:
            return None
        if self.grade is Grade.NONE:
            return (
                RunVerdict.UNDETERMINED
                if self.is_expired or self.domain is FaultDomain.NOBODY
                else RunVerdict.MONITORING_FAULT
            )
        return _GRADE_VERDICTS[self.grade]


def attribute(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Return the attribution of *result*, given the evidence about our own side."""
    failure = result.failure
    # A failure that affects only one mailbox says nothing about the rest of the service.
    if failure is not None and (mailbox := affected_mailbox(route, failure)) is not None:
        return _attribute_mailbox_failure(route, mailbox, failure, result, evidence)
    match result.outcome:
        case Outcome.DELIVERED | Outcome.JUNK if _is_confirmed_late(route, result):
            return _attribute_late_confirmation(route, result, evidence)
        case Outcome.DELIVERED if is_prompt(route, result):
            return Attribution(grade=Grade.GOOD)
        case Outcome.DELIVERED | Outcome.JUNK:
            # The message was late or in the junk folder. This counts once other messages prove that the reference
            # mailbox sends and receives in time, and to the inbox.
            return _attribute_with_references(route, result, evidence, Grade.SLOW)
        case Outcome.INCONCLUSIVE:
            # Pantau could not complete the run.
            return Attribution(grade=Grade.NONE, domain=FaultDomain.PANTAU)
    if failure is None:
        # A failed run without a `Failure` is a bug in Pantau.
        return Attribution(grade=Grade.NONE, domain=FaultDomain.PANTAU)
    mailbox = mailbox_at(route, failure.party)
    if route.direction is Direction.CONTROL:
        return _attribute_control_failure(mailbox.name, failure, result, evidence)
    if result.outcome in FAILED_IN_TRANSIT:
        return _attribute_failure_in_transit(route, result, evidence)
    if mailbox.name in route.references:
        return Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox=mailbox.name)
    return _attribute_agency_failure(failure, result, evidence)


def _attribute_mailbox_failure(
    route: MonitoredRoute, mailbox: Mailbox, failure: Failure, result: ProbeResult, evidence: Evidence
) -> Attribution:
    """Attribute a failure that affects one mailbox.

    For refused credentials, the account is at fault. Otherwise the agency is at fault if another of its mailboxes was
    refused lately, and the mailbox if not.
    """
    if failure.credentials_refused:
        return Attribution(grade=Grade.NONE, domain=FaultDomain.CREDENTIALS, mailbox=mailbox.name)
    if evidence.has_other_refusal(mailbox.name, result.started_at - 2 * route.probing.interval):
        return Attribution(grade=Grade.BAD, domain=FaultDomain.AGENCY)
    return Attribution(grade=Grade.NONE, domain=FaultDomain.MAILBOX, mailbox=mailbox.name)


def required_evidence(route: MonitoredRoute, result: ProbeResult) -> Sequence[EvidenceNeed]:
    """Return the evidence that a failed run needs before it counts.

    If the message was lost in transit, late or in the junk folder, the evidence must prove that each reference mailbox
    on the route can send or receive. Otherwise it must prove that our network works.
    """
    if _is_confirmed_late(route, result):
        return (NETWORK,)
    if result.outcome in ARRIVED:
        send, receive = Ability.SEND_PROMPTLY, Ability.RECEIVE_PROMPTLY
    elif result.outcome in FAILED_IN_TRANSIT:
        send, receive = Ability.SEND, Ability.RECEIVE
    else:
        return (NETWORK,)
    sender, recipient = route.route.sender.name, route.route.recipient.name
    needs = [EvidenceNeed(send, sender)] if sender in route.references else []
    return [*needs, EvidenceNeed(receive, recipient)] if recipient in route.references else needs


def _is_confirmed_late(route: MonitoredRoute, result: ProbeResult) -> bool:
    """Whether a message arrived although the sender's server had not confirmed it in time.

    Only the agency's own server is examined; on a control route (between two reference mailboxes), the sender's.
    """
    examines_sender = route.direction is Direction.CONTROL or route.route.sender.name not in route.references
    return examines_sender and result.outcome in ARRIVED and not was_confirmed_in_time(route, result)


def _attribute_late_confirmation(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a late confirmation by the sender's server.

    On a control route the sender's reference mailbox is at fault. Otherwise the agency is at fault, but only if our
    network is proven to work, because a broken connection has the same effect.
    """
    if route.direction is Direction.CONTROL:
        return Attribution(grade=Grade.SLOW, domain=FaultDomain.REFERENCE, mailbox=route.route.sender.name)
    return _attribute_if_proven(
        evidence.has_network_worked_since(result.started_at), Grade.SLOW, alternative=FaultDomain.NETWORK
    )


def _attribute_failure_in_transit(route: MonitoredRoute, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a message that did not arrive intact.

    The agency is at fault if the reference mailboxes on the route are proven to work.
    """
    if route.forwarded and result.failure is not None and result.failure.reason == Reason.COPY_RETURNED:
        # The agency accepted and forwarded the message, and the reference mailbox refused the forwarded copy.
        return Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox=route.route.recipient.name)
    sender = route.route.sender.name
    if sender in route.references and result.failure is not None and result.failure.cause is RefusalCause.BLOCK_LIST:
        # The message was refused because the reference mailbox is on a block list.
        return Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox=sender)
    return _attribute_with_references(route, result, evidence, Grade.BAD)


def _attribute_with_references(
    route: MonitoredRoute, result: ProbeResult, evidence: Evidence, grade: Grade
) -> Attribution:
    """Grade a run if every reference mailbox on the route is proven to have worked."""
    proofs = [
        (evidence.record(need).has_worked_since(result.started_at), need.reference)
        for need in required_evidence(route, result)
    ]
    # A reference mailbox with a proven failure (false) decides before one without evidence (`None`).
    for answer in (False, None):
        for proven, name in proofs:
            if proven is answer:
                return _attribute_if_proven(answer, grade, alternative=FaultDomain.REFERENCE, mailbox=name)
    return _attribute_if_proven(True, grade, alternative=FaultDomain.NOBODY)


def _attribute_agency_failure(failure: Failure, result: ProbeResult, evidence: Evidence) -> Attribution:
    """Attribute a failure at the agency's own server.

    The agency is at fault. If the server did not answer, our network must be proven to work.
    """
    if failure.phase in CONNECTING or result.outcome in UNANSWERED:
        return _attribute_if_proven(
            evidence.has_network_worked_since(result.started_at), alternative=FaultDomain.NETWORK
        )
    return Attribution(grade=Grade.BAD, domain=FaultDomain.AGENCY)


def _attribute_control_failure(
    mailbox_name: str, failure: Failure, result: ProbeResult, evidence: Evidence
) -> Attribution:
    """Attribute a failed control run to a reference mailbox or to our network."""
    if result.outcome not in FAILED_IN_TRANSIT and (failure.phase in CONNECTING or result.outcome in UNANSWERED):
        attribution = _attribute_if_proven(
            evidence.has_network_worked_since(result.started_at), alternative=FaultDomain.NETWORK
        )
        return (
            Attribution(grade=Grade.BAD, domain=FaultDomain.REFERENCE, mailbox=mailbox_name)
            if attribution.grade is Grade.BAD
            else attribution
        )
    return Attribution(grade=Grade.BAD, domain=FaultDomain.REFERENCE, mailbox=mailbox_name)


def _attribute_if_proven(
    proven: bool | None,  # noqa: FBT001
    grade: Grade = Grade.BAD,
    *,
    alternative: FaultDomain,
    mailbox: str = "",
) -> Attribution:
    """Return the attribution of a run that depends on evidence about our own side.

    *proven*: whether our own side worked. If true, the run has *grade*. If false, the run does not count, and the
    domain *alternative* (with its *mailbox*) is at fault. While it is `None`, the run is pending.
    """
    if proven:
        return Attribution(grade=grade, domain=FaultDomain.AGENCY if grade is Grade.BAD else FaultDomain.NOBODY)
    return Attribution(grade=Grade.PENDING if proven is None else Grade.NONE, domain=alternative, mailbox=mailbox)
