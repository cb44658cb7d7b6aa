"""A store copied from its file into a server's database, whole or to be gone on with; neither runs until it is whole."""

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
from monitor.store.schema.tables import journal, metadata


class MoveStage(StrEnum):
    """What is done with all rows."""

    COPIED = "copied"
    COMPARED = "compared"
    #: The journal's only.
    FOLLOWED = "followed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """How many rows of all were dealt with, those of an earlier attempt among them."""

    stage: MoveStage
    table: str
    done: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was copied, and was found equal."""

    #: By table.
    rows: Mapping[str, int]
    #: How the chain was followed on the server.
    verifier: Verifier
    #: Where the journal ends there, behind the entry that tells of this.
    head: ChainHead


class AlreadyMovedError(Exception):
    """The file was moved before. The message says where to."""

    def __init__(self, why: str, *, there: bool) -> None:
        """*there*: to the database that it was to be moved to now."""
        super().__init__(why)
        self.there = there


class UnequalError(Exception):
    """What was copied is not what is in the file. The message says where."""


async def move(source: Source, target: Target, by: str, tell: Callable[[MoveProgress], None]) -> Moved:
    """Copy all of *source* into *target*, see that it is the same, and let services run there and nowhere else.

    Whatever ends it before that, the same call goes on with it. *by*: who does it, for the journal. Raise `AlreadyMovedError`,
    `UnequalError`, `TargetRefusedError`, `RowRefusedError`, `BadCopyError`, `StoreInUseError`, or what the databases raise.
    """
    if source.bar is not None and not await target.is_half():
        raise AlreadyMovedError(source.bar.why, there=await target.is_moved_to(source.origin))
    goes_on = await target.begin(source.origin, str(source.file))
    with source.reading(anew=not goes_on) as reading:
        sizes = {table: rows.count(reading, table) for table in metadata.sorted_tables}
        told = _Teller(sizes, tell)
        # Parents before their children: `sorted_tables` goes by the foreign keys.
        for table in sizes:
            await rows.copy(reading, target, table, told.of(MoveStage.COPIED, table))
        for table in sizes:
            if where := await rows.difference(reading, target, table, told.of(MoveStage.COMPARED, table)):
                raise UnequalError(
                    f"{where}: the file was changed since the copy was begun, or what was copied was. Empty the database "
                    "(drop it, and make it again), and begin anew"
                )
    told.of(MoveStage.FOLLOWED, journal)(0)
    verifier = await target.follow()
    await target.number_on()
    async with target.completed(_entry(source, target, by, sizes, verifier)) as head:
        # Before the commit: who is killed in between leaves two stores of which none can be used, and not two that both can.
        source.leave(str(target.server), target.clock.now())
    source.tidy()
    return Moved(rows={table.name: size for table, size in sizes.items()}, verifier=verifier, head=head)


class _Teller:
    """Counts over all tables."""

    def __init__(self, sizes: Mapping[Table, int], tell: Callable[[MoveProgress], None]) -> None:
        self._sizes, self._tell = sizes, tell

    def of(self, stage: MoveStage, table: Table) -> Callable[[int], None]:
        before = 0
        for each, size in self._sizes.items():
            if each is table:
                break
            before += size
        everything = sum(self._sizes.values())
        return lambda done: self._tell(MoveProgress(stage=stage, table=table.name, done=before + done, of=everything))


def _entry(source: Source, target: Target, by: str, sizes: Mapping[Table, int], verifier: Verifier) -> AuditEntry:
    detail = {"from": str(source.file), "to": str(target.server), "rows": str(sum(sizes.values()))}
    head = verifier.head
    return AuditEntry(
        at=target.clock.now(), actor=by, event="store moved", detail=detail | {"head": f"{head.number}:{head.hash}"}
    )
