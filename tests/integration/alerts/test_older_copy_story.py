"""Stories of a store that is an older copy: the telephone speaks, and paper waits for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.decide.bundle import REPEAT_OFFER_DELAY
from alerts.decide.silence import active_silence
from alerts.engine.manual_status import ManualStatus
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import Notification, NotificationState
from alerts.model.notification import Purpose
from alerts.persistence.store import AuditEntry
from monitor.service.paper.high_water_mark import FILE
from monitor.service.paper.restore_guard import RestoreGuard, ResumePaper
from monitor.service.silences import restored_store_silence_lookup
from tests.integration.alerts.test_engine_story import auditor_of, ruled
from tests.integration.alerts.test_escalation_story import BY_SMS, OUTSIDE, told_by
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import MINUTE, SECOND, trigger

pytestmark = pytest.mark.story

GO = ResumePaper(by="Siti Contoh", reason="looked at all letters with the clerk")
ANNOUNCED = told_by(BY_SMS, announcement=OUTSIDE)


def restorer_of(town: Town, directory: Path) -> RestoreGuard:
    (directory / "outside").mkdir(exist_ok=True)
    return RestoreGuard(
        store=town.store_itself,
        state=directory / "outside",
        clock=town.clock,
        service="pantau@test",
        pool=town.pool,
        prefixes=lambda: {"JCM"},
        metrics=town.metrics,
        on_resume=town.dispatcher.wake,
    )


async def becomes_an_older_copy(town: Town, directory: Path, numbers: int = 7, **pages: int) -> RestoreGuard:
    """Let the mark know more than the store. *pages*: the last page of each incident, such as JCM_01=3."""
    restorer = restorer_of(town, directory)
    async with town.store_itself.transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=town.clock.now(), actor="x", event="x"))
    await restorer.check()
    further(directory, {"JCM": numbers}, {number.replace("_", "-"): page for number, page in pages.items()})
    await restorer.check()
    return restorer


def further(directory: Path, numbers: Mapping[str, int], pages: Mapping[str, int]) -> None:
    mark = directory / "outside" / FILE
    said = json.loads(mark.read_text())
    mark.write_text(
        json.dumps(said | {"number": said["number"] + 99, "hash": "ff", "numbers": numbers, "pages": pages})
    )


async def waiting(town: Town) -> dict[Channel, Notification]:
    return {n.channel: n for n in await town.notifications() if n.state is NotificationState.PENDING}


async def an_outage_of_which_the_paper_waits(town: Town) -> None:
    await town.submit(trigger(at=town.clock.now(), brief=ANNOUNCED))
    await town.siti.gets("AMARAN", "JCM-08")
    await town.release()
    await town.advance(5 * MINUTE)
    assert (await waiting(town)).keys() == {Channel.FAX, Channel.LETTER}


@dataclass(slots=True)
class Probes:
    """What the probes of this life have seen of the agency."""

    is_unseen: bool = True


async def restored(town: Town, directory: Path) -> Probes:
    """Put a copy back three hours later, and start."""
    probes = Probes()
    town.clock.moment += timedelta(hours=3)
    restorer = await becomes_an_older_copy(town, directory)
    town.silence_lookup = restored_store_silence_lookup(
        active_silence, lambda: restorer.awaits_runs_since, lambda _: probes.is_unseen
    )
    town.restart()
    return probes


async def taken_on_and_not_released(town: Town) -> None:
    await town.submit(trigger(at=town.clock.now(), brief=ANNOUNCED))
    await town.siti.gets("AMARAN", "JCM-01")
    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("1A")
    town.siti.presses(*["1"] * 9)


async def test_restored_copy_rings_nobody_about_an_outage_that_is_over(either_town: Town, tmp_path: Path) -> None:
    """A restored copy of the store notifies nobody of an outage that is over."""
    town = either_town
    await taken_on_and_not_released(town)
    probes = await restored(town, tmp_path)
    for _ in range(9):
        await town.advance(MINUTE)
        town.expect_nothing_more()
    probes.is_unseen = False
    await town.resolve()
    await town.siti.gets("PULIH", "JCM-01")
    await town.advance(30 * MINUTE)


@pytest.mark.parametrize("after", [2, 10])
async def test_restored_copy_tells_staff_after_the_first_verdict_and_after_ten_minutes_at_the_latest(
    town: Town, tmp_path: Path, after: int
) -> None:
    """After a restore staff are notified after the first evaluation, ten minutes later at the latest."""
    await taken_on_and_not_released(town)
    probes = await restored(town, tmp_path)
    await town.advance(2 * MINUTE)
    probes.is_unseen = after == 10
    await town.advance((after - 2) * MINUTE - SECOND)
    town.expect_nothing_more()
    # It was offered before the copy was made: offers of other agencies are gathered with it.
    await town.advance(MINUTE + REPEAT_OFFER_DELAY)
    await town.siti.is_called("menunggu kebenaran", keys="1")


async def test_restored_copy_outage_that_opens_meanwhile_is_told_at_once(town: Town, tmp_path: Path) -> None:
    """An outage that opens after a restore is notified at once."""
    await restored(town, tmp_path)
    await town.advance(MINUTE)
    await town.submit(trigger(at=town.clock.now(), brief=ANNOUNCED))
    await town.siti.gets("AMARAN")


async def test_while_the_store_may_be_an_older_copy_the_telephone_speaks_and_paper_waits_for_a_person(
    either_town: Town, tmp_path: Path
) -> None:
    """After a restore SMS and calls go out, paper waits, the NOC is told, and nothing is overdue."""
    town = either_town
    restorer = await becomes_an_older_copy(town, tmp_path)
    await an_outage_of_which_the_paper_waits(town)
    auditor = auditor_of(town)
    for _ in range(2):
        await auditor.audit()
        await town.advance(3 * MINUTE)
    await town.noc.gets("AMARAN", "surat dan faks ditahan", "pantau paper status")
    # It waits for a person, and nothing of ours stands still.
    assert town.value("pantau_escalation_overdue_seconds") == 0
    assert town.value("pantau_notification_oldest_pending_seconds") == 0
    assert town.value("pantau_paper_paused_timestamp_seconds") > 0

    await restorer.resume(GO)
    await town.settle()
    town.gets_fax("JCM-08")
    town.gets_letter("JCM-08")
    await auditor.audit()
    await town.settle()
    await town.noc.gets("SELESAI", "tidak lagi ditahan")
    assert town.value("pantau_paper_paused_timestamp_seconds") == 0


async def test_a_page_that_was_posted_before_is_said_to_be_and_its_reader_gets_the_end_of_it(
    either_town: Town, tmp_path: Path
) -> None:
    """A page that was posted before the restore is reported as posted, and its reader gets the recovery."""
    town = either_town
    restorer = await becomes_an_older_copy(town, tmp_path)
    await an_outage_of_which_the_paper_waits(town)
    letter = (await waiting(town))[Channel.LETTER]

    await ruled(town, letter.id, ManualStatus.DELIVERED)
    fax = (await waiting(town))[Channel.FAX]
    await ruled(town, fax.id, ManualStatus.LOST)
    await restorer.resume(GO)
    await town.settle()
    assert not (await waiting(town)).keys() & ON_PAPER

    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_letter("pulih", "JCM-08")
    assert [n.facts.enclosure for n in await town.notifications() if n.channel is Channel.LETTER] == [1, 2]
    await town.advance(15 * MINUTE)
    await town.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")


async def test_pages_of_an_incident_that_is_open_in_the_copy_go_on_behind_those_on_paper(
    town: Town, tmp_path: Path
) -> None:
    """After a restore new pages are numbered behind those on paper."""
    await town.submit(trigger(brief=ANNOUNCED))
    await town.siti.gets("AMARAN", "JCM-01")
    restorer = await becomes_an_older_copy(town, tmp_path, JCM_01=3)
    await town.release()
    await town.settle()
    assert {n.facts.enclosure for n in (await waiting(town)).values()} == {4}

    # By then they are decided on, and the clerk knows of more.
    await restorer.resume(replace(GO, after=["JCM-01/5"]))
    await town.settle()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    assert {n.facts.enclosure for n in await town.notifications() if n.channel in ON_PAPER} == {9}
    # The next one behind them.
    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("pulih")
    assert {n.facts.enclosure for n in await town.notifications() if n.purpose is Purpose.RECOVERY} >= {10}


async def test_an_outage_whose_number_turns_up_on_paper_has_pages_that_are_apart_from_those(
    town: Town, tmp_path: Path
) -> None:
    """A number found on paper later keeps the pages of both incidents apart."""
    restorer = await becomes_an_older_copy(town, tmp_path)
    await town.advance(MINUTE)
    await an_outage_of_which_the_paper_waits(town)

    # It has got JCM-08, and then the clerk finds letters up to JCM-23.
    await restorer.resume(replace(GO, after=["JCM-23"]))
    await town.settle()

    town.gets_fax("JCM-08")
    town.gets_letter("JCM-08")
    assert {n.facts.enclosure for n in await town.notifications() if n.channel in ON_PAPER} == {101}


async def test_of_what_the_copy_believes_staff_are_told_only_once_the_probes_have_looked(
    town: Town, tmp_path: Path
) -> None:
    """After a restore staff are notified of stored outages only once probes confirm them."""
    await town.submit(trigger(brief=ANNOUNCED))
    await town.siti.gets("AMARAN", "JCM-01")
    await town.later(timedelta(minutes=4))
    await becomes_an_older_copy(town, tmp_path)

    # Another step was due a minute later.
    await town.advance(4 * MINUTE)
    town.expect_nothing_more()
    await town.resolve()
    await town.siti.gets("PULIH")
