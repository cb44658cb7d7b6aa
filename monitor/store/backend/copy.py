"""A copy of the embedded store, made while it is used; and a file that is whole under its name, or not there at all."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

#: What is still written begins so, and ends so: whoever copies a directory's copies elsewhere leaves it out.
_PREFIX, _SUFFIX = ".pantau-", ".part"
#: In seconds: so long a writer may keep us from beginning.
_PATIENCE = 30.0
#: In seconds: younger than that, a file may be somebody's who is about to lock it.
_YOUNG = 60.0


class BadCopyError(Exception):
    """A file is no whole store. The message says what is wrong with it."""


@contextmanager
def made_whole(final: Path) -> Iterator[Path]:
    """Give the block a file to write that only we can read; at its end it gets the name *final*, on the disk for good.

    Whatever happens before leaves nothing under that name. Raise `FileExistsError` when somebody has it, `OSError`.
    """
    if final.exists():
        raise FileExistsError(final)
    _clear(final.parent)
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=final.parent)
    part = Path(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield part
        # By the name and not by `descriptor`: the block may have written another file there.
        with part.open("rb+") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        _name(part, final)
    finally:
        os.close(descriptor)
        for leftover in (part, *part.parent.glob(f"{part.name}-*")):
            leftover.unlink(missing_ok=True)
    directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _name(part: Path, final: Path) -> None:
    """Give the file its name, unless another has taken it meanwhile."""
    try:
        os.link(part, final)
    except FileExistsError:
        raise
    except OSError:  # FAT, and many a network share.
        if final.exists():
            raise FileExistsError(final) from None
        part.rename(final)


def _clear(directory: Path) -> None:
    """Remove what those left behind who were killed; whoever is at work has a lock."""
    for part in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), part.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _YOUNG:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in (part, *directory.glob(f"{part.name}-*")):
                leftover.unlink(missing_ok=True)


def copy(store: Path, to: Path) -> None:
    """Copy the SQLite file *store* as it is at one moment, whoever writes meanwhile, into the one file *to*.

    Nobody waits for it: a reader of a write-ahead log keeps no writer. Raise `sqlite3.Error`.
    """
    with _opened(store, "ro") as source, closing(sqlite3.connect(to)) as target:
        # It counts once it is whole and on the disk; until then it needs no care.
        target.execute("PRAGMA synchronous=OFF")
        # In one go: copied in parts it begins anew whenever somebody writes, and would never end.
        source.backup(target, pages=-1)
        # The copy is to be one file, and to be read where nothing can be written.
        target.execute("PRAGMA journal_mode=DELETE")


def see_whole(file: Path) -> None:
    """Look at every page and every index of a SQLite file. Raise `BadCopyError`."""
    try:
        with _opened(file, "ro") as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        raise BadCopyError(str(error)) from None
    if found != ["ok"]:
        raise BadCopyError("; ".join(" ".join(each.split()) for each in found))


def schema_of(file: Path) -> str:
    """Return the number of a store's schema, such as "0018". Raise `BadCopyError` when the file is no store."""
    try:
        with _opened(file, "ro") as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise BadCopyError(f"it is no store of Pantau ({error})") from None
    if row is None:
        raise BadCopyError("it is a store in which nothing has been made yet")
    return str(row[0])


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    url = f"file:{quote(str(file))}?mode={mode}"
    with closing(sqlite3.connect(url, uri=True, timeout=_PATIENCE, isolation_level=None)) as connection:
        yield connection
