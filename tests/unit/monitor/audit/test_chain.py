"""Verification of the audit log chain, and lifecycle entries of the service."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from alerts.persistence.audit import CHECKPOINT, ChainedEntry, Verifier
from alerts.persistence.store import AuditEntry
from monitor.audit.chain import ChainMonitor
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.loading import load
from monitor.metrics import Metrics
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.records import Applied
from tests.unit.alerts.people import MINUTE, T0
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice


async def found(connection: AsyncConnection) -> purge.PurgeSet:
    """Return the only entries that a purge deletes."""
    search = purge.Search(T0 + MINUTE)
    while not (purge_set := await search.search_next(connection, 10_000)).entry_ids:
        assert not search.is_over
    return purge_set


@dataclass
class Clock:
    moment: datetime = T0

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path / "state") as opened:
        yield opened


def chain(database: Database, metrics: Metrics, clock: Clock | None = None) -> ChainMonitor:
    return ChainMonitor(database, metrics, clock or Clock(), "pantau@prober-1", pause=timedelta(0))


def lifecycle(database: Database) -> LifecycleRecorder:
    return LifecycleRecorder(SqlStore(database), Clock(), "pantau@prober-1")


async def entries(database: Database, after: int = 0) -> list[ChainedEntry]:
    async with database.read() as connection:
        return [e for e in await audit.entries(connection, after) if isinstance(e, ChainedEntry)]


async def test_chain_monitor_logs_and_exports_stored_head(database: Database) -> None:
    await lifecycle(database).record_start(version="1.2", user="uid 7")
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await chain(database, metrics).verify_if_due()
    await chain(database, metrics).export_head()
    _, last = await entries(database)

    shown = [log for log in logs if log["event"] == "audit head"]
    assert [(log["number"], log["hash"]) for log in shown] == [(2, last.hash)]
    exported = dict(line.split() for line in metrics.render().decode().splitlines() if line.startswith("pantau_audit"))
    assert float(exported["pantau_audit_entries"]) == 2
    assert f"{int(float(exported['pantau_audit_head_fingerprint'])):013x}" == last.hash[:13]
    assert float(exported["pantau_audit_chain_violations"]) == 0


async def test_chain_monitor_changed_entry_is_exported_and_logged_with_number(database: Database) -> None:
    await lifecycle(database).record_start(version="1.2", user="uid 7")
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TRIGGER audit_log_is_not_changed")
        await connection.exec_driver_sql("UPDATE audit_log SET actor = 'somebody else'")
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await chain(database, metrics).verify_if_due()

    assert "pantau_audit_chain_violations 1.0" in metrics.render().decode()
    (told,) = [log for log in logs if log["event"] == "audit log was changed"]
    assert told["violations"] == ["entry 1: was changed: its content does not match its hash"]


async def test_chain_monitor_purge_during_verification_is_no_violation(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqlStore(database).transaction() as uow:
        for _ in range(audit.BATCH + 1):
            await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="configuration taken up"))
    views, read = 0, database.read

    @asynccontextmanager
    async def reading() -> AsyncIterator[AsyncConnection]:
        nonlocal views
        views += 1
        if views == 2:
            async with database.write() as connection:
                purge_set = await found(connection)
                await purge.delete_records(
                    connection, purge_set, AuditEntry(at=T0, actor="Puan Arkib Contoh", event="")
                )
        async with read() as connection:
            yield connection

    monkeypatch.setattr(database, "read", reading)
    metrics = Metrics(version="1", now=Clock().now)
    with capture_logs() as logs:
        await chain(database, metrics).verify_if_due()

    assert views > 2
    assert "pantau_audit_chain_violations 0.0" in metrics.render().decode()
    assert [log["event"] for log in logs] == ["audit head"]


async def test_lifecycle_recorder_writes_start_configuration_rejection_and_stop(database: Database) -> None:
    ours = lifecycle(database)
    await ours.record_start(version="1.2", user="uid 7")
    await ours.record_configuration("Siti Contoh", "ab" * 32, 3, Applied(added=tuple(f"A{n}" for n in range(60))))
    await ours.record_rejection("signal SIGHUP", ["pantau.yaml:3: state_dir: must be a directory", "x"])
    await ours.record_stop()

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


def test_configuration_digest_equals_sha256sum_of_files(tmp_path: Path) -> None:
    office = IssuingOffice(tmp_path)
    loaded = load(office.config, ENVIRON)
    command = "sha256sum pantau.yaml agencies/*.yaml | cut -c1-64 | sha256sum | cut -c1-64"
    said = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert loaded.digest == said

    office.config.write_text(office.config.read_text() + "# a word more\n")
    assert load(office.config, ENVIRON).digest != said
    assert said != hashlib.sha256(b"").hexdigest()


# -- checkpoints -----------------------------------------------------------------------------------------------------

DAY = timedelta(days=1)


async def violations_after(database: Database, clock: Clock, watched: ChainMonitor | None = None) -> tuple[float, int]:
    """Return the exported violations after a verification, and the number of entries read."""
    metrics = Metrics(version="1", now=clock.now)
    taken = 0
    entries_of = audit.entries

    async def counting(connection: AsyncConnection, after: int = 0, limit: int = audit.BATCH) -> Any:
        nonlocal taken
        found = await entries_of(connection, after, limit)
        taken += len(found)
        return found

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(audit, "entries", counting)
        watched = watched or chain(database, metrics, clock)
        await watched.verify_if_due()
    line = next(
        line for line in watched._metrics.render().decode().splitlines() if line.startswith("pantau_audit_chain")
    )
    return float(line.split()[1]), taken


async def write(database: Database, number: int) -> None:
    async with SqlStore(database).transaction() as uow:
        for _ in range(number):
            await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="configuration taken up"))


async def tamper(database: Database, number: int) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TRIGGER audit_log_is_not_changed")
        await connection.exec_driver_sql(f"UPDATE audit_log SET actor = 'somebody else' WHERE id = {number}")


@pytest.mark.blind
async def test_chain_monitor_start_verifies_since_checkpoint_and_all_once_a_day(
    database: Database,
) -> None:
    """Defect: Each start verifies the whole audit log: 44 s of CPU for a million entries.

    Pantau: It verifies what follows the last checkpoint; the whole is verified once a day.
    """
    clock = Clock()
    await write(database, 300)
    assert await violations_after(database, clock) == (0, 300)
    (told,) = [entry for entry in await entries(database, after=300) if entry.event == CHECKPOINT]
    assert (told.number, told.actor, told.detail) == (301, "pantau@prober-1", {"number": "0", "hash": "0" * 64})

    await write(database, 5)
    clock.moment += DAY / 2
    watched = chain(database, Metrics(version="1", now=clock.now), clock)
    assert await violations_after(database, clock, watched) == (0, 5)
    assert await violations_after(database, clock, watched) == (0, 0)
    clock.moment += DAY / 2
    assert await violations_after(database, clock, watched) == (0, 306)
    clock.moment += DAY
    assert await violations_after(database, clock) == (0, 307)
    latest = (await entries(database, after=306))[0]
    assert (latest.event, latest.detail["number"]) == (CHECKPOINT, "301")


@pytest.mark.blind
async def test_chain_monitor_change_before_checkpoint_is_found_within_a_day_and_at_start(
    database: Database,
) -> None:
    """Defect: A checkpoint hides a change of earlier entries.

    Pantau: It hides one for a day at most, and none is written after a broken chain.
    """
    clock = Clock()
    await write(database, 10)
    await violations_after(database, clock)
    watched = chain(database, Metrics(version="1", now=clock.now), clock)
    await violations_after(database, clock, watched)
    await tamper(database, 3)
    clock.moment += DAY
    assert (await violations_after(database, clock, watched))[0] == 1
    # No checkpoint is added after a broken chain.
    for _ in range(2):
        clock.moment += MINUTE
        assert (await violations_after(database, clock))[0] == 1
    assert [entry.number for entry in await entries(database) if entry.event == CHECKPOINT] == [11]


async def test_chain_monitor_change_since_checkpoint_is_found_at_start(database: Database) -> None:
    await write(database, 10)
    await violations_after(database, Clock())
    await write(database, 3)
    await tamper(database, 13)

    assert await violations_after(database, Clock(T0 + MINUTE)) == (1, 3)


@pytest.mark.parametrize("at", [timedelta(seconds=1), timedelta(days=3650)])
async def test_chain_monitor_future_checkpoint_is_ignored(database: Database, at: timedelta) -> None:
    await write(database, 10)
    await violations_after(database, Clock(T0 + at))

    assert await violations_after(database, Clock()) == (0, 11)


async def test_chain_monitor_after_purge_verifies_all(database: Database) -> None:
    await write(database, 10)
    await violations_after(database, Clock())
    async with database.write() as connection:
        await purge.delete_records(
            connection, await found(connection), AuditEntry(at=T0, actor="Puan Arkib Contoh", event="")
        )

    flaws, taken = await violations_after(database, Clock(T0 + MINUTE))
    assert (flaws, taken) == (0, 1 + 12)
    # Entries that explain the chain are never purged.
    assert [entry.event for entry in await entries(database) if entry.event] == [
        CHECKPOINT,
        "records purged",
        CHECKPOINT,
    ]


@pytest.mark.parametrize("detail", [{"number": "5", "hash": "0" * 64}, {}, {"number": "0", "hash": "f" * 64}])
async def test_chain_monitor_wrong_checkpoint_is_violation(database: Database, detail: Mapping[str, str]) -> None:
    await write(database, 10)
    async with database.write() as connection:
        await audit.append(connection, [AuditEntry(at=T0, actor="x", event=CHECKPOINT, detail=detail)])

    assert (await violations_after(database, Clock(T0 + DAY)))[0] == 1


async def test_checkpoint_entries_written_meanwhile_are_verified_first(
    database: Database,
) -> None:
    await write(database, 10)
    verifier = await audit.verify(database.read)
    await write(database, 10)
    await tamper(database, 15)
    async with database.write() as connection:
        await audit.add_checkpoint(connection, verifier, T0, "x")

    assert [flaw.number for flaw in verifier.violations] == [15]
    assert [entry for entry in await entries(database) if entry.event == CHECKPOINT] == []


@pytest.mark.blind
async def test_chain_monitor_long_audit_log_yields_between_batches(database: Database) -> None:
    """Defect: Verification blocks the loop.

    Pantau: It yields after every 200 entries.
    """
    await write(database, 10 * audit.BATCH)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    longest = 0
    take = Verifier.verify

    def taking(verifier: Verifier, entry: ChainedEntry) -> None:
        nonlocal turns, longest
        longest, turns = (longest + 1, turns) if not turns else (1, 0)
        most.append(longest)
        take(verifier, entry)

    most: list[int] = []
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(Verifier, "verify", taking)
        await chain(database, Metrics(version="1", now=Clock().now)).verify_all()
    waiting.cancel()
    assert max(most) <= audit.BATCH <= 200, "200 entries take five milliseconds"
