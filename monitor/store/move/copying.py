"""Copy of a store from its file into a server's database, resumable; neither store is usable until the copy is complete."""

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
    """Stages of the move, each over all rows."""

    COPIED = "copied"
    COMPARED = "compared"
    #: Verification of the audit log only.
    FOLLOWED = "followed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """Number of rows processed, including those of an earlier attempt."""

    stage: MoveStage
    table: str
    done: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Result of a verified copy."""

    #: By table.
    rows: Mapping[str, int]
    #: Verification of the hash chain on the server.
    verifier: Verifier
    #: End of the audit log there, after the entry about the move.
    head: ChainHead


class AlreadyMovedError(Exception):
    """The file was moved before. The message names its target."""

    def __init__(self, why: str, *, there: bool) -> None:
        """*there*: it was moved to the present target."""
        super().__init__(why)
        self.there = there


class UnequalError(Exception):
    """The copy differs from the file. The message names the place."""


async def move(source: Source, target: Target, by: str, tell: Callable[[MoveProgress], None]) -> Moved:
    """Copy *source* into *target*, verify the copy, and make the target usable and the source unusable.

    After an interruption the same call resumes. *by*: the author, for the audit log. Raise `AlreadyMovedError`,
    `UnequalError`, `TargetRefusedError`, `RowRefusedError`, `BadCopyError`, `StoreInUseError`, or database errors.
    """
    if source.bar is not None and not await target.is_half():
        raise AlreadyMovedError(source.bar.why, there=await target.is_moved_to(source.origin))
    goes_on = await target.begin(source.origin, str(source.file))
    with source.reading(anew=not goes_on) as reading:
        sizes = {table: rows.count(reading, table) for table in metadata.sorted_tables}
        reporter = _ProgressReporter(sizes, tell)
        # Parents before their children: `sorted_tables` follows the foreign keys.
        for table in sizes:
            await rows.copy(reading, target, table, reporter.of(MoveStage.COPIED, table))
        for table in sizes:
            if where := await rows.difference(reading, target, table, reporter.of(MoveStage.COMPARED, table)):
                raise UnequalError(
                    f"{where}: the file was changed since the copy was begun, or what was copied was. Empty the database "
                    "(drop it, and make it again), and begin anew"
                )
    reporter.of(MoveStage.FOLLOWED, audit_log)(0)
    verifier = await target.follow()
    await target.set_sequences()
    async with target.complete(_entry(source, target, by, sizes, verifier)) as head:
        # Before the commit: an interruption in between leaves two unusable stores, not two usable ones.
        source.leave(str(target.server), target.clock.now())
    source.tidy()
    return Moved(rows={table.name: size for table, size in sizes.items()}, verifier=verifier, head=head)


class _ProgressReporter:
    """Counter over all tables."""

    def __init__(self, sizes: Mapping[Table, int], tell: Callable[[MoveProgress], None]) -> None:
        self._sizes, self._tell = sizes, tell

    def of(self, stage: MoveStage, table: Table) -> Callable[[int], None]:
        done_before = 0
        for each, size in self._sizes.items():
            if each is table:
                break
            done_before += size
        total = sum(self._sizes.values())
        return lambda done: self._tell(MoveProgress(stage=stage, table=table.name, done=done_before + done, of=total))


def _entry(source: Source, target: Target, by: str, sizes: Mapping[Table, int], verifier: Verifier) -> AuditEntry:
    detail = {"from": str(source.file), "to": str(target.server), "rows": str(sum(sizes.values()))}
    head = verifier.head
    return AuditEntry(
        at=target.clock.now(), actor=by, event="store moved", detail=detail | {"head": f"{head.number}:{head.hash}"}
    )
