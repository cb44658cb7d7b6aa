"""Stories of what whoever released an announcement hears of it: what arrived, whom it did not reach, what is not posted."""

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
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import BRIEF, FAX, LETTER, LONG, MINISTRY, MINUTE, OFFICE, SITI, trigger

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
        BRIEF,
        agency=agency,
        office=replace(OFFICE, short=agency, name=f"Agensi {agency}"),
        escalation=BY_SMS,
        announcement=AnnouncementPlan(recipients=tuple(recipients), updates=WORK, follows_up=False),
    )


async def released(town: Town, *briefs: PolicySnapshot, by: str = "Siti Contoh") -> None:
    """Let outages of agencies begin, and somebody release the announcement of each."""
    for brief in briefs:
        incident = await town.submit(trigger(at=town.clock.now(), brief=brief))
        assert incident is not None
    await town.advance(3 * MINUTE)
    await town.siti.gets("AMARAN")
    if len(briefs) > 1:
        await town.siti.gets("AMARAN", f"{len(briefs) - 1} agensi")
    for incident_id in await town.active():
        await town.release(incident_id, by)


async def test_release_whose_fax_never_gets_through_is_told_to_who_released_it(either_town: Town) -> None:
    """Whoever released is told once whom the announcement did not reach."""
    town = either_town
    town.fax_service.machine(OTHER_FAX.number).behaviour = FaxBehaviour.BUSY
    await released(town, of("JCM", FAX, OTHER_FAX))
    town.gets_fax("JCM-01")
    await town.advance(11 * HOUR)
    town.expect_nothing_more()
    await town.advance(90 * MINUTE)
    text = await town.siti.gets("HASIL", "JCM-01", "1 sampai, 1 TIDAK SAMPAI", "Kementerian Contoh (no. 0333)")
    assert len(text) <= 160
    await town.advance(48 * HOUR)  # Never again.


async def test_release_that_arrived_everywhere_is_told_a_quarter_of_an_hour_later(town: Town) -> None:
    """Whoever released is told a quarter of an hour later that everything arrived."""
    await released(town, of("JCM", FAX))
    town.gets_fax("JCM-01")
    await town.advance(14 * MINUTE)
    town.expect_nothing_more()
    await town.advance(2 * MINUTE)
    assert "TIDAK SAMPAI" not in await town.siti.gets("HASIL", "1 sampai")


async def test_letter_that_nobody_posts_is_told_once_at_the_end_of_the_next_workday(town: Town) -> None:
    """Whoever released is told once of letters not posted after a workday."""
    await released(town, of("JCM", LETTER))
    town.gets_letter("JCM-01")
    await town.later(26 * HOUR)  # Wednesday, a quarter past four.
    town.expect_nothing_more()
    await town.later(HOUR)
    await town.advance(15 * MINUTE)
    await town.siti.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos")
    await town.later(72 * HOUR)


async def test_letter_posted_in_time_is_told_nobody(town: Town) -> None:
    """Letters posted in time are not reported to whoever released them."""
    await released(town, of("JCM", LETTER))
    town.gets_letter("JCM-01")
    (letter,) = [n for n in await town.notifications() if n.channel is Channel.LETTER]
    await town.later(20 * HOUR)
    assert await town.posts(letter.id, "Kerani Contoh")
    await town.later(72 * HOUR)


async def test_forty_agencies_released_together_are_one_result_and_not_forty(town: Town) -> None:
    """The results of forty agencies released together are one SMS."""
    agencies = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(40)]
    town.fax_service.machine(OTHER_FAX.number).behaviour = FaxBehaviour.DEAD
    briefs = [of(agency, OTHER_FAX if agency == "AAC" else FAX) for agency in agencies]
    await released(town, *briefs)
    await town.advance(30 * MINUTE)
    text = await town.siti.gets("HASIL notis luar", "39 sampai, 1 TIDAK SAMPAI: AAC")
    assert len(text) <= 160
    for _ in [*town.outside.faxes()]:
        town.gets_fax()


async def test_release_by_nobody_of_the_staff_is_told_nobody_of_them(town: Town) -> None:
    """The NOC gets the failures of an automatic release: `tests/unit/alerts/decide/test_auditor.py`. Staff get none."""
    town.fax_service.machine(FAX.number).behaviour = FaxBehaviour.DEAD
    await released(town, of("JCM", FAX), by="Pegawai Portal")
    await town.advance(14 * HOUR)
    assert not [n for n in await town.notifications() if n.purpose is Purpose.RESULT]
