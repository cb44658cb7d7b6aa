"""Evidence of our own side."""

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
from tests.unit.monitor.world import MINUTE, SECOND, T0, agency_routes, arrived, controls, failed, route

A_TO_B, B_TO_A = controls()
INTERNAL, OUT_A, OUT_B, IN_A, IN_B = agency_routes("JCM")


def collect(*results: tuple[MonitoredRoute, ProbeResult]) -> Evidence:
    collector = EvidenceCollector([A_TO_B, B_TO_A])
    for of, result in results:
        collector.record_run(of, result)
    return collector.evidence()


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
def test_has_worked_since_needs_success_without_later_failure(
    worked: int | None, failed: int | None, *, stands: bool | None
) -> None:
    proof = EvidenceRecord(
        worked_at=None if worked is None else T0 + worked * MINUTE,
        failed_at=None if failed is None else T0 + failed * MINUTE,
    )

    assert proof.has_worked_since(T0) is stands


def test_changed_span_covers_every_changed_moment() -> None:
    at = [None, *(T0 + number * MINUTE for number in range(2))]
    moments = [T0 + number * MINUTE / 2 for number in range(-1, 4)]
    proofs = [EvidenceRecord(worked_at=w, failed_at=f, regained_at=r) for w, f, r in product(at, repeat=3)]
    for before, after in product(proofs, repeat=2):
        first, last = changed_span(before, after) or (T0 + MINUTE, T0)
        assert all(
            first <= at <= last for at in moments if before.has_worked_since(at) is not after.has_worked_since(at)
        )


def test_changed_span_begins_at_kept_failure() -> None:
    failed_at, again = T0 + MINUTE, T0 + 2 * MINUTE
    before = EvidenceRecord(worked_at=T0, failed_at=failed_at)
    assert changed_span(before, replace(before, worked_at=again, regained_at=again)) == (failed_at, again)


def test_failed_to_connect_without_failure_is_false() -> None:
    assert not failed_to_connect(replace(failed(OUT_A, T0, Outcome.INCONCLUSIVE, Phase.CONNECT), failure=None))


def test_arrival_proves_both_ends_from_run_start() -> None:
    found = collect((A_TO_B, arrived(A_TO_B, T0, 2 * MINUTE)))

    assert found.records(Ability.SEND)["a"].worked_at == found.records(Ability.RECEIVE)["b"].worked_at == T0
    assert (
        found.records(Ability.REACH)["a"].has_worked_since(T0)
        is found.records(Ability.REACH)["b"].has_worked_since(T0)
        is True
    )
    assert found.records(Ability.SEND)["b"] == found.records(Ability.RECEIVE)["a"] == EvidenceRecord()


def test_agency_arrival_proves_reference_and_is_no_reference() -> None:
    found = collect((OUT_A, arrived(OUT_A, T0)), (IN_B, arrived(IN_B, T0)), (INTERNAL, arrived(INTERNAL, T0)))

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


def test_agency_message_lost_does_not_affect_reference() -> None:
    found = collect((OUT_A, failed(OUT_A, T0, Outcome.LOST, Phase.TRANSIT)))

    assert found.records(Ability.RECEIVE)["a"].has_worked_since(T0) is None


@pytest.mark.parametrize(("party", "sends", "receives"), [(Party.SENDER, False, None), (Party.RECIPIENT, None, False)])
def test_control_run_failing_at_one_end_does_not_affect_other(
    party: Party, *, sends: bool | None, receives: bool | None
) -> None:
    found = collect((A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT, party)))

    assert (
        found.records(Ability.SEND)["a"].has_worked_since(T0),
        found.records(Ability.RECEIVE)["b"].has_worked_since(T0),
    ) == (
        sends,
        receives,
    )


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.RETRIEVE])
def test_control_run_inconclusive_affects_neither_end(phase: Phase) -> None:
    for party in Party:
        found = collect((A_TO_B, failed(A_TO_B, T0, Outcome.INCONCLUSIVE, phase, party)))
        assert found.records(Ability.SEND)["a"] == found.records(Ability.RECEIVE)["b"] == EvidenceRecord()


def test_control_message_lost_makes_both_ends_unknown_until_two_arrivals() -> None:
    runs = [(A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT)), (A_TO_B, arrived(A_TO_B, T0 + MINUTE))]
    assert collect(*runs).records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is None
    # An arrival that began with the failure is not later than it.
    assert (
        collect(runs[0], (A_TO_B, arrived(A_TO_B, T0)), runs[1])
        .records(Ability.SEND)["a"]
        .has_worked_since(T0 + MINUTE)
        is None
    )

    runs.append((A_TO_B, arrived(A_TO_B, T0 + 2 * MINUTE)))
    assert collect(*runs).records(Ability.SEND)["a"].has_worked_since(T0 + 2 * MINUTE) is True
    assert collect(*runs).records(Ability.RECEIVE)["b"].has_worked_since(T0 + 2 * MINUTE) is True


def test_has_worked_since_between_failure_and_success_is_unknown() -> None:
    # Our network was cut and restored. Runs in between may have failed for that reason.
    runs = [
        (A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT)),
        (A_TO_B, arrived(A_TO_B, T0 + 2 * MINUTE)),
        (A_TO_B, arrived(A_TO_B, T0 + 3 * MINUTE)),
    ]
    reached = collect(*runs).records(Ability.REACH)["b"]
    assert reached.has_worked_since(T0 + MINUTE) is None
    assert reached.has_worked_since(T0 + 2 * MINUTE) is reached.has_worked_since(T0 + 3 * MINUTE) is True

    # A run that began before the failure does not end it sooner.
    reached = collect(runs[0], (A_TO_B, arrived(A_TO_B, T0 - MINUTE)), runs[1]).records(Ability.REACH)["b"]
    assert reached.has_worked_since(T0 + MINUTE) is None

    again = collect(*runs, (A_TO_B, failed(A_TO_B, T0 + 4 * MINUTE, Outcome.CONNECT, Phase.CONNECT))).records(
        Ability.REACH
    )["b"]
    assert again.has_worked_since(T0 + 2 * MINUTE) is False


def test_agency_arrival_shows_failed_end_of_control_route() -> None:
    lost = (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    found = collect(lost, (OUT_B, arrived(OUT_B, T0 + MINUTE)))
    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is True
    assert found.records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is None

    again = (A_TO_B, failed(A_TO_B, T0 + 2 * MINUTE, Outcome.LOST, Phase.TRANSIT))
    found = collect(lost, (OUT_B, arrived(OUT_B, T0 + MINUTE)), again)
    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is True
    assert found.records(Ability.SEND)["a"].has_worked_since(T0 + SECOND) is False


def test_arrival_not_later_than_failure_clears_nobody() -> None:
    lost = (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    for began in (T0, T0 - MINUTE):
        assert (
            collect(lost, (OUT_B, arrived(OUT_B, began))).records(Ability.RECEIVE)["b"].has_worked_since(began) is False
        )


def test_working_reference_makes_other_end_suspect_again() -> None:
    found = collect(
        (A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT)),
        (OUT_B, arrived(OUT_B, T0 + MINUTE)),
        (IN_A, arrived(IN_A, T0 + MINUTE)),
        (A_TO_B, failed(A_TO_B, T0 + 2 * MINUTE, Outcome.LOST, Phase.TRANSIT)),
    )

    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0 + SECOND) is False


def test_slow_arrival_proves_delivery_and_not_promptness() -> None:
    found = collect((A_TO_B, arrived(A_TO_B, T0, 2 * MINUTE)))

    assert found.records(Ability.RECEIVE)["b"].has_worked_since(T0) is True
    assert found.records(Ability.RECEIVE_PROMPTLY)["b"].has_worked_since(T0) is False


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
def test_network_evidence_by_outcome_and_phase(outcome: Outcome, phase: Phase, *, stands: bool | None) -> None:
    found = collect((A_TO_B, failed(A_TO_B, T0, outcome, phase)), (B_TO_A, failed(B_TO_A, T0, Outcome.DNS, Phase.DNS)))

    assert found.has_network_worked_since(T0) is stands


def test_token_refusal_proves_nothing_of_mail_server() -> None:
    run = failed(A_TO_B, T0, Outcome.AUTH, Phase.AUTH, Party.SENDER, credentials=True)
    assert run.failure is not None
    without = replace(run, failure=replace(run.failure, reason=Reason.TOKEN_REFUSED))

    assert collect((A_TO_B, run)).has_network_worked_since(T0) is True
    assert collect((A_TO_B, without)).has_network_worked_since(T0) is None


def test_refused_password_not_retried_proves_nothing_of_network() -> None:
    # The watcher of b was refused a minute ago and fails every run since; then our network failed.
    held = failed(OUT_B, T0 + SECOND, Outcome.AUTH, Phase.AUTH, credentials=True)
    unreached = failed(INTERNAL, T0, Outcome.CONNECT, Phase.CONNECT, Party.SENDER)

    verdict = attribute(INTERNAL, unreached, collect((OUT_B, held)))

    assert (verdict.grade, verdict.domain) == (Grade.PENDING, FaultDomain.NETWORK)


def test_rewind_drops_evidence_in_future() -> None:
    collector = EvidenceCollector([A_TO_B, B_TO_A])
    collector.record_run(A_TO_B, arrived(A_TO_B, T0))
    collector.rewind(T0)
    assert collector.evidence().has_network_worked_since(T0) is True

    collector.rewind(T0 - 60 * MINUTE)

    assert collector.evidence().has_network_worked_since(T0 - 60 * MINUTE) is None
    assert collector.evidence().records(Ability.SEND)["a"] == EvidenceRecord()


def test_rewind_keeps_probation_of_reference() -> None:
    collector = EvidenceCollector([A_TO_B, B_TO_A])
    collector.record_run(A_TO_B, failed(A_TO_B, T0, Outcome.LOST, Phase.TRANSIT))
    collector.rewind(T0 - 60 * MINUTE)

    collector.record_run(A_TO_B, arrived(A_TO_B, T0 - 59 * MINUTE))
    assert collector.evidence().records(Ability.SEND)["a"].has_worked_since(T0 - 60 * MINUTE) is None
    collector.record_run(A_TO_B, arrived(A_TO_B, T0 - 58 * MINUTE))
    assert collector.evidence().records(Ability.SEND)["a"].has_worked_since(T0 - 60 * MINUTE) is True


def test_network_has_failed_only_when_no_reference_is_reached() -> None:
    one = (A_TO_B, failed(A_TO_B, T0, Outcome.CONNECT, Phase.CONNECT))
    other = (B_TO_A, failed(B_TO_A, T0 + SECOND, Outcome.CONNECT, Phase.CONNECT))

    assert collect(one).has_network_worked_since(T0) is None
    assert collect(one, other).has_network_worked_since(T0) is False
    assert collect(one, other, (OUT_A, arrived(OUT_A, T0 + MINUTE))).has_network_worked_since(T0 + SECOND) is None
    mended = collect(one, other, (OUT_B, arrived(OUT_B, T0 + MINUTE)))
    assert mended.has_network_worked_since(T0 + SECOND) is None
    assert mended.has_network_worked_since(T0 + MINUTE) is True


def test_evidence_without_references_is_unknown() -> None:
    collector = EvidenceCollector([])
    collector.record_run(OUT_A, arrived(OUT_A, T0))

    assert collector.evidence().has_network_worked_since(T0) is None
    assert Evidence().has_network_worked_since(T0) is None


def test_three_references_are_proven_one_by_one() -> None:
    ring = controls(("a", "b", "c"))
    collector = EvidenceCollector(ring)
    collector.record_run(ring[0], arrived(ring[0], T0))
    found = collector.evidence()

    assert {name for name, proof in found.records(Ability.SEND).items() if proof.has_worked_since(T0)} == {"a"}
    assert {name for name, proof in found.records(Ability.RECEIVE).items() if proof.has_worked_since(T0)} == {"b"}
    assert not any(map(collector.is_on_probation, evidence_of(route("", Direction.CONTROL, "a", "b"))))
