"""`pantau store copy`: copy the store to PostgreSQL, compare every row, and show progress."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from monitor.cli.configured import store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config
from monitor.cli.service import control_socket, fail
from monitor.store.backend.availability import StoreInUseError, reason_of
from monitor.store.backend.copy import BadCopyError
from monitor.store.backend.postgres import PostgresServer, StoreUnusableError
from monitor.store.move.copying import AlreadyMovedError, Moved, MoveProgress, MoveStage, UnequalError, move
from monitor.store.move.rows import RowRefusedError
from monitor.store.move.source import SERVED, Source, opened
from monitor.store.move.target import TargetRefusedError, taken
from monitor.store.schema.migrations import StoreTooNewError

app = typer.Typer(help="Move the store from SQLite to PostgreSQL.")

#: Seconds between reports of progress: on a terminal in one line, else as lines.
_TO_A_TERMINAL, _TO_A_LOG = 0.2, 10.0
_WORDS = {
    MoveStage.COPIED: "1 of 3, copying",
    MoveStage.COMPARED: "2 of 3, comparing",
    MoveStage.FOLLOWED: "3 of 3, verifying the audit log",
}


@app.callback()
def store() -> None:
    """Group of the commands on the store."""


@app.command()
def copy(
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="The SQLite file; default: that of the configuration.", metavar="FILE"),
    ] = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Copy the store from its SQLite file to the PostgreSQL that the configuration names, and keep the file.

    Stop the service first. If it is interrupted, run it again. No service starts on an incomplete copy, or on the file after it
    was copied. See docs/how-to/operator/postgresql.md.
    """
    server = store_server(config)
    if server is None:
        fail(
            f"{config} has no PostgreSQL server: write it under `store:` first (docs/how-to/operator/postgresql.md)",
            2,
        )
    file = from_ or control_socket(config, None).parent / SERVED
    line = _Line()
    try:
        with opened(file) as source:
            moved = asyncio.run(_move(source, server, by, line))
            is_served = source.is_served
    except FileNotFoundError:
        fail(f"there is no {file}: give the configuration of the service with --config, or the file with --from")
    except AlreadyMovedError as moved_before:
        if not moved_before.there:
            fail(f"{file}: {moved_before}")
        typer.echo(f"{file} was copied to the {server} before: nothing to do.")
        return
    except BadCopyError as bad:
        fail(f"{file} cannot be copied: {bad}")
    except (StoreInUseError, StoreUnusableError, StoreTooNewError, TargetRefusedError) as refused:
        fail(f"nothing was copied: {refused}")
    except (RowRefusedError, UnequalError) as wrong:
        fail(f"{line.end()}the store was not copied, and the service can still use {file}: {wrong}")
    except (DBAPIError, TimeoutError, OSError, sqlite3.Error) as error:
        if (why := reason_of(error) or _of_the_disk(error)) is None:
            raise
        fail(f"{line.end()}the copy is incomplete: {why}; run this again to continue")
    typer.echo(line.end() + _said(file, server, moved, is_served=is_served))


async def _move(source: Source, server: PostgresServer, by: str, line: _Line) -> Moved:
    async with taken(server) as target:
        return await move(source, target, by, line.tell)


def _of_the_disk(error: Exception) -> str | None:
    return str(error) if isinstance(error, OSError | sqlite3.Error) else None


def _said(file: Path, server: PostgresServer, moved: Moved, *, is_served: bool) -> str:
    rows, verifier = sum(moved.rows.values()), moved.verifier
    said = (
        f"{file} was copied to the {server}: {rows:,} rows in {len(moved.rows)} tables, each compared. "
        f"The audit log was verified there up to {verifier.head.number}:{verifier.head.hash}"
    )
    if verifier.flaws:
        said += f"; it WAS CHANGED in the file already ({verifier.flaws[0]}; `pantau audit verify` lists all)"
    said += f", and ends with {moved.head.number}:{moved.head.hash}, which records this.\n"
    if is_served:
        return f"{said}The file is marked so that no service starts on it. Start the service."
    return f"{said}The file is a copy and was not changed. Start the service."


class _Line:
    """Report of progress on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said_at = time.monotonic() if not self._is_terminal else 0.0
        self._stage: MoveStage | None = None
        self._began_at = 0.0
        self._began_with = 0
        self._is_open = False

    def tell(self, progress: MoveProgress) -> None:
        now = time.monotonic()
        is_new = progress.stage is not self._stage
        if is_new:
            self._stage, self._began_at, self._began_with = progress.stage, now, progress.done
        every = _TO_A_TERMINAL if self._is_terminal else _TO_A_LOG
        if now - self._said_at < every and not (is_new and self._is_terminal):
            return
        self._said_at = now
        text = _progress(progress, progress.done - self._began_with, now - self._began_at)
        self._is_open = self._is_terminal
        typer.echo(f"\r\x1b[K{text}" if self._is_terminal else text, err=True, nl=not self._is_terminal)

    def end(self) -> str:
        """Clear the line of progress; return an empty string."""
        was, self._is_open = self._is_open, False
        if was:
            typer.echo("\r\x1b[K", err=True, nl=False)
        return ""


def _progress(progress: MoveProgress, done: int, seconds: float) -> str:
    """Return progress, rate and time left. *done*: rows of this attempt, within *seconds*."""
    words = _WORDS[progress.stage]
    if progress.stage is MoveStage.FOLLOWED:
        return words
    share = 100 * progress.done // max(progress.of, 1)
    text = f"{words} {progress.table}: {progress.done:,} of {progress.of:,} rows ({share} %)"
    if not done or not seconds:
        return text
    rate = done / seconds
    left = timedelta(seconds=round((progress.of - progress.done) / rate))
    return f"{text}, {rate:,.0f} rows/s, {left} left"
