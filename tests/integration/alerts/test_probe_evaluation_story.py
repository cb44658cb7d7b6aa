"""Notifications from probe to phone: single failures, flapping, maintenance, monitoring faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from monitor.metrics import Metrics
from monitor.model.route import MonitoredRoute, ProbingPolicy
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from monitor.probing.prober import Prober
from monitor.store.probing.history import History
from probes.mail.token import TokenSigner
from probes.model.probe import ProbeKind
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.integration.alerts.simulated_env import SimulatedEnv, open_simulated_env
from tests.integration.alerts.test_evaluation_to_notification import NOC, EvaluationEnv, NullHistory
from tests.unit.alerts.people import (
    MINUTE,
    SECOND,
)
from tests.unit.monitor.world import LOSES, PROBING, REFUSED, WRONG_PASSWORD
from tests.unit.monitor.world import T0 as BEGINNING

pytestmark = pytest.mark.story


class ScheduledEvaluationEnv(EvaluationEnv):
    """An evaluation environment with the prober's schedule and pipeline. Runs take no time."""

    def __init__(self, env: DispatcherEnv, agencies: list[str], watched: ProbingPolicy) -> None:
        super().__init__(env, agencies, watched)
        routes = {route.name: route for route in self.probe_world.routes}
        self.prober = Prober(
            routes=routes,
            kind=cast(ProbeKind, None),
            signer=TokenSigner(b"x" * 32, "utama"),
            evaluator=self.pipeline._evaluator,
            pipeline=self.pipeline,
            history=cast(History, NullHistory()),
            metrics=Metrics(version="0", now=env.clock.now),
            clock=env.clock,
            known_tokens={},
        )
        #: The routes that were probed.
        self.probed: list[MonitoredRoute] = []

    async def run_for(self, by: timedelta) -> None:
        """Let time pass in steps of ten seconds."""
        until = self.env.clock.moment + by
        while self.env.clock.moment < until:
            self.env.clock.moment += 10 * SECOND
            for name in self.prober._schedule.due(self.env.clock.now()):
                route = self.prober._routes[name]
                self.probed.append(route)
                await self.prober._process_result(self.probe_world.result(route, self.env.clock.now()), route)
                await self.reporter.report()
                self.prober._plan_next(route)
            await self.env.settle()


def add_phones(env: SimulatedEnv, *agencies: str) -> None:
    """Add a phone for each agency's officer and the NOC."""
    for number in range(len(agencies)):
        env.add_phone(officer(number))
    env.add_phone(NOC.number)


@asynccontextmanager
async def open_evaluation_env(place: Path, *agencies: str) -> AsyncIterator[tuple[SimulatedEnv, EvaluationEnv]]:
    """Open an environment whose agencies are probed every minute and are up. Each has an officer with a phone."""
    async with open_simulated_env(place) as env:
        add_phones(env, *agencies)
        evaluation_env = EvaluationEnv(env, list(agencies))
        await evaluation_env.rounds(3)
        env.expect_nothing_more()
        yield env, evaluation_env


def officer(number: int) -> str:
    """Return the phone number of an agency's officer, by its index."""
    return f"+6010000{number:04}"


@pytest.fixture
async def evaluation_env(tmp_path: Path) -> AsyncIterator[tuple[SimulatedEnv, EvaluationEnv]]:
    async with open_evaluation_env(tmp_path, "JCM", "MDC", "UCM") as opened:
        yield opened


async def test_one_or_two_failures_notify_nobody_and_no_fax_follows(
    evaluation_env: tuple[SimulatedEnv, EvaluationEnv],
) -> None:
    """One or two failed runs notify nobody, and nothing goes outside by itself."""
    env, mail = evaluation_env
    for _ in range(2):
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(2)
        env.expect_nothing_more()
        mail.probe_world.faults.clear()
        await mail.rounds(2)
    env.expect_nothing_more()

    mail.probe_world.faults["JCM/utama"] = REFUSED
    await mail.rounds(3)
    await env.person(officer(0)).gets("JCM-01")
    # Without a release nothing is sent outside.
    await mail.rounds(40)


async def test_flapping_agency_is_one_open_incident(
    evaluation_env: tuple[SimulatedEnv, EvaluationEnv],
) -> None:
    """A flapping agency is one incident that stays open."""
    env, mail = evaluation_env
    siti = env.person(officer(0))
    for _ in range(2):
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await siti.gets("AMARAN", "JCM-0")
        mail.probe_world.faults.clear()
        await mail.rounds(6)
        await siti.gets("PULIH", "JCM-0")
    mail.probe_world.faults["JCM/utama"] = REFUSED
    await mail.rounds(4)
    await siti.gets("gagal berulang kali", "JCM-03")
    for _ in range(3):
        mail.probe_world.faults.clear()
        await mail.rounds(6)
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
    env.expect_nothing_more()
    assert await env.active() == [3]

    mail.probe_world.faults.clear()
    await mail.rounds(130)
    await siti.gets("PULIH", "JCM-03")


async def test_flapping_5_of_25_minutes_is_notified_three_times_until_quiet(
    evaluation_env: tuple[SimulatedEnv, EvaluationEnv],
) -> None:
    """Flapping of five minutes in 25 is notified three times until it is quiet."""
    env, mail = evaluation_env
    siti = env.person(officer(0))
    for fall in range(12):
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(5)
        if fall < 3:
            await siti.gets("AMARAN", f"JCM-0{fall + 1}")
        mail.probe_world.faults.clear()
        await mail.rounds(20)
        if fall < 2:
            await siti.gets("PULIH", f"JCM-0{fall + 1}")
        env.expect_nothing_more()
    assert await env.active() == [3]

    # Two good runs make it up, and it must stay so for two hours after that.
    await mail.rounds(95)
    env.expect_nothing_more()
    await mail.rounds(8)
    await siti.gets("PULIH", "JCM-03")


@pytest.mark.parametrize("cause", ["network", "reference/a", "credentials/a"])
async def test_monitoring_fault_and_its_end_go_to_noc_only(
    evaluation_env: tuple[SimulatedEnv, EvaluationEnv], cause: str
) -> None:
    """A shared cause is one monitoring fault for the NOC only, with its end."""
    env, mail = evaluation_env
    match cause:
        case "network":
            mail.probe_world.cut_off = True
        case "reference/a":
            mail.probe_world.faults["a"] = LOSES
        case _:
            mail.probe_world.faults["a"] = WRONG_PASSWORD
    await mail.rounds(8)
    noc = env.person(NOC.number)
    await noc.gets("RM0 PANTAU: AMARAN. Sebahagian sistem pemantauan gagal", f": {cause}. Agensi tidak dimaklumkan")
    assert [(await env.incident(n)).dedup_key for n in await env.active()] == [f"ours/{cause}"]
    env.expect_nothing_more()

    mail.probe_world.cut_off = False
    mail.probe_world.faults.clear()
    await mail.rounds(8)
    await noc.gets("RM0 PANTAU: PULIH", f": {cause}.")


async def test_agency_failure_beside_dead_reference_notifies_its_officer_only(
    evaluation_env: tuple[SimulatedEnv, EvaluationEnv],
) -> None:
    """A dead reference hides no real outage of an agency."""
    env, mail = evaluation_env
    mail.probe_world.faults |= {"MDC/utama": REFUSED, "b": LOSES}
    await mail.rounds(8)

    await env.person(officer(1)).gets("MDC-01")
    await env.person(NOC.number).gets("RM0 PANTAU: AMARAN", ": reference/b.")


def maintained(begins: datetime) -> ProbingPolicy:
    """Return a probing policy with half an hour of maintenance."""
    work = OneTimeWindow(WindowOccurrence(begins, begins + 30 * MINUTE, "naik taraf pelayan"))
    return replace(PROBING, interval=MINUTE, hours=Hours(maintenance=(work,)))


async def test_run_interrupted_by_maintenance_counts_against_nobody(env: SimulatedEnv) -> None:
    """A run that maintenance interrupts counts against nobody."""
    add_phones(env, "JCM", "MDC")
    begins = BEGINNING + 20 * MINUTE
    mail = ScheduledEvaluationEnv(env, ["JCM", "MDC"], maintained(begins))
    await mail.prober.plan()
    await mail.run_for(20 * MINUTE - 10 * SECOND)
    mail.probe_world.faults["JCM/utama"] = REFUSED
    env.clock.moment = begins + 5 * SECOND
    for route in 3 * [route for route in mail.probe_world.routes if route.agency == "JCM"]:
        await mail.prober._process_result(mail.probe_world.result(route, begins - SECOND), route)
    await mail.run_for(MINUTE)
    env.expect_nothing_more()
    assert await env.active() == []


@pytest.mark.parametrize("lasts", [15 * MINUTE, 45 * MINUTE], ids=["well in time", "still down"])
async def test_maintenance_pauses_probing_and_end_resumes_it(env: SimulatedEnv, lasts: timedelta) -> None:
    """During maintenance nothing is probed; afterwards probing resumes."""
    add_phones(env, "JCM", "MDC")
    begins = BEGINNING + 20 * MINUTE
    mail = ScheduledEvaluationEnv(env, ["JCM", "MDC"], maintained(begins))
    await mail.prober.plan()
    await mail.run_for(20 * MINUTE - 10 * SECOND)
    mail.probed.clear()
    mail.probe_world.faults["JCM/utama"] = REFUSED
    await mail.run_for(15 * MINUTE)
    assert {route.agency for route in mail.probed if route.agency != ""} >= {"MDC"}
    before = sum(route.agency == "JCM" for route in mail.probed)
    if lasts < 30 * MINUTE:
        mail.probe_world.faults.clear()
    await mail.run_for(15 * MINUTE)
    assert sum(route.agency == "JCM" for route in mail.probed) == before
    env.expect_nothing_more()

    await mail.run_for(20 * MINUTE)
    assert sum(route.agency == "JCM" for route in mail.probed) > before
    if lasts > 30 * MINUTE:
        await env.person(officer(0)).gets("JCM-01")
    else:
        assert await env.active() == []
