"""Attribution of a run to a fault domain, and properties of any sequence of runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.evaluation.attribution import Attribution, FaultDomain, attribute
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.evidence import CONNECTING, FAILED_IN_TRANSIT, UNANSWERED, Ability, Evidence, EvidenceRecord
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause
from tests.unit.monitor.world import MINUTE, SECOND, T0, agency_routes, arrived, controls, failed, forwarded

INTERNAL, OUTBOUND, INBOUND = agency_routes("JCM", references=("a",))
CONTROL = controls()[0]
WORKS, DEAD, UNTRIED = EvidenceRecord(worked_at=T0), EvidenceRecord(failed_at=T0), EvidenceRecord()
PROOFS = {"works": WORKS, "dead": DEAD, "untried": UNTRIED}
S, R = Party.SENDER, Party.RECIPIENT


def evidence(proof: EvidenceRecord) -> Evidence:
    all_of_them = {"a": proof, "b": proof}
    return Evidence(by_ability=dict.fromkeys(Ability, all_of_them))


def verdicts(of: MonitoredRoute, result: ProbeResult) -> list[tuple[Grade, FaultDomain]]:
    """Attribute with working references, failed ones, and ones without evidence."""
    found = [attribute(of, result, evidence(proof)) for proof in PROOFS.values()]
    return [(verdict.grade, verdict.domain) for verdict in found]


THEIRS = (Grade.BAD, FaultDomain.AGENCY)
NETWORK = [THEIRS, (Grade.NONE, FaultDomain.NETWORK), (Grade.PENDING, FaultDomain.NETWORK)]
REFERENCE = [THEIRS, (Grade.NONE, FaultDomain.REFERENCE), (Grade.PENDING, FaultDomain.REFERENCE)]
NEVER = [(Grade.NONE, FaultDomain.REFERENCE)] * 3


@pytest.mark.parametrize(
    ("of", "outcome", "phase", "party", "expected"),
    [
        (INTERNAL, Outcome.LOST, Phase.TRANSIT, R, [THEIRS] * 3),
        (INTERNAL, Outcome.CORRUPTED, Phase.RETRIEVE, R, [THEIRS] * 3),
        (INTERNAL, Outcome.AUTH, Phase.AUTH, S, [THEIRS] * 3),
        (INTERNAL, Outcome.REJECTED, Phase.SUBMIT, S, [THEIRS] * 3),
        (INTERNAL, Outcome.CONNECT, Phase.CONNECT, R, NETWORK),
        (INTERNAL, Outcome.REJECTED, Phase.CONNECT, S, NETWORK),
        (INTERNAL, Outcome.DNS, Phase.DNS, S, NETWORK),
        (INTERNAL, Outcome.TLS, Phase.TLS, S, NETWORK),
        (INTERNAL, Outcome.TIMEOUT, Phase.SUBMIT, S, NETWORK),
        (INTERNAL, Outcome.CONNECT, Phase.RETRIEVE, R, NETWORK),
        (INTERNAL, Outcome.TIMEOUT, Phase.RETRIEVE, R, NETWORK),
        (OUTBOUND, Outcome.LOST, Phase.TRANSIT, R, REFERENCE),
        (OUTBOUND, Outcome.BOUNCED, Phase.TRANSIT, R, REFERENCE),
        (OUTBOUND, Outcome.CORRUPTED, Phase.RETRIEVE, R, REFERENCE),
        (OUTBOUND, Outcome.TIMEOUT, Phase.RETRIEVE, R, NEVER),
        (OUTBOUND, Outcome.CONNECT, Phase.CONNECT, R, NEVER),
        (OUTBOUND, Outcome.AUTH, Phase.AUTH, R, NEVER),
        (OUTBOUND, Outcome.CONNECT, Phase.CONNECT, S, NETWORK),
        (OUTBOUND, Outcome.REJECTED, Phase.SUBMIT, S, [THEIRS] * 3),
        (INBOUND, Outcome.LOST, Phase.TRANSIT, R, REFERENCE),
        (INBOUND, Outcome.BOUNCED, Phase.TRANSIT, R, REFERENCE),
        (INBOUND, Outcome.TIMEOUT, Phase.RETRIEVE, R, NETWORK),
        (INBOUND, Outcome.AUTH, Phase.AUTH, S, NEVER),
        (INBOUND, Outcome.REJECTED, Phase.SUBMIT, S, NEVER),
        (INBOUND, Outcome.DEFERRED, Phase.SUBMIT, S, NEVER),
    ],
)
def test_attribute_failure_is_agencys_once_we_are_proven(
    of: MonitoredRoute, outcome: Outcome, phase: Phase, party: Party, expected: list[tuple[Grade, FaultDomain]]
) -> None:
    assert verdicts(of, failed(of, T0, outcome, phase, party)) == expected


@pytest.mark.parametrize("of", [INTERNAL, OUTBOUND, INBOUND])
def test_attribute_prompt_arrival_is_good_for_any_evidence(of: MonitoredRoute) -> None:
    assert verdicts(of, arrived(of, T0)) == [(Grade.GOOD, FaultDomain.NOBODY)] * 3


@pytest.mark.parametrize("junk", [False, True])
def test_attribute_slow_or_junk_arrival_needs_working_reference(*, junk: bool) -> None:
    def transit(of: MonitoredRoute) -> ProbeResult:
        return arrived(of, T0, SECOND if junk else 2 * MINUTE, junk=junk)

    across = [
        (Grade.SLOW, FaultDomain.NOBODY),
        (Grade.NONE, FaultDomain.REFERENCE),
        (Grade.PENDING, FaultDomain.REFERENCE),
    ]
    assert verdicts(OUTBOUND, transit(OUTBOUND)) == verdicts(INBOUND, transit(INBOUND)) == across
    assert verdicts(INTERNAL, transit(INTERNAL)) == [(Grade.SLOW, FaultDomain.NOBODY)] * 3


UNACKNOWLEDGED = {"uncertain": True}
ACKNOWLEDGED_LATE = {"phases": dict.fromkeys(Phase, SECOND) | {Phase.DATA: 16 * SECOND}}
SLOW = (Grade.SLOW, FaultDomain.NOBODY)


@pytest.mark.blind
@pytest.mark.parametrize("taken", [UNACKNOWLEDGED, ACKNOWLEDGED_LATE], ids=["unanswered", "late"])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize(
    ("of", "expected"),
    [
        # An interruption in the middle of a connection may be our network.
        (INTERNAL, [SLOW, (Grade.NONE, FaultDomain.NETWORK), (Grade.PENDING, FaultDomain.NETWORK)]),
        (OUTBOUND, [SLOW, (Grade.NONE, FaultDomain.NETWORK), (Grade.PENDING, FaultDomain.NETWORK)]),
        (CONTROL, [(Grade.SLOW, FaultDomain.REFERENCE)] * 3),
    ],
    ids=["internal", "outbound", "control"],
)
def test_attribute_unacknowledged_arrival_is_degraded_sending(
    of: MonitoredRoute, taken: dict[str, Any], expected: list[tuple[Grade, FaultDomain]], *, junk: bool
) -> None:
    """Defect: A server that hangs up after a message, or answers after a minute, counts as good.

    Pantau: It is slow sending once our network is proven; a reference's is not the agency's.
    """
    assert verdicts(of, replace(arrived(of, T0, junk=junk), **taken)) == expected


@pytest.mark.parametrize("taken", [UNACKNOWLEDGED, ACKNOWLEDGED_LATE], ids=["unanswered", "late"])
def test_attribute_reference_acknowledging_late_does_not_affect_agency(taken: dict[str, Any]) -> None:
    assert verdicts(INBOUND, replace(arrived(INBOUND, T0), **taken)) == [(Grade.GOOD, FaultDomain.NOBODY)] * 3


def test_attribute_acknowledgement_within_half_of_timeout_is_good() -> None:
    prompt = replace(arrived(OUTBOUND, T0), phases=dict.fromkeys(Phase, SECOND) | {Phase.DATA: 15 * SECOND})
    assert verdicts(OUTBOUND, prompt) == [(Grade.GOOD, FaultDomain.NOBODY)] * 3


FORWARDED = forwarded("JCM", sender="a", arrives_in="b")


def evidence_of_two(sends_a: EvidenceRecord, receives_b: EvidenceRecord) -> Evidence:
    """Return evidence with the given records for sending by a and receiving at b; the other abilities work."""
    sends, receives = {"a": sends_a, "b": WORKS}, {"a": WORKS, "b": receives_b}
    ends = {
        Ability.SEND: sends,
        Ability.SEND_PROMPTLY: sends,
        Ability.RECEIVE: receives,
        Ability.RECEIVE_PROMPTLY: receives,
    }
    return Evidence(by_ability={Ability.REACH: {"a": WORKS, "b": WORKS}, **ends})


def test_attribute_refused_password_is_credentials_for_any_route() -> None:
    for of in (INTERNAL, OUTBOUND, INBOUND, CONTROL):
        refused = failed(of, T0, Outcome.AUTH, Phase.AUTH, S, credentials=True)
        assert verdicts(of, refused) == [(Grade.NONE, FaultDomain.CREDENTIALS)] * 3
    assert attribute(
        OUTBOUND, failed(OUTBOUND, T0, Outcome.AUTH, Phase.AUTH, R, credentials=True), Evidence()
    ) == Attribution(grade=Grade.NONE, domain=FaultDomain.CREDENTIALS, mailbox="a")


MAILBOX_OF: dict[RefusalCause, Party | None] = {
    RefusalCause.SESSION_LIMIT: None,
    RefusalCause.SENDING_LIMIT: S,
    RefusalCause.RECEIVING_LIMIT: R,
}


@pytest.mark.blind
@pytest.mark.parametrize("cause", MAILBOX_OF)
@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.DEFERRED, Outcome.BOUNCED, Outcome.INCONCLUSIVE])
@pytest.mark.parametrize("party", [S, R])
@pytest.mark.parametrize("of", [INTERNAL, OUTBOUND, INBOUND, CONTROL], ids=lambda of: of.direction)
def test_attribute_refusal_of_one_mailbox_blames_that_mailbox(
    of: MonitoredRoute, party: Party, outcome: Outcome, cause: RefusalCause
) -> None:
    """Defect: A full or limited mailbox is an outage for staff.

    Pantau: That mailbox is blamed, and the NOC is notified.
    """
    whose = of.route.sender if (MAILBOX_OF[cause] or party) is S else of.route.recipient
    run = failed(of, T0, outcome, Phase.SUBMIT, party, cause=cause)
    expected = Attribution(grade=Grade.NONE, domain=FaultDomain.MAILBOX, mailbox=whose.name)
    assert [attribute(of, run, evidence(proof)) for proof in PROOFS.values()] == [expected] * 3


@pytest.mark.blind
def test_attribute_full_mailbox_of_public_address_is_agencys() -> None:
    """Defect: A full mailbox of a public address is blamed on us.

    Pantau: It is the agency's.
    """
    # The full mailbox is not the probed one: mail to the public address is returned.
    run = failed(FORWARDED, T0, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.RECEIVING_LIMIT)
    assert attribute(FORWARDED, run, evidence_of_two(WORKS, WORKS)) == Attribution(
        grade=Grade.BAD, domain=FaultDomain.AGENCY
    )
    assert run.failure is not None
    copy = replace(run, failure=replace(run.failure, reason=Reason.COPY_RETURNED))
    assert attribute(FORWARDED, copy, evidence_of_two(WORKS, WORKS)).mailbox == "b"


@pytest.mark.blind
@pytest.mark.parametrize("of", [INBOUND, FORWARDED], ids=["inbound", "forwarded"])
def test_attribute_refusal_by_block_list_blames_sending_reference(of: MonitoredRoute) -> None:
    """Defect: Agencies that refuse a block-listed reference are blamed.

    Pantau: The reference is.
    """
    run = failed(of, T0, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.BLOCK_LIST)
    expected = Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="a")
    assert [attribute(of, run, evidence(proof)) for proof in PROOFS.values()] == [expected] * 3


@pytest.mark.parametrize("of", [INTERNAL, OUTBOUND], ids=["internal", "outbound"])
def test_attribute_refusal_by_block_list_of_agency_sender_is_agencys(of: MonitoredRoute) -> None:
    run = failed(of, T0, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.BLOCK_LIST)
    assert verdicts(of, run)[0] == THEIRS


def test_attribute_failure_without_place_is_pantau() -> None:
    nowhere = ProbeResult(
        route=INTERNAL.name, token_id="00c0ffee", started_at=T0, duration=SECOND, outcome=Outcome.LOST
    )

    assert verdicts(INTERNAL, nowhere) == [(Grade.NONE, FaultDomain.PANTAU)] * 3
    inconclusive = failed(INTERNAL, T0, Outcome.INCONCLUSIVE, Phase.RETRIEVE)
    assert verdicts(INTERNAL, inconclusive) == [(Grade.NONE, FaultDomain.PANTAU)] * 3


@pytest.mark.parametrize(
    ("outcome", "phase", "expected"),
    [
        (Outcome.CONNECT, Phase.CONNECT, [(Grade.BAD, FaultDomain.REFERENCE), *NETWORK[1:]]),
        (Outcome.TIMEOUT, Phase.RETRIEVE, [(Grade.BAD, FaultDomain.REFERENCE), *NETWORK[1:]]),
        # A middlebox may answer with a refusal instead of the server.
        (Outcome.REJECTED, Phase.CONNECT, [(Grade.BAD, FaultDomain.REFERENCE), *NETWORK[1:]]),
        (Outcome.AUTH, Phase.AUTH, [(Grade.BAD, FaultDomain.REFERENCE)] * 3),
        (Outcome.LOST, Phase.TRANSIT, [(Grade.BAD, FaultDomain.REFERENCE)] * 3),
    ],
)
def test_attribute_control_run_blames_reference_or_network(
    outcome: Outcome, phase: Phase, expected: list[tuple[Grade, FaultDomain]]
) -> None:
    assert verdicts(CONTROL, failed(CONTROL, T0, outcome, phase)) == expected


# -- an address that is forwarded -------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", sorted(FAILED_IN_TRANSIT))
@pytest.mark.parametrize(
    ("sends", "receives", "expected"),
    [
        (WORKS, WORKS, Attribution(grade=Grade.BAD, domain=FaultDomain.AGENCY)),
        (WORKS, DEAD, Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="b")),
        (WORKS, UNTRIED, Attribution(grade=Grade.PENDING, domain=FaultDomain.REFERENCE, mailbox="b")),
        (DEAD, WORKS, Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="a")),
        (UNTRIED, WORKS, Attribution(grade=Grade.PENDING, domain=FaultDomain.REFERENCE, mailbox="a")),
        (UNTRIED, DEAD, Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="b")),
        (DEAD, UNTRIED, Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="a")),
        (UNTRIED, UNTRIED, Attribution(grade=Grade.PENDING, domain=FaultDomain.REFERENCE, mailbox="a")),
    ],
)
def test_attribute_forwarded_lost_is_agencys_once_both_references_are_proven(
    outcome: Outcome, sends: EvidenceRecord, receives: EvidenceRecord, expected: Attribution
) -> None:
    run = failed(FORWARDED, T0, outcome, Phase.TRANSIT)
    assert attribute(FORWARDED, run, evidence_of_two(sends, receives)) == expected


@pytest.mark.parametrize(
    ("sends", "receives", "grade"),
    [
        (WORKS, WORKS, Grade.SLOW),
        (WORKS, DEAD, Grade.NONE),
        (DEAD, WORKS, Grade.NONE),
        (UNTRIED, WORKS, Grade.PENDING),
        (WORKS, UNTRIED, Grade.PENDING),
    ],
)
def test_attribute_forwarded_slow_is_agencys_once_both_references_are_prompt(
    sends: EvidenceRecord, receives: EvidenceRecord, grade: Grade
) -> None:
    for run in (arrived(FORWARDED, T0, 2 * MINUTE), arrived(FORWARDED, T0, junk=True)):
        assert attribute(FORWARDED, run, evidence_of_two(sends, receives)).grade is grade


def test_attribute_copy_returned_by_own_mailbox_is_not_agencys() -> None:
    run = failed(FORWARDED, T0, Outcome.BOUNCED, Phase.TRANSIT)
    assert run.failure is not None
    copy = replace(run, failure=replace(run.failure, reason=Reason.COPY_RETURNED))

    assert attribute(FORWARDED, copy, evidence_of_two(WORKS, WORKS)) == Attribution(
        grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox="b"
    )
    # Behind an alias of the agency's own mailbox, the agency's mailbox returned it.
    assert (
        attribute(INBOUND, replace(copy, route=INBOUND.name), evidence_of_two(WORKS, WORKS)).domain
        is FaultDomain.AGENCY
    )


@pytest.mark.parametrize(("party", "suspect"), [(S, "a"), (R, "b")])
@pytest.mark.parametrize(
    ("outcome", "phase"),
    [
        (Outcome.CONNECT, Phase.CONNECT),
        (Outcome.TLS, Phase.TLS),
        (Outcome.AUTH, Phase.AUTH),
        (Outcome.TIMEOUT, Phase.RETRIEVE),
        (Outcome.CONNECT, Phase.RETRIEVE),
        (Outcome.REJECTED, Phase.SUBMIT),
    ],
)
def test_attribute_failing_server_of_either_reference_is_never_agencys(
    outcome: Outcome, phase: Phase, party: Party, suspect: str
) -> None:
    run = failed(FORWARDED, T0, outcome, phase, party)
    expected = Attribution(grade=Grade.NONE, domain=FaultDomain.REFERENCE, mailbox=suspect)
    assert [attribute(FORWARDED, run, evidence(proof)) for proof in PROOFS.values()] == [expected] * 3


def test_attribute_refused_password_where_copy_arrives_is_credentials() -> None:
    run = failed(FORWARDED, T0, Outcome.AUTH, Phase.AUTH, R, credentials=True)
    assert attribute(FORWARDED, run, evidence(WORKS)) == Attribution(
        grade=Grade.NONE, domain=FaultDomain.CREDENTIALS, mailbox="b"
    )


# -- no sequence of runs ---------------------------------------------------------------------------------------------

CONTROLS = controls()
ROUTES = [*agency_routes("JCM"), forwarded("JCM", "b", "a"), *agency_routes("JKT"), forwarded("JKT"), *CONTROLS]
ACROSS = [r for r in ROUTES if r.direction in {Direction.OUTBOUND, Direction.INBOUND}]
AGENCIES = [r for r in ROUTES if r.direction is not Direction.CONTROL]

_STEPS = st.tuples(
    st.sampled_from(ROUTES),
    st.sampled_from(Outcome),
    st.sampled_from(Phase),
    st.sampled_from(Party),
    st.integers(min_value=0, max_value=240),
    st.integers(min_value=0, max_value=260),
)
_ENDS = st.lists(_STEPS, max_size=40)
_SLOW = settings(max_examples=150, deadline=None)


def _run(step: tuple[MonitoredRoute, Outcome, Phase, Party, int, int], at: timedelta) -> ProbeResult:
    of, outcome, phase, party, _, lasted = step
    if outcome in {Outcome.DELIVERED, Outcome.JUNK}:
        return arrived(of, T0 + at, junk=outcome is Outcome.JUNK)
    if outcome in FAILED_IN_TRANSIT:
        phase, party = Phase.TRANSIT, Party.RECIPIENT
    return failed(of, T0 + at, outcome, phase, party, lasted=lasted * SECOND)


@_SLOW
@given(_ENDS)
def test_any_runs_without_working_reference_find_no_cross_route_down(
    steps: list[tuple[MonitoredRoute, Outcome, Phase, Party, int, int]],
) -> None:
    """Every run that touches a reference fails, in transit or at a server."""
    evaluator, at = HealthEvaluator(ROUTES, HealthPolicy(failure_threshold=1)), timedelta()
    for step in steps:
        of, outcome, *_, gap, _ = step
        at += gap * SECOND
        run = _run(step, at)
        internal = of.direction is Direction.INTERNAL
        if not internal and (outcome not in FAILED_IN_TRANSIT or run.failure is None):
            run = failed(of, T0 + at, Outcome.LOST, Phase.TRANSIT)
        evaluator.record_run(run, run.started_at + run.duration)

    assert all(evaluator.route_health(r.name) is Health.UNKNOWN for r in ACROSS)


@_SLOW
@given(_ENDS)
def test_any_runs_while_unreachable_find_nothing_down(
    steps: list[tuple[MonitoredRoute, Outcome, Phase, Party, int, int]],
) -> None:
    evaluator, at = HealthEvaluator(ROUTES, HealthPolicy(failure_threshold=1)), timedelta()
    for of, outcome, phase, party, gap, lasted in steps:
        at += gap * SECOND
        unreached = outcome if outcome in UNANSWERED or phase in CONNECTING else Outcome.CONNECT
        unreached = unreached if unreached in UNANSWERED | {Outcome.INCONCLUSIVE} else Outcome.TIMEOUT
        run = failed(of, T0 + at, unreached, phase if phase in CONNECTING else Phase.CONNECT, party)
        evaluator.record_run(run, T0 + at + lasted * SECOND)

    assert all(evaluator.route_health(r.name) is Health.UNKNOWN for r in AGENCIES)
    assert evaluator.trouble("JCM", T0 + at) is evaluator.trouble("JKT", T0 + at) is None


@_SLOW
@given(_ENDS)
def test_any_runs_control_failure_in_transit_proves_nothing_of_its_ends(
    steps: list[tuple[MonitoredRoute, Outcome, Phase, Party, int, int]],
) -> None:
    """Reference a loses all mail that it sends or receives; b and both agencies vary."""
    evaluator, at = HealthEvaluator(ROUTES, HealthPolicy(failure_threshold=1)), timedelta()
    for step in steps:
        of, *_, gap, _ = step
        at += gap * SECOND
        run = _run(step, at)
        if "a" in {of.route.sender.name, of.route.recipient.name} and run.outcome in {
            Outcome.DELIVERED,
            Outcome.JUNK,
            *FAILED_IN_TRANSIT,
        }:
            run = failed(of, T0 + at, Outcome.LOST, Phase.TRANSIT)
        ends = {of.route.sender.name, of.route.recipient.name}
        by_a = of in ACROSS and "a" in ends and run.outcome in FAILED_IN_TRANSIT
        verdict = evaluator.record_run(run, run.started_at + run.duration)
        assert not (by_a and verdict is not None and verdict.grade is Grade.BAD)


@_SLOW
@given(_ENDS)
def test_any_runs_one_agency_failing_never_affects_another(
    steps: list[tuple[MonitoredRoute, Outcome, Phase, Party, int, int]],
) -> None:
    evaluator, at = HealthEvaluator(ROUTES, HealthPolicy(failure_threshold=1, success_threshold=1)), timedelta()
    for step in steps:
        of, *_, gap, _ = step
        at += gap * SECOND
        run = _run(step, at) if of.agency == "JKT" else arrived(of, T0 + at)
        evaluator.record_run(run, run.started_at + run.duration)
        assert evaluator.trouble("JCM", T0 + at) is None


@_SLOW
@given(_ENDS)
def test_any_runs_evaluation_does_not_break_and_restore_is_complete(
    steps: list[tuple[MonitoredRoute, Outcome, Phase, Party, int, int]],
) -> None:
    evaluator, at = HealthEvaluator(ROUTES, HealthPolicy()), timedelta()
    for step in steps:
        at += step[4] * SECOND
        run = _run(step, at)
        evaluator.record_run(run, run.started_at + run.duration)
        for agency in ("JCM", "JKT"):
            evaluator.trouble(agency, T0 + at)
            evaluator.up_since(agency, T0 + at)
        evaluator.source_troubles(T0 + at)
        for suspect in evaluator._fault_detector.fault_sources():
            evaluator.source_up_since(suspect, T0 + at)
        evaluator.control_routes_to_run()
    again = HealthEvaluator(ROUTES, HealthPolicy())
    again.restore(evaluator.healths())

    assert again.healths() == evaluator.healths()
