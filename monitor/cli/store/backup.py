"""`pantau backup`: a verified copy of the store, also while the service runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DatabaseError

from alerts.persistence.audit import Verifier
from monitor.cli.configured import store_server
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import control_socket, fail
from monitor.store.backend.copy import BadCopyError, copy, made_whole, schema_of, see_whole
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.schema.block import StoreBlock
from monitor.store.schema.migrations import known


def backup(
    to: Annotated[Path, typer.Argument(help="A directory, or the name of the new file.", metavar="TO")],
    *,
    store: Annotated[
        Path | None, typer.Option("--store", help="The SQLite file; default: as configured.", metavar="FILE")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Copy the store to a new file, also while the service runs, and verify the copy.

    It holds what was sent to whom, and no key, configuration or letter. See docs/how-to/operator/backup.md.
    """
    server = store_server(config) if store is None else None
    final = to
    try:
        final = _final(to, "sqlite" if server is None else "dump")
        if server is not None:
            _dump(server, final)
        else:
            _copy(store or control_socket(config, None).parent / "pantau.sqlite", final)
    except FileExistsError:
        fail(f"{final} exists, and is not overwritten; name a new file, or a directory")
    except OSError as error:
        fail(f"{final} cannot be written: {error.strerror}")


def _final(to: Path, kind: str) -> Path:
    if to.is_dir():
        return to / f"pantau-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    if not to.parent.is_dir():
        fail(f"there is no directory {to.parent}; create it first, readable by its owner only")
    return to


def _copy(store: Path, final: Path) -> None:
    if not store.exists():
        fail(f"there is no {store}: give the configuration of the service with --config, or the file with --store")
    with made_whole(final) as part:
        try:
            copy(store, part)
        except sqlite3.Error as error:
            fail(f"{store} cannot be copied to {final.parent}: {error}")
        said = look(part, store)
    typer.echo(f"{final} is a verified copy of {store}: {final.stat().st_size:,} bytes, {said}.")


def look(file: Path, what: Path) -> str:
    """Describe the store in *file*, named *what* in messages; end the command when it is damaged."""
    try:
        see_whole(file)
        schema = schema_of(file)
    except BadCopyError as bad:
        fail(f"{what} is damaged and cannot be used: {bad}")
    said = f"schema {schema}"
    if (bar := StoreBlock.of(schema)) is not None:
        said = f"schema {bar.schema}, and {bar.why}"
    elif schema not in (schemas := known()):
        said += ", which is newer than this program's"
    elif schema != schemas[0]:
        said += f", which a start of this program migrates to {schemas[0]}"
    try:
        verifier = asyncio.run(_followed(file))
    except DatabaseError:
        return f"{said}; its audit log has an older format and was not verified"
    if verifier.flaws:
        # The copy equals the store, and is even more important then.
        said = f"{said}; its AUDIT LOG WAS CHANGED ({verifier.flaws[0]}; `pantau audit verify --store` lists all)"
    return f"{said}; its audit log ends with {verifier.head.number}:{verifier.head.hash}"


async def _followed(file: Path) -> Verifier:
    return await audit.verify(lambda: audit.in_file(file))


def _dump(server: PostgresServer, final: Path) -> None:
    """Copy with pg_dump, whose format administrators use."""
    with made_whole(final) as part:
        dump = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password"]
        # A copy that is restored elsewhere must not subscribe to sites, or contain their passwords.
        dump += ["--no-subscriptions", "--no-publications", f"--file={part}"]
        _run(dump, server.environ())
        _run(["pg_restore", "--list", str(part)], {}, quiet=True)
    typer.echo(f"{final} is a copy of the {server}: {final.stat().st_size:,} bytes, as pg_dump makes them.")


def _run(command: list[str], environ: Mapping[str, str], *, quiet: bool = False) -> None:
    if shutil.which(command[0]) is None:
        fail(f"{command[0]} is not installed here: apt-get install postgresql-client")
    into = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, check=False, env={**os.environ, **environ}, stdout=into)  # noqa: S603 - ours
    if done.returncode:
        fail(f"no copy was made: {command[0]} failed ({done.returncode})")
