"""Secrets in the database, encrypted: what each is for, whose it is, and with which key it was encrypted. Never one in the clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.record.store import Entry
from monitor.access.locked import Ciphertext, SecretPlace, SecretPurpose
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.schema.tables import kept_secret
from monitor.store.upkeep.apart import read_apart


class Secrets:
    """Reads and writes them. Raises `StoreAway` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, place: SecretPlace) -> Ciphertext | None:
        """Return what is kept at a place."""
        query = select(kept_secret).where(
            kept_secret.c.purpose == str(place.purpose), kept_secret.c.owner == place.owner
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Ciphertext(key_id=row.key_id, text=row.ciphertext)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many secrets there are of each purpose and key."""
        query = select(kept_secret.c.purpose, kept_secret.c.key_id, func.count()).group_by(
            kept_secret.c.purpose, kept_secret.c.key_id
        )
        async with self._database.read() as connection:
            return {(row[0], row[1]): row[2] for row in await connection.execute(query)}

    async def under(
        self, keys: AbstractSet[str], after: SecretPlace | None, at_most: int
    ) -> Sequence[tuple[SecretPlace, Ciphertext]]:
        """Return some of those that were encrypted with one of these keys, by their places, after one of them."""
        place = tuple_(kept_secret.c.purpose, kept_secret.c.owner)
        query = select(kept_secret).where(kept_secret.c.key_id.in_(sorted(keys)))
        if after is not None:
            query = query.where(place > (str(after.purpose), after.owner))
        query = query.order_by(kept_secret.c.purpose, kept_secret.c.owner).limit(at_most)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            (
                SecretPlace(purpose=SecretPurpose(row.purpose), owner=row.owner),
                Ciphertext(key_id=row.key_id, text=row.ciphertext),
            )
            for row in rows
        ]

    async def replace(self, changes: Sequence[tuple[SecretPlace, Ciphertext, Ciphertext]], entry: Entry) -> int:
        """Put other ciphertexts of the same secrets in the place of those before; return how many were still those."""
        done = 0
        async with self._database.write() as connection:
            for place, before, after in changes:
                same = (
                    kept_secret.c.purpose == str(place.purpose),
                    kept_secret.c.owner == place.owner,
                    kept_secret.c.ciphertext == before.text,
                )
                values = {"key_id": after.key_id, "ciphertext": after.text}
                done += (await connection.execute(update(kept_secret).where(*same).values(**values))).rowcount
            await audit.append(connection, [entry])
        return done


def read_secrets(directory: Path, server: PostgresServer | None, purpose: SecretPurpose) -> Mapping[str, Ciphertext]:
    """Return all secrets of a purpose, by their owners, from a store that this process need not have opened.

    Raise `DocumentsAwayError`.
    """
    of_each = (kept_secret.c.owner, kept_secret.c.key_id, kept_secret.c.ciphertext)
    query = select(*of_each).where(kept_secret.c.purpose == str(purpose))
    rows = read_apart(directory, server, query, kept_secret.name)
    return {row.owner: Ciphertext(key_id=row.key_id, text=row.ciphertext) for row in rows}


async def keep_secret(connection: AsyncConnection, place: SecretPlace, secret: Ciphertext, entry: Entry) -> None:
    """Keep a secret in the place of the one before, in the transaction that *connection* is in."""
    await drop_secret(connection, place)
    values = {
        "purpose": str(place.purpose),
        "owner": place.owner,
        "key_id": secret.key_id,
        "ciphertext": secret.text,
        "written_by": entry.actor,
        "written_at": entry.at,
    }
    await connection.execute(insert(kept_secret).values(**values))


async def drop_secret(connection: AsyncConnection, place: SecretPlace) -> None:
    """Forget a secret, in the transaction that *connection* is in."""
    same = (kept_secret.c.purpose == str(place.purpose), kept_secret.c.owner == place.owner)
    await connection.execute(delete(kept_secret).where(*same))
