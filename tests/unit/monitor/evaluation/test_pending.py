"""Which runs wait for what, and that something learnt is held against those and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from monitor.evaluation.evidence import NETWORK, Ability, EvidenceNeed, EvidenceRecord, ProofChange, changed_span
from monitor.evaluation.pending import Pending, PendingRun
from tests.unit.monitor.trial import MINUTE, T0

INTO_A, INTO_B = EvidenceNeed(Ability.RECEIVE, "a"), EvidenceNeed(Ability.RECEIVE, "b")


def run(minute: int, *wants: EvidenceNeed, asks: bool = True) -> PendingRun:
    began = T0 + minute * MINUTE
    return PendingRun(started_at=began, needs=wants, deadline=began + 10 * MINUTE, is_urgent=asks)


def learnt(want: EvidenceNeed, first: int, last: int) -> ProofChange:
    return ProofChange(need=want, first=T0 + first * MINUTE, last=T0 + last * MINUTE)


MOMENTS = st.one_of(st.none(), st.integers(0, 6).map(lambda n: T0 + n * MINUTE))
PROOFS = st.builds(EvidenceRecord, worked_at=MOMENTS, failed_at=MOMENTS, regained_at=MOMENTS)


REGAINED = EvidenceRecord(worked_at=T0 + 6 * MINUTE, failed_at=T0 + 2 * MINUTE, regained_at=T0 + 6 * MINUTE)


@given(PROOFS, PROOFS)
# Its other end had failed: so all is clear that was not, until it worked again.
@example(REGAINED, replace(REGAINED, failed_at=None))
@example(replace(REGAINED, failed_at=None), REGAINED)
def test_what_stands_otherwise_lies_within_the_stretch_that_has_changed(
    before: EvidenceRecord, after: EvidenceRecord
) -> None:
    span = changed_span(before, after)
    for half in range(-2, 16):
        moment = T0 + half * timedelta(seconds=30)
        if before.has_worked_since(moment) is not after.has_worked_since(moment):
            assert span is not None
            assert span[0] <= moment <= span[1]


def test_only_runs_that_wait_for_it_and_began_then_are_touched() -> None:
    pending = Pending()
    for minute in range(6):
        pending.set_runs(f"a{minute}", [run(minute, INTO_A)])
        pending.set_runs(f"b{minute}", [run(minute, INTO_B)])
    pending.set_runs("both", [run(9, INTO_A, INTO_B)])
    pending.set_runs("network", [run(2, NETWORK)])

    assert pending.routes_affected_by([learnt(INTO_A, 2, 3)]) == {"a2", "a3"}
    assert pending.routes_affected_by([learnt(INTO_B, 4, 20)]) == {"b4", "b5", "both"}
    assert pending.routes_affected_by([learnt(NETWORK, 0, 1)]) == set()
    assert pending.routes_affected_by([]) == set()


def test_what_has_its_answer_waits_no_more() -> None:
    pending = Pending()
    pending.set_runs("one", [run(1, INTO_A), run(2, INTO_A)])
    pending.set_runs("one", [run(2, INTO_A)])
    assert len(pending) == 1
    assert pending.routes_affected_by([learnt(INTO_A, 0, 1)]) == set()

    pending.set_runs("one", [])
    assert len(pending) == 0
    assert pending.routes_affected_by([learnt(INTO_A, 0, 20)]) == set()
    assert pending.latest_urgent_start(INTO_A) is None
    assert pending.take_expired_routes(T0 + 60 * MINUTE) == set()


def test_who_waits_in_vain_is_named_once_it_is_over() -> None:
    pending = Pending()
    pending.set_runs("one", [run(1, INTO_A), run(5, INTO_A)])

    assert pending.take_expired_routes(T0 + 11 * MINUTE) == set()
    assert pending.take_expired_routes(T0 + 12 * MINUTE) == {"one"}
    assert pending.take_expired_routes(T0 + 14 * MINUTE) == set()
    assert pending.take_expired_routes(T0 + 16 * MINUTE) == {"one"}


def test_what_waits_on_takes_no_more_room_each_time_that_it_is_noted() -> None:
    pending = Pending()
    for _ in range(9):
        pending.set_runs("one", [run(1, INTO_A)])
    assert (len(pending), len(pending._deadlines)) == (1, 1)


def test_the_newest_of_those_that_ask_is_known() -> None:
    pending = Pending()
    pending.set_runs("one", [run(1, INTO_A), run(4, INTO_A, asks=False)])
    assert pending.latest_urgent_start(INTO_A) == T0 + MINUTE
    pending.set_runs("two", [run(3, INTO_A, INTO_B)])
    assert (pending.latest_urgent_start(INTO_A), pending.latest_urgent_start(INTO_B)) == (
        T0 + 3 * MINUTE,
        T0 + 3 * MINUTE,
    )
    pending.set_runs("two", [run(3, INTO_A, INTO_B, asks=False)])
    assert (pending.latest_urgent_start(INTO_A), pending.latest_urgent_start(INTO_B)) == (T0 + MINUTE, None)
