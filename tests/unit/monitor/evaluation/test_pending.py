"""Which runs wait for what, and that something learnt is held against those and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from monitor.evaluation.evidence import NETWORK, Ability, EvidenceNeed, EvidenceRecord, ProofChange, stretch
from monitor.evaluation.pending import Pending, PendingRun
from tests.unit.monitor.trial import MINUTE, T0

INTO_A, INTO_B = EvidenceNeed(Ability.RECEIVE, "a"), EvidenceNeed(Ability.RECEIVE, "b")


def run(minute: int, *wants: EvidenceNeed, asks: bool = True) -> PendingRun:
    began = T0 + minute * MINUTE
    return PendingRun(started_at=began, wants=wants, until=began + 10 * MINUTE, asks=asks)


def learnt(want: EvidenceNeed, first: int, last: int) -> ProofChange:
    return ProofChange(want=want, first=T0 + first * MINUTE, last=T0 + last * MINUTE)


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
    span = stretch(before, after)
    for half in range(-2, 16):
        moment = T0 + half * timedelta(seconds=30)
        if before.stands_for(moment) is not after.stands_for(moment):
            assert span is not None
            assert span[0] <= moment <= span[1]


def test_only_runs_that_wait_for_it_and_began_then_are_touched() -> None:
    pending = Pending()
    for minute in range(6):
        pending.put(f"a{minute}", [run(minute, INTO_A)])
        pending.put(f"b{minute}", [run(minute, INTO_B)])
    pending.put("both", [run(9, INTO_A, INTO_B)])
    pending.put("network", [run(2, NETWORK)])

    assert pending.touched([learnt(INTO_A, 2, 3)]) == {"a2", "a3"}
    assert pending.touched([learnt(INTO_B, 4, 20)]) == {"b4", "b5", "both"}
    assert pending.touched([learnt(NETWORK, 0, 1)]) == set()
    assert pending.touched([]) == set()


def test_what_has_its_answer_waits_no_more() -> None:
    pending = Pending()
    pending.put("one", [run(1, INTO_A), run(2, INTO_A)])
    pending.put("one", [run(2, INTO_A)])
    assert len(pending) == 1
    assert pending.touched([learnt(INTO_A, 0, 1)]) == set()

    pending.put("one", [])
    assert len(pending) == 0
    assert pending.touched([learnt(INTO_A, 0, 20)]) == set()
    assert pending.newest(INTO_A) is None
    assert pending.ended(T0 + 60 * MINUTE) == set()


def test_who_waits_in_vain_is_named_once_it_is_over() -> None:
    pending = Pending()
    pending.put("one", [run(1, INTO_A), run(5, INTO_A)])

    assert pending.ended(T0 + 11 * MINUTE) == set()
    assert pending.ended(T0 + 12 * MINUTE) == {"one"}
    assert pending.ended(T0 + 14 * MINUTE) == set()
    assert pending.ended(T0 + 16 * MINUTE) == {"one"}


def test_what_waits_on_takes_no_more_room_each_time_that_it_is_noted() -> None:
    pending = Pending()
    for _ in range(9):
        pending.put("one", [run(1, INTO_A)])
    assert (len(pending), len(pending._ends)) == (1, 1)


def test_the_newest_of_those_that_ask_is_known() -> None:
    pending = Pending()
    pending.put("one", [run(1, INTO_A), run(4, INTO_A, asks=False)])
    assert pending.newest(INTO_A) == T0 + MINUTE
    pending.put("two", [run(3, INTO_A, INTO_B)])
    assert (pending.newest(INTO_A), pending.newest(INTO_B)) == (T0 + 3 * MINUTE, T0 + 3 * MINUTE)
    pending.put("two", [run(3, INTO_A, INTO_B, asks=False)])
    assert (pending.newest(INTO_A), pending.newest(INTO_B)) == (T0 + MINUTE, None)
