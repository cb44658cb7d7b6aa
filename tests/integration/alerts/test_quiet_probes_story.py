"""Quiet when it should be, told as stories from the probe to the telephone: one failure, maintenance, faults of ours."""

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
from tests.integration.alerts.station import Station
from tests.integration.alerts.test_verdict_to_notice import NOC, MultiSiteDemo, Nothing
from tests.integration.alerts.town import Town, town_at
from tests.unit.alerts.people import (
    MINUTE,
    SECOND,
)
from tests.unit.monitor.trial import LOSES, PROBING, REFUSED, WRONG_PASSWORD
from tests.unit.monitor.trial import T0 as BEGINNING

pytestmark = pytest.mark.story


class Planned(MultiSiteDemo):
    """A country that is probed as the prober plans it, and whose results the prober takes in. No run takes any time."""

    def __init__(self, station: Station, agencies: list[str], watched: ProbingPolicy) -> None:
        super().__init__(station, agencies, watched)
        routes = {route.name: route for route in self.world.routes}
        self.prober = Prober(
            routes=routes,
            kind=cast(ProbeKind, None),
            signer=TokenSigner(b"x" * 32, "utama"),
            evaluator=self.pipeline._evaluator,
            pipeline=self.pipeline,
            history=cast(History, Nothing()),
            metrics=Metrics(version="0", now=station.clock.now),
            clock=station.clock,
            known_tokens={},
        )
        #: The routes that were probed.
        self.probed: list[MonitoredRoute] = []

    async def go_on(self, by: timedelta) -> None:
        """Let time pass, ten seconds at a time."""
        until = self.station.clock.moment + by
        while self.station.clock.moment < until:
            self.station.clock.moment += 10 * SECOND
            for name in self.prober._schedule.due(self.station.clock.now()):
                route = self.prober._routes[name]
                self.probed.append(route)
                await self.prober._process_result(self.world.result(route, self.station.clock.now()), route)
                await self.reporter.report()
                self.prober._plan_next(route)
            await self.station.settle()


def furnish(town: Town, *agencies: str) -> None:
    """Give each agency's officer and the operations centre a telephone."""
    for number in range(len(agencies)):
        town.moves_in(officer(number))
    town.moves_in(NOC.number)


@asynccontextmanager
async def country_at(place: Path, *agencies: str) -> AsyncIterator[tuple[Town, MultiSiteDemo]]:
    """Open a town whose agencies' mail is probed every minute, and is well. Each has an officer with a telephone."""
    async with town_at(place) as town:
        furnish(town, *agencies)
        country = MultiSiteDemo(town, list(agencies))
        await country.rounds(3)
        town.expect_nothing_more()
        yield town, country


def officer(number: int) -> str:
    """Return the number of the officer of an agency, by its place."""
    return f"+6010000{number:04}"


@pytest.fixture
async def country(tmp_path: Path) -> AsyncIterator[tuple[Town, MultiSiteDemo]]:
    async with country_at(tmp_path, "JCM", "MDC", "UCM") as opened:
        yield opened


async def test_one_failure_rings_nobody_nor_do_two_and_nobody_follows_a_single_probe_to_the_fax(
    country: tuple[Town, MultiSiteDemo],
) -> None:
    """One or two failed runs notify nobody, and nothing goes outside by itself."""
    town, mail = country
    for _ in range(2):
        mail.world.faults["JCM/utama"] = REFUSED
        await mail.rounds(2)
        town.expect_nothing_more()
        mail.world.faults.clear()
        await mail.rounds(2)
    town.expect_nothing_more()

    mail.world.faults["JCM/utama"] = REFUSED
    await mail.rounds(3)
    await town.person(officer(0)).gets("JCM-01")
    # For as long as nobody releases it nothing leaves the house.
    await mail.rounds(40)


async def test_what_fails_and_recovers_again_and_again_is_one_incident_that_stays_open(
    country: tuple[Town, MultiSiteDemo],
) -> None:
    """A flapping agency is one incident that stays open."""
    town, mail = country
    siti = town.person(officer(0))
    for _ in range(2):
        mail.world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await siti.gets("AMARAN", "JCM-0")
        mail.world.faults.clear()
        await mail.rounds(6)
        await siti.gets("PULIH", "JCM-0")
    mail.world.faults["JCM/utama"] = REFUSED
    await mail.rounds(4)
    await siti.gets("gagal berulang kali", "JCM-03")
    for _ in range(3):
        mail.world.faults.clear()
        await mail.rounds(6)
        mail.world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
    town.expect_nothing_more()
    assert await town.active() == [3]

    mail.world.faults.clear()
    await mail.rounds(130)
    await siti.gets("PULIH", "JCM-03")


async def test_what_is_down_for_five_minutes_in_every_twenty_five_is_told_three_times_until_it_has_been_quiet(
    country: tuple[Town, MultiSiteDemo],
) -> None:
    """Flapping of five minutes in 25 is notified three times until it is quiet."""
    town, mail = country
    siti = town.person(officer(0))
    for fall in range(12):
        mail.world.faults["JCM/utama"] = REFUSED
        await mail.rounds(5)
        if fall < 3:
            await siti.gets("AMARAN", f"JCM-0{fall + 1}")
        mail.world.faults.clear()
        await mail.rounds(20)
        if fall < 2:
            await siti.gets("PULIH", f"JCM-0{fall + 1}")
        town.expect_nothing_more()
    assert await town.active() == [3]

    # It is judged well after two good runs, and has to be quiet for two hours after that.
    await mail.rounds(95)
    town.expect_nothing_more()
    await mail.rounds(8)
    await siti.gets("PULIH", "JCM-03")


@pytest.mark.parametrize("cause", ["network", "reference/a", "credentials/a"])
async def test_a_cause_that_is_ours_is_told_to_the_noc_alone_and_its_end_too(
    country: tuple[Town, MultiSiteDemo], cause: str
) -> None:
    """A shared cause is one monitoring fault for the NOC only, with its end."""
    town, mail = country
    match cause:
        case "network":
            mail.world.cut_off = True
        case "reference/a":
            mail.world.faults["a"] = LOSES
        case _:
            mail.world.faults["a"] = WRONG_PASSWORD
    await mail.rounds(8)
    noc = town.person(NOC.number)
    await noc.gets("RM0 PANTAU: AMARAN. Sebahagian sistem pemantauan gagal", f": {cause}. Agensi tidak dimaklumkan")
    assert [(await town.incident(n)).dedup_key for n in await town.active()] == [f"ours/{cause}"]
    town.expect_nothing_more()

    mail.world.cut_off = False
    mail.world.faults.clear()
    await mail.rounds(8)
    await noc.gets("RM0 PANTAU: PULIH", f": {cause}.")


async def test_an_agency_that_fails_while_a_reference_is_dead_rings_its_own_officer_and_no_other(
    country: tuple[Town, MultiSiteDemo],
) -> None:
    """A dead reference hides no real outage of an agency."""
    town, mail = country
    mail.world.faults |= {"MDC/utama": REFUSED, "b": LOSES}
    await mail.rounds(8)

    await town.person(officer(1)).gets("MDC-01")
    await town.person(NOC.number).gets("RM0 PANTAU: AMARAN", ": reference/b.")


def maintained(begins: datetime) -> ProbingPolicy:
    """Return how an agency is probed that is worked on for half an hour."""
    work = OneTimeWindow(WindowOccurrence(begins, begins + 30 * MINUTE, "naik taraf pelayan"))
    return replace(PROBING, interval=MINUTE, hours=Hours(maintenance=(work,)))


async def test_what_was_under_way_when_maintenance_began_is_held_against_nobody(town: Town) -> None:
    """A run that maintenance interrupts counts against nobody."""
    furnish(town, "JCM", "MDC")
    begins = BEGINNING + 20 * MINUTE
    mail = Planned(town, ["JCM", "MDC"], maintained(begins))
    await mail.prober.plan()
    await mail.go_on(20 * MINUTE - 10 * SECOND)
    mail.world.faults["JCM/utama"] = REFUSED
    town.clock.moment = begins + 5 * SECOND
    for route in 3 * [route for route in mail.world.routes if route.agency == "JCM"]:
        await mail.prober._process_result(mail.world.result(route, begins - SECOND), route)
    await mail.go_on(MINUTE)
    town.expect_nothing_more()
    assert await town.active() == []


@pytest.mark.parametrize("lasts", [15 * MINUTE, 45 * MINUTE], ids=["well in time", "still down"])
async def test_in_maintenance_nothing_is_probed_or_held_against_anybody_and_afterwards_it_is(
    town: Town, lasts: timedelta
) -> None:
    """During maintenance nothing is probed; afterwards probing resumes."""
    furnish(town, "JCM", "MDC")
    begins = BEGINNING + 20 * MINUTE
    mail = Planned(town, ["JCM", "MDC"], maintained(begins))
    await mail.prober.plan()
    await mail.go_on(20 * MINUTE - 10 * SECOND)
    mail.probed.clear()
    mail.world.faults["JCM/utama"] = REFUSED
    await mail.go_on(15 * MINUTE)
    assert {route.agency for route in mail.probed if route.agency != ""} >= {"MDC"}
    before = sum(route.agency == "JCM" for route in mail.probed)
    if lasts < 30 * MINUTE:
        mail.world.faults.clear()
    await mail.go_on(15 * MINUTE)
    assert sum(route.agency == "JCM" for route in mail.probed) == before
    town.expect_nothing_more()

    await mail.go_on(20 * MINUTE)
    assert sum(route.agency == "JCM" for route in mail.probed) > before
    if lasts > 30 * MINUTE:
        await town.person(officer(0)).gets("JCM-01")
    else:
        assert await town.active() == []
