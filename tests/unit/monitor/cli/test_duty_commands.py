"""`pantau on-call` and `pantau override`, on a real store."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log, drill, drill_notification
from monitor.web.command.oncall import on_call_commands
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.web.source import Service

#: A Wednesday. By the sample it is Ali's week.
NOON = datetime(2026, 12, 2, 12, 0, tzinfo=MALAYSIA)


class Clock:
    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment


class ProbingRuntime:
    """A service that answers on the control socket of an office."""

    def __init__(self, office: IssuingOffice, database: Database) -> None:
        self.clock = Clock()
        self.database = database
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.configuration = load(office.config, ENVIRON).accepted()
        for agency in self.configuration.registry.agencies:
            self.metrics.register_agency(agency, routes=())
        self.duty = OnCall(
            store=SqlStore(database),
            metrics=self.metrics,
            clock=self.clock,
            configuration=lambda: self.configuration,
        )

    async def standing(self) -> list[Override]:
        return list(await self.duty.overrides())

    async def told(self) -> list[tuple[str, str]]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(audit_log.c.actor, audit_log.c.event).order_by(audit_log.c.id))
            return [(row.actor, row.event) for row in rows]

    def shown(self, metric: str) -> list[str]:
        lines = self.metrics.render().decode().splitlines()
        return [line.removeprefix("pantau_") for line in lines if line.startswith(f"pantau_{metric}")]


@pytest.fixture
async def watch(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[ProbingRuntime]:
    async with Database.open(tmp_path / "store") as database:
        watch = ProbingRuntime(office, database)
        async with office.open(Service(), on_call_commands(watch.duty)):
            yield watch


SWAP = ("override", "add", "JCONTOH/bertugas", "siti", "--until", "2026-12-03 08:00", "--by", "Pegawai Contoh")


async def test_it_shows_who_is_on_call_and_who_comes_next_by_which_numbers(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    code, said = await office.ask("on-call", "jcontoh")

    assert code == 0
    assert said.splitlines() == [
        "JCONTOH/bertugas on Wed 02/12/2026 12:00",
        "  Ali bin Contoh (ali) until Sun 06/12/2026 08:00",
        "    SMS  010-000 0102, never verified",
        "    call 010-000 0102, never verified",
        "    call 03-0000 0102 ext. 102, never verified",
        "  then Siti binti Contoh (siti)",
    ]
    assert max(len(line) for line in said.splitlines()) <= 80


async def test_it_shows_another_time_and_which_numbers_do_not_answer_then(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    _, said = await office.ask("on-call", "JCONTOH", "--at", "2026-12-03 22:00")

    assert "JCONTOH/bertugas on Thu 03/12/2026 22:00" in said
    assert "    call 03-0000 0102 ext. 102, office closed, never verified" in said


async def test_it_says_when_nobody_is_on_call(office: IssuingOffice, watch: ProbingRuntime) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    rest = "      - {days: rest, every: daily, from: 2026-01-03, people: [ali, siti]}\n"
    assert rest in file.read_text()
    file.write_text(file.read_text().replace(rest, ""))
    watch.configuration = load(office.config, ENVIRON).accepted()

    _, now = await office.ask("on-call", "JCONTOH")
    _, saturday = await office.ask("on-call", "JCONTOH", "--at", "2026-12-05T12:00+08:00")

    assert now.splitlines()[-2:] == ["  then NOBODY", "  gap: nobody from Sat 05/12/2026 08:00 to Mon 07/12/2026 08:00"]
    assert "  NOBODY is on call until Mon 07/12/2026 08:00" in saturday


async def test_an_agency_without_rotas_says_where_its_people_stand(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    code, said = await office.ask("on-call", "MPCONTOH")

    assert (code, said.strip()) == (
        0,
        "MPCONTOH's escalation policy has no rota: its file names the contacts of each step.",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("on-call", "LAIN"), "there is no agency LAIN; there are JCONTOH, MPCONTOH"),
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
async def test_what_makes_no_sense_is_refused_in_words(
    office: IssuingOffice, watch: ProbingRuntime, words: tuple[str, ...], said: str
) -> None:
    code, output = await office.ask(*words)

    assert (code, output.strip()) == (1, said)
    assert await watch.standing() == []


async def test_a_number_that_no_store_gives_is_refused(office: IssuingOffice, watch: ProbingRuntime) -> None:
    code, said = await office.ask("override", "remove", "9" * 20)

    assert (code, said.startswith("number: Input should be less than")) == (2, True)


async def test_an_override_puts_somebody_on_call_until_it_is_taken_back(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    _, made = await office.ask(*SWAP)
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
    assert await watch.told() == [("Pegawai Contoh", "override made"), ("Siti Contoh", "override taken back")]


async def test_the_numbers_for_prometheus_follow_an_override_at_once(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    file.write_text(file.read_text().replace("{days: rest, every: daily", "{days: workdays, every: daily"))
    watch.configuration = load(office.config, ENVIRON).accepted()

    await office.ask(
        "override", "add", "JCONTOH/bertugas", "siti", "--from", "2026-12-05 08:00", "--until", "2026-12-06 08:00"
    )

    # The other day of the weekend stays.
    assert watch.shown("on_call_gap_seconds") == ['on_call_gap_seconds{agency="JCONTOH",rota="bertugas"} 86400']
    assert watch.shown("on_call{") == ['on_call{agency="JCONTOH",rota="bertugas"} 1']


async def test_numbers_that_nobody_has_verified_are_counted_each_once(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    text = file.read_text().replace("{mobile: 010-000 0102}", "{mobile: 010-000 0102, verified: 2026-11-01}")
    file.write_text(text)
    watch.configuration = load(office.config, ENVIRON).accepted()

    await office.ask(*SWAP)
    before = watch.shown("contact_numbers_unverified")
    watch.clock.moment += timedelta(days=181)
    await office.ask(*SWAP[:5], "2027-06-05 08:00")
    after = watch.shown("contact_numbers_unverified")

    # Siti's one number, which is for SMS and calls, and Ali's desk; then Ali's mobile as well.
    assert 'contact_numbers_unverified{agency="JCONTOH"} 2' in before
    assert 'contact_numbers_unverified{agency="JCONTOH"} 3' in after


async def answered_in_a_drill(watch: ProbingRuntime, number: str, at: datetime) -> None:
    async with watch.database.write() as connection:
        row = {"key": "d", "number": "", "requested_by": "Siti", "contact": "all", "starts_at": at, "ends_at": at}
        await connection.execute(insert(drill).values(id=1, **row))
        texts = dict.fromkeys(("agency", "name", "extension", "gateway", "facts", "state", "reason"), "")
        told = {"key": "e", "contact": "ali", "channel": "voice", "language": "ms-MY", "reference": "r"}
        await connection.execute(
            insert(drill_notification).values(
                drill_id=1, number=number, started_at=at, confirmed_at=at, **texts, **told
            )
        )


async def test_a_number_that_answered_in_a_drill_is_verified(office: IssuingOffice, watch: ProbingRuntime) -> None:
    """With the key, that is: a call that was only taken shows no more than that something answered."""
    await answered_in_a_drill(watch, "+60100000102", NOON - timedelta(days=2))

    _, said = await office.ask("on-call", "JCONTOH")
    await office.ask(*SWAP)

    assert "    call 010-000 0102, verified 2026-11-30\n    call 03-0000 0102 ext. 102, never verified\n" in said
    assert 'contact_numbers_unverified{agency="JCONTOH"} 2' in watch.shown("contact_numbers_unverified")


async def test_an_hour_that_comes_twice_belongs_to_the_override_whole(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    text = office.config.read_text()
    office.config.write_text(text.replace("# time_zone: Asia/Kuala_Lumpur", "time_zone: Europe/London"))
    watch.configuration = load(office.config, ENVIRON).accepted()
    watch.clock.moment = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)

    await office.ask(*SWAP[:4], "--from", "2026-10-25 01:15", "--until", "2026-10-25 01:45", "--by", "Pegawai Contoh")

    (made,) = await watch.standing()
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
async def test_override_follows_an_edited_number_also_at_a_start_and_ends_with_a_removed_person(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    """Defect: An override keeps an old number after an edit.

    Pantau: Overrides follow the edit.
    """
    with_zara = "  zara:\n    name: Zara binti Contoh\n    sms: 010-000 0144\n\nrotas:\n"
    edit(office, "rotas:\n", with_zara)
    watch.configuration = load(office.config, ENVIRON).accepted()
    await watch.duty.add(rota="JCONTOH/bertugas", person="zara", begins="", ends="2026-12-03 08:00", by="Pegawai")
    edit(office, "sms: 010-000 0144", "sms: 010-000 0155")
    watch.configuration = load(office.config, ENVIRON).accepted()
    assert await watch.duty.adapt_overrides(), "at a start"
    assert [a.number for o in await watch.standing() for a in o.contact.addresses] == ["+60100000155"]
    assert not await watch.duty.adapt_overrides(), "nothing was edited"

    edit(office, with_zara.replace("0144", "0155"), "rotas:\n")
    watch.configuration = load(office.config, ENVIRON).accepted()
    assert await watch.duty.adapt_overrides()
    assert await watch.standing() == []
    assert (await watch.told())[-1] == ("configuration", "override taken back")


async def test_override_of_somebody_who_was_never_known_here_stands_at_a_start(
    office: IssuingOffice, watch: ProbingRuntime
) -> None:
    await watch.duty.add(rota="JCONTOH/bertugas", person="siti", begins="", ends="2026-12-03 08:00", by="Pegawai")
    text = (office.directory / "agencies" / "jabatan-contoh.yaml").read_text()
    edit(office, text, text.replace("siti", "aminah"))
    watch.configuration = load(office.config, ENVIRON).accepted()
    assert not await watch.duty.adapt_overrides()
    assert [o.contact.key for o in await watch.standing()] == ["siti"]
