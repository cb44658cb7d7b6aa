"""What a store keeps when its process is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.store.database import Database, StoreInUseError
from monitor.store.ledger import SqlStore

#: Commits one incident, writes another without committing it, says so and waits to be killed.
CHILD = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from monitor.store.database import Database
from monitor.store.ledger import SqlStore
from tests.unit.alerts.people import trigger

async def main():
    async with Database.open(Path(sys.argv[1])) as database:
        store = SqlStore(database)
        async with store.transaction() as ledger:
            await ledger.add_incident(trigger())
        async with store.transaction() as ledger:
            for n in range(200):
                await ledger.add_incident(replace(trigger(), dedup_key=f"lost-{n}"))
            print("ready", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.crash
async def test_a_kill_in_the_middle_of_a_transaction_loses_nothing_committed_and_keeps_nothing_else(
    tmp_path: Path,
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
        # While it lives, nobody else gets in.
        with pytest.raises(StoreInUseError):
            async with Database.open(tmp_path):
                pass
    finally:
        child.kill()
    await child.communicate()
    assert child.returncode == -signal.SIGKILL

    async with Database.open(tmp_path) as database, SqlStore(database).transaction() as ledger:
        assert await ledger.active_incidents() == [1]
        kept = await ledger.incident(1)
        assert kept is not None
        assert kept.number == "JCM-01"
        assert await ledger.open_incident("lost-0") is None
