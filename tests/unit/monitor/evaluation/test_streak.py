"""Streaks of runs over restarts: two failures before and one after are three."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.health_tracker import GradedRun
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction
from probes.model.mailbox import Password
from probes.model.result import Outcome, Phase
from tests.unit.monitor.world import (
    LOSES,
    MINUTE,
    PROBING,
    REFUSED,
    SECOND,
    WRONG_PASSWORD,
    Fault,
    World,
    agency_routes,
    controls,
    mailbox,
    smtp,
    world,
)

#: Last stored streak of each route.
Store = dict[str, tuple[GradedRun, ...]]


def restarted(here: World, stored: Store, *, away: timedelta = timedelta(0)) -> World:
    """Return the same world with an evaluator restored from the store, *away* later."""
    # The store keeps only the fields that were used for grading.
    others = here.evaluator.take_changed_streaks()
    stored |= {name: tuple(replace(run, result=None) for run in runs) for name, runs in others.items()}
    here.now += away
    after = HealthEvaluator(here.routes, HealthPolicy())
    after.restore(here.evaluator.healths())
    after.restore_streaks(stored, here.now)
    here.evaluator = after
    return here


@pytest.mark.blind
@pytest.mark.parametrize("fault", [REFUSED, LOSES])
def test_restart_before_each_run_hides_no_outage_or_recovery(fault: Fault) -> None:
    """Defect: A service that restarts every few minutes finds no outage.

    Pantau: Stored runs that contradict the health count, unless another would have come since.
    """
    here, stored = world("JCM", "JKT").rounds(3), Store()
    for faults, expected in (({"JCM/utama": fault}, Health.DOWN), ({}, Health.UP)):
        here.faults = faults
        for _ in range(3):
            restarted(here, stored).rounds(1)
        assert set(here.evaluator.mail("JCM").directions().values()) == {expected}
        assert set(here.evaluator.mail("JKT").directions().values()) == {Health.UP}


def test_streak_before_long_stop_is_ignored() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.faults["JCM/utama"] = REFUSED
    here.rounds(2)
    restarted(here, stored, away=3 * 60 * MINUTE).rounds(1)
    assert set(here.evaluator.mail("JCM").directions().values()) == {Health.UP}
    here.rounds(2)
    assert set(here.evaluator.mail("JCM").directions().values()) == {Health.DOWN}


def test_pending_run_at_stop_is_not_restored() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.faults |= {"JCM/utama": LOSES, "a": LOSES, "b": LOSES}
    here.rounds(2)
    here.faults = {"JCM/utama": LOSES}
    outside = [name for name in restarted(here, stored).evaluator.routes if name.startswith("JCM/outbound")]
    assert not any(here.evaluator._trackers[name].recent for name in outside)


def test_changed_streaks_omit_evaluated_runs() -> None:
    here, stored = world("JCM").rounds(3), Store()
    stored |= here.evaluator.take_changed_streaks()
    here.faults["JCM/utama"] = REFUSED
    here.rounds(1)
    stored |= here.evaluator.take_changed_streaks()
    assert {name for name, runs in stored.items() if runs} == {
        name for name in here.evaluator.routes if name.startswith("JCM/")
    }
    here.rounds(4)
    stored |= here.evaluator.take_changed_streaks()
    assert not any(stored.values())


def test_restored_failures_need_another_run() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.faults["JCM/utama"] = REFUSED
    here.rounds(1)
    evaluator = restarted(here, stored).evaluator
    assert all(evaluator.needs_another_run(name) for name in evaluator.routes if name.startswith("JCM/"))


@pytest.mark.blind
def test_late_arrival_after_restart_changes_lost_to_slow() -> None:
    """Defect: After a restart, late mail stays lost and slow mail becomes an outage.

    Pantau: Late mail corrects a run from before the start.
    """
    here, stored = world("JCM").rounds(3), Store()
    here.faults["JCM/utama"] = LOSES
    here.rounds(2)
    outside = {name for name in here.evaluator.routes if name.startswith("JCM/outbound")}
    tokens = {name: here.evaluator._trackers[name].recent[-1].token_id for name in outside}
    evaluator = restarted(here, stored).evaluator
    for name, token in tokens.items():
        evaluator.record_late_arrival(name, token, 20 * MINUTE, here.now)
    assert all(evaluator._trackers[name].grades()[-1] is Grade.SLOW for name in outside)
    here.rounds(1)
    assert here.evaluator.mail("JCM").directions()[Direction.OUTBOUND] is not Health.DOWN


@pytest.mark.parametrize("suspect", ["network", "credentials/JCM/utama"])
def test_restart_before_each_run_hides_no_monitoring_fault(suspect: str) -> None:
    here, stored = world("JCM"), Store()
    # One route of the agency is enough: per round its account is refused once, and the network fails two control runs.
    here.routes = [each for each in here.routes if each.direction in {Direction.INTERNAL, Direction.CONTROL}]
    restarted(here, stored).rounds(3)
    for is_wrong in (True, False):
        here.cut_off = is_wrong and suspect == "network"
        here.faults = {"JCM/utama": WRONG_PASSWORD} if is_wrong and suspect != "network" else {}
        for _ in range(3):
            restarted(here, stored).rounds(1)
        assert here.own() == ({suspect} if is_wrong else set())
    restarted(here, stored)
    assert not any(stored.values())


def test_monitoring_fault_streak_before_long_stop_is_ignored() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.cut_off = True
    here.rounds(1)
    restarted(here, stored, away=3 * 60 * MINUTE).rounds(1)
    assert here.own() == set()
    here.rounds(1)
    assert here.own() == {"network"}


def test_network_streak_is_kept_until_next_control_run() -> None:
    quick = agency_routes("JCM", probing=replace(PROBING, interval=10 * SECOND))
    here, stored = World([*quick, *controls()]).rounds(3), Store()
    here.cut_off = True
    here.rounds(1)
    assert restarted(here, stored, away=6 * MINUTE).evaluator._fault_detector.needs_another_run()


def test_replaced_account_leaves_no_streak() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.faults["JCM/utama"] = smtp(Outcome.AUTH, Phase.AUTH, credentials=True)
    here.routes = [each for each in here.routes if each.direction in {Direction.INTERNAL, Direction.CONTROL}]
    restarted(here, stored).rounds(2)
    other = replace(mailbox("JCM/utama"), login=Password(username="JCM/utama", secret="kata-laluan-lain"))
    internal = here.routes[0]
    here.evaluator.replace_routes([replace(internal, route=replace(internal.route, sender=other, recipient=other))])
    restarted(here, stored)
    assert not any(runs for name, runs in stored.items() if name.startswith("ours/"))


def test_restore_streaks_does_not_replace_newer_runs() -> None:
    here, stored = world("JCM").rounds(3), Store()
    here.faults["a"] = WRONG_PASSWORD
    here.evaluator.record_run(here.result(here.routes[-1], here.now), here.now)
    stored |= here.evaluator.take_changed_streaks()
    again = HealthEvaluator(here.routes, HealthPolicy())
    again.restore(here.evaluator.healths())
    here.faults.clear()
    again.record_run(here.result(here.routes[-1], here.now), here.now)
    again.restore_streaks({name: runs for name, runs in stored.items() if name.startswith("ours/")}, here.now)
    assert not [name for name, runs in again.take_changed_streaks().items() if runs]
