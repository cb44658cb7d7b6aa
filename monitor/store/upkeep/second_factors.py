"""Second factors of users in the database: the step that was used last, recovery codes, and sign-ins that wait for a code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.record.store import Entry
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row, named
from monitor.store.schema.tables import half_session, portal_user, recovery_code, web_session
from monitor.store.upkeep.secrets import drop_secret, keep_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfSession:
    """A sign-in whose password was right, and whose code is awaited. It opens nothing."""

    digest: str
    user_id: int
    #: With which the user signs in.
    name: str
    ends_at: datetime


def one_time_place(user_id: int) -> SecretPlace:
    """Return where the secret of somebody's one-time codes is kept."""
    return SecretPlace(purpose=SecretPurpose.ONE_TIME, owner=str(user_id))


class SecondFactors:
    """Reads and writes them. Raises `StoreAway` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_up(self, user_id: int, secret: Ciphertext, step: int, digests: Iterable[str], entry: Entry) -> bool:
        """Keep a second factor, of which the code of *step* is used up; all sessions end. Return whether there was none yet."""
        fresh = (portal_user.c.id == user_id, portal_user.c.one_time_step.is_(None))
        async with self._database.write() as connection:
            changed = await connection.execute(update(portal_user).where(*fresh).values(one_time_step=step))
            if not changed.rowcount:
                return False
            await keep_secret(connection, one_time_place(user_id), secret, entry)
            await _put_codes(connection, user_id, digests)
            await end_sessions(connection, user_id)
            await audit.append(connection, [entry])
        return True

    async def take_away(self, user_id: int, entry: Entry, *, ends_sessions: bool) -> None:
        """Forget a second factor, with its recovery codes."""
        async with audit.journalled(self._database, entry) as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(one_time_step=None))
            await drop_secret(connection, one_time_place(user_id))
            await _put_codes(connection, user_id, ())
            if ends_sessions:
                await end_sessions(connection, user_id)

    async def use_step(self, user_id: int, step: int) -> bool:
        """Use up the code of a step, and those before it. Return whether it was not used up already, whoever else tries."""
        later = (portal_user.c.id == user_id, portal_user.c.one_time_step < step)
        return await self._database.change(update(portal_user).where(*later).values(one_time_step=step)) > 0

    async def use_recovery_code(self, user_id: int, digest: str, entry: Entry) -> bool:
        """Use up a recovery code. Return whether there was one."""
        this = (recovery_code.c.user_id == user_id, recovery_code.c.digest == digest)
        async with self._database.write() as connection:
            used = bool((await connection.execute(delete(recovery_code).where(*this))).rowcount)
            if used:
                await audit.append(connection, [entry])
        return used

    async def recovery_codes(self, user_id: int) -> int:
        """Return how many recovery codes a user has left."""
        query = select(func.count()).select_from(recovery_code).where(recovery_code.c.user_id == user_id)
        return await self._database.value(query) or 0

    async def renew_recovery_codes(self, user_id: int, digests: Iterable[str], entry: Entry) -> None:
        """Keep new recovery codes; those before are void."""
        async with audit.journalled(self._database, entry) as connection:
            await _put_codes(connection, user_id, digests)

    async def begin_half(self, half: HalfSession, entry: Entry) -> None:
        """Keep a sign-in that waits for a code, and forget those that have waited too long."""
        values = named(half, ("digest", "user_id", "ends_at"))
        async with audit.journalled(self._database, entry) as connection:
            await connection.execute(delete(half_session).where(half_session.c.ends_at <= entry.at))
            await connection.execute(insert(half_session).values(**values))

    async def half(self, digest: str) -> HalfSession | None:
        """Return the sign-in with this digest, whether it has waited too long or not."""
        query = (
            select(half_session, portal_user.c.name)
            .join(portal_user, portal_user.c.id == half_session.c.user_id)
            .where(half_session.c.digest == digest)
        )
        row = await self._database.row(query)
        return None if row is None else from_row(HalfSession, row)


async def _put_codes(connection: AsyncConnection, user_id: int, digests: Iterable[str]) -> None:
    await connection.execute(delete(recovery_code).where(recovery_code.c.user_id == user_id))
    if rows := [{"user_id": user_id, "digest": each} for each in digests]:
        await connection.execute(insert(recovery_code), rows)


async def end_sessions(connection: AsyncConnection, user_id: int) -> None:
    """End all that a user has begun, in the transaction that *connection* is in."""
    await connection.execute(delete(web_session).where(web_session.c.user_id == user_id))
    await connection.execute(delete(half_session).where(half_session.c.user_id == user_id))
