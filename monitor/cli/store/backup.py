"""`pantau backup`: make a verified copy of the store (the SQLite file or PostgreSQL database)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DatabaseError

from alerts.persistence.audit import Verifier
from monitor.cli.configured import read_store_server
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import control_socket, fail
from monitor.store.backend.copy import BadCopyError, check_integrity, copy, schema_of, write_atomically
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.schema.block import StoreBlock
from monitor.store.schema.migrations import known_revisions


@dataclass(frozen=True, slots=True)
class StoreDescription:
    #: Schema and last entry of the audit log, for a message.
    text: str
    #: An entry of the audit log does not follow from the entry before it.
    has_broken_chain: bool = False


def backup(
    to: Annotated[Path, typer.Argument(help="A directory, or the name of the new file.", metavar="TO")],
    *,
    store: Annotated[
        Path | None, typer.Option("--store", help="The SQLite file; default: as configured.", metavar="FILE")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Copy the store to a new file, also while the service runs, and verify the copy.

    The copy has a record of what was sent to whom, and no keys, configuration or letters. See docs/how-to/operator/backup.md.
    """
    server = read_store_server(config) if store is None else None
    target = to
    try:
        target = _target_file(to, "sqlite" if server is None else "dump")
        if server is not None:
            _dump_postgres(server, target)
        else:
            _copy_sqlite(store or control_socket(config, None).parent / "pantau.sqlite", target)
    except FileExistsError:
        fail(f"{target} exists, and is not overwritten; name a new file, or a directory")
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror}")


def _target_file(to: Path, kind: str) -> Path:
    if to.is_dir():
        return to / f"pantau-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    if not to.parent.is_dir():
        fail(f"there is no directory {to.parent}; create it first, readable by its owner only")
    return to


def _copy_sqlite(store: Path, target: Path) -> None:
    if not store.exists():
        fail(f"there is no {store}: give the configuration of the service with --config, or the file with --store")
    with write_atomically(target) as temporary:
        try:
            copy(store, temporary)
        except sqlite3.Error as error:
            fail(f"{store} cannot be copied to {target.parent}: {error}")
        description = describe_store(temporary, store).text
    typer.echo(f"{target} is a verified copy of {store}: {target.stat().st_size:,} bytes, {description}.")


def describe_store(file: Path, name: Path) -> StoreDescription:
    """Return a description of the SQLite store in *file*; end the command if it is damaged.

    *name*: the path by which messages refer to it.
    """
    try:
        check_integrity(file)
        schema = schema_of(file)
    except BadCopyError as error:
        fail(f"{name} is damaged and cannot be used: {error}")
    description = f"schema {schema}"
    # A block, stored instead of the schema revision, prevents a service from starting on a moved or incomplete store.
    if (store_block := StoreBlock.parse(schema)) is not None:
        description = f"schema {store_block.schema}, and {store_block.message}"
    elif schema not in (schemas := known_revisions()):  # The newest first.
        description += ", which is newer than this program's"
    elif schema != schemas[0]:
        description += f", which a start of this program migrates to {schemas[0]}"
    try:
        verifier = asyncio.run(_verify_audit_log(file))
    except DatabaseError:
        return StoreDescription(f"{description}; its audit log has an older format and was not verified")
    has_broken_chain = bool(verifier.violations)
    if has_broken_chain:
        # Not an error: the copy equals the store, and is evidence.
        description = f"{description}; its AUDIT LOG WAS CHANGED ({verifier.violations[0]}; `pantau audit verify --store` lists all)"
    description += f"; its audit log ends with {verifier.head.number}:{verifier.head.hash}"
    return StoreDescription(description, has_broken_chain)


async def _verify_audit_log(file: Path) -> Verifier:
    return await audit.verify(lambda: audit.open_sqlite_file(file))


def _dump_postgres(server: PostgresServer, target: Path) -> None:
    """Make a copy with pg_dump, in its custom format, and verify that pg_restore can read it."""
    with write_atomically(target) as temporary:
        dump = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password"]
        # Without subscriptions: a copy that is restored elsewhere must neither subscribe to sites nor contain their
        # passwords.
        dump += ["--no-subscriptions", "--no-publications", f"--file={temporary}"]
        _run_command(dump, server.environ())
        _run_command(["pg_restore", "--list", str(temporary)], {}, quiet=True)
    typer.echo(f"{target} is a copy of the {server}: {target.stat().st_size:,} bytes, as pg_dump makes them.")


def _run_command(command: list[str], environ: Mapping[str, str], *, quiet: bool = False) -> None:
    if shutil.which(command[0]) is None:
        fail(f"{command[0]} is not installed here: apt-get install postgresql-client")
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.run(command, check=False, env={**os.environ, **environ}, stdout=output)  # noqa: S603 - ours
    if process.returncode:
        fail(f"no copy was made: {command[0]} failed ({process.returncode})")
