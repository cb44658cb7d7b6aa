"""`pantau on-call` and `pantau override` with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from alerts.model.oncall import Override
from monitor.config.fields.window import MALAYSIA
from monitor.config.loading import load
from monitor.metrics import Metrics
from monitor.service.oncall import OnCall
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log, drill, drill_notification
from monitor.web.command.oncall import on_call_commands
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.web.fake_service import Service

#: A Wednesday in a week in which the example rota has Ali.
NOON = datetime(2026, 12, 2, 12, 0, tzinfo=MALAYSIA)


class Clock:
    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment


class OnCallFixture:
    """A service on the control socket of an office."""

    def __init__(self, office: IssuingOffice, database: Database) -> None:
        self.clock = Clock()
        self.database = database
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.configuration = load(office.config, ENVIRON).require_configuration()
        for agency in self.configuration.registry.agencies:
            self.metrics.register_agency(agency, routes=())
        self.duty = OnCall(
            store=SqlStore(database),
            metrics=self.metrics,
            clock=self.clock,
            configuration=lambda: self.configuration,
        )

    async def current_overrides(self) -> list[Override]:
        return list(await self.duty.overrides())

    async def audit_events(self) -> list[tuple[str, str]]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(audit_log.c.actor, audit_log.c.event).order_by(audit_log.c.id))
            return [(row.actor, row.event) for row in rows]

    def shown(self, metric: str) -> list[str]:
        lines = self.metrics.render().decode().splitlines()
        return [line.removeprefix("pantau_") for line in lines if line.startswith(f"pantau_{metric}")]


@pytest.fixture
async def on_call_service(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[OnCallFixture]:
    async with Database.open(tmp_path / "store") as database:
        on_call_service = OnCallFixture(office, database)
        async with office.open(Service(), on_call_commands(on_call_service.duty)):
            yield on_call_service


ADD_OVERRIDE = ("override", "add", "JCONTOH/bertugas", "siti", "--until", "2026-12-03 08:00", "--by", "Pegawai Contoh")


async def test_on_call_shows_current_and_next_person_with_numbers(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    code, output = await office.ask("on-call", "jcontoh")

    assert code == 0
    assert output.splitlines() == [
        "JCONTOH/bertugas on Wed 02/12/2026 12:00",
        "  Ali bin Contoh (ali) until Sun 06/12/2026 08:00",
        "    SMS  010-000 0102, never verified",
        "    call 010-000 0102, never verified",
        "    call 03-0000 0102 ext. 102, never verified",
        "  then Siti binti Contoh (siti)",
    ]
    assert max(len(line) for line in output.splitlines()) <= 80


async def test_on_call_at_other_time_marks_closed_office_numbers(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    _, output = await office.ask("on-call", "JCONTOH", "--at", "2026-12-03 22:00")

    assert "JCONTOH/bertugas on Thu 03/12/2026 22:00" in output
    assert "    call 03-0000 0102 ext. 102, office closed, never verified" in output


async def test_on_call_shows_gaps(office: IssuingOffice, on_call_service: OnCallFixture) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    rest = "      - {days: rest, every: daily, from: 2026-01-03, people: [ali, siti]}\n"
    assert rest in file.read_text()
    file.write_text(file.read_text().replace(rest, ""))
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()

    _, now = await office.ask("on-call", "JCONTOH")
    _, saturday = await office.ask("on-call", "JCONTOH", "--at", "2026-12-05T12:00+08:00")

    assert now.splitlines()[-2:] == ["  then NOBODY", "  gap: nobody from Sat 05/12/2026 08:00 to Mon 07/12/2026 08:00"]
    assert "  NOBODY is on call until Mon 07/12/2026 08:00" in saturday


async def test_on_call_agency_without_rotas_points_to_contacts(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    code, output = await office.ask("on-call", "MPCONTOH")

    assert (code, output.strip()) == (
        0,
        "MPCONTOH's escalation policy has no rota: its file names the contacts of each step.",
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("on-call", "LAIN"), "there is no agency LAIN; agencies: JCONTOH, MPCONTOH"),
        (("on-call", "--at", "tomorrow"), "'tomorrow' is no date with a time; write 2026-12-01 22:00"),
        (("on-call", "--at", "9999-12-31 22:00"), "'9999-12-31 22:00' is too far from now; write 2026-12-01 22:00"),
        (("on-call", "--at", "0001-01-01 00:00"), "'0001-01-01 00:00' is too far from now; write 2026-12-01 22:00"),
        (
            ("override", "add", "JCONTOH/lain", "siti", "--until", "2026-12-03 08:00"),
            "there is no rota JCONTOH/lain; rotas: JCONTOH/bertugas",
        ),
        (
            ("override", "add", "JCONTOH/bertugas", "mei", "--until", "2026-12-03 08:00"),
            "JCONTOH/bertugas has no contact mei; contacts: pegawai-bertugas, siti, ali",
        ),
        (
            ("override", "add", "JCONTOH/bertugas", "siti", "--until", "2026-12-02 11:59"),
            "an override ends after its start and after now, and lasts 92 days at most",
        ),
        (
            ("override", "add", "JCONTOH/bertugas", "siti", "--until", "2027-12-03 08:00"),
            "an override ends after its start and after now, and lasts 92 days at most",
        ),
        (("override", "remove", "7"), "there is no current override 7; `pantau override list` lists them"),
    ],
)
async def test_on_call_and_override_invalid_arguments_are_refused(
    office: IssuingOffice, on_call_service: OnCallFixture, words: tuple[str, ...], expected: str
) -> None:
    code, output = await office.ask(*words)

    assert (code, output.strip()) == (1, expected)
    assert await on_call_service.current_overrides() == []


async def test_override_remove_number_out_of_range_is_refused(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    code, output = await office.ask("override", "remove", "9" * 20)

    assert (code, output.startswith("number: Input should be less than")) == (2, True)


async def test_override_changes_on_call_until_removed(office: IssuingOffice, on_call_service: OnCallFixture) -> None:
    _, made = await office.ask(*ADD_OVERRIDE)
    _, during = await office.ask("on-call", "JCONTOH")
    _, listed = await office.ask("override", "list")
    _, gone = await office.ask("override", "remove", "1", "--by", "Siti Contoh")
    _, after = await office.ask("on-call", "JCONTOH")

    tell = "Pantau does not notify anybody of this: inform Siti binti Contoh (siti) and Ali bin Contoh (ali)."
    stands = "Siti binti Contoh (siti) is on call for JCONTOH/bertugas from 02/12/2026 12:00 until 03/12/2026 08:00"
    assert made.splitlines()[-2:] == [f"{stands}: override 1.", tell]
    assert "  Siti binti Contoh (siti) until Thu 03/12/2026 08:00\n    by an override of Pegawai Contoh\n" in during
    assert listed.splitlines()[1].split() == [
        *("1", "JCONTOH/bertugas", "siti", "02/12", "12:00", "03/12", "08:00", "Pegawai", "Contoh")
    ]
    assert gone.splitlines()[-2:] == ["Override 1 of JCONTOH/bertugas is removed.", tell]
    assert "  Ali bin Contoh (ali) until Sun 06/12/2026 08:00" in after
    assert await on_call_service.audit_events() == [
        ("Pegawai Contoh", "override made"),
        ("Siti Contoh", "override taken back"),
    ]


async def test_on_call_metrics_follow_override_at_once(office: IssuingOffice, on_call_service: OnCallFixture) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    file.write_text(file.read_text().replace("{days: rest, every: daily", "{days: workdays, every: daily"))
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()

    await office.ask(
        "override", "add", "JCONTOH/bertugas", "siti", "--from", "2026-12-05 08:00", "--until", "2026-12-06 08:00"
    )

    # The second day of the weekend is still a gap.
    assert on_call_service.shown("on_call_gap_seconds") == [
        'on_call_gap_seconds{agency="JCONTOH",rota="bertugas"} 86400'
    ]
    assert on_call_service.shown("on_call{") == ['on_call{agency="JCONTOH",rota="bertugas"} 1']


async def test_contact_numbers_unverified_counts_each_number_once(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    text = file.read_text().replace("{mobile: 010-000 0102}", "{mobile: 010-000 0102, verified: 2026-11-01}")
    file.write_text(text)
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()

    await office.ask(*ADD_OVERRIDE)
    before = on_call_service.shown("contact_numbers_unverified")
    on_call_service.clock.moment += timedelta(days=181)
    await office.ask(*ADD_OVERRIDE[:5], "2027-06-05 08:00")
    after = on_call_service.shown("contact_numbers_unverified")

    # Siti's only number (SMS and calls) and Ali's desk number; later Ali's mobile number as well.
    assert 'contact_numbers_unverified{agency="JCONTOH"} 2' in before
    assert 'contact_numbers_unverified{agency="JCONTOH"} 3' in after


async def confirm_in_drill(on_call_service: OnCallFixture, number: str, at: datetime) -> None:
    async with on_call_service.database.write() as connection:
        row = {"key": "d", "number": "", "requested_by": "Siti", "contact": "all", "starts_at": at, "ends_at": at}
        await connection.execute(insert(drill).values(id=1, **row))
        texts = dict.fromkeys(("agency", "name", "extension", "gateway", "facts", "state", "reason"), "")
        audit_events = {"key": "e", "contact": "ali", "channel": "voice", "language": "ms-MY", "reference": "r"}
        await connection.execute(
            insert(drill_notification).values(
                drill_id=1, number=number, started_at=at, confirmed_at=at, **texts, **audit_events
            )
        )


async def test_on_call_number_confirmed_in_drill_is_verified(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    """Only a call that was confirmed by key verifies the number; an answered call does not."""
    await confirm_in_drill(on_call_service, "+60100000102", NOON - timedelta(days=2))

    _, output = await office.ask("on-call", "JCONTOH")
    await office.ask(*ADD_OVERRIDE)

    assert "    call 010-000 0102, verified 2026-11-30\n    call 03-0000 0102 ext. 102, never verified\n" in output
    assert 'contact_numbers_unverified{agency="JCONTOH"} 2' in on_call_service.shown("contact_numbers_unverified")


async def test_override_in_repeated_hour_covers_both_passes(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    text = office.config.read_text()
    office.config.write_text(text.replace("# time_zone: Asia/Kuala_Lumpur", "time_zone: Europe/London"))
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()
    on_call_service.clock.moment = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)

    await office.ask(
        *ADD_OVERRIDE[:4], "--from", "2026-10-25 01:15", "--until", "2026-10-25 01:45", "--by", "Pegawai Contoh"
    )

    (made,) = await on_call_service.current_overrides()
    assert (made.starts_at, made.ends_at) == (
        datetime(2026, 10, 25, 0, 15, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 45, tzinfo=UTC),
    )


def edit(office: IssuingOffice, before: str, after: str) -> None:
    path = office.directory / "agencies" / "jabatan-contoh.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.blind
async def test_override_follows_edited_number_at_start_and_ends_with_removed_person(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    """Defect: An override keeps an old number after an edit.

    Pantau: Overrides follow the edit.
    """
    with_zara = "  zara:\n    name: Zara binti Contoh\n    sms: 010-000 0144\n\nrotas:\n"
    edit(office, "rotas:\n", with_zara)
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()
    await on_call_service.duty.add(
        rota="JCONTOH/bertugas", person="zara", begins="", ends="2026-12-03 08:00", by="Pegawai"
    )
    edit(office, "sms: 010-000 0144", "sms: 010-000 0155")
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()
    assert await on_call_service.duty.adapt_overrides(), "at a start"
    assert [a.number for o in await on_call_service.current_overrides() for a in o.contact.addresses] == [
        "+60100000155"
    ]
    assert not await on_call_service.duty.adapt_overrides(), "nothing was edited"

    edit(office, with_zara.replace("0144", "0155"), "rotas:\n")
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()
    assert await on_call_service.duty.adapt_overrides()
    assert await on_call_service.current_overrides() == []
    assert (await on_call_service.audit_events())[-1] == ("configuration", "override taken back")


async def test_override_of_contact_never_configured_here_stays_at_start(
    office: IssuingOffice, on_call_service: OnCallFixture
) -> None:
    await on_call_service.duty.add(
        rota="JCONTOH/bertugas", person="siti", begins="", ends="2026-12-03 08:00", by="Pegawai"
    )
    text = (office.directory / "agencies" / "jabatan-contoh.yaml").read_text()
    edit(office, text, text.replace("siti", "aminah"))
    on_call_service.configuration = load(office.config, ENVIRON).require_configuration()
    assert not await on_call_service.duty.adapt_overrides()
    assert [o.contact.key for o in await on_call_service.current_overrides()] == ["siti"]
