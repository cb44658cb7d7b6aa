"""The SQLite file that is moved. It is locked during the move, read without changes, and finally marked as moved.

The mark, a `StoreBlock`, is stored in place of the schema revision (Alembic), and contains it.
"""

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
from monitor.store.engine.audit import sqlite_read_only_url
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.migrations import known_revisions, upgrade
from monitor.store.schema.renamed import use_present_names
from monitor.store.schema.tables import audit_head, audit_log

#: Name of the store's file, which a service opens. A file with another name is a copy, which no service uses.
SERVICE_FILE_NAME = "pantau.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOrigin:
    """Identity of a store, and its latest state."""

    #: Hash of the first entry of the audit log, which identifies the installation; "": the log is empty.
    first: str
    #: Last entry of the audit log. It changes whenever a service uses the store.
    head: ChainHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A SQLite file of any schema revision, without concurrent writers."""

    file: Path
    #: Schema revision of the file.
    schema: str
    origin: StoreOrigin
    #: The mark of a moved file ("block": it blocks services); `None`: the file was not moved.
    block: StoreBlock | None

    @property
    def is_service_file(self) -> bool:
        """Whether a service could use the file, by its name."""
        return self.file.name == SERVICE_FILE_NAME

    @contextmanager
    def reading(self, *, is_new: bool) -> Iterator[Connection]:
        """Provide a connection that reads the store in the present schema. Raise `BadCopyError` if that is impossible.

        A file in an older schema is read from a migrated copy beside it. The migrated copy is kept until the move is
        complete, because a second one could differ: a migration may write the time at which it ran. *is_new*: the move
        is not resumed, so that a new migrated copy is made.
        """
        file = self.file
        if self.schema != known_revisions()[0]:  # The newest revision comes first.
            file = self._migrated_copy
            if is_new:
                file.unlink(missing_ok=True)
                with write_atomically(file) as temporary:
                    copy(self.file, temporary)
                    upgrade(f"sqlite:///{temporary}")
            elif not file.exists():
                raise BadCopyError(
                    f"{file}, of which a part was copied, is missing: empty the database, and start the copy again"
                )
        with _engine(file).connect() as connection:
            yield connection

    @property
    def _migrated_copy(self) -> Path:
        return self.file.with_name(f"{self.file.name}.moving")

    def mark_moved(self, destination: str, moved_at: datetime) -> None:
        """Mark the file as moved, so that no service uses it. Raise `OSError` or `sqlite3.Error`.

        Nothing else in the file is changed. A file with another name than `SERVICE_FILE_NAME` is not marked.
        """
        if self.is_service_file and self.block is None:
            block = StoreBlock(reason=BlockReason.MOVED, schema=self.schema, moved_at=moved_at, moved_to=destination)
            _write_revision(self.file, str(block))

    def remove_migrated_copy(self) -> None:
        """Remove the migrated copy, if there is one."""
        self._migrated_copy.unlink(missing_ok=True)


@contextmanager
def open_source(file: Path) -> Iterator[Source]:
    """Provide *file* as a source, locked until the end of the `with` block.

    Raise `FileNotFoundError`, `StoreInUseError` if a service uses it, `BadCopyError` if it is no store, and `OSError`.
    """
    # Resolve symbolic links, so that all paths lead to one lock.
    file = file.resolve(strict=True)
    with lock_store(file.parent) if file.name == SERVICE_FILE_NAME else nullcontext():
        stored_revision = schema_of(file)
        block = StoreBlock.parse(stored_revision)
        schema = stored_revision if block is None else block.schema
        if schema not in known_revisions():
            raise BadCopyError("a newer version of Pantau has used it; install that version, and copy the file then")
        yield Source(file=file, schema=schema, origin=_origin(file), block=block)


def unmark_moved(file: Path) -> None:
    """Remove the mark from a moved file, or from a copy of it, so that a service can use the file again."""
    block = StoreBlock.parse(schema_of(file))
    if block is not None:
        _write_revision(file, block.schema)


def _write_revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def _origin(file: Path) -> StoreOrigin:
    """Return the identity and the latest state of a store. Raise `BadCopyError`."""
    try:
        with _engine(file).connect() as connection:
            # Temporary views give tables and columns of an older schema their present names.
            use_present_names(connection)
            first = connection.execute(select(audit_log.c.hash).where(audit_log.c.id == 1)).scalar_one_or_none()
            head = connection.execute(select(audit_head.c.number, audit_head.c.hash)).one()
    except (DatabaseError, NoResultFound):
        raise BadCopyError("its audit log is damaged") from None
    return StoreOrigin(first=first or "", head=ChainHead(number=head.number, hash=head.hash))


def _engine(file: Path) -> Engine:
    return create_engine(sqlite_read_only_url(file).set(drivername="sqlite"), poolclass=NullPool, hide_parameters=True)
