"""Online copy of the embedded store (a SQLite file), and atomic creation of files."""

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
#: SQLite's busy timeout: maximum wait for another process's lock.
_BUSY_TIMEOUT_SECONDS = 30.0
#: Minimum age of an incomplete file before it is removed. The writer of a younger one may not have locked it yet.
_MIN_LEFTOVER_AGE_SECONDS = 60.0


class BadCopyError(Exception):
    """A file is no valid store. The message gives the reason."""


@contextmanager
def write_atomically(final: Path) -> Iterator[Path]:
    """Provide a private temporary file; at the end of the block, sync it to disk and rename it to *final*.

    If the block fails, *final* does not exist. Raise `FileExistsError` if *final* exists already, or `OSError`.
    """
    if final.exists():
        raise FileExistsError(final)
    _remove_leftovers(final.parent)
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=final.parent)
    temporary = Path(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
        # Open by name, not by `descriptor`: the block may have replaced the file.
        with temporary.open("rb+") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        _rename(temporary, final)
    finally:
        os.close(descriptor)
        # SQLite's files beside the temporary file have names such as "<name>-wal".
        for leftover in (temporary, *temporary.parent.glob(f"{temporary.name}-*")):
            leftover.unlink(missing_ok=True)
    directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _rename(temporary: Path, final: Path) -> None:
    """Rename *temporary* to *final*. Raise `FileExistsError` if another process has created *final*."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:  # FAT and many network shares have no hard links.
        if final.exists():
            raise FileExistsError(final) from None
        temporary.rename(final)


def _remove_leftovers(directory: Path) -> None:
    """Remove incomplete files of killed processes. The lock of a live writer protects its file."""
    for temporary in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), temporary.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _MIN_LEFTOVER_AGE_SECONDS:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in (temporary, *directory.glob(f"{temporary.name}-*")):
                leftover.unlink(missing_ok=True)


def copy(store: Path, to: Path) -> None:
    """Copy the SQLite file *store* in a consistent state into the file *to*, while other processes write.

    Writers do not wait, because a reader of a write-ahead log does not block them. Raise `sqlite3.Error`.
    """
    with _open(store, "ro") as source, closing(sqlite3.connect(to)) as target:
        # The caller syncs the complete copy. An incomplete copy is discarded, so that its writes need no syncs.
        target.execute("PRAGMA synchronous=OFF")
        # Copy in one step: a copy in parts restarts at each write, and would never end.
        source.backup(target, pages=-1)
        # Without a write-ahead log the copy is a single file, which can be read on read-only media.
        target.execute("PRAGMA journal_mode=DELETE")


def check_integrity(file: Path) -> None:
    """Check every page and every index of a SQLite file. Raise `BadCopyError`."""
    try:
        with _open(file, "ro") as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        raise BadCopyError(str(error)) from None
    if problems != ["ok"]:
        raise BadCopyError("; ".join(" ".join(each.split()) for each in problems))


def schema_of(file: Path) -> str:
    """Return the schema revision of a store, such as "0018". Raise `BadCopyError` when the file is no store.

    A moved store has a mark in place of the revision (`monitor.store.schema.block`).
    """
    try:
        with _open(file, "ro") as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise BadCopyError(f"it is no store of Pantau ({error})") from None
    if row is None:
        raise BadCopyError("it is a store without a schema")
    return str(row[0])


@contextmanager
def _open(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    url = f"file:{quote(str(file))}?mode={mode}"
    with closing(sqlite3.connect(url, uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)) as connection:
        yield connection
