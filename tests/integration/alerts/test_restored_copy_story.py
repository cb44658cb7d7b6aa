"""A store restored from an older copy: calls and SMS continue, paper waits for a person."""

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
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_engine_story import auditor_of, set_manual_status
from tests.integration.alerts.test_escalation_story import BY_SMS, OUTSIDE, told_by
from tests.unit.alerts.people import MINUTE, SECOND, trigger

pytestmark = pytest.mark.story

RESUME = ResumePaper(by="Siti Contoh", reason="looked at all letters with the clerk")
ANNOUNCED = told_by(BY_SMS, announcement=OUTSIDE)


def restorer_of(env: SimulatedEnv, directory: Path) -> RestoreGuard:
    (directory / "outside").mkdir(exist_ok=True)
    return RestoreGuard(
        store=env.real_store,
        state=directory / "outside",
        clock=env.clock,
        service="pantau@test",
        pool=env.pool,
        prefixes=lambda: {"JCM"},
        metrics=env.metrics,
        on_resume=env.dispatcher.wake,
    )


async def restore_older_copy(env: SimulatedEnv, directory: Path, numbers: int = 7, **pages: int) -> RestoreGuard:
    """Restore a store that is older than its high-water mark. *pages*: last page by incident, such as JCM_01=3."""
    restorer = restorer_of(env, directory)
    async with env.real_store.transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=env.clock.now(), actor="x", event="x"))
    await restorer.check()
    record_paper_numbers(
        directory, {"JCM": numbers}, {number.replace("_", "-"): page for number, page in pages.items()}
    )
    await restorer.check()
    return restorer


def record_paper_numbers(directory: Path, numbers: Mapping[str, int], pages: Mapping[str, int]) -> None:
    mark = directory / "outside" / FILE
    said = json.loads(mark.read_text())
    mark.write_text(
        json.dumps(said | {"number": said["number"] + 99, "hash": "ff", "numbers": numbers, "pages": pages})
    )


async def paused_paper(env: SimulatedEnv) -> dict[Channel, Notification]:
    return {n.channel: n for n in await env.notifications() if n.state is NotificationState.PENDING}


async def outage_with_paused_paper(env: SimulatedEnv) -> None:
    await env.submit(trigger(at=env.clock.now(), snapshot=ANNOUNCED))
    await env.siti.gets("AMARAN", "JCM-08")
    await env.release()
    await env.advance(5 * MINUTE)
    assert (await paused_paper(env)).keys() == {Channel.FAX, Channel.LETTER}


@dataclass(slots=True)
class Probes:
    """What the probes have seen of the agency since the start."""

    is_unseen: bool = True


async def restored(env: SimulatedEnv, directory: Path) -> Probes:
    """Restore a copy three hours later, and start."""
    probes = Probes()
    env.clock.moment += timedelta(hours=3)
    restorer = await restore_older_copy(env, directory)
    env.silence_lookup = restored_store_silence_lookup(
        active_silence, lambda: restorer.awaits_runs_since, lambda _: probes.is_unseen
    )
    env.restart()
    return probes


async def acknowledged_unreleased_outage(env: SimulatedEnv) -> None:
    await env.submit(trigger(at=env.clock.now(), snapshot=ANNOUNCED))
    await env.siti.gets("AMARAN", "JCM-01")
    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("1A")
    env.siti.presses(*["1"] * 9)


async def test_restored_copy_does_not_notify_of_outage_that_is_over(either_env: SimulatedEnv, tmp_path: Path) -> None:
    """A restored copy of the store notifies nobody of an outage that is over."""
    env = either_env
    await acknowledged_unreleased_outage(env)
    probes = await restored(env, tmp_path)
    for _ in range(9):
        await env.advance(MINUTE)
        env.expect_nothing_more()
    probes.is_unseen = False
    await env.resolve()
    await env.siti.gets("PULIH", "JCM-01")
    await env.advance(30 * MINUTE)


@pytest.mark.parametrize("after", [2, 10])
async def test_restored_copy_notifies_staff_after_first_evaluation_or_ten_minutes(
    env: SimulatedEnv, tmp_path: Path, after: int
) -> None:
    """After a restore staff are notified after the first evaluation, ten minutes later at the latest."""
    await acknowledged_unreleased_outage(env)
    probes = await restored(env, tmp_path)
    await env.advance(2 * MINUTE)
    probes.is_unseen = after == 10
    await env.advance((after - 2) * MINUTE - SECOND)
    env.expect_nothing_more()
    # It was offered before the copy was made: offers of other agencies are bundled with it.
    await env.advance(MINUTE + REPEAT_OFFER_DELAY)
    await env.siti.is_called("menunggu kebenaran", keys="1")


async def test_restored_copy_notifies_of_new_outage_at_once(env: SimulatedEnv, tmp_path: Path) -> None:
    """An outage that opens after a restore is notified at once."""
    await restored(env, tmp_path)
    await env.advance(MINUTE)
    await env.submit(trigger(at=env.clock.now(), snapshot=ANNOUNCED))
    await env.siti.gets("AMARAN")


async def test_restored_copy_sends_sms_and_calls_but_pauses_paper(either_env: SimulatedEnv, tmp_path: Path) -> None:
    """After a restore SMS and calls go out, paper waits, the NOC is told, and nothing is overdue."""
    env = either_env
    restorer = await restore_older_copy(env, tmp_path)
    await outage_with_paused_paper(env)
    auditor = auditor_of(env)
    for _ in range(2):
        await auditor.audit()
        await env.advance(3 * MINUTE)
    await env.noc.gets("AMARAN", "surat dan faks ditahan", "pantau paper status")
    # It waits for a person, and no step is overdue.
    assert env.value("pantau_escalation_overdue_seconds") == 0
    assert env.value("pantau_notification_oldest_pending_seconds") == 0
    assert env.value("pantau_paper_paused_timestamp_seconds") > 0

    await restorer.resume(RESUME)
    await env.settle()
    env.gets_fax("JCM-08")
    env.gets_letter("JCM-08")
    await auditor.audit()
    await env.settle()
    await env.noc.gets("SELESAI", "tidak lagi ditahan")
    assert env.value("pantau_paper_paused_timestamp_seconds") == 0


async def test_page_posted_before_restore_is_recorded_and_gets_recovery(
    either_env: SimulatedEnv, tmp_path: Path
) -> None:
    """A page that was posted before the restore is reported as posted, and its reader gets the recovery."""
    env = either_env
    restorer = await restore_older_copy(env, tmp_path)
    await outage_with_paused_paper(env)
    letter = (await paused_paper(env))[Channel.LETTER]

    await set_manual_status(env, letter.id, ManualStatus.DELIVERED)
    fax = (await paused_paper(env))[Channel.FAX]
    await set_manual_status(env, fax.id, ManualStatus.LOST)
    await restorer.resume(RESUME)
    await env.settle()
    assert not (await paused_paper(env)).keys() & ON_PAPER

    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_letter("pulih", "JCM-08")
    assert [n.facts.enclosure for n in await env.notifications() if n.channel is Channel.LETTER] == [1, 2]
    await env.advance(15 * MINUTE)
    await env.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")


async def test_restored_copy_numbers_pages_behind_those_on_paper(env: SimulatedEnv, tmp_path: Path) -> None:
    """After a restore new pages are numbered behind those on paper."""
    await env.submit(trigger(snapshot=ANNOUNCED))
    await env.siti.gets("AMARAN", "JCM-01")
    restorer = await restore_older_copy(env, tmp_path, JCM_01=3)
    await env.release()
    await env.settle()
    assert {n.facts.enclosure for n in (await paused_paper(env)).values()} == {4}

    # The pages are decided by then, and the clerk knows of more.
    await restorer.resume(replace(RESUME, after=["JCM-01/5"]))
    await env.settle()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    assert {n.facts.enclosure for n in await env.notifications() if n.channel in ON_PAPER} == {9}
    # The next page is behind them.
    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("pulih")
    assert {n.facts.enclosure for n in await env.notifications() if n.purpose is Purpose.RECOVERY} >= {10}


async def test_incident_number_found_on_paper_keeps_pages_apart(env: SimulatedEnv, tmp_path: Path) -> None:
    """A number found on paper later keeps the pages of both incidents apart."""
    restorer = await restore_older_copy(env, tmp_path)
    await env.advance(MINUTE)
    await outage_with_paused_paper(env)

    # It has got JCM-08, and then the clerk finds letters up to JCM-23.
    await restorer.resume(replace(RESUME, after=["JCM-23"]))
    await env.settle()

    env.gets_fax("JCM-08")
    env.gets_letter("JCM-08")
    assert {n.facts.enclosure for n in await env.notifications() if n.channel in ON_PAPER} == {101}


async def test_restored_copy_notifies_of_stored_outage_only_once_probed(env: SimulatedEnv, tmp_path: Path) -> None:
    """After a restore staff are notified of stored outages only once probes confirm them."""
    await env.submit(trigger(snapshot=ANNOUNCED))
    await env.siti.gets("AMARAN", "JCM-01")
    await env.later(timedelta(minutes=4))
    await restore_older_copy(env, tmp_path)

    # Another step was due a minute later.
    await env.advance(4 * MINUTE)
    env.expect_nothing_more()
    await env.resolve()
    await env.siti.gets("PULIH")
