"""Users of the portal in the database, with their roles, second factors, sessions and access codes.

An access code (table `invitation_code`) lets an invited user, or one whose password was reset, choose a password. Each
change has an audit entry with its author and client address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Column, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.access.invitation_code import CodeKind
from monitor.access.lockout import Failures
from monitor.access.principal import User
from monitor.access.role import Role, RoleAssignment
from monitor.store.admin.secrets import delete_secret, store_secret
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import attributes_of, from_row, inserted_id
from monitor.store.schema.tables import (
    invitation_code,
    openid_identity,
    pending_session,
    portal_user,
    recovery_code,
    role_assignment,
    web_session,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """User with the state that decides on a sign-in."""

    user: User
    #: Password hash in PHC string format; `None`: no password has been chosen yet.
    password: str | None = field(repr=False)
    #: Failed passwords or access codes.
    failures: Failures
    #: Failed one-time codes (second factor).
    code_failures: Failures


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """Session of a user in a browser."""

    #: Digest of the key in the session cookie.
    digest: str
    user: User
    started_at: datetime
    #: Last use.
    seen_at: datetime
    #: Expiry. Using the session does not extend it.
    ends_at: datetime
    #: Client address at the sign-in.
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCodeRecord:
    """Access code with which a user may choose a password."""

    kind: CodeKind
    #: Hash of the code, in the format that its kind requires.
    digest: str = field(repr=False)
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSession:
    """Sign-in with a correct password, before the second factor is checked. It grants no access."""

    #: Digest of the key in the cookie of the pending session.
    digest: str
    user_id: int
    #: Name that the user signs in with.
    name: str
    ends_at: datetime


class FailedAttempt(StrEnum):
    """Kinds of failed attempts, each counted separately."""

    #: A password, or an access code.
    FIRST_STEP = "first step"
    #: A one-time code, after a correct password.
    SECOND_STEP = "second step"


#: Columns with the number of failures and the time of the last one.
_FAILURE_COLUMNS: Final[Mapping[FailedAttempt, tuple[Column[int], Column[datetime]]]] = {
    FailedAttempt.FIRST_STEP: (portal_user.c.failures, portal_user.c.failed_at),
    FailedAttempt.SECOND_STEP: (portal_user.c.code_failures, portal_user.c.code_failed_at),
}
_NO_FAILURES: Final = {
    "failures": 0,
    "failed_at": None,
    "code_failures": 0,
    "code_failed_at": None,
    "unlocked_until": None,
}


def one_time_secret_id(user_id: int) -> SecretId:
    """Return the id of the stored secret from which a user's one-time codes (TOTP) are computed."""
    return SecretId(purpose=SecretPurpose.ONE_TIME, owner=str(user_id))


class IdentityTakenError(Exception):
    """The external account belongs to another user."""


class LastAdministratorError(Exception):
    """The change would leave no administrator who can sign in."""


class UserExistsError(Exception):
    """A user of this name exists already."""


class Users:
    """Reads and writes users. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[User]:
        """Return all users, by name."""
        return [user for _, user in await self._select_users(select(portal_user).order_by(portal_user.c.name))]

    async def page(self, search: str, *, after: str = "", limit: int) -> Sequence[User]:
        """Return at most *limit* users, in order of name, with names greater than *after*.

        *search*: only users whose name or full name contains it, or who have a role for the agency with this code.
        """
        users_of_agency = select(role_assignment.c.user_id).where(role_assignment.c.agency == search.upper())
        matches = (
            portal_user.c.name.icontains(search, autoescape=True)
            | portal_user.c.full_name.icontains(search, autoescape=True)
            | portal_user.c.id.in_(users_of_agency)
        )
        query = select(portal_user).where(portal_user.c.name > after).order_by(portal_user.c.name).limit(limit)
        return [user for _, user in await self._select_users(query.where(matches) if search else query)]

    async def find(self, name: str) -> UserRecord | None:
        """Return the user of this name."""
        for row, user in await self._select_users(select(portal_user).where(portal_user.c.name == name)):
            return UserRecord(
                user=user,
                password=row.password,
                failures=Failures(count=row.failures, last=row.failed_at),
                code_failures=Failures(count=row.code_failures, last=row.code_failed_at),
            )
        return None

    async def _select_users(self, query: Select[*tuple[Any, ...]]) -> Sequence[tuple[Row[*tuple[Any, ...]], User]]:
        """Return the rows of *query*, each with the user whose columns it contains."""
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            ids = query.with_only_columns(portal_user.c.id)
            roles = await assignments(connection, role_assignment.c.user_id, ids)
        return [
            (
                row,
                from_row(
                    User,
                    row,
                    assignments=roles.get(row.id, frozenset()),
                    has_password=row.password is not None,
                    has_second_factor=row.one_time_step is not None,
                ),
            )
            for row in rows
        ]

    async def add(self, name: str, full_name: str, entry: AuditEntry) -> int:
        """Create a user who has no role and no password; return the id. Raise `UserExistsError`."""
        values = {"name": name, "full_name": full_name, "failures": 0, "made_by": entry.actor, "made_at": entry.at}
        try:
            async with audit.audited_write(self._database, entry) as connection:
                user_id = inserted_id(await connection.execute(insert(portal_user).values(**values)))
        except IntegrityError:
            raise UserExistsError(name) from None
        return user_id

    async def assign(self, user_id: int, assignments: AbstractSet[RoleAssignment], entry: AuditEntry) -> None:
        """Replace the roles of a user. Raise `LastAdministratorError`."""
        rows = [{"user_id": user_id, "role": str(each.role), "agency": each.agency} for each in sorted(assignments)]
        async with audit.audited_write(self._database, entry) as connection:
            if all(each.role is not Role.ADMIN for each in assignments):
                await _require_other_administrator(connection, user_id)
            await connection.execute(delete(role_assignment).where(role_assignment.c.user_id == user_id))
            if rows:
                await connection.execute(insert(role_assignment), rows)

    async def disable(self, user_id: int, at: datetime | None, entry: AuditEntry) -> None:
        """Disable a user since *at*, and delete the user's sessions and access code. *at* is `None`: enable the user.

        Raise `LastAdministratorError`.
        """
        async with audit.audited_write(self._database, entry) as connection:
            if at is not None:
                await _require_other_administrator(connection, user_id)
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(disabled_at=at))
            if at is not None:
                await end_sessions(connection, user_id)
                await connection.execute(delete(invitation_code).where(invitation_code.c.user_id == user_id))

    async def choose_password(self, user_id: int, password_hash: str, entry: AuditEntry) -> None:
        """Store a new password hash, end all sessions of the user, and delete the user's access code."""
        values = {"password": password_hash, **_NO_FAILURES}
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(**values))
            await end_sessions(connection, user_id)
            await connection.execute(delete(invitation_code).where(invitation_code.c.user_id == user_id))

    async def record_failure(self, user_id: int, entry: AuditEntry, *, failed_attempt: FailedAttempt | None) -> None:
        """Record a failed sign-in in the audit log. Count it as *failed_attempt*; `None`: do not count it.

        The count is read in the same transaction, because other processes increase it, too.
        """
        is_user = portal_user.c.id == user_id
        count, last = _FAILURE_COLUMNS[failed_attempt] if failed_attempt is not None else (None, None)
        async with audit.audited_write(self._database, entry) as connection:
            if count is None or last is None:
                return
            row = (await connection.execute(select(count, last).where(is_user).with_for_update())).one_or_none()
            if row is not None:
                failures = Failures(count=row[0], last=row[1]).with_failure(entry.at)
                values = {count: failures.count, last: failures.last}
                await connection.execute(update(portal_user).where(is_user).values(values))

    async def unlock(self, user_id: int, until: datetime, entry: AuditEntry) -> None:
        """Reset the failures of a user. New failures before *until* do not delay the user's sign-in."""
        values = {**_NO_FAILURES, "unlocked_until": until}
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(**values))

    # -- access codes --------------------------------------------------------------------------------------------

    async def code(self, user_id: int) -> AccessCodeRecord | None:
        """Return the access code of a user, expired or not; `None`: the user has none, or has used it."""
        row = await self._database.row(select(invitation_code).where(invitation_code.c.user_id == user_id))
        return None if row is None else from_row(AccessCodeRecord, row)

    async def invite(self, user_id: int, code: AccessCodeRecord, entry: AuditEntry) -> None:
        """Store an access code, replacing the previous one."""
        values = attributes_of(code, ("kind", "digest", "ends_at"))
        values |= {"user_id": user_id, "made_by": entry.actor, "made_at": entry.at}
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(invitation_code).where(invitation_code.c.user_id == user_id))
            await connection.execute(insert(invitation_code).values(**values))

    # -- external accounts ---------------------------------------------------------------------------------------

    async def user_by_identity(self, issuer: str, subject: str) -> User | None:
        """Return the user with this account (subject) at an OpenID provider (issuer)."""
        is_account = (openid_identity.c.issuer == issuer) & (openid_identity.c.subject == subject)
        query = select(portal_user).join(openid_identity, openid_identity.c.user_id == portal_user.c.id)
        return next((user for _, user in await self._select_users(query.where(is_account))), None)

    async def identities(self, user_id: int) -> Sequence[str]:
        """Return the issuers at which the user has an external account."""
        query = select(openid_identity.c.issuer).where(openid_identity.c.user_id == user_id)
        return list(await self._database.values(query.order_by(openid_identity.c.issuer)))

    async def link(self, user_id: int, issuer: str, subject: str, entry: AuditEntry) -> None:
        """Link a user to *subject* at *issuer*, instead of the user's previous account there.

        Raise `IdentityTakenError` if the account is linked to another user.
        """
        values = {"issuer": issuer, "subject": subject, "user_id": user_id, "linked_at": entry.at}
        is_linked = (openid_identity.c.issuer == issuer) & (openid_identity.c.user_id == user_id)
        try:
            async with audit.audited_write(self._database, entry) as connection:
                await connection.execute(delete(openid_identity).where(is_linked))
                await connection.execute(insert(openid_identity).values(**values))
        except IntegrityError:
            raise IdentityTakenError from None

    async def unlink(self, user_id: int, entry: AuditEntry) -> None:
        """Remove all external accounts of a user."""
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(openid_identity).where(openid_identity.c.user_id == user_id))

    # -- sessions ------------------------------------------------------------------------------------------------

    async def session(self, digest: str) -> WebSession | None:
        """Return the session with this digest, expired or not."""
        query = select(portal_user, web_session).join(web_session, web_session.c.user_id == portal_user.c.id)
        sessions = await self._select_users(query.where(web_session.c.digest == digest))
        return next((from_row(WebSession, row, user=user) for row, user in sessions), None)

    async def start_session(self, session: WebSession, entry: AuditEntry) -> None:
        """Store a session, and reset the user's failures. Delete the user's pending and all users' expired sessions."""
        values = attributes_of(session, ("digest", "started_at", "seen_at", "ends_at", "address"))
        values["user_id"] = session.user.id
        is_user = portal_user.c.id == session.user.id
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(web_session).where(web_session.c.ends_at <= session.started_at))
            await connection.execute(delete(pending_session).where(pending_session.c.user_id == session.user.id))
            await connection.execute(update(portal_user).where(is_user).values(**_NO_FAILURES))
            await connection.execute(insert(web_session).values(**values))

    async def record_use(self, digest: str, now: datetime) -> None:
        """Record the use of a session."""
        await self._database.change(update(web_session).where(web_session.c.digest == digest).values(seen_at=now))

    async def end_session(self, digest: str, entry: AuditEntry) -> None:
        """Delete a session."""
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(web_session).where(web_session.c.digest == digest))


async def assignments(
    connection: AsyncConnection, holder: Column[int], among: Select[Any]
) -> Mapping[int, AbstractSet[RoleAssignment]]:
    """Return the roles of users or tokens, by id. *holder*: column with these ids. *among*: query that selects ids."""
    by_holder: dict[int, set[RoleAssignment]] = {}
    for row in await connection.execute(select(holder.table).where(holder.in_(among))):
        assignment = RoleAssignment(role=Role(row.role), agency=row.agency)
        by_holder.setdefault(getattr(row, holder.name), set()).add(assignment)
    return {each: frozenset(roles) for each, roles in by_holder.items()}


class SecondFactors:
    """Reads and writes second factors: one-time codes (TOTP), and recovery codes that replace them.

    A *step* is the number of a time step (RFC 6238). Raises `StoreUnavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_up(
        self, user_id: int, secret: Ciphertext, step: int, digests: Iterable[str], entry: AuditEntry
    ) -> bool:
        """Store a second factor, mark its code of *step* as used, and end all sessions of the user.

        *digests*: of the recovery codes. Return `False`, and change nothing, if the user has a second factor.
        """
        has_none = (portal_user.c.id == user_id, portal_user.c.one_time_step.is_(None))
        async with self._database.write() as connection:
            changed = await connection.execute(update(portal_user).where(*has_none).values(one_time_step=step))
            if not changed.rowcount:
                return False
            await store_secret(connection, one_time_secret_id(user_id), secret, entry)
            await _put_codes(connection, user_id, digests)
            await end_sessions(connection, user_id)
            await audit.append(connection, [entry])
        return True

    async def remove(self, user_id: int, entry: AuditEntry, *, ends_sessions: bool) -> None:
        """Delete a second factor with its recovery codes. *ends_sessions*: also end all sessions of the user."""
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(update(portal_user).where(portal_user.c.id == user_id).values(one_time_step=None))
            await delete_secret(connection, one_time_secret_id(user_id))
            await _put_codes(connection, user_id, ())
            if ends_sessions:
                await end_sessions(connection, user_id)

    async def use_step(self, user_id: int, step: int) -> bool:
        """Mark the one-time codes up to *step* as used. Return whether the code of *step* was unused before."""
        is_unused = (portal_user.c.id == user_id, portal_user.c.one_time_step < step)
        return await self._database.change(update(portal_user).where(*is_unused).values(one_time_step=step)) > 0

    async def use_recovery_code(self, user_id: int, digest: str, entry: AuditEntry) -> bool:
        """Delete a recovery code, because it is valid once. Return whether it existed."""
        code_row = (recovery_code.c.user_id == user_id, recovery_code.c.digest == digest)
        async with self._database.write() as connection:
            used = bool((await connection.execute(delete(recovery_code).where(*code_row))).rowcount)
            if used:
                await audit.append(connection, [entry])
        return used

    async def recovery_codes(self, user_id: int) -> int:
        """Return the number of unused recovery codes of a user."""
        query = select(func.count()).select_from(recovery_code).where(recovery_code.c.user_id == user_id)
        return await self._database.value(query) or 0

    async def renew_recovery_codes(self, user_id: int, digests: Iterable[str], entry: AuditEntry) -> None:
        """Store new recovery codes; the previous ones become invalid."""
        async with audit.audited_write(self._database, entry) as connection:
            await _put_codes(connection, user_id, digests)

    async def begin_pending_session(self, pending: PendingSession, entry: AuditEntry) -> None:
        """Store a pending session, and delete the expired ones."""
        values = attributes_of(pending, ("digest", "user_id", "ends_at"))
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(pending_session).where(pending_session.c.ends_at <= entry.at))
            await connection.execute(insert(pending_session).values(**values))

    async def pending_session(self, digest: str) -> PendingSession | None:
        """Return the pending session with this digest, expired or not."""
        query = (
            select(pending_session, portal_user.c.name)
            .join(portal_user, portal_user.c.id == pending_session.c.user_id)
            .where(pending_session.c.digest == digest)
        )
        row = await self._database.row(query)
        return None if row is None else from_row(PendingSession, row)


async def _require_other_administrator(connection: AsyncConnection, user_id: int) -> None:
    """Raise `LastAdministratorError` if *user_id* is the only administrator who can sign in."""
    admin_ids = select(role_assignment.c.user_id).where(role_assignment.c.role == Role.ADMIN)
    administrators = select(portal_user.c.id).where(portal_user.c.id.in_(admin_ids)).order_by(portal_user.c.id)
    # Lock the rows: a concurrent removal of another administrator waits here, and its next query sees our commit.
    await connection.execute(administrators.with_for_update())
    enabled = administrators.where(portal_user.c.disabled_at.is_(None))
    others_who_can_sign_in = enabled.where(portal_user.c.password.is_not(None), portal_user.c.id != user_id)
    is_enabled_admin = (await connection.execute(enabled.where(portal_user.c.id == user_id))).first() is not None
    if is_enabled_admin and (await connection.execute(others_who_can_sign_in.limit(1))).first() is None:
        raise LastAdministratorError


async def _put_codes(connection: AsyncConnection, user_id: int, digests: Iterable[str]) -> None:
    await connection.execute(delete(recovery_code).where(recovery_code.c.user_id == user_id))
    if rows := [{"user_id": user_id, "digest": each} for each in digests]:
        await connection.execute(insert(recovery_code), rows)


async def end_sessions(connection: AsyncConnection, user_id: int) -> None:
    """End all sessions of a user, in the transaction of *connection*."""
    await connection.execute(delete(web_session).where(web_session.c.user_id == user_id))
    await connection.execute(delete(pending_session).where(pending_session.c.user_id == user_id))
