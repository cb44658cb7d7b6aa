"""Agencies whose status may have changed, and attribution of pending runs on new evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.flapping import FlappingPolicy
from monitor.model.health import Grade, HealthPolicy
from monitor.model.route import MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.unit.monitor.world import MINUTE, PROBING, SECOND, T0, World, arrived, failed, forwarded, world

AGENCIES = ("jpc", "lkc", "agc")

End = Callable[[MonitoredRoute, datetime], ProbeResult]
ENDS: list[End] = [
    arrived,
    lambda route, at: arrived(route, at, 2 * MINUTE),
    lambda route, at: failed(route, at, Outcome.LOST, Phase.TRANSIT, lasted=4 * MINUTE),
    lambda route, at: failed(route, at, Outcome.CONNECT, Phase.CONNECT),
    lambda route, at: failed(route, at, Outcome.CONNECT, Phase.CONNECT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.AUTH, Phase.AUTH, Party.SENDER, credentials=True),
    lambda route, at: failed(route, at, Outcome.DEFERRED, Phase.SUBMIT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.INCONCLUSIVE, Phase.CONNECT),
]


def status_of(evaluator: HealthEvaluator, agency: str, now: datetime) -> object:
    return evaluator.mail(agency).directions(), evaluator.trouble(agency, now), evaluator.up_since(agency, now)


# Routes fail several times in a row, otherwise none goes down.
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, len(ENDS) - 1), st.integers(1, 4)), max_size=40))
# The first message that reaches a reference mailbox proves its account, which routes of all agencies use.
@example([(5, 0, 2), (6, 0, 2), (8, 0, 2), (2, 0, 2)])
@settings(max_examples=150, deadline=None)
def test_agency_not_in_changed_agencies_has_same_status(runs: list[tuple[int, int, int]]) -> None:
    all_of: World = world(*AGENCIES)
    evaluator, now = all_of.evaluator, T0
    assert evaluator.take_changed_agencies() == {*AGENCIES, ""}
    known = {agency: status_of(evaluator, agency, now) for agency in AGENCIES}
    judged: dict[str, object] = {}
    for route, end, times in runs:
        for _ in range(times):
            now += 20 * SECOND
            evaluator.record_run(ENDS[end](all_of.routes[route % len(all_of.routes)], now), now + SECOND)
            changed = evaluator.take_changed_agencies()
            for agency in AGENCIES:
                stands = status_of(evaluator, agency, now + SECOND)
                assert agency in changed or stands == known[agency]
                known[agency] = stands
            judged |= evaluator.take_changed_healths()
            assert judged == evaluator.healths()


def test_run_changes_own_agency_only() -> None:
    all_of = world(*AGENCIES)
    evaluator = all_of.evaluator
    evaluator.take_changed_agencies()
    own = [route for route in all_of.routes if route.agency == "lkc"]
    for count, route in enumerate(own):
        evaluator.record_run(arrived(route, T0 + count * MINUTE), T0 + count * MINUTE)
    assert evaluator.take_changed_agencies() == {"lkc"}
    assert evaluator.take_changed_agencies() == set()


def test_late_arrival_changes_agency() -> None:
    all_of = world(*AGENCIES)
    evaluator, route = all_of.evaluator, next(r for r in all_of.routes if r.agency == "agc")
    evaluator.record_run(failed(route, T0, Outcome.LOST, Phase.TRANSIT, token="00000000000000aa"), T0)
    evaluator.take_changed_agencies()
    evaluator.record_late_arrival(route.name, "00000000000000aa", 9 * MINUTE, T0 + 9 * MINUTE)
    assert "agc" in evaluator.take_changed_agencies()


def test_time_dependent_status_is_reported_changed_when_due() -> None:
    spreading = world("JCM", "JKT").rounds(3)
    internal, outbound = spreading.routes[0], spreading.routes[1]
    for route in (internal, internal, internal, outbound):
        spreading.evaluator.record_run(failed(route, spreading.now, Outcome.REJECTED, Phase.SUBMIT), spreading.now)
    spreading.evaluator.take_changed_agencies()
    patience = 2 * (PROBING.retry_interval + PROBING.timeouts.total)
    assert spreading.evaluator.trouble("JCM", spreading.now) is None
    for later, changed in ((patience - SECOND, {"JKT"}), (patience, {"JKT", "JCM"})):
        other = next(route for route in spreading.routes if route.agency == "JKT")
        spreading.evaluator.record_run(arrived(other, spreading.now + later), spreading.now + later)
        assert spreading.evaluator.take_changed_agencies() == changed
    assert spreading.evaluator.trouble("JCM", spreading.now + patience) is not None

    fluctuating = world("JCM").rounds(3)
    fluctuating.evaluator.restore_falls({"JCM": [fluctuating.now]}, {"JCM"}, {"JCM"})
    fluctuating.evaluator.take_changed_agencies()
    assert fluctuating.evaluator.up_since("JCM", fluctuating.now) is None
    assert fluctuating.evaluator.take_changed_agencies() == set()
    quiet = fluctuating.now + FlappingPolicy().window
    fluctuating.evaluator.record_run(arrived(fluctuating.routes[-1], quiet), quiet)
    assert fluctuating.evaluator.take_changed_agencies() == {"", "JCM"}
    assert fluctuating.evaluator.up_since("JCM", quiet) is not None


def test_time_dependent_status_is_reported_changed_when_clock_set_back() -> None:
    fluctuating = world("JCM").rounds(3)
    fluctuating.evaluator.restore_falls({"JCM": [fluctuating.now]}, {"JCM"}, {"JCM"})
    assert fluctuating.evaluator.up_since("JCM", fluctuating.now) is None
    fluctuating.evaluator.take_changed_agencies()
    before = fluctuating.now - 60 * MINUTE
    fluctuating.evaluator.record_run(arrived(fluctuating.routes[-1], before), before)
    assert fluctuating.evaluator.take_changed_agencies() == {"", "JCM"}


# -- the same, and nothing else, as weighing everything again -------------------------------------------------------


class FullEvaluator(HealthEvaluator):
    """Evaluator that attributes every pending run again on any evidence."""

    def _attribute_pending(self, now: datetime, *others: str) -> None:
        waiting = [name for name, tracker in self._trackers.items() if Grade.PENDING in tracker.grades()]
        super()._attribute_pending(now, *others, *waiting)


@given(
    st.integers(2, 3),
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, len(ENDS) - 1), st.integers(1, 3), st.integers(0, 9)), max_size=60
    ),
)
# The clock is set back while a run is pending: the order of earlier and later runs changes.
@example(
    2,
    [
        (1, 0, 1, 6),
        (0, 0, 1, 0),
        *[(0, 0, 1, 2)] * 2,
        (0, 0, 2, 1),
        (0, 0, 2, 2),
        (0, 0, 3, 2),
        (0, 3, 1, 2),
        (0, 0, 1, 1),
    ],
)
@settings(max_examples=150, deadline=None)
def test_attribute_pending_affected_runs_gives_same_result_as_all(
    references: int, runs: list[tuple[int, int, int, int]]
) -> None:
    routes = [*world("jpc", "lkc", references=("a", "b", "c")[:references]).routes, forwarded("lkc")]
    evaluators = [kind(routes, HealthPolicy()) for kind in (HealthEvaluator, FullEvaluator)]
    now = T0
    for place, end, times, pause in runs:
        for _ in range(times):
            # Some runs last long, so that an earlier run ends later; sometimes the clock is set back.
            now += MINUTE * {0: 15, 1: -7}.get(pause, 0.5)
            route = routes[place % len(routes)]
            result = ENDS[end](route, now - pause * 20 * SECOND)
            for evaluator in evaluators:
                evaluator.record_run(result, now)
                if pause == 2:
                    evaluator.record_late_arrival(route.name, result.token_id, 9 * MINUTE, now)
            assert full_state(evaluators[0], routes, now) == full_state(evaluators[1], routes, now)


def full_state(evaluator: HealthEvaluator, routes: list[MonitoredRoute], now: datetime) -> object:
    """Return the complete output of an evaluator."""
    return (
        evaluator.healths(),
        [
            (evaluator._trackers[route.name].recent, evaluator._trackers[route.name].inconclusive_runs)
            for route in routes
        ],
        [status_of(evaluator, agency, now) for agency in ("jpc", "lkc")],
        (evaluator.source_troubles(now), evaluator.faulty_sources(now)),
        {suspect: evaluator.source_up_since(suspect, now) for suspect in evaluator._fault_detector.fault_sources()},
        [evaluator.routes_to_repeat(route.name) for route in routes],
        evaluator.control_routes_to_run(),
        evaluator.take_verdict_counts(),
    )


def test_fault_source_not_in_changed_sources_has_same_status() -> None:
    here = world("JCM")
    evaluator, known = (
        here.evaluator,
        {str(suspect): None for suspect in here.evaluator._fault_detector.fault_sources()},
    )
    for end in (*ENDS, *reversed(ENDS), *ENDS):
        for route in here.routes:
            here.now += 20 * SECOND
            evaluator.record_run(end(route, here.now), here.now)
            changed = {str(suspect) for suspect in evaluator.take_changed_fault_sources()}
            for suspect in evaluator._fault_detector.fault_sources():
                trouble = evaluator.source_trouble(suspect, here.now)
                stands = (trouble is None, evaluator.source_up_since(suspect, here.now) is None)
                assert str(suspect) in changed or known.get(str(suspect)) in {None, stands}
                known[str(suspect)] = stands  # type: ignore[assignment]


def test_fault_source_unconfirmed_recovery_is_changed_until_confirmed() -> None:
    here, network = world("JCM").rounds(3), "ours/network"
    suspect = here.evaluator.find_fault_source("network")
    assert suspect is not None
    here.evaluator.restore_falls({network: [here.now]}, {network}, {network})
    here.evaluator.take_changed_fault_sources()
    for later, is_believed in (
        (MINUTE, False),
        (FlappingPolicy().window, False),
        (FlappingPolicy().window + MINUTE, True),
    ):
        assert (here.evaluator.source_up_since(suspect, here.now + later) is not None) is is_believed
        assert (suspect in here.evaluator.take_changed_fault_sources()) is not is_believed
