"""`pantau silence` with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.service.silences import Silencer
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.web.command.control import silence_commands
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import Service

ADD = ("silence", "add", "JCONTOH", "--for", "2h", "--reason", "kerja rangkaian", "--by", "Pegawai Contoh")


@pytest.fixture
async def station(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with Database.open(tmp_path / "store") as database:
        station = DispatcherEnv(database)
        silencer = Silencer(SqlStore(database), station.dispatcher, station.clock, lambda: {"JCONTOH": "JCONTOH"})
        async with office.open(Service(), silence_commands(silencer)):
            yield station


async def test_silence_is_added_listed_and_removed(office: IssuingOffice, station: DispatcherEnv) -> None:
    assert await office.ask("silence", "list") == (0, "There are no silences.\n")
    code, output = await office.ask(*ADD[:2], "jcontoh", *ADD[3:])
    assert (code, output) == (0, "Notifications about JCONTOH are suppressed until 24/11/2026 16:15: silence 1.\n")

    _, listed = await office.ask("silence", "list")
    assert all(word in listed for word in ("JCONTOH", "24/11/2026 14:15", "kerja rangkaian", "Pegawai Contoh"))

    assert await office.ask("silence", "remove", "1") == (0, "Silence 1 about JCONTOH has ended.\n")
    assert await office.ask("silence", "list") == (0, "There are no silences.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("silence", "add", "ZZZ", "--for", "2h", "--reason", "x"), "there is no agency or route 'ZZZ'"),
        (("silence", "add", "JCONTOH", "--for", "9d", "--reason", "x"), "a silence lasts 7 days at most"),
        (("silence", "add", "JCONTOH", "--for", "dua jam", "--reason", "x"), "write --for 2h, or 30m"),
        (("silence", "remove", "7"), "there is no current silence 7"),
    ],
)
async def test_silence_invalid_arguments_are_refused(
    office: IssuingOffice, station: DispatcherEnv, words: tuple[str, ...], message: str
) -> None:
    code, output = await office.ask(*words)

    assert code == 1
    assert message in output


async def test_silence_remove_number_out_of_range_is_refused(office: IssuingOffice, station: DispatcherEnv) -> None:
    code, output = await office.ask("silence", "remove", "9" * 20)

    assert (code, output.startswith("number: Input should be less than")) == (2, True)
