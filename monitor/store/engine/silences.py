"""Silences (periods without notifications about an agency or another subject of incidents) in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, update

from alerts.decide.silence import Silence
from monitor.store.backend.repository import Repository
from monitor.store.engine.sql_statements import SILENCES
from monitor.store.schema.rows import from_row, inserted_id, sort_by_id
from monitor.store.schema.tables import silence


class SqlSilences(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for silences."""

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""
        return sort_by_id(from_row(Silence, row) for row in await self._connection.execute(SILENCES, {"now": now}))

    async def add_silence(self, target: str, starts_at: datetime, ends_at: datetime, reason: str, by: str) -> Silence:
        """Add a silence by the person *by*. *target*: the dedup key of the silenced incidents."""
        values = {"target": target, "starts_at": starts_at, "ends_at": ends_at, "reason": reason, "by": by}
        result = await self._connection.execute(insert(silence).values(**values))
        return Silence(
            id=inserted_id(result), target=target, starts_at=starts_at, ends_at=ends_at, reason=reason, by=by
        )

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence now, and return it as it was; `None`: it does not exist, or has ended."""
        ended = next((each for each in await self.silences(now) if each.id == silence_id), None)
        if ended is not None:
            await self._connection.execute(update(silence).where(silence.c.id == silence_id).values(ends_at=now))
        return ended
