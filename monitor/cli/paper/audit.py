"""`pantau audit`: verify the audit log, print its head, export it.

The entries form a hash chain: each has the hash of the previous one. The head is the number and hash of the last entry; a
kept copy of it proves that no entry up to it was changed. The commands read the log from the running service, or from the
store (the database) if no service is running.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import typer
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.audit import ChainedEntry, ChainHead, Verifier, canonical_json, entry_from_json, entry_to_json
from monitor.cli.configured import read_store_server
from monitor.cli.option import DEFAULT_CONFIG, Config, Socket
from monitor.cli.private import open_private
from monitor.cli.service import belongs_to_another, call_service, control_socket, fail, request
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit as stored

app = typer.Typer(help="The audit log: verify it, print its head, export it.")

_T = TypeVar("_T")

#: Exit code of `verify` when the audit log was changed. 1: it could not be read.
EXIT_CHANGED = 3

_SQLITE_FILE = "pantau.sqlite"

#: A store that is read without the service: an SQLite file or a PostgreSQL server.
_Store = Path | PostgresServer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """Running service, from whose API the audit log is read."""

    config: Path
    socket: Path

    def get(self, path: str) -> Any:
        return call_service(self.config, self.socket, "GET", path)


Store = Annotated[
    Path | None,
    typer.Option("--store", help="A copy of the SQLite file, to read instead of the service's.", metavar="FILE"),
]


@app.command()
def head(store: Store = None, config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Print the head: number and hash of the last entry. Keep a copy of it elsewhere."""
    source = _source(store, config, socket)
    chain_head = (
        _service_head(source) if isinstance(source, _Service) else _run_on_store(_read_stored_head(source), source)
    )
    typer.echo(f"{chain_head.number}:{chain_head.hash}")


@app.command()
def verify(
    expect_head: Annotated[
        str,
        typer.Option("--expect-head", help="A head that `pantau audit head` printed earlier.", metavar="N:HASH"),
    ] = "",
    store: Store = None,
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Verify the hash chain of the whole audit log and print each violation.

    Exit code 0: it is intact. 3: it was changed. 1: it could not be read.
    """
    expected = _parse_head(expect_head) if expect_head else None
    source = _source(store, config, socket)
    verifier = (
        _verify_service(source, expected)
        if isinstance(source, _Service)
        else _run_on_store(stored.verify(lambda: _open(source), expected), source)
    )
    for violation in verifier.violations:
        typer.echo(str(violation))
    # A tombstone is what a purge leaves of an entry, so that the chain stays valid.
    purged_text = f", of which {verifier.tombstones} purged" if verifier.tombstones else ""
    summary = f"{verifier.entries} entries{purged_text}, the last {verifier.head.number}:{verifier.head.hash}"
    if verifier.violations:
        fail(f"The audit log was CHANGED: {summary}.", EXIT_CHANGED)
    typer.echo(f"The audit log is intact: {summary}.")


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; default: standard output.")
    ] = None,
    store: Store = None,
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Print every entry as a line of JSON with its hash, for an auditor (docs/explanation/audit.md)."""
    source = _source(store, config, socket)
    if output is None:
        _write_entries(source, typer.echo)
        return
    try:
        with open_private(output) as stream:
            _write_entries(source, lambda line: stream.write(f"{line}\n".encode()))
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    typer.echo(f"{output} is written.")


def _write_entries(source: _Store | _Service, write: Callable[[str], object]) -> None:
    if not isinstance(source, _Service):
        _run_on_store(_write_stored_entries(source, write), source)
        return
    for values in _service_entries(source):
        write(canonical_json(values))


def _parse_head(text: str) -> ChainHead:
    match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip().lower())
    if match is None:
        fail("--expect-head: must be NUMBER:HASH, as `pantau audit head` prints it", 2)
    return ChainHead(number=int(match[1]), hash=match[2])


# -- the service ------------------------------------------------------------------------------------------------------


def _source(store: Path | None, config: Path, socket_option: Path | None) -> _Store | _Service:
    """Return the source of the audit log: *store*, or the service if it is running, or its store."""
    if store is not None:
        return store
    socket = control_socket(config, socket_option)
    service, file = _Service(config=config, socket=socket), socket.parent / _SQLITE_FILE
    if socket_option is not None:
        return service
    if belongs_to_another(socket):
        fail(f"{socket} belongs to another user: run this command as the service's user")
    try:
        request(socket, "GET", "/audit/head")
    except (httpx.ConnectError, OSError):
        # Prefer the server: an outdated SQLite file may remain from before a move to PostgreSQL.
        if (server := read_store_server(config)) is not None:
            return server
        if file.exists():
            return file
        fail(f"the service is not running, and there is no {file}; start it, or name a copy with --store")
    except httpx.HTTPError:
        pass  # The service is running, but slow.
    return service


def _service_head(service: _Service) -> ChainHead:
    chain_head = service.get("/audit/head")
    return ChainHead(number=chain_head["number"], hash=chain_head["hash"])


def _service_entries(service: _Service, after: int = 0) -> Iterator[Mapping[str, Any]]:
    while page := service.get(f"/audit/entries?after={after}"):
        yield from page
        after = page[-1]["number"]


def _verify_service(service: _Service, expected: ChainHead | None) -> Verifier:
    """Verify the hash chain of a running service, which may add entries meanwhile."""
    verifier, actual_hash = Verifier(), None
    end: ChainHead | None = None
    previous_count: int | None = None
    # Read until the verified entries reach the head, or the service returns no further entries.
    while end is None or (end != verifier.head and verifier.entries != previous_count):
        previous_count = None if end is None else verifier.entries
        for values in _service_entries(service, verifier.head.number):
            entry = _parse_entry(values)
            if entry is None:
                verifier.add_unreadable(values["number"])
                continue
            verifier.verify(entry)
            if expected is not None and entry.number == expected.number:
                actual_hash = entry.hash
        end = _service_head(service)
    verifier.end(end)
    if expected is not None:
        verifier.compare_kept_head(expected, actual_hash)
    return verifier


def _parse_entry(values: Mapping[str, Any]) -> ChainedEntry | None:
    try:
        return entry_from_json(values)
    except (KeyError, ValueError, TypeError):
        return None


# -- without the service ----------------------------------------------------------------------------------------------


def _open(source: _Store) -> AbstractAsyncContextManager[AsyncConnection]:
    return stored.open_sqlite_file(source) if isinstance(source, Path) else stored.open_postgres_server(source)


def _run_on_store(work: Coroutine[Any, Any, _T], source: _Store) -> _T:
    try:
        return asyncio.run(work)
    except FileNotFoundError:
        fail(f"there is no file {source}")
    except DatabaseError as error:
        reason = " ".join(str(error.orig).split())
        fail(f"{source} cannot be read, or is not a store of this version: {reason}")


async def _read_stored_head(source: _Store) -> ChainHead:
    async with _open(source) as connection:
        return await stored.head(connection)


async def _write_stored_entries(source: _Store, write: Callable[[str], object]) -> None:
    async with _open(source) as connection:
        after = 0
        while batch := await stored.entries(connection, after):
            for entry in batch:  # An unreadable entry is only its number.
                write(canonical_json(entry_to_json(entry) if isinstance(entry, ChainedEntry) else {"number": entry}))
            after = stored.number_of(batch[-1])
