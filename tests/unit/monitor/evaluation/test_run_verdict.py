"""Counting of runs by verdict: each once, and monitoring faults never as agency failures."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.evaluator import VerdictKey
from monitor.model.health import Grade
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause
from tests.unit.monitor.evaluation.test_changed_agencies import ENDS
from tests.unit.monitor.world import (
    GREYLISTS,
    LOSES,
    MINUTE,
    REFUSED,
    SECOND,
    T0,
    WRONG_PASSWORD,
    Fault,
    arrived,
    both,
    failed,
    imap,
    slow,
    smtp,
    world,
)

DEFERS = smtp(Outcome.DEFERRED, Phase.SUBMIT)
FULL = both(
    smtp(Outcome.REJECTED, Phase.SUBMIT, cause=RefusalCause.RECEIVING_LIMIT),
    imap(Outcome.INCONCLUSIVE, Phase.AUTH, cause=RefusalCause.SESSION_LIMIT),
)


def breaks(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    return failed(of, at, Outcome.INCONCLUSIVE, Phase.SUBMIT)


@pytest.mark.parametrize(
    ("where", "fault", "verdicts"),
    [
        ("JCM/utama", None, {RunVerdict.GOOD}),
        ("JCM/utama", slow(), {RunVerdict.SLOW}),
        ("JCM/utama", REFUSED, {RunVerdict.FAILED}),
        ("JCM/utama", LOSES, {RunVerdict.FAILED}),
        # The half hour of greylisting is not over.
        ("JCM/utama", GREYLISTS, {RunVerdict.UNDETERMINED, RunVerdict.GOOD}),
        ("JCM/utama", DEFERS, {RunVerdict.FAILED, RunVerdict.GOOD}),
        ("JCM/utama", FULL, {RunVerdict.MONITORING_FAULT}),
        ("JCM/utama", WRONG_PASSWORD, {RunVerdict.MONITORING_FAULT}),
        ("JCM/utama", breaks, {RunVerdict.MONITORING_FAULT}),
        ("a", REFUSED, {RunVerdict.MONITORING_FAULT, RunVerdict.GOOD}),
        ("a", LOSES, {RunVerdict.MONITORING_FAULT, RunVerdict.GOOD}),
    ],
)
def test_run_verdict_counts_by_fault_domain(where: str, fault: Fault | None, verdicts: set[RunVerdict]) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.evaluator.take_verdict_counts()
    if fault is not None:
        here.faults[where] = fault
    here.rounds(1)
    # Each route of a broken agency counts once; a broken reference makes no agency run a failure.
    counted = {
        verdict
        for (agency, _, verdict), runs in here.evaluator.take_verdict_counts().items()
        if agency == "JCM" and runs
    }
    assert counted == verdicts


def test_own_network_down_counts_no_agency_failure() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.evaluator.take_verdict_counts()
    here.cut_off = True
    here.rounds(8)
    counted = here.evaluator.take_verdict_counts()
    assert not [each for each in counted if each[0] and each[2] is not RunVerdict.MONITORING_FAULT]
    assert counted["JCM", Direction.INBOUND, RunVerdict.MONITORING_FAULT] > 0


def test_pending_run_is_counted_when_proven_or_as_undetermined() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.take_verdict_counts()
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    assert not here.evaluator.take_verdict_counts()
    long_after = here.now + 60 * MINUTE
    here.evaluator.record_run(failed(outbound, long_after, Outcome.INCONCLUSIVE, Phase.CONNECT), long_after)
    assert here.evaluator.take_verdict_counts() == {
        ("JCM", Direction.OUTBOUND, RunVerdict.UNDETERMINED): 1,
        ("JCM", Direction.OUTBOUND, RunVerdict.MONITORING_FAULT): 1,
    }


def test_pending_run_is_kept_until_every_control_route_could_run() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.take_verdict_counts()
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    # The control run may wait for another one, and takes as long itself.
    until = here.now + outbound.probing.interval + 2 * outbound.probing.timeouts.total
    for at, unproven in ((until, 0), (until + SECOND, 1)):
        here.evaluator.record_run(failed(outbound, at, Outcome.INCONCLUSIVE, Phase.CONNECT), at)
        assert (
            here.evaluator.take_verdict_counts().get(("JCM", Direction.OUTBOUND, RunVerdict.UNDETERMINED), 0)
            == unproven
        )


def test_late_arrival_is_not_counted_twice() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.take_verdict_counts()
    internal = here.routes[0]
    lost = failed(internal, here.now, Outcome.LOST, Phase.TRANSIT, token="00000000000000aa")
    here.evaluator.record_run(lost, here.now)
    here.evaluator.record_late_arrival(internal.name, lost.token_id, 9 * MINUTE, here.now + 9 * MINUTE)
    assert here.evaluator.take_verdict_counts() == {("JCM", Direction.INTERNAL, RunVerdict.FAILED): 1}
    # The pages show that it has arrived.
    assert here.evaluator.run_verdict(internal.name, lost.token_id) is RunVerdict.SLOW
    assert here.evaluator.run_verdict(internal.name, "00000000000000bb") is None, "of another run"


def test_run_verdict_of_latest_run_is_known_when_counted() -> None:
    here = world("JCM").rounds(3)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    lost = failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT, token="00000000000000aa")
    here.evaluator.record_run(lost, here.now)
    assert here.evaluator.run_verdict(outbound.name, lost.token_id) is None, "it is pending"
    long_after = here.now + 60 * MINUTE
    here.evaluator.record_run(arrived(here.routes[0], long_after), long_after)
    assert here.evaluator.run_verdict(outbound.name, lost.token_id) is RunVerdict.UNDETERMINED


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, len(ENDS) - 1), st.integers(0, 9)), max_size=80))
@settings(max_examples=50, deadline=None)
def test_any_runs_each_is_counted_once_or_pending(runs: list[tuple[int, int, int]]) -> None:
    here = world("jpc", "lkc")
    evaluator, now, counted = here.evaluator, T0, Counter[VerdictKey]()
    for taken, (place, end, pause) in enumerate(runs, 1):
        now += MINUTE * {0: 15, 1: -7}.get(pause, 0.5)
        route = here.routes[place % len(here.routes)]
        result = ENDS[end](route, now - pause * 20 * SECOND)
        evaluator.record_run(result, now)
        if pause == 2:
            evaluator.record_late_arrival(route.name, result.token_id, 9 * MINUTE, now)
        counted += evaluator.take_verdict_counts()
        waiting = sum(evaluator._trackers[r.name].grades().count(Grade.PENDING) for r in here.routes)
        assert counted.total() + waiting == taken
