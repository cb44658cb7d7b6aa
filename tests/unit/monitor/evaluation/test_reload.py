"""Judges and schedules that are told of changes while they work judge and plan all else as if there had been none."""

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
from tests.unit.monitor.trial import (
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
EVERYBODY = [*JCM, *MDC, *CONTROLS]
SELDOM = ProbingPolicy(interval=timedelta(minutes=9), retry_interval=timedelta(seconds=30))


def otherwise(routes: Sequence[MonitoredRoute], probing: ProbingPolicy = SELDOM) -> list[MonitoredRoute]:
    return [replace(each, probing=probing) for each in routes]


def elsewhere(routes: Sequence[MonitoredRoute], name: str) -> list[MonitoredRoute]:
    """Return those of *routes* that touch a mailbox, which has another server now."""
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


#: What may happen between two runs, and what undoes it. Of UCM no run ends.
CHANGES = {
    "UCM comes": lambda evaluator: evaluator.add_routes(UCM),
    "UCM goes": lambda evaluator: evaluator.remove_routes(UCM),
    "MDC is probed otherwise": lambda evaluator: evaluator.replace_routes(otherwise(MDC)),
    "MDC is probed as before": lambda evaluator: evaluator.replace_routes(MDC),
    "MDC has another mailbox": lambda evaluator: evaluator.replace_routes(elsewhere(MDC, "MDC/utama")),
    "the policies are said again": lambda evaluator: evaluator.set_policies(HealthPolicy(), FlappingPolicy()),
}
RUNS = st.tuples(st.integers(0, len(EVERYBODY) - 1), st.sampled_from([arrived, lost, unreachable]))


@pytest.mark.blind
@settings(max_examples=150, deadline=None)
@given(st.lists(RUNS | st.sampled_from(sorted(CHANGES)), max_size=60))
def test_whatever_is_reloaded_an_agency_that_did_not_change_is_judged_as_without(steps: list[object]) -> None:
    """Defect: Reloads change the evaluation of unchanged agencies.

    Pantau: Any sequence of reloads gives the same health as none.
    """
    reloaded, left_alone = HealthEvaluator(EVERYBODY, HealthPolicy()), HealthEvaluator(EVERYBODY, HealthPolicy())
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
        end = ends(EVERYBODY[number], T0 + at) if ends is arrived else ends(EVERYBODY[number], at)
        for evaluator in (reloaded, left_alone):
            evaluator.record_run(end, T0 + at + SECOND)
        now = T0 + at + SECOND
        assert reloaded.mail("JCM").directions() == left_alone.mail("JCM").directions()
        assert reloaded.trouble("JCM", now) == left_alone.trouble("JCM", now)
        assert reloaded.up_since("JCM", now) == left_alone.up_since("JCM", now)
        for route in (*JCM, *CONTROLS):
            assert reloaded.route_health(route.name) == left_alone.route_health(route.name)
            assert reloaded.routes_to_repeat(route.name) == left_alone.routes_to_repeat(route.name)
        ours = {str(suspect) for suspect in left_alone.own_troubles(now) if "MDC" not in suspect.name}
        assert {str(suspect) for suspect in reloaded.own_troubles(now) if "MDC" not in suspect.name} == ours


@pytest.mark.blind
def test_a_route_that_is_probed_otherwise_keeps_its_streak() -> None:
    """Defect: A route that is probed differently loses its streak.

    Pantau: The streak belongs to the route.
    """
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    assert here.trouble("JCM") is None
    here.evaluator.replace_routes(otherwise(agency_routes("JCM")))
    here.rounds(1)
    assert here.trouble("JCM") is not None


@pytest.mark.blind
def test_what_the_old_mailbox_failed_is_not_held_against_the_new_one_and_how_it_stood_is_known() -> None:
    """Defect: A corrected mailbox inherits the failures of the wrong one.

    Pantau: Its streak begins anew; the last health stays until a run ends.
    """
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    here.evaluator.replace_routes(elsewhere(here.routes, "JCM/utama"))
    assert set(here.evaluator.mail("JCM").directions().values()) == {Health.UP}
    here.rounds(2)
    assert here.trouble("JCM") is None
    here.rounds(1)
    assert here.trouble("JCM") is not None


def test_a_reference_that_is_another_one_has_proven_nothing_and_the_others_are_still_trusted() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.replace_routes(elsewhere(here.routes, "b"))
    proofs = here.evaluator._evidence.evidence().records(Ability.RECEIVE)
    assert proofs["a"].worked_at is not None
    assert proofs["b"].worked_at is None


def test_an_agency_that_comes_back_is_told_what_is_known_of_it_and_what_is_ours_is_forgotten_with_it() -> None:
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


def test_how_often_an_agency_fell_is_forgotten_with_it() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.restore_falls({"JCM": [here.now]}, {"JCM"}, {"JCM"})
    assert here.evaluator.up_since("JCM", here.now) is None

    here.evaluator.remove_routes(agency_routes("JCM"))
    here.evaluator.add_routes(agency_routes("JCM"))
    here.rounds(3)
    assert here.evaluator.up_since("JCM", here.now) is not None


def test_how_far_apart_the_runs_of_an_agency_may_be_is_said_by_its_routes_of_now() -> None:
    here, probing = world("JCM").rounds(1), ProbingPolicy(interval=20 * MINUTE)
    here.evaluator.replace_routes(otherwise(agency_routes("JCM")[:1], probing))

    assert here.evaluator.mail("JCM").longest_proven_gap() == 40 * MINUTE + probing.timeouts.total


def test_how_long_an_agency_must_be_quiet_that_is_held_open_is_said_by_the_policy_of_now() -> None:
    here = world("JCM").rounds(3)
    here.evaluator.restore_falls({"JCM": [here.now]}, {"JCM"}, {"JCM"})
    assert here.evaluator.up_since("JCM", here.now) is None

    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    assert here.evaluator.up_since("JCM", here.now + MINUTE) is not None


def test_of_routes_that_come_and_go_it_is_said_whose_they_are_and_nothing_else_is_kept() -> None:
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
    here.evaluator.replace_routes(otherwise(agency_routes("MDC")))
    assert here.evaluator.take_changed_agencies() == {"MDC"}
    assert here.evaluator.has_agency("MDC")
    assert not here.evaluator.has_agency("JCM")


def test_what_the_old_mailbox_showed_is_remembered_by_nobody_and_what_waited_for_a_proof_waits_no_more() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = LOSES
    here.rounds(1)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    assert here.evaluator.control_routes_to_run() != []
    assert here.evaluator.take_changed_streaks()[outbound.name]
    here.evaluator.replace_routes(elsewhere(here.routes, "JCM/utama"))
    assert here.evaluator.control_routes_to_run() == []
    assert here.evaluator.take_changed_streaks()[outbound.name] == ()


def test_how_long_a_run_waits_for_its_proof_and_when_it_is_looked_at_is_said_by_the_route_of_now() -> None:
    here = world("JCM").rounds(3)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
    here.evaluator.take_verdict_counts()
    often = ProbingPolicy(interval=MINUTE, retry_interval=7 * SECOND)
    here.evaluator.replace_routes(otherwise(agency_routes("JCM"), often))
    assert here.evaluator.routes_to_run_soon(outbound.name, here.now)[outbound.name] == here.now + often.retry_interval
    until = here.now + MINUTE + 2 * often.timeouts.total + SECOND
    here.evaluator.record_run(arrived(here.routes[0], until), until)
    assert here.evaluator.take_verdict_counts()["JCM", Direction.OUTBOUND, RunVerdict.UNDETERMINED] == 1


@pytest.mark.parametrize(("other", "is_asked"), [("a", False), ("b", True), ("c", True)])
def test_a_proof_that_failed_is_asked_for_again_once_one_of_its_ends_is_another(other: str, *, is_asked: bool) -> None:
    here = world("JCM", references=("a", "b", "c"))
    into_c, outbound = (next(r for r in here.routes if r.name.endswith(ends)) for ends in ("control/b/c", "utama/c"))
    here.evaluator.record_run(failed(into_c, T0, Outcome.LOST, Phase.TRANSIT), T0)
    here.evaluator.replace_routes(elsewhere(here.routes, other))
    here.evaluator.record_run(failed(outbound, T0 + MINUTE, Outcome.LOST, Phase.TRANSIT), T0 + MINUTE)
    assert (into_c.name in here.evaluator.control_routes_to_run()) is is_asked


@pytest.mark.parametrize("how_many", [1, ATTRIBUTIONS_PER_STEP + 1])
def test_who_leaves_while_its_proof_has_just_come_is_neither_weighed_again_nor_looked_at(how_many: int) -> None:
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


def test_an_agency_that_comes_is_believed_by_the_policy_of_now() -> None:
    here = world("JCM").rounds(1)
    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    here.evaluator.add_routes(UCM)
    here.evaluator.restore({each.name: (Health.UP, here.now) for each in UCM})
    here.evaluator.restore_falls({"UCM": [here.now]}, {"UCM"}, {"UCM"})
    assert here.evaluator.up_since("UCM", here.now) is None
    assert here.evaluator.up_since("UCM", here.now + MINUTE) is not None


def test_what_is_our_own_is_judged_by_the_policies_of_now_whether_it_was_judged_before_or_not() -> None:
    for rounds in (0, 3):
        here = world("JCM").rounds(rounds)
        here.evaluator.set_policies(HealthPolicy(failure_threshold=1), FlappingPolicy())
        here.faults["a"] = WRONG_PASSWORD
        assert here.rounds(1).own() == {"credentials/a"}

    here, network = world("JCM").rounds(3), "ours/network"
    here.evaluator.restore_falls({network: [here.now]}, {network}, {network})
    assert here.own_up_since("network") is None
    here.evaluator.set_policies(HealthPolicy(), FlappingPolicy(window=MINUTE))
    here.now += MINUTE
    assert here.own_up_since("network") is not None


def test_of_an_account_that_has_left_nothing_is_known_and_whoever_was_told_of_it_hears_so() -> None:
    here = world("JCM", "MDC", "UCM").rounds(3)
    here.faults["JCM/utama"] = WRONG_PASSWORD
    here.rounds(3)
    here.faults["MDC/utama"] = WRONG_PASSWORD
    here.rounds(1)
    evaluator, refused = here.evaluator, FaultSource(FaultDomain.CREDENTIALS, "JCM/utama")
    assert evaluator.own_faults(here.now) == {refused, FaultSource(FaultDomain.CREDENTIALS, "MDC/utama")}
    evaluator.take_changed_fault_sources()
    evaluator.remove_routes([*agency_routes("JCM"), *agency_routes("MDC")])
    assert evaluator.find_fault_source(str(refused)) is None
    assert refused in evaluator.take_changed_fault_sources()
    assert evaluator.own_faults(here.now) == set()
    assert not [
        name
        for name in {*evaluator.take_changed_healths(), *evaluator.take_changed_streaks(), *evaluator.healths()}
        if "UCM" not in name and "/utama" in name
    ]


def test_what_an_account_was_refused_is_not_held_against_another_one_of_the_same_name() -> None:
    here = world("JCM").rounds(3)
    # In a round it is refused three times where mail is read.
    here.evaluator.set_policies(HealthPolicy(failure_threshold=4), FlappingPolicy())
    here.faults["JCM/utama"] = WRONG_PASSWORD
    part = "ours/credentials/JCM/utama#recipient"
    assert here.rounds(1).evaluator.take_changed_streaks()[part]
    here.evaluator.replace_routes(elsewhere(here.routes, "JCM/utama"))
    assert here.evaluator.take_changed_streaks()[part] == ()
    assert here.rounds(1).own() == set()
    assert here.rounds(1).own() == {"credentials/JCM/utama"}


@pytest.mark.parametrize("other", ["a", "b"])
def test_which_reference_was_to_blame_says_nothing_once_one_of_them_is_another(other: str) -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.replace_routes(elsewhere(here.routes, other))
    here.faults = {"b": LOSES}
    assert here.rounds(6).own() == {"reference/b"}


def test_a_reference_is_judged_by_the_control_routes_of_now() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.remove_routes(CONTROLS)
    here.evaluator.add_routes(CONTROLS)
    assert here.own() == set()


def test_which_reference_was_to_blame_is_known_while_something_else_is_another() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    assert here.rounds(6).own() == {"reference/a"}
    here.evaluator.replace_routes(elsewhere(here.routes, "JCM/utama"))
    for route in 2 * sorted(here.routes, key=lambda r: r.route.recipient.name != "a"):
        here.now += SECOND
        here.evaluator.record_run(arrived(route, here.now), here.now + SECOND)
        assert here.own() <= {"reference/a"}


def test_which_accounts_are_refused_is_known_after_a_restart_before_any_run() -> None:
    here = world("JCM", "MDC").rounds(3)
    # Of the other reference it is known that it was down, and not by which run.
    here.faults = {"JCM/utama": WRONG_PASSWORD, "a": WRONG_PASSWORD, "b": REFUSED}
    known = here.rounds(4).evaluator.healths()
    again = HealthEvaluator(here.routes, HealthPolicy())
    assert again.own_faults(here.now) == set()
    again.restore(known)
    refused = {FaultSource(FaultDomain.CREDENTIALS, "a"), FaultSource(FaultDomain.CREDENTIALS, "JCM/utama")}
    assert again.own_faults(here.now) == refused
    assert again.take_changed_fault_sources() >= refused
    # Whether the agency's account or its sign-in service is at fault is decided by the next run.
    assert set(again.own_troubles(here.now)) == {FaultSource(FaultDomain.CREDENTIALS, "a")}
    here.evaluator = again
    assert set(here.rounds(1).evaluator.own_troubles(here.now)) >= refused


def test_what_waited_for_a_proof_when_its_route_left_waits_no_more() -> None:
    here = world("JCM")
    outbound, into_b = (next(r for r in here.routes if r.name.endswith(ends)) for ends in ("utama/b", "control/a/b"))
    here.evaluator.record_run(failed(outbound, T0, Outcome.BOUNCED, Phase.TRANSIT), T0)
    assert here.evaluator.control_routes_to_run() == [into_b.name]

    here.evaluator.remove_routes([outbound])
    assert here.evaluator.control_routes_to_run() == []
    here.evaluator.record_run(arrived(into_b, T0 + MINUTE), T0 + MINUTE)
    assert here.evaluator.routes_to_run_soon(into_b.name, T0 + MINUTE).keys() <= here.evaluator.routes.keys()


def test_a_shorter_streak_is_enough_from_the_next_run_on() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(1)
    here.evaluator.replace_routes(
        otherwise(agency_routes("JCM"), ProbingPolicy(health=HealthPolicy(failure_threshold=2)))
    )
    here.rounds(1)
    assert here.trouble("JCM") is not None


# -- the schedule ---------------------------------------------------------------------------------------------------


def planned() -> Schedule:
    schedule = Schedule(seed="utama")
    schedule.add("JCM/internal", 5 * MINUTE, T0)
    return schedule


def test_what_does_not_change_keeps_its_place_and_a_look_that_was_asked_for_is_still_wanted() -> None:
    schedule = planned()
    due = schedule.next_due()
    schedule.change("JCM/internal", 5 * MINUTE, T0, ALWAYS)
    assert schedule.next_due() == due
    schedule.advance("JCM/internal", T0 + 2 * SECOND)
    schedule.change("JCM/internal", 9 * MINUTE, T0 + SECOND, ALWAYS)
    assert schedule.due(T0 + 2 * SECOND) == ["JCM/internal"]


@pytest.mark.blind
def test_whoever_plans_a_route_otherwise_over_and_over_does_not_put_it_off() -> None:
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


def test_a_run_under_way_goes_on_and_the_next_one_is_as_planned_now() -> None:
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


def test_routes_of_every_direction_are_gone_when_they_are_released() -> None:
    evaluator = HealthEvaluator(EVERYBODY, HealthPolicy())
    evaluator.remove_routes([each for each in JCM if each.direction is Direction.INBOUND])
    evaluator.record_run(arrived(JCM[0], T0), T0 + SECOND)
    assert set(evaluator.mail("JCM").directions()) == {Direction.INTERNAL, Direction.OUTBOUND}
