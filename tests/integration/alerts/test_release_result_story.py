"""Reports to whoever released an announcement: delivered, failed and unposted pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.notification import Purpose
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from pantau_lab.faxservice.machine import FaxBehaviour
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.unit.alerts.people import FAX, LETTER, LONG, MINISTRY, MINUTE, OFFICE, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
WORK = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
BY_SMS = EscalationPolicy(
    steps=(Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),),
    rounds=1,
    repeat_interval=LONG,
    acknowledgement_timeout=LONG,
)
OTHER_FAX = Address(channel=Channel.FAX, number="+60300000333")


def of(agency: str, *addresses: Address) -> PolicySnapshot:
    recipients = [
        replace(MINISTRY, key=f"penerima-{n}", addresses=(address,)) for n, address in enumerate(addresses, 1)
    ]
    return replace(
        SNAPSHOT,
        agency=agency,
        office=replace(OFFICE, short=agency, name=f"Agensi {agency}"),
        escalation=BY_SMS,
        announcement=AnnouncementPlan(recipients=tuple(recipients), updates=WORK, follows_up=False),
    )


async def released(env: SimulatedEnv, *snapshots: PolicySnapshot, by: str = "Siti Contoh") -> None:
    """Open outages of agencies, and release the announcement of each."""
    for snapshot in snapshots:
        incident = await env.submit(trigger(at=env.clock.now(), snapshot=snapshot))
        assert incident is not None
    await env.advance(3 * MINUTE)
    await env.siti.gets("AMARAN")
    if len(snapshots) > 1:
        await env.siti.gets("AMARAN", f"{len(snapshots) - 1} agensi")
    for incident_id in await env.active():
        await env.release(incident_id, by)


async def test_release_with_undelivered_fax_is_reported_to_releaser(either_env: SimulatedEnv) -> None:
    """Whoever released is told once whom the announcement did not reach."""
    env = either_env
    env.fax_service.machine(OTHER_FAX.number).behaviour = FaxBehaviour.BUSY
    await released(env, of("JCM", FAX, OTHER_FAX))
    env.gets_fax("JCM-01")
    await env.advance(11 * HOUR)
    env.expect_nothing_more()
    await env.advance(90 * MINUTE)
    text = await env.siti.gets("HASIL", "JCM-01", "1 sampai, 1 TIDAK SAMPAI", "Kementerian Contoh (no. 0333)")
    assert len(text) <= 160
    await env.advance(48 * HOUR)  # No second report.


async def test_release_delivered_everywhere_is_reported_after_quarter_hour(env: SimulatedEnv) -> None:
    """Whoever released is told a quarter of an hour later that everything arrived."""
    await released(env, of("JCM", FAX))
    env.gets_fax("JCM-01")
    await env.advance(14 * MINUTE)
    env.expect_nothing_more()
    await env.advance(2 * MINUTE)
    assert "TIDAK SAMPAI" not in await env.siti.gets("HASIL", "1 sampai")


async def test_unposted_letter_is_reported_once_after_next_workday(env: SimulatedEnv) -> None:
    """Whoever released is told once of letters not posted after a workday."""
    await released(env, of("JCM", LETTER))
    env.gets_letter("JCM-01")
    await env.later(26 * HOUR)  # Wednesday, 16:15.
    env.expect_nothing_more()
    await env.later(HOUR)
    await env.advance(15 * MINUTE)
    await env.siti.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos")
    await env.later(72 * HOUR)


async def test_letter_posted_in_time_is_not_reported(env: SimulatedEnv) -> None:
    """Letters posted in time are not reported to whoever released them."""
    await released(env, of("JCM", LETTER))
    env.gets_letter("JCM-01")
    (letter,) = [n for n in await env.notifications() if n.channel is Channel.LETTER]
    await env.later(20 * HOUR)
    assert await env.posts(letter.id, "Kerani Contoh")
    await env.later(72 * HOUR)


async def test_forty_agencies_released_together_get_one_result(env: SimulatedEnv) -> None:
    """The results of forty agencies released together are one SMS."""
    agencies = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(40)]
    env.fax_service.machine(OTHER_FAX.number).behaviour = FaxBehaviour.DEAD
    snapshots = [of(agency, OTHER_FAX if agency == "AAC" else FAX) for agency in agencies]
    await released(env, *snapshots)
    await env.advance(30 * MINUTE)
    text = await env.siti.gets("HASIL notis luar", "39 sampai, 1 TIDAK SAMPAI: AAC")
    assert len(text) <= 160
    for _ in [*env.outside.faxes()]:
        env.gets_fax()


async def test_release_not_by_staff_is_not_reported_to_staff(env: SimulatedEnv) -> None:
    """The NOC gets the failures of an automatic release: `tests/unit/alerts/decide/test_auditor.py`. Staff get none."""
    env.fax_service.machine(FAX.number).behaviour = FaxBehaviour.DEAD
    await released(env, of("JCM", FAX), by="Pegawai Portal")
    await env.advance(14 * HOUR)
    assert not [n for n in await env.notifications() if n.purpose is Purpose.RESULT]
