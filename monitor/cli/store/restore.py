"""`pantau restore`: replace the store (the database) by an older copy, or record that it was replaced by other means.

The service then pauses letters and faxes, because an older copy would reuse numbers that are on paper.
"""

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

from alerts.persistence.restoration import BadNumberError, parse_last_numbers
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.cli.configured import read_store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config, LastNumbers
from monitor.cli.service import control_socket, fail
from monitor.cli.store.backup import describe_store
from monitor.store.backend.copy import copy, schema_of
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.backend.postgres import PostgresServer
from monitor.store.backend.sqlite import lock_store
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.move.source import unmark_moved
from monitor.store.schema.migrations import StoreBlockedError, StoreTooNewError, known_revisions
from monitor.store.schema.renamed import TABLES
from monitor.store.schema.tables import audit_log

_FILE = "pantau.sqlite"
#: A process with a heartbeat within this time is running.
_HEARTBEAT_AGE = timedelta(minutes=1)


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
        numbers, pages = parse_last_numbers(last_number or [])
    except BadNumberError as invalid:
        raise typer.BadParameter(str(invalid)) from None
    details = _RestoreDetails(by, numbers, pages)
    server, state = read_store_server(config), control_socket(config, None).parent
    _check_owner(state)
    try:
        if file is None:
            asyncio.run(_require_store(state, server))
            asyncio.run(_mark_as_copy(state, server, details, {}))
        elif server is not None:
            fail(
                f"the store is the {server}: restore a copy with PostgreSQL's own tools, such as pg_restore, "
                "and then run: pantau restore --in-place"
            )
        else:
            _replace_store(file, state, details, allow_broken_chain=allow_broken_chain)
    except (StoreInUseError, StoreUnusableError, StoreTooNewError, StoreBlockedError, StoreUnavailable) as error:
        fail(f"nothing was restored: {error}")
    except (OSError, sqlite3.Error) as error:
        fail(f"nothing was restored: {error}")
    typer.echo(
        "Letters and faxes are paused; SMS and calls are sent. Start the service, check `pantau paper status`, and continue\n"
        "with `pantau paper resume`."
    )


class _RestoreDetails:
    """Author of the restoration, and the last numbers on paper.

    *numbers*: the last incident number by prefix. *pages*: the last page by number of an open incident.
    """

    def __init__(self, by: str, numbers: Mapping[str, int], pages: Mapping[str, int]) -> None:
        self.by, self.numbers, self.pages = by, numbers, pages


def _check_owner(state: Path) -> None:
    """End the command if this user is not the owner of the state directory: the service could not open the new store."""
    if state.is_dir() and (owner := state.stat().st_uid) != os.geteuid():
        fail(f"{state} belongs to another user, and the store must, too: run this command as {_user_name(owner)}")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def _require_store(state: Path, server: PostgresServer | None) -> None:
    """End the command if there is no store yet.

    Opening an empty directory or database would create a new store, which would assign all numbers again without being
    detected by the guard against older copies. Also, a tool such as pg_restore needs an empty database.
    """
    location = state / _FILE if server is None else f"the {server}"
    try:
        async with (
            audit.open_sqlite_file(state / _FILE)
            if server is None
            else audit.open_postgres_server(server) as connection
        ):
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            # An older copy has the table under its former name.
            tables = [each for each in names if TABLES.get(each, each) == audit_log.name]
            queries = [text(f"SELECT 1 FROM {each} LIMIT 1") for each in tables]  # noqa: S608 - a known name
            has_store = any([(await connection.execute(each)).first() is not None for each in queries])
    except FileNotFoundError:
        has_store = False
    except DatabaseError:  # `_mark_as_copy` opens the store and reports the problem.
        return
    if not has_store:
        fail(f"{location} holds no store: restore the copy there first (docs/how-to/operator/backup.md)")


def _replace_store(file: Path, state: Path, details: _RestoreDetails, *, allow_broken_chain: bool) -> None:
    if not file.is_file():
        fail(f"there is no {file}")
    if not state.is_dir():
        fail(f"there is no {state}: start the service once, or create it for the service's user")
    store = state / _FILE
    with lock_store(state), _staging_directory(state) as staging:
        new_store = staging / _FILE
        try:
            copy(file, new_store)
        except sqlite3.Error as error:
            fail(f"nothing was restored: {file} cannot be copied to {state}: {error}")
        description = describe_store(new_store, file)
        unmark_moved(new_store)  # The mark of a store that was moved to PostgreSQL: no service starts on it.
        if schema_of(new_store) not in known_revisions():
            fail(f"{file} was made by a newer version of Pantau: install that version first")
        if description.has_broken_chain and not allow_broken_chain:
            fail(f"{file}: {description.text}. Use another copy, or repeat this with --allow-broken-chain")
        old_store = state / f"{_FILE}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        asyncio.run(
            _mark_as_copy(staging, None, details, {"file": file.name, "kept": old_store.name if store.exists() else ""})
        )
        with new_store.open("rb") as file_to_sync:
            os.fsync(file_to_sync.fileno())
        _keep_old_store(store, old_store)
        new_store.rename(store)
    typer.echo(f"{file} is the store now: {description.text}.")
    if old_store.exists():
        typer.echo(f"The store before it is {old_store}.")


def _keep_old_store(store: Path, old_store: Path) -> None:
    """Keep the present store under the name *old_store*.

    A hard link ensures that a complete store exists at any time, even if the process is killed.
    """
    if store.exists():
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(store)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        os.link(store, old_store)
    # Move the write-ahead log, too: SQLite would apply the latest writes of the old store to the copy.
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            store.with_name(f"{store.name}{suffix}").rename(old_store.with_name(f"{old_store.name}{suffix}"))


@contextmanager
def _staging_directory(state: Path) -> Iterator[Path]:
    """Yield a temporary directory on the same disk, in which the copy is prepared."""
    for leftover in state.glob(".pantau-restore-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=".pantau-restore-", dir=state))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


async def _mark_as_copy(
    directory: Path, server: PostgresServer | None, details: _RestoreDetails, file_names: Mapping[str, str]
) -> None:
    """Mark a store as an older copy. When the service starts, it pauses paper and determines the numbers to skip.

    *file_names*: names of the copy and of the kept old store, for the audit log; empty if unknown.
    """
    async with Database.open(directory, server, name="pantau-restore") as database:
        store, now = SqlStore(database), database.clock.now()
        async with store.transaction() as uow:
            restorations = uow.restorations
            position = await restorations.position(())
            last_write = position.last_write_at
            if server is not None and last_write is not None and await restorations.is_alive(now - _HEARTBEAT_AGE):
                fail("a service is running on the store: stop all services first")
            await restorations.begin_reported(
                now, last_write, by=details.by, numbers=details.numbers, pages=details.pages
            )
            head = f"{position.head.number}:{position.head.hash}"
            audit_detail = {
                "head": head,
                **{f"after_{prefix}": str(number) for prefix, number in details.numbers.items()},
            }
            audit_detail |= {f"pages_after_{number}": str(page) for number, page in details.pages.items()}
            audit_detail |= {name: value for name, value in file_names.items() if value}
            await uow.add_audit_entry(
                AuditEntry(at=now, actor=details.by, event="older copy of the store put back", detail=audit_detail)
            )
