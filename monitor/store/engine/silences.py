"""Silences (periods in which nobody is notified of something) in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, update

from alerts.decide.silence import Silence
from monitor.store.backend.repository import Repository
from monitor.store.engine.statements import SILENCES
from monitor.store.schema.rows import by_id, from_row, new_id
from monitor.store.schema.tables import silence


class SqlSilences(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for silences."""

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""
        return by_id(from_row(Silence, row) for row in await self._connection.execute(SILENCES, {"now": now}))

    async def add_silence(self, target: str, starts_at: datetime, ends_at: datetime, reason: str, by: str) -> Silence:
        """Add a silence."""
        values = {"target": target, "starts_at": starts_at, "ends_at": ends_at, "reason": reason, "by": by}
        result = await self._connection.execute(insert(silence).values(**values))
        return Silence(id=new_id(result), target=target, starts_at=starts_at, ends_at=ends_at, reason=reason, by=by)

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence now, and return it; `None`: no silence in force has this id."""
        silence_ = next((s for s in await self.silences(now) if s.id == silence_id), None)
        if silence_ is not None:
            await self._connection.execute(update(silence).where(silence.c.id == silence_id).values(ends_at=now))
        return silence_
