"""`pantau audit`: verify the audit log, print its head, export it."""

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

from alerts.persistence.audit import ChainedEntry, ChainHead, Verifier, as_json, compact, of_json
from monitor.cli.configured import store_server
from monitor.cli.option import DEFAULT_CONFIG, Config, Socket
from monitor.cli.private import private
from monitor.cli.service import ask, belongs_to_another, control_socket, fail, request
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit as stored

app = typer.Typer(help="The audit log: verify it, print its head, export it.")

T = TypeVar("T")

#: Exit code of `verify` when the audit log was changed. 1: it could not be read.
CHANGED = 3

_FILE = "pantau.sqlite"

#: A store that is read without the service.
_Place = Path | PostgresServer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The running service, which serves its audit log."""

    config: Path
    socket: Path

    def ask(self, path: str) -> Any:
        return ask(self.config, self.socket, "GET", path)


Store = Annotated[
    Path | None,
    typer.Option("--store", help="A copy of the SQLite file, to read instead of the service's.", metavar="FILE"),
]


@app.command()
def head(store: Store = None, config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Print the head: number and hash of the last entry. Keep a copy of it elsewhere."""
    place = _place(store, config, socket)
    found = _asked_head(place) if isinstance(place, _Running) else _run(_stored_head(place), place)
    typer.echo(f"{found.number}:{found.hash}")


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
    kept = _kept(expect_head) if expect_head else None
    place = _place(store, config, socket)
    verifier = (
        _asked(place, kept) if isinstance(place, _Running) else _run(stored.verify(lambda: _open(place), kept), place)
    )
    for flaw in verifier.flaws:
        typer.echo(str(flaw))
    purged = f", of which {verifier.tombstones} purged" if verifier.tombstones else ""
    said = f"{verifier.entries} entries{purged}, the last {verifier.head.number}:{verifier.head.hash}"
    if verifier.flaws:
        fail(f"The audit log was CHANGED: {said}.", CHANGED)
    typer.echo(f"The audit log is intact: {said}.")


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
    place = _place(store, config, socket)
    if output is None:
        _export(place, typer.echo)
        return
    try:
        with private(output) as to:
            _export(place, lambda line: to.write(f"{line}\n".encode()))
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    typer.echo(f"{output} is written.")


def _export(place: _Place | _Running, write: Callable[[str], object]) -> None:
    if not isinstance(place, _Running):
        _run(_tell(place, write), place)
        return
    for values in _pages(place):
        write(compact(values))


def _kept(text: str) -> ChainHead:
    found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip().lower())
    if found is None:
        fail("--expect-head: must be NUMBER:HASH, as `pantau audit head` prints it", 2)
    return ChainHead(number=int(found[1]), hash=found[2])


# -- the service ------------------------------------------------------------------------------------------------------


def _place(store: Path | None, config: Path, given: Path | None) -> _Place | _Running:
    """Return the service if it runs, else the store."""
    if store is not None:
        return store
    socket = control_socket(config, given)
    service, file = _Running(config=config, socket=socket), socket.parent / _FILE
    if given is not None:
        return service
    if belongs_to_another(socket):
        fail(f"{socket} belongs to another user: run this command as the service's user")
    try:
        request(socket, "GET", "/audit/head")
    except (httpx.ConnectError, OSError):
        # An old file may exist, which is outdated.
        if (server := store_server(config)) is not None:
            return server
        if file.exists():
            return file
        fail(f"the service is not running, and there is no {file}; start it, or name a copy with --store")
    except httpx.HTTPError:
        pass  # It runs, but is slow.
    return service


def _asked_head(service: _Running) -> ChainHead:
    found = service.ask("/audit/head")
    return ChainHead(number=found["number"], hash=found["hash"])


def _pages(service: _Running, after: int = 0) -> Iterator[Mapping[str, Any]]:
    while page := service.ask(f"/audit/entries?after={after}"):
        yield from page
        after = page[-1]["number"]


def _asked(service: _Running, kept: ChainHead | None) -> Verifier:
    """Verify the chain as the service serves it; it continues to write meanwhile."""
    verifier, of_kept = Verifier(), None
    end: ChainHead | None = None
    before: int | None = None
    # Until the head is reached, or no more entries come.
    while end is None or (end != verifier.head and verifier.entries != before):
        before = None if end is None else verifier.entries
        for values in _pages(service, verifier.head.number):
            entry = _read(values)
            if entry is None:
                verifier.unreadable(values["number"])
                continue
            verifier.take(entry)
            if kept is not None and entry.number == kept.number:
                of_kept = entry.hash
        end = _asked_head(service)
    verifier.end(end)
    if kept is not None:
        verifier.against(kept, of_kept)
    return verifier


def _read(values: Mapping[str, Any]) -> ChainedEntry | None:
    try:
        return of_json(values)
    except (KeyError, ValueError, TypeError):
        return None


# -- without the service ----------------------------------------------------------------------------------------------


def _open(place: _Place) -> AbstractAsyncContextManager[AsyncConnection]:
    return stored.in_file(place) if isinstance(place, Path) else stored.on_server(place)


def _run(work: Coroutine[Any, Any, T], place: _Place) -> T:
    try:
        return asyncio.run(work)
    except FileNotFoundError:
        fail(f"there is no file {place}")
    except DatabaseError as error:
        why = " ".join(str(error.orig).split())
        fail(f"{place} cannot be read, or is not a store of this version: {why}")


async def _stored_head(place: _Place) -> ChainHead:
    async with _open(place) as connection:
        return await stored.head(connection)


async def _tell(place: _Place, write: Callable[[str], object]) -> None:
    async with _open(place) as connection:
        after = 0
        while batch := await stored.entries(connection, after):
            for entry in batch:
                write(compact(as_json(entry) if isinstance(entry, ChainedEntry) else {"number": entry}))
            after = stored.number_of(batch[-1])
