"""What others are told of the journal's chain, and what the service writes of itself."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from alerts.audit import Head, Sealed
from alerts.store import Entry
from monitor.config.loading import load
from monitor.metrics import Metrics
from monitor.proof.chain import follow
from monitor.proof.lifecycle import Lifecycle
from monitor.store import audit, purge
from monitor.store.database import Database
from monitor.store.ledger import SqlStore
from monitor.store.records import Applied
from tests.unit.alerts.people import MINUTE, T0
from tests.unit.monitor.cli.office import ENVIRON, Office


async def found(connection: AsyncConnection) -> purge.Doomed:
    """Return the entries that a purge takes; there is nothing else."""
    search = purge.Search(T0 + MINUTE)
    while not (doomed := await search.further(connection, 10_000)).entries:
        assert not search.is_over
    return doomed


class Clock:
    def now(self) -> datetime:
        return T0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path / "state") as opened:
        yield opened


def lifecycle(database: Database) -> Lifecycle:
    return Lifecycle(SqlStore(database), Clock(), "pantau@prober-1")


async def entries(database: Database) -> list[Sealed]:
    async with database.read() as connection:
        return [e for e in await audit.entries(connection) if isinstance(e, Sealed)]


async def test_the_head_that_is_logged_and_exported_is_the_one_in_the_store(database: Database) -> None:
    await lifecycle(database).started(version="1.2", user="uid 7")
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await follow(database, metrics)
    (last,) = await entries(database)
    metrics.audit_head(Head(number=last.number, hash=last.hash))

    shown = [log for log in logs if log["event"] == "audit head"]
    assert [(log["number"], log["hash"]) for log in shown] == [(1, last.hash)]
    exported = dict(line.split() for line in metrics.render().decode().splitlines() if line.startswith("pantau_audit"))
    assert float(exported["pantau_audit_entries"]) == 1
    assert f"{int(float(exported['pantau_audit_head_fingerprint'])):013x}" == last.hash[:13]
    assert float(exported["pantau_audit_flaws"]) == 0


async def test_a_journal_that_was_changed_is_exported_and_logged_with_its_place(database: Database) -> None:
    await lifecycle(database).started(version="1.2", user="uid 7")
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TRIGGER journal_is_not_changed")
        await connection.exec_driver_sql("UPDATE journal SET actor = 'somebody else'")
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await follow(database, metrics)

    assert "pantau_audit_flaws 1.0" in metrics.render().decode()
    (told,) = [log for log in logs if log["event"] == "the journal was changed"]
    assert told["flaws"] == ["entry 1: was changed: it says something else than was written"]


async def test_a_purge_in_the_middle_of_it_is_no_change(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqlStore(database).transaction() as ledger:
        for _ in range(audit.BATCH + 1):
            await ledger.journal(Entry(at=T0, actor="x", event="configuration taken up"))
    views, read = 0, database.read

    @asynccontextmanager
    async def reading() -> AsyncIterator[AsyncConnection]:
        nonlocal views
        views += 1
        if views == 2:
            async with database.write() as connection:
                doomed = await found(connection)
                await purge.carry_out(connection, doomed, Entry(at=T0, actor="Puan Arkib Contoh", event=""))
        async with read() as connection:
            yield connection

    monkeypatch.setattr(database, "read", reading)
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await follow(database, metrics)

    assert views > 2
    assert "pantau_audit_flaws 0.0" in metrics.render().decode()
    assert [log["event"] for log in logs] == ["audit head"]


async def test_the_service_writes_down_its_own_life_and_who_changed_its_configuration(database: Database) -> None:
    ours = lifecycle(database)
    await ours.started(version="1.2", user="uid 7")
    await ours.configured("Siti Contoh", "ab" * 32, 3, Applied(added=tuple(f"A{n}" for n in range(60))))
    await ours.refused("signal SIGHUP", ["pantau.yaml:3: state: must be a directory", "x"])
    await ours.stopped()

    started, configured, refused, stopped = await entries(database)
    assert (started.actor, started.event, started.detail) == (
        "pantau@prober-1",
        "service started",
        {"version": "1.2", "user": "uid 7"},
    )
    assert (configured.actor, configured.detail["sha256"], configured.detail["files"]) == (
        "Siti Contoh",
        "ab" * 32,
        "3",
    )
    assert configured.detail["added"].endswith(" A49 and 10 more")
    assert (refused.actor, refused.detail["errors"]) == ("signal SIGHUP", "2")
    assert stopped.event == "service stopped"


def test_the_configurations_digest_is_the_one_that_everybody_can_calculate(tmp_path: Path) -> None:
    office = Office(tmp_path)
    loaded = load(office.config, ENVIRON)
    command = "sha256sum pantau.yaml agencies/*.yaml | cut -c1-64 | sha256sum | cut -c1-64"
    said = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert loaded.digest == said

    office.config.write_text(office.config.read_text() + "# a word more\n")
    assert load(office.config, ENVIRON).digest != said
    assert said != hashlib.sha256(b"").hexdigest()
