"""Users, their roles, sessions and codes in the database. Each change is in the journal, with who made it and from where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.record.store import Entry
from monitor.access.invitation_code import CodeWay
from monitor.access.lockout import Failures
from monitor.access.role import Role, RoleAssignment
from monitor.access.visitor import User
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import new_id
from monitor.store.schema.tables import (
    access_code,
    half_session,
    openid_identity,
    portal_user,
    role_assignment,
    web_session,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptUser:
    """A user, with what decides about a sign-in."""

    user: User
    #: A PHC string; `None`: no password was chosen yet.
    password: str | None = field(repr=False)
    failures: Failures


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """Somebody who is signed in with a browser."""

    #: Of the key that the browser shows.
    digest: str
    user: User
    begun_at: datetime
    seen_at: datetime
    #: However much it is used.
    ends_at: datetime
    #: From where it was begun.
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCode:
    """The code by which a user may choose a password."""

    way: CodeWay
    kept: str = field(repr=False)
    ends_at: datetime


class IdentityTakenError(Exception):
    """Another user is who signs in so already."""


class UserExistsError(Exception):
    """There is a user of this name already."""


class Users:
    """Reads and writes them. Raises `StoreAway` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[User]:
        """Return all users, by name."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(portal_user).order_by(portal_user.c.name))).all()
            roles = await _roles(connection)
        return [_user(row, roles.get(row.id, frozenset())) for row in rows]

    async def page(self, wanted: str, *, after: str = "", most: int) -> Sequence[User]:
        """Return users by name, *after* one: whose name or full name has *wanted* in it, or who are something for that agency."""
        of_agency = select(role_assignment.c.user_id).where(role_assignment.c.agency == wanted.upper())
        named = portal_user.c.name.icontains(wanted, autoescape=True)
        fits = named | portal_user.c.full_name.icontains(wanted, autoescape=True) | portal_user.c.id.in_(of_agency)
        query = select(portal_user).where(portal_user.c.name > after).order_by(portal_user.c.name).limit(most)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.where(fits) if wanted else query)).all()
            roles = await _roles(connection, role_assignment.c.user_id.in_([row.id for row in rows]))
        return [_user(row, roles.get(row.id, frozenset())) for row in rows]

    async def find(self, name: str) -> KeptUser | None:
        """Return the user of this name."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(portal_user).where(portal_user.c.name == name))).one_or_none()
            if row is None:
                return None
            roles = await _roles(connection, role_assignment.c.user_id == row.id)
        failures = Failures(count=row.failures, last=row.failed_at)
        return KeptUser(user=_user(row, roles.get(row.id, frozenset())), password=row.password, failures=failures)

    async def add(self, name: str, full_name: str, entry: Entry) -> int:
        """Make a user without any role or password; return its id. Raise `UserExistsError`."""
        values = {"name": name, "full_name": full_name, "failures": 0, "made_by": entry.actor, "made_at": entry.at}
        try:
            async with self._database.write() as connection:
                made = new_id(await connection.execute(insert(portal_user).values(**values)))
                await audit.append(connection, [entry])
        except IntegrityError:
            raise UserExistsError(name) from None
        return made

    async def assign(self, user_id: int, assignments: AbstractSet[RoleAssignment], entry: Entry) -> None:
        """Let a user have these roles, and no others."""
        rows = [{"user_id": user_id, "role": str(each.role), "agency": each.agency} for each in sorted(assignments)]
        async with self._database.write() as connection:
            await connection.execute(delete(role_assignment).where(role_assignment.c.user_id == user_id))
            if rows:
                await connection.execute(insert(role_assignment), rows)
            await audit.append(connection, [entry])

    async def disable(self, user_id: int, at: datetime | None, entry: Entry) -> None:
        """Let a user sign in no more from *at* on, which ends what is begun; `None`: again."""
        async with self._database.write() as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(disabled_at=at))
            if at is not None:
                await connection.execute(delete(web_session).where(web_session.c.user_id == user_id))
                await connection.execute(delete(half_session).where(half_session.c.user_id == user_id))
                await connection.execute(delete(access_code).where(access_code.c.user_id == user_id))
            await audit.append(connection, [entry])

    async def choose_password(self, user_id: int, kept: str, entry: Entry) -> None:
        """Keep a new password. What was begun with the old one ends, and the code that allowed it is used up."""
        values = {"password": kept, "failures": 0, "failed_at": None}
        async with self._database.write() as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(**values))
            await connection.execute(delete(web_session).where(web_session.c.user_id == user_id))
            await connection.execute(delete(half_session).where(half_session.c.user_id == user_id))
            await connection.execute(delete(access_code).where(access_code.c.user_id == user_id))
            await audit.append(connection, [entry])

    async def fail(self, user_id: int, entry: Entry, *, counts: bool) -> None:
        """Keep that a sign-in failed; it *counts* where whoever tries next is to wait.

        It is counted by what the store says: another service may have counted one meanwhile.
        """
        mine = portal_user.c.id == user_id
        so_far = select(portal_user.c.failures, portal_user.c.failed_at).where(mine).with_for_update()
        async with self._database.write() as connection:
            if counts and (row := (await connection.execute(so_far)).one_or_none()) is not None:
                more = Failures(count=row.failures, last=row.failed_at).more(entry.at)
                values = {"failures": more.count, "failed_at": more.last}
                await connection.execute(update(portal_user).where(mine).values(**values))
            await audit.append(connection, [entry])

    # -- codes ---------------------------------------------------------------------------------------------------

    async def code(self, user_id: int) -> KeptCode | None:
        """Return the code that was made last for a user and not used."""
        row = await self._database.row(select(access_code).where(access_code.c.user_id == user_id))
        return None if row is None else KeptCode(way=CodeWay(row.way), kept=row.kept, ends_at=row.ends_at)

    async def invite(self, user_id: int, code: KeptCode, entry: Entry) -> None:
        """Keep a code in the place of the one before."""
        values = {
            "user_id": user_id,
            "way": str(code.way),
            "kept": code.kept,
            "made_by": entry.actor,
            "made_at": entry.at,
            "ends_at": code.ends_at,
        }
        async with self._database.write() as connection:
            await connection.execute(delete(access_code).where(access_code.c.user_id == user_id))
            await connection.execute(insert(access_code).values(**values))
            await audit.append(connection, [entry])

    # -- identities elsewhere ------------------------------------------------------------------------------------

    async def identified(self, issuer: str, subject: str) -> User | None:
        """Return the user who is *subject* at *issuer*."""
        is_theirs = (openid_identity.c.issuer == issuer) & (openid_identity.c.subject == subject)
        query = select(portal_user).join(openid_identity, openid_identity.c.user_id == portal_user.c.id)
        async with self._database.read() as connection:
            if (row := (await connection.execute(query.where(is_theirs))).one_or_none()) is None:
                return None
            roles = await _roles(connection, role_assignment.c.user_id == row.id)
        return _user(row, roles.get(row.id, frozenset()))

    async def identities(self, user_id: int) -> Sequence[str]:
        """Return the issuers at which it is known who a user is."""
        query = select(openid_identity.c.issuer).where(openid_identity.c.user_id == user_id)
        return list(await self._database.values(query.order_by(openid_identity.c.issuer)))

    async def link(self, user_id: int, issuer: str, subject: str, entry: Entry) -> None:
        """Let a user be *subject* at *issuer*, and nobody else there. Raise `IdentityTakenError` when another user is."""
        values = {"issuer": issuer, "subject": subject, "user_id": user_id, "linked_at": entry.at}
        mine = (openid_identity.c.issuer == issuer) & (openid_identity.c.user_id == user_id)
        try:
            async with self._database.write() as connection:
                await connection.execute(delete(openid_identity).where(mine))
                await connection.execute(insert(openid_identity).values(**values))
                await audit.append(connection, [entry])
        except IntegrityError:
            raise IdentityTakenError from None

    async def unlink(self, user_id: int, entry: Entry) -> None:
        """Let a user be known nowhere else any more."""
        async with self._database.write() as connection:
            await connection.execute(delete(openid_identity).where(openid_identity.c.user_id == user_id))
            await audit.append(connection, [entry])

    # -- sessions ------------------------------------------------------------------------------------------------

    async def session(self, digest: str) -> WebSession | None:
        """Return the session with this digest, whether it is over or not."""
        query = select(web_session).where(web_session.c.digest == digest)
        async with self._database.read() as connection:
            if (row := (await connection.execute(query)).one_or_none()) is None:
                return None
            theirs = select(portal_user).where(portal_user.c.id == row.user_id)
            owner = (await connection.execute(theirs)).one()
            roles = await _roles(connection, role_assignment.c.user_id == row.user_id)
        return WebSession(
            digest=row.digest,
            user=_user(owner, roles.get(owner.id, frozenset())),
            begun_at=row.begun_at,
            seen_at=row.seen_at,
            ends_at=row.ends_at,
            address=row.address,
        )

    async def begin(self, session: WebSession, entry: Entry) -> None:
        """Keep a session that begins, and forget failures before it, the half that led to it, and what has ended by then."""
        values = {
            "digest": session.digest,
            "user_id": session.user.id,
            "begun_at": session.begun_at,
            "seen_at": session.seen_at,
            "ends_at": session.ends_at,
            "address": session.address,
        }
        mine = portal_user.c.id == session.user.id
        async with self._database.write() as connection:
            await connection.execute(delete(web_session).where(web_session.c.ends_at <= session.begun_at))
            await connection.execute(delete(half_session).where(half_session.c.user_id == session.user.id))
            await connection.execute(update(portal_user).where(mine).values(failures=0, failed_at=None))
            await connection.execute(insert(web_session).values(**values))
            await audit.append(connection, [entry])

    async def see(self, digest: str, now: datetime) -> None:
        """Keep that a session is in use."""
        async with self._database.write() as connection:
            await connection.execute(update(web_session).where(web_session.c.digest == digest).values(seen_at=now))

    async def end(self, digest: str, entry: Entry) -> None:
        """Forget a session."""
        async with self._database.write() as connection:
            await connection.execute(delete(web_session).where(web_session.c.digest == digest))
            await audit.append(connection, [entry])


async def _roles(
    connection: AsyncConnection, where: ColumnElement[bool] | None = None
) -> Mapping[int, AbstractSet[RoleAssignment]]:
    query = select(role_assignment)
    found: dict[int, set[RoleAssignment]] = {}
    for row in await connection.execute(query if where is None else query.where(where)):
        found.setdefault(row.user_id, set()).add(RoleAssignment(role=Role(row.role), agency=row.agency))
    return {user: frozenset(roles) for user, roles in found.items()}


def _user(row: Row[tuple[object, ...]], assignments: Iterable[RoleAssignment]) -> User:
    return User(
        id=row.id,
        name=row.name,
        full_name=row.full_name,
        assignments=frozenset(assignments),
        disabled_at=row.disabled_at,
        has_password=row.password is not None,
        has_second_factor=row.one_time_step is not None,
    )
