"""Move of a store from its SQLite file into a PostgreSQL database (`pantau store copy`).

The copy can be resumed after an interruption. No service can use either store until the copy is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Table

from alerts.persistence.audit import ChainHead, Verifier
from alerts.persistence.store import AuditEntry
from monitor.store.move import rows
from monitor.store.move.source import Source
from monitor.store.move.target import Target
from monitor.store.schema.tables import audit_log, metadata


class MoveStage(StrEnum):
    """Stages of the move, in their order."""

    #: Rows are copied.
    COPIED = "copied"
    #: Copied rows are compared with those of the file.
    COMPARED = "compared"
    #: The hash chain of the copied audit log is verified.
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """Progress of a stage, in rows of all tables. Rows of an earlier attempt are included."""

    stage: MoveStage
    #: The table that is processed now.
    table: str
    done: int
    #: Total number of rows.
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Result of a verified copy."""

    #: Number of rows, by table.
    rows: Mapping[str, int]
    #: Result of the verification of the hash chain on the server.
    verifier: Verifier
    #: Last entry of the audit log on the server: the entry about the move.
    head: ChainHead


class AlreadyMovedError(Exception):
    """The file was moved before. The message names its target."""

    def __init__(self, reason: str, *, is_same_target: bool) -> None:
        """*is_same_target*: the file was moved to the present target."""
        super().__init__(reason)
        self.is_same_target = is_same_target


class UnequalError(Exception):
    """The copy differs from the file. The message names the row."""


async def move(source: Source, target: Target, by: str, report: Callable[[MoveProgress], None]) -> Moved:
    """Copy *source* into *target*, verify the copy, and make the target usable and the source unusable.

    After an interruption the same call resumes the copy. *by*: the author, for the audit log. *report*: called with the
    progress. Raise `AlreadyMovedError`, `UnequalError`, `TargetRefusedError`, `RowRefusedError`, `BadCopyError`,
    `StoreInUseError`, or database errors.
    """
    # A marked file with an incomplete copy: the move was interrupted between the mark and the commit of the target.
    if source.block is not None and not await target.has_incomplete_copy():
        raise AlreadyMovedError(source.block.message, is_same_target=await target.has_complete_copy(source.origin))
    is_resumed = await target.prepare(source.origin, str(source.file))
    with source.reading(is_new=not is_resumed) as connection:
        sizes = {table: rows.count(connection, table) for table in metadata.sorted_tables}
        reporter = _ProgressReporter(sizes, report)
        # `sorted_tables` follows the foreign keys: referenced tables come first.
        for table in sizes:
            await rows.copy(connection, target, table, reporter.of(MoveStage.COPIED, table))
        for table in sizes:
            if row_difference := await rows.difference(
                connection, target, table, reporter.of(MoveStage.COMPARED, table)
            ):
                raise UnequalError(
                    f"{row_difference}: the file or the copied rows were changed since the copy was started. Empty the "
                    "database (drop it, and create it again), and start the copy again"
                )
    reporter.of(MoveStage.VERIFIED, audit_log)(0)
    verifier = await target.verify_audit_log()
    await target.set_sequences()
    async with target.complete(_entry(source, target, by, sizes, verifier)) as head:
        # Mark the file as moved before the commit of the target: an interruption in between leaves two unusable stores
        # instead of two usable ones.
        source.mark_moved(str(target.server), target.clock.now())
    source.remove_migrated_copy()
    return Moved(rows={table.name: size for table, size in sizes.items()}, verifier=verifier, head=head)


class _ProgressReporter:
    """Reports the progress over all tables. *sizes*: number of rows of each table."""

    def __init__(self, sizes: Mapping[Table, int], report: Callable[[MoveProgress], None]) -> None:
        self._sizes, self._report = sizes, report

    def of(self, stage: MoveStage, table: Table) -> Callable[[int], None]:
        """Return a function that reports how many rows of *table* are done in *stage*."""
        done_before = 0
        for each, size in self._sizes.items():
            if each is table:
                break
            done_before += size
        total = sum(self._sizes.values())
        return lambda done: self._report(MoveProgress(stage=stage, table=table.name, done=done_before + done, of=total))


def _entry(source: Source, target: Target, by: str, sizes: Mapping[Table, int], verifier: Verifier) -> AuditEntry:
    detail = {"from": str(source.file), "to": str(target.server), "rows": str(sum(sizes.values()))}
    head = verifier.head
    return AuditEntry(
        at=target.clock.now(), actor=by, event="store moved", detail=detail | {"head": f"{head.number}:{head.hash}"}
    )
