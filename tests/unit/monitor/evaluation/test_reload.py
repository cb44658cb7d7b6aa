"""Configuration changes in a running evaluator and schedule leave everything else as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.evaluation.attribution import FaultDomain, RunVerdict
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP, HealthEvaluator
from monitor.evaluation.evidence import Ability
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.window import ALWAYS, Hours, OneTimeWindow, WindowOccurrence
from monitor.planning.schedule import Schedule
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.unit.monitor.world import (
    LOSES,
    MINUTE,
    REFUSED,
    SECOND,
    T0,
    WRONG_PASSWORD,
    agency_routes,
    arrived,
    controls,
    failed,
    mailbox,
    world,
)

JCM, MDC, UCM = (agency_routes(code) for code in ("JCM", "MDC", "UCM"))
CONTROLS = controls()
ALL_ROUTES = [*JCM, *MDC, *CONTROLS]
RARE_PROBING = ProbingPolicy(interval=timedelta(minutes=9), retry_interval=timedelta(seconds=30))


def with_probing(routes: Sequence[MonitoredRoute], probing: ProbingPolicy = RARE_PROBING) -> list[MonitoredRoute]:
    return [replace(each, probing=probing) for each in routes]


def with_other_mailbox(routes: Sequence[MonitoredRoute], name: str) -> list[MonitoredRoute]:
    """Return those of *routes* that use a mailbox, with another folder for it."""
    box = replace(mailbox(name), inbox="Kongsi/Pro")
    return [
        replace(
            each,
            route=replace(
                each.route,
                sender=box if each.route.sender.name == name else each.route.sender,
                recipient=box if each.route.recipient.name == name else each.route.recipient,
            ),
        )
        for each in routes
        if name in {each.route.sender.name, each.route.recipient.name}
    ]


def lost(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.LOST, Phase.TRANSIT)


def unreachable(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.CONNECT, Phase.CONNECT, Party.SENDER)


#: Changes between two runs, and their reversal. UCM has no runs.
CHANGES = {
    "UCM comes": lambda evaluator: evaluator.add_routes(UCM),
    "UCM goes": lambda evaluator: evaluator.remove_routes(UCM),
    "MDC is probed otherwise": lambda evaluator: evaluator.replace_routes(with_probing(MDC)),
    "MDC is probed as before": lambda evaluator: evaluator.replace_routes(MDC),
    "MDC has another mailbox": lambda evaluator: evaluator.replace_routes(with_other_mailbox(MDC, "MDC/utama")),
    "the policies are said again": lambda evaluator: evaluator.set_policies(HealthPolicy(), FlappingPolicy()),
}
RUNS = st.tuples(st.integers(0, len(ALL_ROUTES) - 1), st.sampled_from([arrived, lost, unreachable]))


@pytest.mark.blind
@settings(max_examples=150, deadline=None)
@given(st.lists(RUNS | st.sampled_from(sorted(CHANGES)), max_size=60))
def test_any_reloads_unchanged_agency_is_evaluated_the_same(steps: list[object]) -> None:
    """Defect: Reloads change the evaluation of unchanged agencies.

    Pantau: Any sequence of reloads gives the same health as none.
    """
    reloaded, left_alone = HealthEvaluator(ALL_ROUTES, HealthPolicy()), HealthEvaluator(ALL_ROUTES, HealthPolicy())
    at, has_come = timedelta(0), False
    for step in steps:
        if isinstance(step, str):
            if step in {"UCM comes", "UCM goes"}:
                if has_come is (step == "UCM comes"):
                    continue
                has_come = not has_come
            CHANGES[step](reloaded)
            continue
        assert isinstance(step, tuple)
        number, ends = step
        at += timedelta(seconds=40)
        end = ends(ALL_ROUTES[number], T0 + at) if ends is arrived else ends(ALL_ROUTES[number], at)
        for evaluator in (reloaded, left_alone):
            evaluator.record_run(end, T0 + at + SECOND)
        now = T0 + at + SECOND
        assert reloaded.mail("JCM").directions() == left_alone.mail("JCM").directions()
        assert reloaded.trouble("JCM", now) == left_alone.trouble("JCM", now)
        assert reloaded.up_since("JCM", now) == left_alone.up_since("JCM", now)
        for route in (*JCM, *CONTROLS):
            assert reloaded.route_health(route.name) == left_alone.route_health(route.name)
            assert reloaded.routes_to_repeat(route.name) == left_alone.routes_to_repeat(route.name)
        ours = {str(suspect) for suspect in left_alone.source_troubles(now) if "MDC" not in suspect.name}
        assert {str(suspect) for suspect in reloaded.source_troubles(now) if "MDC" not in suspect.name} == ours


@pytest.mark.blind
def test_replace_routes_changed_probing_keeps_streak() -> None:
    """Defect: A route that is probed differently loses its streak.

    Pantau: The streak belongs to the route.
    """
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    assert here.trouble("JCM") is None
    here.evaluator.replace_routes(with_probing(agency_routes("JCM")))
    here.rounds(1)
    assert here.trouble("JCM") is not None


@pytest.mark.blind
def test_replace_routes_new_mailbox_drops_failures_and_keeps_health() -> None:
    """Defect: A corrected mailbox inherits the failures of the wrong one.

    Pantau: Its streak begins anew; the last health stays until a run ends.
    """
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    here.evaluator.replace_routes(with_other_mailbox(here.routes, "JCM/utama"))
    assert set(here.evaluator.mail("JCM").directions().values()) == {Health.UP}
    here.rounds(2)
    assert here.trouble("JCM") is None
    here.rounds(1)
    assert here.trouble("JCM") is not None


def test_replace_routes_new_reference_has_no_evidence_and_others_keep_theirs() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.replace_routes(with_other_mailbox(here.routes, "b"))
    proofs = here.evaluator._evidence.evidence().records(Ability.RECEIVE)
    assert proofs["a"].worked_at is not None
    assert proofs["b"].worked_at is None


def test_add_routes_agency_again_restores_health() -> None:
    here = world("JCM", "MDC").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    known, gone = here.evaluator.healths(), agency_routes("JCM")
    here.evaluator.remove_routes(gone)
    assert here.evaluator.mail("JCM").directions() == {}
    assert not any("JCM" in suspect.name for suspect in here.evaluator._fault_detector.fault_sources())
    here.evaluator.add_routes(gone)
    here.evaluator.restore({name: known[name] for name in known if name.startswith("JCM/")})
    assert set(here.evaluator.mail("JCM").directions().values()) == {Health.DOWN}
    assert here.evaluator.routes_to_repeat(gone[0].name) == ()


def test_remove_routes_forgets_falls() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.restore_falls({"JCM": [here.now]}, {"JCM"}, {"JCM"})
    assert here.evaluator.up_since("JCM", here.now) is None

    here.evaluator.remove_routes(agency_routes("JCM"))
    here.evaluator.add_routes(agency_routes("JCM"))
    here.rounds(3)
    assert here.evaluator.up_since("JCM", here.now) is not None


def test_longest_proven_gap_follows_current_routes() -> None:
    here, probing = world("JCM").rounds(1), ProbingPolicy(interval=20 * MINUTE)
    here.evaluator.replace_routes(with_probing(agency_routes("JCM")[:1], probing))

    assert here.evaluator.mail("JCM").longest_proven_gap() == 40 * MINUTE + probing.timeouts.total


def test_set_policies_new_flapping_window_applies_to_open_incident() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.restore_falls({"JCM": [here.now]}, {"JCM"}, {"JCM"})
    assert here.evaluator.up_since("JCM", here.now) is None

    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    assert here.evaluator.up_since("JCM", here.now + MINUTE) is not None


def test_take_changed_agencies_includes_removed_and_keeps_nothing_else() -> None:
    here = world("JCM", "MDC").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    here.faults["MDC/utama"] = REFUSED
    here.rounds(1)
    assert here.evaluator.take_changed_agencies() == {"JCM", "MDC", ""}
    here.evaluator.remove_routes([*agency_routes("JCM"), *agency_routes("MDC")])
    assert here.evaluator.take_changed_agencies() == {"JCM", "MDC"}
    left = {*here.evaluator.take_changed_healths(), *here.evaluator.take_changed_streaks(), *here.evaluator.healths()}
    assert not [name for name in left if name.startswith(("JCM", "MDC"))]
    here.evaluator.add_routes(agency_routes("MDC"))
    assert here.evaluator.take_changed_agencies() == {"MDC"}
    here.evaluator.replace_routes(with_probing(agency_routes("MDC")))
    assert here.evaluator.take_changed_agencies() == {"MDC"}
    assert here.evaluator.has_agency("MDC")
    assert not here.evaluator.has_agency("JCM")


def test_replace_routes_new_mailbox_drops_streak_and_pending_runs() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = LOSES
    here.rounds(1)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    assert here.evaluator.control_routes_to_run() != []
    assert here.evaluator.take_changed_streaks()[outbound.name]
    here.evaluator.replace_routes(with_other_mailbox(here.routes, "JCM/utama"))
    assert here.evaluator.control_routes_to_run() == []
    assert here.evaluator.take_changed_streaks()[outbound.name] == ()


def test_replace_routes_new_probing_changes_pending_deadline_and_retry() -> None:
    here = world("JCM").rounds(3)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    here.evaluator.take_verdict_counts()
    often = ProbingPolicy(interval=MINUTE, retry_interval=7 * SECOND)
    here.evaluator.replace_routes(with_probing(agency_routes("JCM"), often))
    assert here.evaluator.routes_to_run_soon(outbound.name, here.now)[outbound.name] == here.now + often.retry_interval
    until = here.now + MINUTE + 2 * often.timeouts.total + SECOND
    here.evaluator.record_run(arrived(here.routes[0], until), until)
    assert here.evaluator.take_verdict_counts()["JCM", Direction.OUTBOUND, RunVerdict.UNDETERMINED] == 1


@pytest.mark.parametrize(("other", "is_asked"), [("a", False), ("b", True), ("c", True)])
def test_replace_routes_new_end_requests_failed_evidence_again(other: str, *, is_asked: bool) -> None:
    here = world("JCM", references=("a", "b", "c"))
    into_c, outbound = (next(r for r in here.routes if r.name.endswith(ends)) for ends in ("control/b/c", "utama/c"))
    here.evaluator.record_run(failed(into_c, T0, Outcome.LOST, Phase.TRANSIT), T0)
    here.evaluator.replace_routes(with_other_mailbox(here.routes, other))
    here.evaluator.record_run(failed(outbound, T0 + MINUTE, Outcome.LOST, Phase.TRANSIT), T0 + MINUTE)
    assert (into_c.name in here.evaluator.control_routes_to_run()) is is_asked


@pytest.mark.parametrize("how_many", [1, ATTRIBUTIONS_PER_STEP + 1])
def test_remove_routes_with_new_evidence_are_not_attributed_or_run(how_many: int) -> None:
    here = world(*(f"A{number}" for number in range(how_many)))
    into_b = next(r for r in here.routes if r.name.endswith("control/a/b"))
    waiting = [r for r in here.routes if r.name.endswith("utama/b")]
    for route in waiting:
        here.evaluator.record_run(failed(route, T0, Outcome.LOST, Phase.TRANSIT), T0)
    here.evaluator.record_run(arrived(into_b, T0 + MINUTE), T0 + MINUTE)
    assert here.evaluator.is_caught_up is (how_many == 1)
    here.evaluator.remove_routes(waiting)
    here.evaluator.attribute_more(T0 + MINUTE)
    assert here.evaluator.routes_to_run_soon(into_b.name, T0 + MINUTE).keys() <= here.evaluator.routes.keys()


def test_add_routes_uses_current_flapping_policy() -> None:
    here = world("JCM").rounds(1)
    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    here.evaluator.add_routes(UCM)
    here.evaluator.restore({each.name: (Health.UP, here.now) for each in UCM})
    here.evaluator.restore_falls({"UCM": [here.now]}, {"UCM"}, {"UCM"})
    assert here.evaluator.up_since("UCM", here.now) is None
    assert here.evaluator.up_since("UCM", here.now + MINUTE) is not None


def test_set_policies_applies_to_fault_sources() -> None:
    for rounds in (0, 3):
        here = world("JCM").rounds(rounds)
        here.evaluator.set_policies(HealthPolicy(failure_threshold=1), FlappingPolicy())
        here.faults["a"] = WRONG_PASSWORD
        assert here.rounds(1).own() == {"credentials/a"}

    here, network = world("JCM").rounds(3), "ours/network"
    here.evaluator.restore_falls({network: [here.now]}, {network}, {network})
    assert here.source_up_since("network") is None
    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    here.now += MINUTE
    assert here.source_up_since("network") is not None


def test_remove_routes_account_is_forgotten_and_reported_as_changed() -> None:
    here = world("JCM", "MDC", "UCM").rounds(3)
    here.faults["JCM/utama"] = WRONG_PASSWORD
    here.rounds(3)
    here.faults["MDC/utama"] = WRONG_PASSWORD
    here.rounds(1)
    evaluator, refused = here.evaluator, FaultSource(FaultDomain.CREDENTIALS, "JCM/utama")
    assert evaluator.faulty_sources(here.now) == {refused, FaultSource(FaultDomain.CREDENTIALS, "MDC/utama")}
    evaluator.take_changed_fault_sources()
    evaluator.remove_routes([*agency_routes("JCM"), *agency_routes("MDC")])
    assert evaluator.find_fault_source(str(refused)) is None
    assert refused in evaluator.take_changed_fault_sources()
    assert evaluator.faulty_sources(here.now) == set()
    assert not [
        name
        for name in {*evaluator.take_changed_healths(), *evaluator.take_changed_streaks(), *evaluator.healths()}
        if "UCM" not in name and "/utama" in name
    ]


def test_replace_routes_new_account_drops_refusals() -> None:
    here = world("JCM").rounds(3)
    # Each round refuses it three times when mail is read.
    here.evaluator.set_policies(HealthPolicy(failure_threshold=4), FlappingPolicy())
    here.faults["JCM/utama"] = WRONG_PASSWORD
    part = "ours/credentials/JCM/utama#recipient"
    assert here.rounds(1).evaluator.take_changed_streaks()[part]
    here.evaluator.replace_routes(with_other_mailbox(here.routes, "JCM/utama"))
    assert here.evaluator.take_changed_streaks()[part] == ()
    assert here.rounds(1).own() == set()
    assert here.rounds(1).own() == {"credentials/JCM/utama"}


@pytest.mark.parametrize("other", ["a", "b"])
def test_replace_routes_new_reference_drops_blame(other: str) -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.replace_routes(with_other_mailbox(here.routes, other))
    here.faults = {"b": LOSES}
    assert here.rounds(6).own() == {"reference/b"}


def test_control_routes_added_again_start_without_blame() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.remove_routes(CONTROLS)
    here.evaluator.add_routes(CONTROLS)
    assert here.own() == set()


def test_replace_routes_other_mailbox_keeps_blamed_reference() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.replace_routes(with_other_mailbox(here.routes, "JCM/utama"))
    for route in 2 * sorted(here.routes, key=lambda r: r.route.recipient.name != "a"):
        here.now += SECOND
        here.evaluator.record_run(arrived(route, here.now), here.now + SECOND)
        assert here.own() <= {"reference/a"}


def test_restore_refused_accounts_are_known_before_any_run() -> None:
    here = world("JCM", "MDC").rounds(3)
    # The other reference was down, and no run is known.
    here.faults = {"JCM/utama": WRONG_PASSWORD, "a": WRONG_PASSWORD, "b": REFUSED}
    known = here.rounds(4).evaluator.healths()
    again = HealthEvaluator(here.routes, HealthPolicy())
    assert again.faulty_sources(here.now) == set()
    again.restore(known)
    refused = {FaultSource(FaultDomain.CREDENTIALS, "a"), FaultSource(FaultDomain.CREDENTIALS, "JCM/utama")}
    assert again.faulty_sources(here.now) == refused
    assert again.take_changed_fault_sources() >= refused
    # The next run decides whether the account or its sign-in service is at fault.
    assert set(again.source_troubles(here.now)) == {FaultSource(FaultDomain.CREDENTIALS, "a")}
    here.evaluator = again
    assert set(here.rounds(1).evaluator.source_troubles(here.now)) >= refused


def test_remove_routes_pending_run_is_dropped() -> None:
    here = world("JCM")
    outbound, into_b = (next(r for r in here.routes if r.name.endswith(ends)) for ends in ("utama/b", "control/a/b"))
    here.evaluator.record_run(failed(outbound, T0, Outcome.BOUNCED, Phase.TRANSIT), T0)
    assert here.evaluator.control_routes_to_run() == [into_b.name]

    here.evaluator.remove_routes([outbound])
    assert here.evaluator.control_routes_to_run() == []
    here.evaluator.record_run(arrived(into_b, T0 + MINUTE), T0 + MINUTE)
    assert here.evaluator.routes_to_run_soon(into_b.name, T0 + MINUTE).keys() <= here.evaluator.routes.keys()


def test_replace_routes_lower_threshold_applies_from_next_run() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(1)
    here.evaluator.replace_routes(
        with_probing(agency_routes("JCM"), ProbingPolicy(health=HealthPolicy(failure_threshold=2)))
    )
    here.rounds(1)
    assert here.trouble("JCM") is not None


# -- the schedule ---------------------------------------------------------------------------------------------------


def planned() -> Schedule:
    schedule = Schedule(seed="utama")
    schedule.add("JCM/internal", 5 * MINUTE, T0)
    return schedule


def test_schedule_change_keeps_planned_run_and_requested_run() -> None:
    schedule = planned()
    due = schedule.next_due()
    schedule.change("JCM/internal", 5 * MINUTE, T0, ALWAYS)
    assert schedule.next_due() == due
    schedule.advance("JCM/internal", T0 + 2 * SECOND)
    schedule.change("JCM/internal", 9 * MINUTE, T0 + SECOND, ALWAYS)
    assert schedule.due(T0 + 2 * SECOND) == ["JCM/internal"]


@pytest.mark.blind
def test_schedule_frequent_changes_do_not_postpone_run() -> None:
    """Defect: Frequent edits of the interval postpone a route for ever.

    Pantau: A planned run is not postponed by an edit.
    """
    schedule = planned()
    due = schedule.next_due()
    assert due is not None
    started, seconds = [], math.ceil((due - T0) / SECOND)
    for number in range(seconds + 1):
        schedule.change("JCM/internal", (5 + number % 2) * MINUTE, T0 + number * SECOND, ALWAYS)
        started += schedule.due(T0 + number * SECOND)
    assert started == ["JCM/internal"]


def test_schedule_change_during_run_applies_to_next() -> None:
    schedule = planned()
    due = schedule.next_due()
    assert due is not None
    assert schedule.due(due) == ["JCM/internal"]
    hours = Hours(maintenance=[OneTimeWindow(WindowOccurrence(due, due + 60 * MINUTE, "Naik taraf"))])
    schedule.change("JCM/internal", 5 * MINUTE, due, hours)
    assert schedule.due_at("JCM/internal") == due
    schedule.plan_next("JCM/internal", due + SECOND)
    wake = schedule.next_due()
    assert wake is not None
    assert wake >= due + 60 * MINUTE


def test_remove_routes_direction_disappears() -> None:
    evaluator = HealthEvaluator(ALL_ROUTES, HealthPolicy())
    evaluator.remove_routes([each for each in JCM if each.direction is Direction.INBOUND])
    evaluator.record_run(arrived(JCM[0], T0), T0 + SECOND)
    assert set(evaluator.mail("JCM").directions()) == {Direction.INTERNAL, Direction.OUTBOUND}
