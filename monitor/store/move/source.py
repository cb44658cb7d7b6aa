"""The file that is moved: locked meanwhile, read without changes, and finally marked as moved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, select
from sqlalchemy.exc import DatabaseError, NoResultFound

from alerts.persistence.audit import ChainHead
from monitor.store.backend.copy import BadCopyError, copy, schema_of, write_atomically
from monitor.store.backend.sqlite import lock_store
from monitor.store.engine.audit import read_only
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.migrations import known, upgrade
from monitor.store.schema.renamed import use_present_names
from monitor.store.schema.tables import audit_head, audit_log

#: Name of the file that a service opens; a file of another name is a copy, which no service uses.
SERVED = "pantau.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOrigin:
    """Identity of a store, and its position."""

    #: Hash of the first entry of its audit log, which identifies the installation; "": it has none.
    first: str
    #: Every service that starts on it adds entries.
    head: ChainHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A SQLite file of any schema revision, without concurrent writers."""

    file: Path
    schema: str
    origin: StoreOrigin
    #: Set since it was marked as moved.
    bar: StoreBlock | None

    @property
    def is_served(self) -> bool:
        """Whether a service could be started on it."""
        return self.file.name == SERVED

    @contextmanager
    def reading(self, *, anew: bool) -> Iterator[Connection]:
        """Read it in the present schema. Raise `BadCopyError` when that is impossible.

        A file in an older schema is read from a migrated copy, which is kept until the end: a migration may write the
        time at which it ran, and another copy would then differ. *anew*: make the copy again.
        """
        read = self.file
        if self.schema != known()[0]:
            read = self._copy
            if anew:
                read.unlink(missing_ok=True)
                with write_atomically(read) as part:
                    copy(self.file, part)
                    upgrade(f"sqlite:///{part}")
            elif not read.exists():
                raise BadCopyError(
                    f"{read} is gone, from which half of it was copied: empty the database, and begin anew"
                )
        with _engine(read).connect() as connection:
            yield connection

    @property
    def _copy(self) -> Path:
        return self.file.with_name(f"{self.file.name}.moving")

    def leave(self, destination: str, moved_at: datetime) -> None:
        """Mark the file as moved, so that no service starts on it; nothing else is changed.

        Raise `OSError` or `sqlite3.Error`.
        """
        if self.is_served and self.bar is None:
            bar = StoreBlock(barred=BlockReason.MOVED, schema=self.schema, at=moved_at, to=destination)
            _write(self.file, str(bar))

    def tidy(self) -> None:
        """Remove the migrated copy."""
        self._copy.unlink(missing_ok=True)


@contextmanager
def opened(file: Path) -> Iterator[Source]:
    """Lock *file* for the duration of the block.

    Raise `FileNotFoundError`, `StoreInUseError` when a service runs on it, `BadCopyError` when it is no store, and
    `OSError`.
    """
    # The real path: a process that uses a symbolic link must meet the same lock.
    file = file.resolve(strict=True)
    with lock_store(file.parent) if file.name == SERVED else nullcontext():
        number = schema_of(file)
        bar = StoreBlock.of(number)
        schema = number if bar is None else bar.schema
        if schema not in known():
            raise BadCopyError("a newer version of Pantau has used it; install that one, and copy it then")
        yield Source(file=file, schema=schema, origin=_origin(file), bar=bar)


def unmark_moved(file: Path) -> None:
    """Remove the mark from a moved file, or from a copy of it: the caller has been told that it is put back."""
    bar = StoreBlock.of(schema_of(file))
    if bar is not None:
        _write(file, bar.schema)


def _write(file: Path, number: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))


def _origin(file: Path) -> StoreOrigin:
    try:
        with _engine(file).connect() as connection:
            use_present_names(connection)
            first = connection.execute(select(audit_log.c.hash).where(audit_log.c.id == 1)).scalar_one_or_none()
            end = connection.execute(select(audit_head.c.number, audit_head.c.hash)).one()
    except (DatabaseError, NoResultFound):
        raise BadCopyError(
            "its journal is of a form from before the first release, or damaged; let the service start on it once"
        ) from None
    return StoreOrigin(first=first or "", head=ChainHead(number=end.number, hash=end.hash))


def _engine(file: Path) -> Engine:
    return create_engine(read_only(file).set(drivername="sqlite"), poolclass=NullPool, hide_parameters=True)
