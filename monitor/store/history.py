"""What was probed: ends of runs, tokens under way, and how things were last judged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from monitor.health import Health
from monitor.store.database import Database
from monitor.store.tables import health, run, token
from probes.result import Outcome, ProbeResult

_RESULT = TypeAdapter(ProbeResult)

#: Late mail is looked for this long after its token was sent; then the token is forgotten.
TOKEN_MEMORY = timedelta(days=7)


#: Outcomes of runs whose message came.
_CAME = frozenset({Outcome.DELIVERED, Outcome.JUNK, Outcome.CORRUPTED})


class History:
    """Reads and writes the past of the probes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sent(self, token_id: str, route: str, sent_at: datetime, deadline: datetime) -> None:
        """Remember a token before its message is sent."""
        async with self._database.write() as connection:
            await connection.execute(insert(token).values(id=token_id, route=route, sent_at=sent_at, deadline=deadline))

    async def ended(self, result: ProbeResult, agency: str, judged: Mapping[str, tuple[Health, datetime]]) -> None:
        """Write the end of a run and how things stand after it, in one transaction."""
        async with self._database.write() as connection:
            await connection.execute(
                insert(run).values(
                    agency=agency,
                    route=result.route,
                    token_id=result.token_id,
                    started_at=result.started_at,
                    duration=result.duration.total_seconds(),
                    outcome=result.outcome,
                    result=_RESULT.dump_json(result).decode(),
                )
            )
            for subject, (state, since) in judged.items():
                values = {"health": state, "since": since}
                await connection.execute(
                    upsert(health)
                    .values(subject=subject, **values)
                    .on_conflict_do_update(index_elements=["subject"], set_=values)
                )

    async def tokens(self, now: datetime) -> Mapping[str, bool]:
        """Return the tokens that mail may still come with, and whether it has already come; forget older ones.

        A token whose run was cut off by a stop has ended like any other: nobody waits for it any more.
        """
        query = select(token.c.id, run.c.outcome).outerjoin(run, run.c.token_id == token.c.id)
        async with self._database.write() as connection:
            await connection.execute(delete(token).where(token.c.sent_at < now - TOKEN_MEMORY))
            return {row.id: row.outcome in _CAME for row in await connection.execute(query)}

    async def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return how everything was last judged."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(health))
            return {row.subject: (Health(row.health), row.since) for row in rows}

    async def latest(self) -> Mapping[str, ProbeResult]:
        """Return the latest run of each route, by its name."""
        newest = select(func.max(run.c.id)).group_by(run.c.route)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(run.c.result).where(run.c.id.in_(newest)))).scalars()
            return {result.route: result for result in map(_RESULT.validate_json, rows)}

    async def purge(self, before: datetime) -> int:
        """Delete runs that started before *before*; incidents and notices are never purged (Act 629)."""
        async with self._database.write() as connection:
            return (await connection.execute(delete(run).where(run.c.started_at < before))).rowcount
