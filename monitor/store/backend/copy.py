"""Online copy of the embedded store, and atomic creation of files."""

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

#: Prefix and suffix of incomplete files, which backups should exclude.
_PREFIX, _SUFFIX = ".pantau-", ".part"
#: Seconds to wait for a writer before the copy starts.
_PATIENCE = 30.0
#: Seconds: a younger file may not be locked yet by its writer.
_YOUNG = 60.0


class BadCopyError(Exception):
    """A file is no valid store. The message gives the reason."""


@contextmanager
def write_atomically(final: Path) -> Iterator[Path]:
    """Provide a private temporary file; at the end of the block it is renamed to *final* durably.

    After an error there is no file of that name. Raise `FileExistsError` when the name is taken, `OSError`.
    """
    if final.exists():
        raise FileExistsError(final)
    _clear(final.parent)
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=final.parent)
    part = Path(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield part
        # Open by name, not by `descriptor`: the block may have replaced the file.
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
    """Rename the file, unless the name has been taken meanwhile."""
    try:
        os.link(part, final)
    except FileExistsError:
        raise
    except OSError:  # FAT and many network shares have no hard links.
        if final.exists():
            raise FileExistsError(final) from None
        part.rename(final)


def _clear(directory: Path) -> None:
    """Remove incomplete files of killed processes; a live writer holds a lock."""
    for part in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), part.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _YOUNG:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in (part, *directory.glob(f"{part.name}-*")):
                leftover.unlink(missing_ok=True)


def copy(store: Path, to: Path) -> None:
    """Copy the SQLite file *store* in a consistent state, during writes, into the file *to*.

    No writer waits: a reader of a write-ahead log does not block. Raise `sqlite3.Error`.
    """
    with _opened(store, "ro") as source, closing(sqlite3.connect(to)) as target:
        # The copy counts once it is complete and synced; until then it needs no protection.
        target.execute("PRAGMA synchronous=OFF")
        # In one step: a copy in parts restarts at each write, and would never end.
        source.backup(target, pages=-1)
        # The copy is a single file, readable on read-only media.
        target.execute("PRAGMA journal_mode=DELETE")


def check_integrity(file: Path) -> None:
    """Check every page and every index of a SQLite file. Raise `BadCopyError`."""
    try:
        with _opened(file, "ro") as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        raise BadCopyError(str(error)) from None
    if problems != ["ok"]:
        raise BadCopyError("; ".join(" ".join(each.split()) for each in problems))


def schema_of(file: Path) -> str:
    """Return the schema number of a store, such as "0018". Raise `BadCopyError` when the file is no store."""
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
