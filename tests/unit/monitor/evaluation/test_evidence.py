"""What is proven of our own side, and by what."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from monitor.evaluation.attribution import FaultDomain, attribute
from monitor.evaluation.evidence import (
    Ability,
    Evidence,
    EvidenceCollector,
    EvidenceRecord,
    changed_span,
    evidence_of,
    failed_to_connect,
)
from monitor.model.health import Grade
from monitor.model.route import Direction, MonitoredRoute
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.unit.monitor.trial import MINUTE, SECOND, T0, agency_routes, arrived, controls, failed, route

A_TO_B, B_TO_A = controls()
INTERNAL, OUT_A, OUT_B, IN_A, IN_B = agency_routes("JCM")


def heard(*results: tuple[MonitoredRoute, ProbeResult]) -> Evidence:
    witness = EvidenceCollector([A_TO_B, B_TO_A])
    for of, result in results:
        witness.record_run(of, result)
    return witness.evidence()


@pytest.mark.parametrize(
    ("worked", "failed", "stands"),
    [
        (None, None, None),
        (0, None, True),
        (1, None, True),
        (-1, None, None),
        (None, 0, False),
        (None, -1, None),
        (2, 1, False),
        (1, 2, False),
        (1, -1, True),
        (-1, 1, False),
    ],
)
def test_what_worked_and_did_not_fail_since_stands(
    worked: int | None, failed: int | None, *, stands: bool | None
) -> None:
    proof = EvidenceRecord(
        worked_at=None if worked is None else T0 + worked * MINUTE,
        failed_at=None if failed is None else T0 + failed * MINUTE,
    )

    assert proof.has_worked_since(T0) is stands


def test_whatever_changes_stands_otherwise_for_no_moment_but_those_that_are_named() -> None:
    at = [None, *(T0 + number * MINUTE for number in range(2))]
    moments = [T0 + number * MINUTE / 2 for number in range(-1, 4)]
    proofs = [EvidenceRecord(worked_at=w, failed_at=f, regained_at=r) for w, f, r in product(at, repeat=3)]
    for before, after in product(proofs, repeat=2):
        first, last = changed_span(before, after) or (T0 + MINUTE, T0)
        assert all(
            first <= at <= last for at in moments if before.has_worked_since(at) is not after.has_worked_since(at)
        )


def test_until_a_failure_that_stays_nothing_stands_otherwise_than_before() -> None:
    failed_at, again = T0 + MINUTE, T0 + 2 * MINUTE
    before = EvidenceRecord(worked_at=T0, failed_at=failed_at)
    assert changed_span(before, replace(before, worked_at=again, regained_at=again)) == (failed_at, again)


def test_a_run_that_came_to_nothing_and_does_not_say_where_says_nothing_of_whom_we_reach() -> None:
    assert not failed_to_connect(replace(failed(OUT_A, T0, Outcome.INCONCLUSIVE, Phase.CONNECT), failure=None))


def test_an_arrival_proves_both_ends_from_the_start_of_its_run() -> None:
    found = heard((A_TO_B, arrived(A_TO_B, T0, 2 * MINUTE)))

    assert found.records(Ability.SEND)["a"].worked_at == found.records(Ability.RECEIVE)["b"].worked_at == T0
    assert (
        found.records(Ability.REACH)["a"].has_worked_since(T0)
        is found.records(Ability.REACH)["b"].has_worked_since(T0)
        is True
    )
    assert found.records(Ability.SEND)["b"] == found.records(Ability.RECEIVE)["a"] == EvidenceRecord()


def test_agencies_prove_references_and_are_not_references() -> None:
    found = heard((OUT_A, arrived(OUT_A, T0)), (IN_B, arrived(IN_B, T0)), (INTERNAL, arrived(INTERNAL, T0)))

    assert (
        found.records(Ability.RECEIVE)["a"].has_worked_since(T0)
        is found.records(Ability.SEND)["b"].has_worked_since(T0)
        is True
    )
    assert (
        found.records(Ability.RECEIVE).keys()
        == found.records(Ability.SEND).keys()
        == found.records(Ability.REACH).keys()
        == {"a", "b"}
    )


def test_an_agencys_lost_message_says_nothing_against_a_reference() -> None:
    found = heard((OUT_A, failed(OUT_A, T0, Outcome.LOST, Phase.TRANSIT)))

    assert found.records(Ability.RECEIVE)["a"].has_worked_since(T0) is None


@pytest.mark.parametrize(("party", "sends", "receives"), [(Party.SENDER, False, None), (Party.RECIPIENT, None, False)])
def test_a_control_run_that_fails_at_one_end_says_nothing_of_the_other(
    party: Party, *, sends: bool | None, receives: bool | None
) -> None:
    found = heard((A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT, party)))

    assert (
        found.records(Ability.SEND)["a"].has_worked_since(T0),
        found.records(Ability.RECEIVE)["b"].has_worked_since(T0),
    ) == (
        sends,
        receives,
    )


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.RETRIEVE])
def test_a_control_run_that_we_could_not_make_says_nothing_of_either_end(phase: Phase) -> None:
    for party in Party:
        found = heard((A_TO_B, failed(A_TO_B, T0, Outcome.INCONCLUSIVE, phase, party)))
        assert found.records(Ability.SEND)["a"] == found.records(Ability.RECEIVE)["b"] == EvidenceRecord()


def test_a_control_message_that_is_lost_casts_doubt_on_both_ends_until_it_came_twice() -> None:
    runs = [(A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT)), (A_TO_B, arrived(A_TO_B, T0 + MINUTE))]
    assert heard(*runs).records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is None
    # One that began with it is not after it.
    assert (
        heard(runs[0], (A_TO_B, arrived(A_TO_B, T0)), runs[1]).records(Ability.SEND)["a"].has_worked_since(T0 + MINUTE)
        is None
    )

    runs.append((A_TO_B, arrived(A_TO_B, T0 + 2 * MINUTE)))
    assert heard(*runs).records(Ability.SEND)["a"].has_worked_since(T0 + 2 * MINUTE) is True
    assert heard(*runs).records(Ability.RECEIVE)["b"].has_worked_since(T0 + 2 * MINUTE) is True


def test_between_a_failure_and_the_next_success_nobody_knows() -> None:
    # Our network was cut and mended; whatever failed in between may have failed for that, though all is well since.
    runs = [
        (A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT)),
        (A_TO_B, arrived(A_TO_B, T0 + 2 * MINUTE)),
        (A_TO_B, arrived(A_TO_B, T0 + 3 * MINUTE)),
    ]
    reached = heard(*runs).records(Ability.REACH)["b"]
    assert reached.has_worked_since(T0 + MINUTE) is None
    assert reached.has_worked_since(T0 + 2 * MINUTE) is reached.has_worked_since(T0 + 3 * MINUTE) is True

    # What began before the failure ends it no sooner.
    reached = heard(runs[0], (A_TO_B, arrived(A_TO_B, T0 - MINUTE)), runs[1]).records(Ability.REACH)["b"]
    assert reached.has_worked_since(T0 + MINUTE) is None

    again = heard(*runs, (A_TO_B, failed(A_TO_B, T0 + 4 * MINUTE, Outcome.CONNECT, Phase.CONNECT))).records(
        Ability.REACH
    )["b"]
    assert again.has_worked_since(T0 + 2 * MINUTE) is False


def test_agencies_show_which_end_of_a_control_route_is_dead() -> None:
    lost = (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    found = heard(lost, (OUT_B, arrived(OUT_B, T0 + MINUTE)))
    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is True
    assert found.records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is None

    again = (A_TO_B, failed(A_TO_B, T0 + 2 * MINUTE, Outcome.LOST, Phase.TRANSIT))
    found = heard(lost, (OUT_B, arrived(OUT_B, T0 + MINUTE)), again)
    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is True
    assert found.records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is False


def test_what_began_no_later_than_a_failure_absolves_nobody() -> None:
    lost = (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    for began in (T0, T0 - MINUTE):
        assert (
            heard(lost, (OUT_B, arrived(OUT_B, began))).records(Ability.RECEIVE)["b"].has_worked_since(began) is False
        )


def test_a_reference_that_shows_life_casts_doubt_on_the_other_end_again() -> None:
    found = heard(
        (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT)),
        (OUT_B, arrived(OUT_B, T0 + MINUTE)),
        (IN_A, arrived(IN_A, T0 + MINUTE)),
        (A_TO_B, failed(A_TO_B, T0 + 2 * MINUTE, Outcome.LOST, Phase.TRANSIT)),
    )

    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is False


def test_slow_mail_proves_that_it_passes_and_not_that_it_passes_well() -> None:
    found = heard((A_TO_B, arrived(A_TO_B, T0, 2 * MINUTE)))

    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0) is True
    assert found.records(Ability.RECEIVE_WELL)["b"].has_worked_since(T0) is False


@pytest.mark.parametrize(
    ("outcome", "phase", "stands"),
    [
        (Outcome.DNS, Phase.DNS, False),
        (Outcome.CONNECT, Phase.CONNECT, False),
        (Outcome.TIMEOUT, Phase.RETRIEVE, False),
        (Outcome.TLS, Phase.TLS, False),
        (Outcome.INCONCLUSIVE, Phase.CONNECT, False),
        (Outcome.INCONCLUSIVE, Phase.RETRIEVE, None),
        (Outcome.REJECTED, Phase.CONNECT, True),
        (Outcome.AUTH, Phase.AUTH, True),
        (Outcome.LOST, Phase.TRANSIT, True),
    ],
)
def test_whoever_answers_proves_our_network(outcome: Outcome, phase: Phase, *, stands: bool | None) -> None:
    found = heard((A_TO_B, failed(A_TO_B, T0, outcome, phase)), (B_TO_A, failed(B_TO_A, T0, Outcome.DNS, Phase.DNS)))

    assert found.has_network_worked_since(T0) is stands


def test_a_provider_that_refuses_a_token_proves_nothing_of_the_mail_server() -> None:
    run = failed(A_TO_B, T0, Outcome.AUTH, Phase.AUTH, Party.SENDER, credentials=True)
    assert run.failure is not None
    without = replace(run, failure=replace(run.failure, reason=Reason.TOKEN_REFUSED))

    assert heard((A_TO_B, run)).has_network_worked_since(T0) is True
    assert heard((A_TO_B, without)).has_network_worked_since(T0) is None


def test_a_refused_password_that_is_not_tried_again_proves_nothing_of_our_network() -> None:
    # The watcher of b's mailbox was refused a minute ago, and tells every run so since; then our network died.
    held = failed(OUT_B, T0 + SECOND, Outcome.AUTH, Phase.AUTH, credentials=True)
    unreached = failed(INTERNAL, T0, Outcome.CONNECT, Phase.CONNECT, Party.SENDER)

    verdict = attribute(INTERNAL, unreached, heard((OUT_B, held)))

    assert (verdict.grade, verdict.domain) == (Grade.PENDING, FaultDomain.NETWORK)


def test_what_was_proven_before_the_clock_was_set_back_proves_nothing_of_what_comes_after() -> None:
    witness = EvidenceCollector([A_TO_B, B_TO_A])
    witness.record_run(A_TO_B, arrived(A_TO_B, T0))
    witness.rewind(T0)
    assert witness.evidence().has_network_worked_since(T0) is True

    witness.rewind(T0 - 60 * MINUTE)

    assert witness.evidence().has_network_worked_since(T0 - 60 * MINUTE) is None
    assert witness.evidence().records(Ability.SEND)["a"] == EvidenceRecord()


def test_a_reference_that_owes_a_proof_owes_it_whatever_the_clock_says() -> None:
    witness = EvidenceCollector([A_TO_B, B_TO_A])
    witness.record_run(A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    witness.rewind(T0 - 60 * MINUTE)

    witness.record_run(A_TO_B, arrived(A_TO_B, T0 - 59 * MINUTE))
    assert witness.evidence().records(Ability.SEND)["a"].has_worked_since(T0 - 60 * MINUTE) is None
    witness.record_run(A_TO_B, arrived(A_TO_B, T0 - 58 * MINUTE))
    assert witness.evidence().records(Ability.SEND)["a"].has_worked_since(T0 - 60 * MINUTE) is True


def test_the_network_is_dead_only_when_no_reference_can_be_reached() -> None:
    one = (A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT))
    other = (B_TO_A, failed(B_TO_A, T0 + SECOND, Outcome.CONNECT, Phase.CONNECT))

    assert heard(one).has_network_worked_since(T0) is None
    assert heard(one, other).has_network_worked_since(T0) is False
    assert heard(one, other, (OUT_A, arrived(OUT_A, T0 + MINUTE))).has_network_worked_since(T0 + SECOND) is None
    mended = heard(one, other, (OUT_B, arrived(OUT_B, T0 + MINUTE)))
    assert mended.has_network_worked_since(T0 + SECOND) is None
    assert mended.has_network_worked_since(T0 + MINUTE) is True


def test_without_references_nothing_is_proven() -> None:
    witness = EvidenceCollector([])
    witness.record_run(OUT_A, arrived(OUT_A, T0))

    assert witness.evidence().has_network_worked_since(T0) is None
    assert Evidence().has_network_worked_since(T0) is None


def test_a_ring_of_three_is_proven_leg_by_leg() -> None:
    ring = controls(("a", "b", "c"))
    witness = EvidenceCollector(ring)
    witness.record_run(ring[0], arrived(ring[0], T0))
    found = witness.evidence()

    assert {name for name, proof in found.records(Ability.SEND).items() if proof.has_worked_since(T0)} == {"a"}
    assert {name for name, proof in found.records(Ability.RECEIVE).items() if proof.has_worked_since(T0)} == {"b"}
    assert not any(map(witness.is_on_probation, evidence_of(route("", Direction.CONTROL, "a", "b"))))
