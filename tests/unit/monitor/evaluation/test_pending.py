"""Pending runs and the evidence that they need."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from monitor.evaluation.evidence import NETWORK, Ability, EvidenceChange, EvidenceNeed, EvidenceRecord, changed_span
from monitor.evaluation.pending import PendingRun, PendingRuns
from tests.unit.monitor.world import MINUTE, T0

INTO_A, INTO_B = EvidenceNeed(Ability.RECEIVE, "a"), EvidenceNeed(Ability.RECEIVE, "b")


def run(minute: int, *wants: EvidenceNeed, is_urgent: bool = True) -> PendingRun:
    began = T0 + minute * MINUTE
    return PendingRun(started_at=began, needs=wants, deadline=began + 10 * MINUTE, is_urgent=is_urgent)


def change(want: EvidenceNeed, first: int, last: int) -> EvidenceChange:
    return EvidenceChange(need=want, first=T0 + first * MINUTE, last=T0 + last * MINUTE)


MOMENTS = st.one_of(st.none(), st.integers(0, 6).map(lambda n: T0 + n * MINUTE))
PROOFS = st.builds(EvidenceRecord, worked_at=MOMENTS, failed_at=MOMENTS, regained_at=MOMENTS)


REGAINED = EvidenceRecord(worked_at=T0 + 6 * MINUTE, failed_at=T0 + 2 * MINUTE, regained_at=T0 + 6 * MINUTE)


@given(PROOFS, PROOFS)
# Its other end had failed: the state becomes known again until it worked.
@example(REGAINED, replace(REGAINED, failed_at=None))
@example(replace(REGAINED, failed_at=None), REGAINED)
def test_changed_span_contains_every_changed_moment(before: EvidenceRecord, after: EvidenceRecord) -> None:
    span = changed_span(before, after)
    for half in range(-2, 16):
        moment = T0 + half * timedelta(seconds=30)
        if before.has_worked_since(moment) is not after.has_worked_since(moment):
            assert span is not None
            assert span[0] <= moment <= span[1]


def test_routes_affected_by_returns_runs_with_need_and_start_in_span() -> None:
    pending = PendingRuns()
    for minute in range(6):
        pending.set_runs(f"a{minute}", [run(minute, INTO_A)])
        pending.set_runs(f"b{minute}", [run(minute, INTO_B)])
    pending.set_runs("both", [run(9, INTO_A, INTO_B)])
    pending.set_runs("network", [run(2, NETWORK)])

    assert pending.routes_affected_by([change(INTO_A, 2, 3)]) == {"a2", "a3"}
    assert pending.routes_affected_by([change(INTO_B, 4, 20)]) == {"b4", "b5", "both"}
    assert pending.routes_affected_by([change(NETWORK, 0, 1)]) == set()
    assert pending.routes_affected_by([]) == set()


def test_set_runs_replaced_run_is_no_longer_pending() -> None:
    pending = PendingRuns()
    pending.set_runs("one", [run(1, INTO_A), run(2, INTO_A)])
    pending.set_runs("one", [run(2, INTO_A)])
    assert len(pending) == 1
    assert pending.routes_affected_by([change(INTO_A, 0, 1)]) == set()

    pending.set_runs("one", [])
    assert len(pending) == 0
    assert pending.routes_affected_by([change(INTO_A, 0, 20)]) == set()
    assert pending.latest_urgent_start(INTO_A) is None
    assert pending.take_expired_routes(T0 + 60 * MINUTE) == set()


def test_take_expired_routes_returns_each_once() -> None:
    pending = PendingRuns()
    pending.set_runs("one", [run(1, INTO_A), run(5, INTO_A)])

    assert pending.take_expired_routes(T0 + 11 * MINUTE) == set()
    assert pending.take_expired_routes(T0 + 12 * MINUTE) == {"one"}
    assert pending.take_expired_routes(T0 + 14 * MINUTE) == set()
    assert pending.take_expired_routes(T0 + 16 * MINUTE) == {"one"}


def test_set_runs_repeated_does_not_grow_deadlines() -> None:
    pending = PendingRuns()
    for _ in range(9):
        pending.set_runs("one", [run(1, INTO_A)])
    assert (len(pending), len(pending._deadlines)) == (1, 1)


def test_latest_urgent_start_is_newest_urgent_run() -> None:
    pending = PendingRuns()
    pending.set_runs("one", [run(1, INTO_A), run(4, INTO_A, is_urgent=False)])
    assert pending.latest_urgent_start(INTO_A) == T0 + MINUTE
    pending.set_runs("two", [run(3, INTO_A, INTO_B)])
    assert (pending.latest_urgent_start(INTO_A), pending.latest_urgent_start(INTO_B)) == (
        T0 + 3 * MINUTE,
        T0 + 3 * MINUTE,
    )
    pending.set_runs("two", [run(3, INTO_A, INTO_B, is_urgent=False)])
    assert (pending.latest_urgent_start(INTO_A), pending.latest_urgent_start(INTO_B)) == (T0 + MINUTE, None)
