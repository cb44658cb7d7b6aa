"""Agencies that leave the configuration while an incident of theirs is open, told as stories: closed, and never forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.gateways.tray import LetterPlace
from alerts.model.event import AUTOMATIC, Release, Resolve
from alerts.model.notification import IncidentType
from monitor.service.orphaned_incidents import CLOSING_DELAY, OrphanedIncidentCloser
from tests.integration.alerts.test_close_story import entries
from tests.integration.alerts.test_declare_story import ONLY_STAFF, TOLD_BY_SMS, declared
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import MINUTE, SECOND, T0, trigger

pytestmark = pytest.mark.story

LEFT = timedelta(seconds=30)


class Files:
    """Which agencies the files name; and who looks after those that are there no more."""

    def __init__(self, town: Town) -> None:
        self.known = {"JCM"}
        self._town = town
        self.start()
        town.go_round(LEFT, self.look)

    def start(self) -> None:
        town = self._town
        self.leaver = OrphanedIncidentCloser(
            store=town.store_itself,
            alerting=town.dispatcher,
            metrics=town.metrics,
            clock=town.clock,
            agencies=lambda: self.known,
        )

    async def look(self) -> None:
        await self.leaver.check()

    def take_out(self) -> None:
        self.known.clear()

    def restart(self) -> None:
        self._town.restart()
        self.start()


async def fails(town: Town) -> None:
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), TOLD_BY_SMS))
    await town.settle()
    await town.siti.gets("E-mel keluar dan masuk gagal", "JCM-01")


async def test_what_is_open_of_an_agency_that_leaves_is_closed_and_its_staff_hear_so(either_town: Town) -> None:
    """An open incident of a removed agency is closed after ten minutes, its staff are told, and letters are withdrawn."""
    town, files = either_town, Files(either_town)
    await fails(town)
    await town.submit(Release(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    await town.settle()
    town.gets_fax("JCM-01")
    await town.siti.replies("1A")
    files.take_out()
    await town.advance(LEFT)
    assert town.value("pantau_incidents_orphaned") == 1
    assert [(each.number, each.agency) for each in files.leaver.orphaned] == [("JCM-01", "JCM")]
    await town.advance(CLOSING_DELAY - MINUTE)
    assert await town.active() == [1]

    await town.advance(2 * MINUTE)
    text = await town.siti.gets("JCM-01 ditutup kerana e-mel tidak lagi dipantau", "Pemulihan TIDAK disahkan")
    assert "PULIH" not in text
    town.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    [(actor, detail)] = await entries(town, "incident closed")
    assert (actor, detail["why"]) == (AUTOMATIC, "its agency has left the configuration")
    assert (await town.active(), files.leaver.orphaned, town.value("pantau_incidents_orphaned")) == ([], [], 0)
    await town.advance(timedelta(hours=1))
    town.expect_nothing_more()


async def test_a_file_that_was_taken_away_by_mistake_and_put_back_changes_nothing(town: Town) -> None:
    """An agency file that is removed and restored changes nothing."""
    files = Files(town)
    await fails(town)
    await town.siti.replies("1A")
    files.take_out()
    await town.advance(CLOSING_DELAY - MINUTE)
    files.known.add("JCM")
    await town.advance(3 * MINUTE)
    files.take_out()
    await town.advance(CLOSING_DELAY - MINUTE)
    assert await town.active() == [1]
    files.known.add("JCM")
    await town.advance(LEFT)
    await town.submit(Resolve(dedup_key="JCM", at=town.clock.now(), ended_at=town.clock.now()))
    await town.settle()
    await town.siti.gets("PULIH")


async def test_a_start_in_between_forgets_nobody(either_town: Town) -> None:
    """A restart before the closing of a removed agency forgets nobody."""
    town, files = either_town, Files(either_town)
    await fails(town)
    await town.siti.replies("1A")
    files.take_out()
    await town.advance(CLOSING_DELAY - MINUTE)
    files.restart()
    await town.advance(CLOSING_DELAY - MINUTE)
    assert await town.active() == [1]
    await town.advance(2 * MINUTE)
    await town.siti.gets("ditutup")
    assert await town.active() == []


async def test_a_declared_outage_of_an_agency_that_leaves_is_closed_too(town: Town) -> None:
    """A declared outage of a removed agency is closed too."""
    files = Files(town)
    await declared(town, ONLY_STAFF)
    await town.siti.gets("diisytiharkan")
    await town.siti.replies("1A")
    files.take_out()
    await town.advance(CLOSING_DELAY + MINUTE)
    await town.siti.gets("ditutup kerana")


async def test_an_agency_that_comes_back_and_fails_still_is_a_new_incident(town: Town) -> None:
    """A removed agency that returns and still fails opens a new incident at once."""
    files = Files(town)
    await fails(town)
    await town.siti.replies("1A")
    files.take_out()
    await town.advance(CLOSING_DELAY + MINUTE)
    await town.siti.gets("ditutup kerana")
    files.known.add("JCM")
    await town.advance(SECOND)
    await town.submit(replace(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF), began_at=T0))
    await town.settle()
    await town.siti.gets("E-mel keluar dan masuk gagal", "JCM-02")
    await town.submit(Resolve(dedup_key="JCM", at=town.clock.now(), ended_at=town.clock.now()))
    await town.settle()
    await town.siti.gets("PULIH")
