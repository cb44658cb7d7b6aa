"""`pantau check`: errors, warnings, exit codes and JSON output."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from monitor.cli.operation.check import _exit_code
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import load
from monitor.metrics import Metrics
from monitor.runtime.clock import MachineClock
from monitor.service.access.administration import Administration
from monitor.service.oncall import OnCall
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import drill, drill_notification
from monitor.web.command.oncall import on_call_commands
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.web.fake_service import Service

FALLBACK = "  fallback: pegawai-bertugas\n"


@pytest.fixture
def office(office: IssuingOffice) -> IssuingOffice:
    """Return an office whose rota has a gap at weekends and no fallback."""
    edit(office, "days: rest", "days: workdays")
    edit(office, FALLBACK, "")
    return office


def edit(office: IssuingOffice, old: str, new: str) -> None:
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.fixture
async def database(office: IssuingOffice) -> AsyncIterator[Database]:
    async with Database.open(office.state) as database:
        yield database


def on_call_service(office: IssuingOffice, database: Database) -> OnCall:
    configuration, clock = load(office.config, ENVIRON).require_configuration(), MachineClock()
    metrics = Metrics(version="1", now=clock.now)
    return OnCall(store=SqlStore(database), metrics=metrics, clock=clock, configuration=lambda: configuration)


async def add_override_for_gap(office: IssuingOffice, database: Database) -> None:
    until = (datetime.now(UTC) + timedelta(days=8)).isoformat()
    await on_call_service(office, database).add(
        rota="JCONTOH/bertugas", person="siti", begins="", ends=until, by="Siti"
    )


def gaps(output: str) -> list[str]:
    return [line for line in output.splitlines() if "nobody is on call" in line]


def test_check_rota_with_gap_is_a_warning(office: IssuingOffice) -> None:
    code, output = office.run("check")
    (gap,) = gaps(output)
    assert code == 1
    assert ": warning: rotas.bertugas: nobody is on call from " in gap
    assert f"; overrides are not counted: there is no store in {office.state};" in gap
    assert "; 0 errors, " in output.splitlines()[-1]


def test_check_rota_with_gap_and_fallback_is_no_finding(office: IssuingOffice) -> None:
    edit(office, "escalation:\n", f"escalation:\n{FALLBACK}")
    assert gaps(office.run("check")[1]) == []


async def test_check_asks_the_running_service_for_overrides(office: IssuingOffice, tmp_path: Path) -> None:
    async with (
        Database.open(tmp_path / "elsewhere") as database,
        office.open(Service(), on_call_commands(on_call_service(office, database))),
    ):
        (before,) = gaps((await office.ask("check"))[1])
        await add_override_for_gap(office, database)
        assert gaps((await office.ask("check"))[1]) == []
    assert "overrides are not counted" not in before


async def test_check_reads_overrides_of_a_stopped_service_from_its_file(
    office: IssuingOffice, database: Database
) -> None:
    (before,) = gaps((await office.ask("check"))[1])
    await add_override_for_gap(office, database)
    assert gaps((await office.ask("check"))[1]) == []
    assert "overrides are not counted" not in before


def test_check_overrides_on_unavailable_server_are_reported_as_not_counted(office: IssuingOffice) -> None:
    office.config.write_text(office.config.read_text() + "store: {url: 'postgresql://pantau@127.0.0.1:1/pantau'}\n")
    (gap,) = gaps(office.run("check")[1])
    server = "database pantau of the PostgreSQL at 127.0.0.1, port 1"
    assert f"; overrides are not counted: the store, {server}, cannot be read: " in gap


async def test_check_number_that_answered_drill_is_verified(office: IssuingOffice, database: Database) -> None:
    at = datetime.now(UTC) - timedelta(days=1)
    before = (await office.ask("check"))[1]
    async with database.write() as connection:
        row = {"key": "d", "number": "", "requested_by": "Siti", "contact": "all", "starts_at": at, "ends_at": at}
        await connection.execute(insert(drill).values(id=1, **row))
        texts = dict.fromkeys(("agency", "name", "extension", "gateway", "facts", "state", "reason"), "")
        told = {"key": "e", "contact": "ali", "channel": "voice", "language": "ms-MY", "reference": "r"}
        answered = {"number": "+60100000102", "started_at": at, "confirmed_at": at}
        await connection.execute(insert(drill_notification).values(drill_id=1, **answered, **texts, **told))
    after = (await office.ask("check"))[1]
    (gone,) = set(before.splitlines()[:-1]) - set(after.splitlines()[:-1])
    assert "contacts.ali.addresses[0]: is not verified" in gone


@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ((), 0),
        ((Severity.WARNING,), 1),
        ((Severity.LOSS,), 1),
        ((Severity.ERROR,), 2),
        ((Severity.WARNING, Severity.LOSS, Severity.ERROR, Severity.WARNING), 2),
    ],
)
def test_exit_code_is_2_for_errors_and_1_for_warnings(severities: tuple[Severity, ...], code: int) -> None:
    assert _exit_code([Problem(file="x", message="y", severity=each) for each in severities]) == code


def test_check_severity_error_neither_prints_nor_counts_warnings(office: IssuingOffice) -> None:
    code, output = office.run("check", "--severity", "error")
    assert code == 0
    assert ": warning: " not in output
    assert output.splitlines()[-1] == office.run("check")[1].splitlines()[-1], "the sum is of all"


def test_check_severity_error_refuses_what_the_service_refuses(office: IssuingOffice) -> None:
    edit(office, "agency: JCONTOH", "agency: jcontoh")
    assert office.run("check", "--severity", "error")[0] == 2


def test_check_lost_secrets_key_is_severity_loss(office: IssuingOffice) -> None:
    """The service starts without the key."""
    office.config.write_text(office.config.read_text() + "portal: {secrets_key_file: secrets/tiada}\n")
    code, output = office.run("check", "--severity", "loss")
    assert (code, len(output.splitlines())) == (1, 3)
    assert "; 0 errors, 1 loss, " in output.splitlines()[-1]


def test_check_json_is_a_list_of_problems(office: IssuingOffice) -> None:
    edit(office, "agency: JCONTOH", "agency: jcontoh")
    file = office.directory / "agencies" / "jabatan-contoh.yaml"
    line = 1 + file.read_text().splitlines().index("agency: jcontoh")
    code, output = office.run("check", "--json")
    found = json.loads(output)
    assert code == 2
    assert [each for each in found if each["severity"] == "error"] == [
        {
            "severity": "error",
            "file": str(file),
            "line": line,
            "column": 1,
            "key": "agency",
            "message": "is no short code",
            "remedy": "1 to 11 capital letters and digits: JCONTOH",
        }
    ]
    assert all(set(each) == set(found[0]) for each in found)


def test_check_json_without_problems_is_an_empty_list(office: IssuingOffice) -> None:
    code, output = office.run("check", "--json", "--severity", "error")
    assert (code, json.loads(output)) == (0, [])


def test_check_json_problem_without_line_has_null(office: IssuingOffice) -> None:
    office.config.unlink()
    code, output = office.run("check", "--json", "--severity", "error")
    assert code == 2
    first = json.loads(output)[0]
    assert (first["file"], first["line"], first["column"]) == (str(office.config), None, None)


async def test_check_contact_user_who_may_not_sign_in_is_a_warning(office: IssuingOffice, database: Database) -> None:
    edit(office, "  ali:\n", "  ali:\n    user: Ali\n")
    line = (office.directory / "agencies" / "jabatan-contoh.yaml").read_text().splitlines().index("    user: Ali") + 1

    async def warnings() -> list[str]:
        return [each for each in (await office.ask("check"))[1].splitlines() if "may sign in" in each]

    place = f"{office.directory}/agencies/jabatan-contoh.yaml:{line}: warning: contacts.ali.user"
    message = "'Ali' is no user who may sign in to the portal; write instead: "
    assert await warnings() == [f"{place}: {message}a name that `pantau user list` shows, or leave the key out"]
    clock = MachineClock()
    users = Administration(
        Users(database), clock, agencies=list, factors=SecondFactors(database), on_change=lambda: None
    )
    await users.add("ali", "Ali bin Contoh", [], by="Ujian")
    assert await warnings() == [f"{place}: {message}ali"]
    edit(office, "user: Ali\n", "user: ali\n")
    assert await warnings() == []
    await users.add("siti", "Siti Contoh", ["admin"], by="Ujian")
    await users.disable("ali", by="Ujian")
    assert len(await warnings()) == 1


def test_check_without_store_does_not_check_users(office: IssuingOffice) -> None:
    edit(office, "  ali:\n", "  ali:\n    user: Ali\n")
    assert "may sign in" not in office.run("check")[1]
