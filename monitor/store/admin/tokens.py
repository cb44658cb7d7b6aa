"""API tokens of programs in the database: the roles of each, and the digest of its secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, insert, select, update

from alerts.persistence.store import AuditEntry
from monitor.access.api_token import ApiToken
from monitor.access.role import RoleAssignment
from monitor.store.admin.users import assignments
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row, inserted_id
from monitor.store.schema.tables import api_token, token_role


class TokenRecords:
    """Reads and writes API tokens. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[ApiToken]:
        """Return all tokens, also revoked and expired ones, the newest first."""
        return [token for _, token in await self._found(select(api_token).order_by(api_token.c.id.desc()))]

    async def page(self, *, before: int, limit: int) -> Sequence[ApiToken]:
        """Return the newest *limit* tokens among those with an id below *before*."""
        query = select(api_token).where(api_token.c.id < before).order_by(api_token.c.id.desc()).limit(limit)
        return [token for _, token in await self._found(query)]

    async def list_valid(self, now: datetime) -> Mapping[str, ApiToken]:
        """Return the tokens that are neither revoked nor expired, by the digest of their secrets."""
        query = select(api_token).where(api_token.c.revoked_at.is_(None), api_token.c.ends_at > now)
        return {row.digest: token for row, token in await self._found(query)}

    async def find(self, token_id: int) -> ApiToken | None:
        """Return the token with this id."""
        tokens = await self._found(select(api_token).where(api_token.c.id == token_id))
        return next((token for _, token in tokens), None)

    async def _found(self, query: Select[*tuple[Any, ...]]) -> Sequence[tuple[Row[*tuple[Any, ...]], ApiToken]]:
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            ids = query.with_only_columns(api_token.c.id)
            roles = await assignments(connection, token_role.c.token_id, ids)
        return [(row, from_row(ApiToken, row, assignments=roles.get(row.id, frozenset()))) for row in rows]

    async def add(
        self, name: str, digest: str, assignments: AbstractSet[RoleAssignment], ends_at: datetime, entry: AuditEntry
    ) -> int:
        """Store a token; return its id."""
        values = {"name": name, "digest": digest, "made_by": entry.actor, "made_at": entry.at, "ends_at": ends_at}
        async with audit.audited_write(self._database, entry) as connection:
            token_id = inserted_id(await connection.execute(insert(api_token).values(**values)))
            rows = [
                {"token_id": token_id, "role": str(each.role), "agency": each.agency} for each in sorted(assignments)
            ]
            await connection.execute(insert(token_role), rows)
        return token_id

    async def use(self, token_id: int, now: datetime) -> None:
        """Record the use of a token."""
        await self._database.change(update(api_token).where(api_token.c.id == token_id).values(used_at=now))

    async def revoke(self, token_id: int, entry: AuditEntry) -> None:
        """Revoke a token."""
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(update(api_token).where(api_token.c.id == token_id).values(revoked_at=entry.at))
