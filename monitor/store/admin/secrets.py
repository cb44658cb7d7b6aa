"""Encrypted secrets in the database, each with its purpose and owner, and the id of the key that encrypted it."""

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
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.store.admin.unopened import read_unopened
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import secret

#: Author of secrets that no person has entered: rotated refresh tokens.
_SYSTEM_AUTHOR = "Pantau"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedToken:
    """Refresh token (OAuth) that replaced another one."""

    secret: Ciphertext
    #: When the authorization server issued it.
    at: datetime


class Secrets:
    """Reads and writes secrets. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def is_unavailable(self) -> bool:
        """Whether the database is known to be unavailable. A query may then wait until its time-out."""
        return self._database.availability.unavailable_since is not None

    async def find(self, secret_id: SecretId) -> Ciphertext | None:
        """Return the secret with this purpose and owner."""
        row = await self._database.row(select(secret).where(*_has_id(secret_id)))
        return None if row is None else _ciphertext(row)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of secrets by purpose and key id."""
        query = select(secret.c.purpose, secret.c.key_id, func.count()).group_by(secret.c.purpose, secret.c.key_id)
        return {(row[0], row[1]): row[2] for row in await self._database.rows(query)}

    async def list_encrypted_with(
        self, keys: AbstractSet[str], after: SecretId | None, at_most: int
    ) -> Sequence[tuple[SecretId, Ciphertext]]:
        """Return at most *at_most* secrets that were encrypted with one of these keys, ordered by purpose and owner.

        *keys*: their ids. *after*: the last secret of the previous call; `None`: start with the first.
        """
        secret_id = tuple_(secret.c.purpose, secret.c.owner)
        query = select(secret).where(secret.c.key_id.in_(sorted(keys)))
        if after is not None:
            query = query.where(secret_id > (str(after.purpose), after.owner))
        query = query.order_by(secret.c.purpose, secret.c.owner).limit(at_most)
        rows = await self._database.rows(query)
        return [(from_row(SecretId, row), _ciphertext(row)) for row in rows]

    async def find_rotated_token(self, name: str) -> RotatedToken | None:
        """Return the latest refresh token that replaced the entered secret *name*; `None`: no token did."""
        secret_id = SecretId(purpose=SecretPurpose.RENEWED, owner=name)
        row = await self._database.row(select(secret).where(*_has_id(secret_id)))
        return None if row is None else RotatedToken(secret=_ciphertext(row), at=row.written_at)

    async def store_rotated_token(self, name: str, token: RotatedToken) -> bool:
        """Store a token that replaces the secret *name*, unless a later one is stored.

        Return whether the secret that a person entered still exists; if not, nothing is stored.
        """
        secret_id = SecretId(purpose=SecretPurpose.RENEWED, owner=name)
        async with self._database.exclusive() as connection:
            entered_id = _has_id(SecretId(purpose=SecretPurpose.MAILBOX, owner=name))
            if (await connection.execute(select(secret.c.owner).where(*entered_id))).one_or_none() is None:
                return False
            stored = (await connection.execute(select(secret).where(*_has_id(secret_id)))).one_or_none()
            if stored is None or stored.written_at <= token.at:
                await _put(connection, secret_id, token.secret, by=_SYSTEM_AUTHOR, at=token.at)
            return True

    async def replace(self, changes: Sequence[tuple[SecretId, Ciphertext, Ciphertext]], entry: AuditEntry) -> int:
        """Replace ciphertexts: (id, old, new). Skip secrets that were changed meanwhile. Return the number replaced."""
        replaced = 0
        async with audit.audited_write(self._database, entry) as connection:
            for secret_id, before, after in changes:
                is_unchanged = (*_has_id(secret_id), secret.c.ciphertext == before.text)
                values = {"key_id": after.key_id, "ciphertext": after.text}
                replaced += (await connection.execute(update(secret).where(*is_unchanged).values(**values))).rowcount
        return replaced


def read_secrets(directory: Path, server: PostgresServer | None, purpose: SecretPurpose) -> Mapping[str, Ciphertext]:
    """Return all secrets of a purpose, by owner, from a store that this process need not have opened.

    The store is the PostgreSQL *server*, or the SQLite file in *directory*. Raise `StoreUnreadableError`.
    """
    columns = (secret.c.owner, secret.c.key_id, secret.c.ciphertext)
    query = select(*columns).where(secret.c.purpose == str(purpose))
    rows = read_unopened(directory, server, query, secret.name)
    return {row.owner: _ciphertext(row) for row in rows}


async def store_secret(connection: AsyncConnection, secret_id: SecretId, secret: Ciphertext, entry: AuditEntry) -> None:
    """Store a secret, replacing the previous one, in the transaction of *connection*.

    *entry*: gives author and time; the caller appends it to the audit log.
    """
    await _put(connection, secret_id, secret, by=entry.actor, at=entry.at)


async def delete_secret(connection: AsyncConnection, secret_id: SecretId) -> None:
    """Delete a secret in the transaction of *connection*."""
    await connection.execute(delete(secret).where(*_has_id(secret_id)))


async def _put(
    connection: AsyncConnection, secret_id: SecretId, ciphertext: Ciphertext, *, by: str, at: datetime
) -> None:
    await delete_secret(connection, secret_id)
    values = {
        "purpose": str(secret_id.purpose),
        "owner": secret_id.owner,
        "key_id": ciphertext.key_id,
        "ciphertext": ciphertext.text,
        "written_by": by,
        "written_at": at,
    }
    await connection.execute(insert(secret).values(**values))


def _has_id(secret_id: SecretId) -> tuple[ColumnElement[bool], ...]:
    return secret.c.purpose == str(secret_id.purpose), secret.c.owner == secret_id.owner


def _ciphertext(row: Row[Any]) -> Ciphertext:
    return Ciphertext(key_id=row.key_id, text=row.ciphertext)
