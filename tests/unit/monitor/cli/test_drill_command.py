"""`pantau drill`, beside a service that holds drills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from alerts.decide.drill import DrillState, drill_facts
from alerts.model.channel import Channel
from alerts.model.notification import Language
from monitor.drills.runner import DrillRunner
from monitor.store.engine.drills import Drill, DrillNotificationRecord
from monitor.web.command.drills import drill_commands
from tests.unit.alerts.people import MINUTE, OFFICE, T0
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.source import Service

DRILL = Drill(
    id=7, number="LATIH-07", requested_by="Ali Contoh", contact="all", starts_at=T0, ends_at=T0 + timedelta(hours=2)
)
NUMBER = "+60100000101"


def record(state: DrillState, why: str = "") -> DrillNotificationRecord:
    return DrillNotificationRecord(
        id=1,
        key="JCM/siti/voice/0/suara",
        drill_id=7,
        agency="JCM",
        contact="siti",
        name="Siti Contoh",
        channel=Channel.VOICE,
        number=NUMBER,
        extension="",
        gateway="suara",
        language=Language.MALAY,
        facts=drill_facts(OFFICE, Channel.VOICE, "LATIH-07", T0),
        reference="d1-1-0",
        state=state,
        reason=why,
        provider_id=None,
        started_at=T0,
        query_at=None,
        confirmed_at=T0 + MINUTE if state is DrillState.CONFIRMED else None,
    )


class School(DrillRunner):
    """What the service would answer."""

    def __init__(self, *records: DrillNotificationRecord) -> None:
        self.records = records
        self.asked: list[tuple[str, str]] = []

    async def start(
        self, contact: str, by: str, within: timedelta, *, after: int | None = None
    ) -> tuple[Drill, int] | None:
        self.asked.append((contact, by))
        return None if contact == "siapa" else (DRILL, 3)

    async def latest_results(self, drill_commands: int) -> Sequence[tuple[Drill, DrillNotificationRecord]]:
        return [(DRILL, each) for each in self.records]


async def said(office: IssuingOffice, school: School, *words: str) -> tuple[int, str]:
    async with office.open(Service(), drill_commands(school)):
        return await office.ask("drill", *words)


async def test_it_begins_a_drill_in_somebodys_name_and_says_where_the_results_are(office: IssuingOffice) -> None:
    school = School()
    code, text = await said(office, school, "siti", "--by", "Ali Contoh")
    assert (code, school.asked) == (0, [("siti", "Ali Contoh")])
    assert "Drill LATIH-07 has started: 3 notifications, until 24/11 16:15:00." in text
    assert "pantau drill results" in text


async def test_nobody_wakes_everybody_by_typing_too_little(office: IssuingOffice) -> None:
    school = School()
    assert await said(office, school) == (2, "name a contact: `pantau drill CONTACT`, or `pantau drill all`\n")
    assert school.asked == []
    assert (await said(office, school, "all"))[0] == 0
    assert [contact for contact, _ in school.asked] == ["all"]


async def test_nobody_of_that_name_is_said(office: IssuingOffice) -> None:
    code, text = await said(office, School(), "siapa")
    assert code == 1
    assert "there is nobody called 'siapa' to drill; write a contact's key, or all" in text


async def test_results_say_who_was_reached_and_tell_no_number(office: IssuingOffice) -> None:
    school = School(record(DrillState.CONFIRMED), record(DrillState.SKIPPED, "the office is closed"))
    code, text = await said(office, school, "results")
    assert code == 0
    assert school.asked == []
    assert "Siti Contoh" in text
    assert "24/11 14:16:00" in text
    assert "the office is closed" in text
    assert NUMBER not in text
    assert NUMBER[3:] not in text


async def test_before_the_first_there_is_nothing_to_show(office: IssuingOffice) -> None:
    assert (await said(office, School(), "results"))[1].strip() == "There have been no drills."
