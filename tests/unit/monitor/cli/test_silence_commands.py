"""`pantau silence`, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.service.silences import Silencer
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.web.command.control import silence_commands
from tests.integration.alerts.station import Station
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.source import Service

ADD = ("silence", "add", "JCONTOH", "--for", "2h", "--reason", "kerja rangkaian", "--by", "Pegawai Contoh")


@pytest.fixture
async def watch(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[Station]:
    async with Database.open(tmp_path / "store") as database:
        station = Station(database)
        silencer = Silencer(SqlStore(database), station.dispatcher, station.clock, lambda: {"JCONTOH": "JCONTOH"})
        async with office.open(Service(), silence_commands(silencer)):
            yield station


async def test_a_silence_is_begun_listed_and_ended(office: IssuingOffice, watch: Station) -> None:
    assert await office.ask("silence", "list") == (0, "There are no silences.\n")
    code, said = await office.ask(*ADD[:2], "jcontoh", *ADD[3:])
    assert (code, said) == (0, "Notifications about JCONTOH are suppressed until 24/11/2026 16:15: silence 1.\n")

    _, listed = await office.ask("silence", "list")
    assert all(word in listed for word in ("JCONTOH", "24/11/2026 14:15", "kerja rangkaian", "Pegawai Contoh"))

    assert await office.ask("silence", "remove", "1") == (0, "Silence 1 about JCONTOH has ended.\n")
    assert await office.ask("silence", "list") == (0, "There are no silences.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("silence", "add", "ZZZ", "--for", "2h", "--reason", "x"), "there is no agency or route 'ZZZ'"),
        (("silence", "add", "JCONTOH", "--for", "9d", "--reason", "x"), "a silence lasts 7 days at most"),
        (("silence", "add", "JCONTOH", "--for", "dua jam", "--reason", "x"), "write --for 2h, or 30m"),
        (("silence", "remove", "7"), "there is no current silence 7"),
    ],
)
async def test_an_order_that_cannot_be_carried_out_is_refused_in_words(
    office: IssuingOffice, watch: Station, words: tuple[str, ...], says: str
) -> None:
    code, said = await office.ask(*words)

    assert code == 1
    assert says in said


async def test_a_number_that_no_store_gives_is_refused(office: IssuingOffice, watch: Station) -> None:
    code, said = await office.ask("silence", "remove", "9" * 20)

    assert (code, said.startswith("number: Input should be less than")) == (2, True)
