"""Encrypted secrets in the database: the purpose and the owner of each, and the key that encrypted it.

None is stored in plain text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.store.admin.unopened import read_unopened
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import secret

#: Author of secrets that nobody has typed.
_OURSELVES = "Pantau"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedToken:
    """Refresh token that replaced another one, and when."""

    secret: Ciphertext
    at: datetime


class Secrets:
    """Reads and writes secrets. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def is_unavailable(self) -> bool:
        """Whether the database is known to be unavailable: a query then may wait for a server that does not even refuse."""
        return self._database.presence.away_since is not None

    async def find(self, place: SecretPlace) -> Ciphertext | None:
        """Return the secret of a place."""
        row = await self._database.row(select(secret).where(*_at(place)))
        return None if row is None else _ciphertext(row)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of secrets by purpose and key."""
        query = select(secret.c.purpose, secret.c.key_id, func.count()).group_by(secret.c.purpose, secret.c.key_id)
        return {(row[0], row[1]): row[2] for row in await self._database.rows(query)}

    async def under(
        self, keys: AbstractSet[str], after: SecretPlace | None, at_most: int
    ) -> Sequence[tuple[SecretPlace, Ciphertext]]:
        """Return some of the secrets encrypted with one of these keys, in the order of their places, after one of them."""
        place = tuple_(secret.c.purpose, secret.c.owner)
        query = select(secret).where(secret.c.key_id.in_(sorted(keys)))
        if after is not None:
            query = query.where(place > (str(after.purpose), after.owner))
        query = query.order_by(secret.c.purpose, secret.c.owner).limit(at_most)
        rows = await self._database.rows(query)
        return [(from_row(SecretPlace, row), _ciphertext(row)) for row in rows]

    async def renewed(self, name: str) -> RotatedToken | None:
        """Return the latest token that replaced the typed secret of a name."""
        place = SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)
        row = await self._database.row(select(secret).where(*_at(place)))
        return None if row is None else RotatedToken(secret=_ciphertext(row), at=row.written_at)

    async def renew(self, name: str, later: RotatedToken) -> bool:
        """Store a replacing token, unless there is a later one; return whether the typed secret still exists."""
        place = SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)
        async with self._database.exclusive() as connection:
            typed_place = _at(SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name))
            if (await connection.execute(select(secret.c.owner).where(*typed_place))).one_or_none() is None:
                return False
            stored = (await connection.execute(select(secret).where(*_at(place)))).one_or_none()
            if stored is None or stored.written_at <= later.at:
                await _put(connection, place, later.secret, by=_OURSELVES, at=later.at)
            return True

    async def replace(self, changes: Sequence[tuple[SecretPlace, Ciphertext, Ciphertext]], entry: AuditEntry) -> int:
        """Replace ciphertexts by others of the same secrets; return how many were unchanged until now."""
        replaced = 0
        async with audit.audited(self._database, entry) as connection:
            for place, before, after in changes:
                is_unchanged = (*_at(place), secret.c.ciphertext == before.text)
                values = {"key_id": after.key_id, "ciphertext": after.text}
                replaced += (await connection.execute(update(secret).where(*is_unchanged).values(**values))).rowcount
        return replaced


def read_secrets(directory: Path, server: PostgresServer | None, purpose: SecretPurpose) -> Mapping[str, Ciphertext]:
    """Return all secrets of a purpose, by owner, from a store that this process need not have opened.

    Raise `DocumentsAwayError`.
    """
    of_each = (secret.c.owner, secret.c.key_id, secret.c.ciphertext)
    query = select(*of_each).where(secret.c.purpose == str(purpose))
    rows = read_unopened(directory, server, query, secret.name)
    return {row.owner: _ciphertext(row) for row in rows}


async def keep_secret(connection: AsyncConnection, place: SecretPlace, secret: Ciphertext, entry: AuditEntry) -> None:
    """Store a secret, replacing the previous one, in the transaction of *connection*."""
    await _put(connection, place, secret, by=entry.actor, at=entry.at)


async def drop_secret(connection: AsyncConnection, place: SecretPlace) -> None:
    """Delete a secret in the transaction of *connection*."""
    await connection.execute(delete(secret).where(*_at(place)))


async def _put(
    connection: AsyncConnection, place: SecretPlace, ciphertext: Ciphertext, *, by: str, at: datetime
) -> None:
    await drop_secret(connection, place)
    values = {
        "purpose": str(place.purpose),
        "owner": place.owner,
        "key_id": ciphertext.key_id,
        "ciphertext": ciphertext.text,
        "written_by": by,
        "written_at": at,
    }
    await connection.execute(insert(secret).values(**values))


def _at(place: SecretPlace) -> tuple[ColumnElement[bool], ...]:
    return secret.c.purpose == str(place.purpose), secret.c.owner == place.owner


def _ciphertext(row: Row[Any]) -> Ciphertext:
    return Ciphertext(key_id=row.key_id, text=row.ciphertext)
