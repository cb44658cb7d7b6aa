"""Incidents that a person closes, told as stories: what the probes see all the same opens nothing, and nobody is left waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from alerts.decide.silence import active_silence
from alerts.gateways.tray import LetterPlace
from alerts.model.event import MarkFalseAlarm, Release, Resolve
from alerts.model.incident import SUPPRESSION_PERIOD, Incident, IncidentState
from alerts.model.notification import IncidentType
from monitor.service.declarations import DeclarationService
from monitor.service.errors import OperationRejectedError
from monitor.store.schema.tables import audit_log
from tests.integration.alerts.test_declare_story import BY_ITSELF, ONLY_STAFF, TOLD_BY_SMS
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import MINUTE, SECOND, T0, trigger

pytestmark = pytest.mark.story

WHY = "probe rosak, e-mel sudah diuji"


async def closes(town: Town, *, recovered: bool | None, number: str = "JCM-01", by: str = "Ravi Contoh") -> Incident:
    declarer = DeclarationService(
        store=town.store_itself,
        dispatcher=town.dispatcher,
        clock=town.clock,
        agencies=lambda: ["JCM"],
        policy=lambda _: TOLD_BY_SMS,
        zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
        silence_lookup=active_silence,
        order_check=town.check,
    )
    after = await declarer.close(number, reason=WHY, by=by, recovered=recovered)
    await town.settle()
    return after


async def entries(town: Town, event: str) -> list[Any]:
    """Return who did something, and with which detail, by the journal."""
    async with town.database.read() as connection:
        rows = await connection.execute(select(audit_log).where(audit_log.c.event == event).order_by(audit_log.c.id))
        return [(row.actor, row.detail) for row in rows]


async def still_measured(town: Town) -> None:
    """Let the probes say again what they see: since before it was closed."""
    await town.submit(replace(trigger(IncidentType.BOTH, town.clock.now(), BY_ITSELF), began_at=T0))
    await town.settle()


async def test_a_measured_outage_is_closed_as_recovered_and_everybody_who_was_told_hears_so(either_town: Town) -> None:
    """An outage closed as recovered sends recoveries to all who were notified and withdraws letters."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), BY_ITSELF))
    await town.settle()
    await town.siti.gets("E-mel keluar dan masuk gagal", "JCM-01")
    await town.siti.replies("1A")
    await town.advance(10 * MINUTE)
    town.gets_fax("JCM-01")
    assert town.tray_letters(LetterPlace.TRAY) == 1

    town.arrives(IncidentType.SENDING, IncidentType.RECEIVING)
    after = await closes(town, recovered=True)
    assert after.state is IncidentState.RESOLVED
    await town.siti.gets("PULIH", "JCM-01")
    town.gets_fax("pulih", "JCM-01")
    # The letter that no clerk had posted lies in no tray, and needs no letter that it is over.
    town.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    assert town.tray_letters(LetterPlace.TRAY) == 0
    [(actor, detail)] = await entries(town, "incident closed")
    assert (actor, detail["why"], detail["recovered"], detail["measured"]) == ("Ravi Contoh", WHY, "yes", "both")


async def test_without_a_recovery_staff_hear_who_has_closed_it_and_nobody_outside_hears_anything(
    either_town: Town,
) -> None:
    """An outage closed as not recovered is reported to staff only, with who closed it."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), TOLD_BY_SMS))
    await town.advance(5 * MINUTE)
    await town.siti.gets("JCM-01")
    await town.ravi.gets("JCM-01")
    await town.submit(Release(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    await town.settle()
    town.gets_fax("JCM-01")

    await closes(town, recovered=False)
    for person in (town.siti, town.ravi):
        text = await person.gets("JCM-01 ditutup oleh Ravi Contoh", "Pemulihan TIDAK disahkan")
        assert "PULIH" not in text
    town.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    town.restart()
    await town.advance(timedelta(days=3))
    town.expect_nothing_more()
    assert await town.active() == []
    async with town.store.transaction() as uow:
        assert not [n for n in await uow.notifications(1) if n.state.value in {"pending", "sending"}]


async def test_what_the_probes_see_still_opens_nothing_for_a_day_and_then_it_does(either_town: Town) -> None:
    """What probes still measure opens no incident for a day after the closing, restarts included."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    await town.siti.gets("JCM-01")
    await closes(town, recovered=False)
    await town.siti.gets("ditutup")
    for _ in range(5):
        await town.advance(timedelta(hours=4))
        await still_measured(town)
        town.restart()
    town.expect_nothing_more()
    await town.advance(SUPPRESSION_PERIOD - timedelta(hours=20) + SECOND)
    await still_measured(town)
    await town.siti.gets("E-mel keluar dan masuk gagal", "JCM-02")
    await town.submit(Resolve(dedup_key="JCM", at=town.clock.now(), ended_at=town.clock.now()))
    await town.settle()
    await town.siti.gets("PULIH", "JCM-02")


async def test_when_the_probes_are_well_that_stands_in_the_record_and_what_fails_then_is_new(either_town: Town) -> None:
    """A recovery after the closing is recorded once; later failures open a new incident."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    await town.siti.gets("JCM-01")
    await closes(town, recovered=False)
    await town.siti.gets("ditutup")
    await town.advance(30 * MINUTE)
    for _ in range(2):
        await town.submit(Resolve(dedup_key="JCM", at=town.clock.now(), ended_at=town.clock.now()))
    town.expect_nothing_more()
    assert len(await entries(town, "outage measured no more")) == 1
    assert (await town.incident()).ended_at == town.clock.now()

    await town.advance(MINUTE)
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    await town.siti.gets("JCM-02")
    await town.submit(Resolve(dedup_key="JCM", at=town.clock.now(), ended_at=town.clock.now()))
    await town.settle()
    await town.siti.gets("PULIH")


async def test_two_who_close_it_at_once_close_it_once(either_town: Town) -> None:
    """Two concurrent closings close the incident once."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    await town.siti.gets("JCM-01")
    town.arrives(IncidentType.SENDING, IncidentType.RECEIVING)
    both = [closes(town, recovered=r, by=by) for r, by in ((True, "Siti Contoh"), (False, "Ravi Contoh"))]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Incident", "OperationRejectedError"]
    refused = next(each for each in done if isinstance(each, OperationRejectedError))
    by = "Ravi Contoh" if "Ravi Contoh" in str(refused) else "Siti Contoh"
    assert str(refused).startswith(f"{by} closed JCM-01 at 24/11")
    [(actor, _)] = await entries(town, "incident closed")
    assert actor == by
    await town.siti.gets("JCM-01")
    town.expect_nothing_more()


async def test_nothing_waits_any_more_for_a_release_that_was_offered(either_town: Town) -> None:
    """Closing withdraws the offer of a release."""
    town = either_town
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), TOLD_BY_SMS))
    await town.settle()
    await town.siti.gets("JCM-01")
    await town.siti.replies("1A")
    await closes(town, recovered=False)
    await town.siti.gets("ditutup oleh Ravi Contoh")
    await town.advance(timedelta(hours=2))
    await town.submit(Release(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    await town.settle()
    town.expect_nothing_more()


async def test_one_of_a_mass_outage_is_closed_and_leaves_the_bundle_that_waits(either_town: Town) -> None:
    """A closed incident leaves the waiting bundle of a mass outage."""
    town = either_town
    for code in ("JCM", "JKR", "JPA"):
        brief = replace(ONLY_STAFF, agency=code, office=replace(ONLY_STAFF.office, short=code))
        await town.submit(replace(trigger(IncidentType.BOTH, town.clock.now(), brief), dedup_key=code))
        await town.settle()
    await town.siti.gets("JCM-01")
    async with town.store_itself.reading() as uow:
        number = next(i.number for i in await uow.open_incidents() if i.dedup_key == "JKR")
    await closes(town, recovered=False, number=number)
    await town.advance(2 * MINUTE)
    assert "JKR" not in await town.siti.gets("JPA")
    await town.advance(3 * MINUTE)
    assert "JKR" not in await town.ravi.gets("JCM")
    await town.advance(2 * MINUTE)
    await town.ravi.gets("JPA")
    town.expect_nothing_more()


async def test_who_closes_a_false_alarm_too_soon_can_still_correct_it(town: Town) -> None:
    """A closed incident can still be marked as a false alarm."""
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    await town.siti.gets("JCM-01")
    await closes(town, recovered=False)
    await town.siti.gets("ditutup")
    await town.submit(MarkFalseAlarm(incident_id=1, at=town.clock.now(), by="Siti Contoh", reason="tiada gangguan"))
    await town.settle()
    await town.siti.gets("PEMBETULAN")
