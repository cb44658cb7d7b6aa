"""`pantau restore`: replace the store by a copy, or mark that it was replaced; letters and faxes are paused."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError

from alerts.persistence.restoration import BadNumberError, last_on_paper
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.cli.configured import store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config, LastNumbers
from monitor.cli.service import control_socket, fail
from monitor.cli.store.backup import look
from monitor.store.backend.copy import copy, schema_of
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.backend.postgres import PostgresServer
from monitor.store.backend.sqlite import alone
from monitor.store.engine import audit
from monitor.store.engine.ledger import SqlStore
from monitor.store.move.source import lift
from monitor.store.schema.migrations import StoreBarredError, StoreTooNewError, known
from monitor.store.schema.renamed import TABLES
from monitor.store.schema.tables import audit_log

_FILE = "pantau.sqlite"
#: A process that has written to a database within this time is running.
_LIVES = timedelta(minutes=1)


def restore(
    file: Annotated[Path | None, typer.Argument(help="A copy that `pantau backup` made.", metavar="[FILE]")] = None,
    *,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="The store was replaced by an older copy by other means.")
    ] = False,
    last_number: LastNumbers = None,
    allow_broken_chain: Annotated[
        bool, typer.Option("--allow-broken-chain", help="Accept a copy whose audit log was changed.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Replace the store by a copy while the service is stopped, and pause letters and faxes.

    The present store is kept beside it. See docs/how-to/operator/backup.md.
    """
    if (file is None) is not in_place:
        raise typer.BadParameter("name the copy, or give --in-place if it is in the store already")
    try:
        numbers, pages = last_on_paper(last_number or [])
    except BadNumberError as wrong:
        raise typer.BadParameter(str(wrong)) from None
    word = _Restore(by, numbers, pages)
    server, state = store_server(config), control_socket(config, None).parent
    _see_owner(state)
    try:
        if file is None:
            asyncio.run(_see_put(state, server))
            asyncio.run(_mark(state, server, word, {}))
        elif server is not None:
            fail(
                f"the store is the {server}: restore a copy with PostgreSQL's own tools, such as pg_restore, "
                "and then run: pantau restore --in-place"
            )
        else:
            _put_back(file, state, word, allow_broken_chain=allow_broken_chain)
    except (StoreInUseError, StoreUnusableError, StoreTooNewError, StoreBarredError, StoreUnavailable) as error:
        fail(f"nothing was restored: {error}")
    except (OSError, sqlite3.Error) as error:
        fail(f"nothing was restored: {error}")
    typer.echo(
        "Letters and faxes are paused; SMS and calls are sent. Start the service, check `pantau paper status`, and continue\n"
        "with `pantau paper resume`."
    )


class _Restore:
    """Author of the restoration, and the last numbers on paper."""

    def __init__(self, by: str, numbers: Mapping[str, int], pages: Mapping[str, int]) -> None:
        self.by, self.numbers, self.pages = by, numbers, pages


def _see_owner(state: Path) -> None:
    """End the command if the service could not open what would be written here."""
    if state.is_dir() and (owner := state.stat().st_uid) != os.geteuid():
        fail(f"{state} belongs to another user, and the store must, too: run this command as {_name(owner)}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def _see_put(state: Path, server: PostgresServer | None) -> None:
    """End the command if no copy was put in place yet.

    Opening an empty directory or database creates a store, which would contain no mark and assign all numbers again. A
    database that is to be filled must stay empty, too.
    """
    place = state / _FILE if server is None else f"the {server}"
    try:
        async with audit.in_file(state / _FILE) if server is None else audit.on_server(server) as connection:
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            # An older copy has the table under its former name.
            found = [each for each in names if TABLES.get(each, each) == audit_log.name]
            asked = [text(f"SELECT 1 FROM {each} LIMIT 1") for each in found]  # noqa: S608 - a known name
            is_there = any([(await connection.execute(each)).first() is not None for each in asked])
    except FileNotFoundError:
        is_there = False
    except DatabaseError:  # The code that opens it reports the problem.
        return
    if not is_there:
        fail(f"{place} holds no store: restore the copy there first (docs/how-to/operator/backup.md)")


def _put_back(file: Path, state: Path, word: _Restore, *, allow_broken_chain: bool) -> None:
    if not file.is_file():
        fail(f"there is no {file}")
    if not state.is_dir():
        fail(f"there is no {state}: start the service once, or create it for the service's user")
    store = state / _FILE
    with alone(state), _room(state) as room:
        fresh = room / _FILE
        try:
            copy(file, fresh)
        except sqlite3.Error as error:
            fail(f"nothing was restored: {file} cannot be copied to {state}: {error}")
        said = look(fresh, file)
        lift(fresh)
        if schema_of(fresh) not in known():
            fail(f"{file} was made by a newer version of Pantau: install that version first")
        if "CHANGED" in said and not allow_broken_chain:
            fail(f"{file}: {said}. Use another copy, or repeat this with --allow-broken-chain")
        kept = state / f"{_FILE}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        asyncio.run(_mark(room, None, word, {"file": file.name, "kept": kept.name if store.exists() else ""}))
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        _set_aside(store, kept)
        fresh.rename(store)
    typer.echo(f"{file} is the store now: {said}.")
    if kept.exists():
        typer.echo(f"The store before it is {kept}.")


def _set_aside(store: Path, kept: Path) -> None:
    """Link the present store to a second name. If the process is killed here, the store is unchanged or complete."""
    if store.exists():
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(store)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        os.link(store, kept)
    # The latest writes are in these files, even if the store itself was deleted, and SQLite would apply them to the
    # copy.
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            store.with_name(f"{store.name}{suffix}").rename(kept.with_name(f"{kept.name}{suffix}"))


@contextmanager
def _room(state: Path) -> Iterator[Path]:
    """Yield a directory on the same disk, in which a copy becomes a store."""
    for leftover in state.glob(".pantau-restore-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    room = Path(tempfile.mkdtemp(prefix=".pantau-restore-", dir=state))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


async def _mark(directory: Path, server: PostgresServer | None, word: _Restore, detail: Mapping[str, str]) -> None:
    """Mark a store as an older copy: the service determines the numbers to skip when it starts."""
    async with Database.open(directory, server, name="pantau-restore") as database:
        store, now = SqlStore(database), database.clock.now()
        async with store.transaction() as ledger:
            restorations = ledger.restorations
            standing = await restorations.standing(())
            heard = standing.received_at
            if server is not None and heard is not None and await restorations.lives(now - _LIVES):
                fail("a service is running on the store: stop all services first")
            await restorations.put_back(now, heard, by=word.by, numbers=word.numbers, pages=word.pages)
            head = f"{standing.head.number}:{standing.head.hash}"
            said = {"head": head, **{f"after_{prefix}": str(number) for prefix, number in word.numbers.items()}}
            said |= {f"pages_after_{number}": str(page) for number, page in word.pages.items()}
            said |= {name: value for name, value in detail.items() if value}
            await ledger.journal(
                AuditEntry(at=now, actor=word.by, event="older copy of the store put back", detail=said)
            )
