"""Agencies that leave the configuration while they have an open incident."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.gateways.tray import LetterPlace
from alerts.model.event import AUTOMATIC, Release, Resolve
from alerts.model.notification import IncidentType
from monitor.service.orphaned_incidents import CLOSING_DELAY, OrphanedIncidentCloser
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_close_story import entries
from tests.integration.alerts.test_declare_story import ONLY_STAFF, TOLD_BY_SMS, declare_outage
from tests.unit.alerts.people import MINUTE, SECOND, T0, trigger

pytestmark = pytest.mark.story

LEFT = timedelta(seconds=30)


class AgencyFiles:
    """The agencies of the configuration, and the closer of incidents of removed ones."""

    def __init__(self, env: SimulatedEnv) -> None:
        self.known = {"JCM"}
        self._town = env
        self.start()
        env.run_every(LEFT, self.check_removed)

    def start(self) -> None:
        env = self._town
        self.leaver = OrphanedIncidentCloser(
            store=env.real_store,
            alerting=env.dispatcher,
            metrics=env.metrics,
            clock=env.clock,
            agencies=lambda: self.known,
        )

    async def check_removed(self) -> None:
        await self.leaver.check()

    def remove_agency(self) -> None:
        self.known.clear()

    def restart(self) -> None:
        self._town.restart()
        self.start()


async def open_outage(env: SimulatedEnv) -> None:
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), TOLD_BY_SMS))
    await env.settle()
    await env.siti.gets("E-mel keluar dan masuk gagal", "JCM-01")


async def test_incident_of_removed_agency_is_closed_and_staff_told(either_env: SimulatedEnv) -> None:
    """An incident of a removed agency is closed after ten minutes: staff are told, letters withdrawn."""
    env, files = either_env, AgencyFiles(either_env)
    await open_outage(env)
    await env.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.settle()
    env.gets_fax("JCM-01")
    await env.siti.replies("1A")
    files.remove_agency()
    await env.advance(LEFT)
    assert env.value("pantau_incidents_orphaned") == 1
    assert [(each.number, each.agency) for each in files.leaver.orphaned] == [("JCM-01", "JCM")]
    await env.advance(CLOSING_DELAY - MINUTE)
    assert await env.active() == [1]

    await env.advance(2 * MINUTE)
    text = await env.siti.gets("JCM-01 ditutup kerana e-mel tidak lagi dipantau", "Pemulihan TIDAK disahkan")
    assert "PULIH" not in text
    env.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    [(actor, detail)] = await entries(env, "incident closed")
    assert (actor, detail["why"]) == (AUTOMATIC, "its agency has left the configuration")
    assert (await env.active(), files.leaver.orphaned, env.value("pantau_incidents_orphaned")) == ([], [], 0)
    await env.advance(timedelta(hours=1))
    env.expect_nothing_more()


async def test_restored_agency_file_changes_nothing(env: SimulatedEnv) -> None:
    """An agency file that is removed and restored changes nothing."""
    files = AgencyFiles(env)
    await open_outage(env)
    await env.siti.replies("1A")
    files.remove_agency()
    await env.advance(CLOSING_DELAY - MINUTE)
    files.known.add("JCM")
    await env.advance(3 * MINUTE)
    files.remove_agency()
    await env.advance(CLOSING_DELAY - MINUTE)
    assert await env.active() == [1]
    files.known.add("JCM")
    await env.advance(LEFT)
    await env.submit(Resolve(dedup_key="JCM", at=env.clock.now(), ended_at=env.clock.now()))
    await env.settle()
    await env.siti.gets("PULIH")


async def test_restart_before_closing_of_removed_agency_still_closes(either_env: SimulatedEnv) -> None:
    """A restart before the closing of a removed agency forgets nobody."""
    env, files = either_env, AgencyFiles(either_env)
    await open_outage(env)
    await env.siti.replies("1A")
    files.remove_agency()
    await env.advance(CLOSING_DELAY - MINUTE)
    files.restart()
    await env.advance(CLOSING_DELAY - MINUTE)
    assert await env.active() == [1]
    await env.advance(2 * MINUTE)
    await env.siti.gets("ditutup")
    assert await env.active() == []


async def test_declared_outage_of_removed_agency_is_closed(env: SimulatedEnv) -> None:
    """A declared outage of a removed agency is closed too."""
    files = AgencyFiles(env)
    await declare_outage(env, ONLY_STAFF)
    await env.siti.gets("diisytiharkan")
    await env.siti.replies("1A")
    files.remove_agency()
    await env.advance(CLOSING_DELAY + MINUTE)
    await env.siti.gets("ditutup kerana")


async def test_returning_agency_still_failing_opens_new_incident(env: SimulatedEnv) -> None:
    """A removed agency that returns and still fails opens a new incident at once."""
    files = AgencyFiles(env)
    await open_outage(env)
    await env.siti.replies("1A")
    files.remove_agency()
    await env.advance(CLOSING_DELAY + MINUTE)
    await env.siti.gets("ditutup kerana")
    files.known.add("JCM")
    await env.advance(SECOND)
    await env.submit(replace(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF), began_at=T0))
    await env.settle()
    await env.siti.gets("E-mel keluar dan masuk gagal", "JCM-02")
    await env.submit(Resolve(dedup_key="JCM", at=env.clock.now(), ended_at=env.clock.now()))
    await env.settle()
    await env.siti.gets("PULIH")
