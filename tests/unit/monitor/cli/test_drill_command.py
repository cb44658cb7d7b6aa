"""`pantau drill` with a service that runs drills."""

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
from tests.unit.monitor.web.fake_service import Service

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


class DrillRunnerStub(DrillRunner):
    """A drill runner with fixed answers."""

    def __init__(self, *records: DrillNotificationRecord) -> None:
        self.records = records
        self.requests: list[tuple[str, str]] = []

    async def start(
        self, contact: str, by: str, within: timedelta, *, after: int | None = None
    ) -> tuple[Drill, int] | None:
        self.requests.append((contact, by))
        return None if contact == "siapa" else (DRILL, 3)

    async def latest_results(self, drill_commands: int) -> Sequence[tuple[Drill, DrillNotificationRecord]]:
        return [(DRILL, each) for each in self.records]


async def run_drill(office: IssuingOffice, stub: DrillRunnerStub, *words: str) -> tuple[int, str]:
    async with office.open(Service(), drill_commands(stub)):
        return await office.ask("drill", *words)


async def test_drill_starts_in_name_of_user_and_names_results_command(office: IssuingOffice) -> None:
    stub = DrillRunnerStub()
    code, text = await run_drill(office, stub, "siti", "--by", "Ali Contoh")
    assert (code, stub.requests) == (0, [("siti", "Ali Contoh")])
    assert "Drill LATIH-07 has started: 3 notifications, until 24/11 16:15:00." in text
    assert "pantau drill results" in text


async def test_drill_without_contact_is_refused(office: IssuingOffice) -> None:
    stub = DrillRunnerStub()
    assert await run_drill(office, stub) == (2, "name a contact: `pantau drill CONTACT`, or `pantau drill all`\n")
    assert stub.requests == []
    assert (await run_drill(office, stub, "all"))[0] == 0
    assert [contact for contact, _ in stub.requests] == ["all"]


async def test_drill_unknown_contact_is_reported(office: IssuingOffice) -> None:
    code, text = await run_drill(office, DrillRunnerStub(), "siapa")
    assert code == 1
    assert "there is nobody called 'siapa' to drill; write a contact's key, or all" in text


async def test_drill_results_show_who_was_reached_without_numbers(office: IssuingOffice) -> None:
    stub = DrillRunnerStub(record(DrillState.CONFIRMED), record(DrillState.SKIPPED, "the office is closed"))
    code, text = await run_drill(office, stub, "results")
    assert code == 0
    assert stub.requests == []
    assert "Siti Contoh" in text
    assert "24/11 14:16:00" in text
    assert "the office is closed" in text
    assert NUMBER not in text
    assert NUMBER[3:] not in text


async def test_drill_results_before_first_drill_are_empty(office: IssuingOffice) -> None:
    assert (await run_drill(office, DrillRunnerStub(), "results"))[1].strip() == "There have been no drills."
