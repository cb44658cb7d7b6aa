"""Programs' tokens in the database: what each may, and the digest of its secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.record.store import Entry
from monitor.access.api_token import ApiToken
from monitor.access.role import Role, RoleAssignment
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import new_id
from monitor.store.schema.tables import api_token, token_role


class TokenRecords:
    """Reads and writes them. Raises `StoreAway` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[ApiToken]:
        """Return every token there was, the newest first."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(api_token).order_by(api_token.c.id.desc()))).all()
            return await _tokens(connection, rows)

    async def page(self, *, before: int, most: int) -> Sequence[ApiToken]:
        """Return the newest tokens that there were *before* a number."""
        query = select(api_token).where(api_token.c.id < before).order_by(api_token.c.id.desc()).limit(most)
        async with self._database.read() as connection:
            return await _tokens(connection, (await connection.execute(query)).all())

    async def standing(self, now: datetime) -> Mapping[str, ApiToken]:
        """Return those that open, by the digest of their secrets."""
        query = select(api_token).where(api_token.c.revoked_at.is_(None), api_token.c.ends_at > now)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            tokens = await _tokens(connection, rows)
        return {row.digest: token for row, token in zip(rows, tokens, strict=True)}

    async def find(self, number: int) -> ApiToken | None:
        """Return the token of this number."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(api_token).where(api_token.c.id == number))).all()
            return next(iter(await _tokens(connection, rows)), None)

    async def add(
        self, name: str, digest: str, assignments: AbstractSet[RoleAssignment], ends_at: datetime, entry: Entry
    ) -> int:
        """Keep a token; return its number."""
        values = {"name": name, "digest": digest, "made_by": entry.actor, "made_at": entry.at, "ends_at": ends_at}
        async with self._database.write() as connection:
            made = new_id(await connection.execute(insert(api_token).values(**values)))
            rows = [{"token_id": made, "role": str(each.role), "agency": each.agency} for each in sorted(assignments)]
            await connection.execute(insert(token_role), rows)
            await audit.append(connection, [entry])
        return made

    async def use(self, number: int, now: datetime) -> None:
        """Keep that a token is in use."""
        async with self._database.write() as connection:
            await connection.execute(update(api_token).where(api_token.c.id == number).values(used_at=now))

    async def revoke(self, number: int, entry: Entry) -> None:
        """Let a token open no more."""
        async with self._database.write() as connection:
            await connection.execute(update(api_token).where(api_token.c.id == number).values(revoked_at=entry.at))
            await audit.append(connection, [entry])


async def _tokens(connection: AsyncConnection, rows: Sequence[Row[tuple[object, ...]]]) -> Sequence[ApiToken]:
    roles: dict[int, set[RoleAssignment]] = {row.id: set() for row in rows}
    for row in await connection.execute(select(token_role).where(token_role.c.token_id.in_(list(roles)))):
        roles[row.token_id].add(RoleAssignment(role=Role(row.role), agency=row.agency))
    return [
        ApiToken(
            id=row.id,
            name=row.name,
            assignments=frozenset(roles[row.id]),
            made_by=row.made_by,
            made_at=row.made_at,
            ends_at=row.ends_at,
            used_at=row.used_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]
