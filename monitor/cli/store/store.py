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

from monitor.cli.configured import read_store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config
from monitor.cli.service import control_socket, fail
from monitor.store.backend.availability import StoreInUseError, reason_of
from monitor.store.backend.copy import BadCopyError
from monitor.store.backend.postgres import PostgresServer, StoreUnusableError
from monitor.store.move.copying import AlreadyMovedError, Moved, MoveProgress, MoveStage, UnequalError, move
from monitor.store.move.rows import RowRefusedError
from monitor.store.move.source import SERVICE_FILE_NAME, Source, open_source
from monitor.store.move.target import TargetRefusedError, open_target
from monitor.store.schema.migrations import StoreTooNewError

app = typer.Typer(help="Move the store from SQLite to PostgreSQL.")

#: Seconds between reports of progress, which overwrite one line on a terminal, and are separate lines in a log.
_TERMINAL_INTERVAL, _LINE_INTERVAL = 0.2, 10.0
_STAGE_TEXTS = {
    MoveStage.COPIED: "1 of 3, copying",
    MoveStage.COMPARED: "2 of 3, comparing",
    MoveStage.VERIFIED: "3 of 3, verifying the audit log",
}


@app.callback()
def store() -> None:
    """Do nothing. With this callback `copy` stays a subcommand; typer would make a single command `pantau store` itself."""


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
    server = read_store_server(config)
    if server is None:
        fail(
            f"{config} has no PostgreSQL server: write it under `store:` first (docs/how-to/operator/postgresql.md)",
            2,
        )
    file = from_ or control_socket(config, None).parent / SERVICE_FILE_NAME
    progress_line = _ProgressLine()
    try:
        with open_source(file) as source:
            moved = asyncio.run(_move(source, server, by, progress_line))
            is_service_file = source.is_service_file
    except FileNotFoundError:
        fail(f"there is no {file}: give the configuration of the service with --config, or the file with --from")
    except AlreadyMovedError as error:
        if not error.is_same_target:
            fail(f"{file}: {error}")
        typer.echo(f"{file} was copied to the {server} before: nothing to do.")
        return
    except BadCopyError as error:
        fail(f"{file} cannot be copied: {error}")
    except (StoreInUseError, StoreUnusableError, StoreTooNewError, TargetRefusedError) as error:
        fail(f"nothing was copied: {error}")
    except (RowRefusedError, UnequalError) as error:
        fail(f"{progress_line.end()}the store was not copied, and the service can still use {file}: {error}")
    except (DBAPIError, TimeoutError, OSError, sqlite3.Error) as error:
        # Any other error than an unavailable database or a fault of the disk is a bug.
        if (reason := reason_of(error) or _disk_error(error)) is None:
            raise
        fail(f"{progress_line.end()}the copy is incomplete: {reason}; run this again to continue")
    typer.echo(progress_line.end() + _summary(file, server, moved, is_service_file=is_service_file))


async def _move(source: Source, server: PostgresServer, by: str, progress_line: _ProgressLine) -> Moved:
    async with open_target(server) as target:
        return await move(source, target, by, progress_line.update)


def _disk_error(error: Exception) -> str | None:
    return str(error) if isinstance(error, OSError | sqlite3.Error) else None


def _summary(file: Path, server: PostgresServer, moved: Moved, *, is_service_file: bool) -> str:
    rows, verifier = sum(moved.rows.values()), moved.verifier
    text = (
        f"{file} was copied to the {server}: {rows:,} rows in {len(moved.rows)} tables, each compared. "
        f"The audit log was verified there up to {verifier.head.number}:{verifier.head.hash}"
    )
    if verifier.violations:
        text += f"; it WAS CHANGED in the file already ({verifier.violations[0]}; `pantau audit verify` lists all)"
    text += f", and ends with {moved.head.number}:{moved.head.hash}, which records this.\n"
    if is_service_file:
        return f"{text}The file is marked so that no service starts on it. Start the service."
    return f"{text}The file is a copy and was not changed. Start the service."


class _ProgressLine:
    """Display of progress on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._printed_at = time.monotonic() if not self._is_terminal else 0.0
        self._stage: MoveStage | None = None
        self._stage_started_at = 0.0
        self._rows_at_start = 0
        self._is_line_open = False

    def update(self, progress: MoveProgress) -> None:
        now = time.monotonic()
        is_new_stage = progress.stage is not self._stage
        if is_new_stage:
            self._stage, self._stage_started_at, self._rows_at_start = progress.stage, now, progress.done
        interval = _TERMINAL_INTERVAL if self._is_terminal else _LINE_INTERVAL
        if now - self._printed_at < interval and not (is_new_stage and self._is_terminal):
            return
        self._printed_at = now
        text = _format_progress(progress, progress.done - self._rows_at_start, now - self._stage_started_at)
        self._is_line_open = self._is_terminal
        typer.echo(f"\r\x1b[K{text}" if self._is_terminal else text, err=True, nl=not self._is_terminal)

    def end(self) -> str:
        """Clear the line of progress. Return "", so that an f-string of a message can call this first."""
        was_open, self._is_line_open = self._is_line_open, False
        if was_open:
            typer.echo("\r\x1b[K", err=True, nl=False)
        return ""


def _format_progress(progress: MoveProgress, done: int, seconds: float) -> str:
    """Return the text of progress, rate and remaining time.

    *done*: rows that this run has processed in this stage, in *seconds*. `progress.done` also counts earlier runs.
    """
    stage_text = _STAGE_TEXTS[progress.stage]
    if progress.stage is MoveStage.VERIFIED:
        return stage_text
    percentage = 100 * progress.done // max(progress.of, 1)
    text = f"{stage_text} {progress.table}: {progress.done:,} of {progress.of:,} rows ({percentage} %)"
    if not done or not seconds:
        return text
    rate = done / seconds
    remaining = timedelta(seconds=round((progress.of - progress.done) / rate))
    return f"{text}, {rate:,.0f} rows/s, {remaining} left"
