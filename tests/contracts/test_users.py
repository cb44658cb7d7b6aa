"""Users, sessions, access codes and linked identities on both stores."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.access.invitation_code import CodeKind
from monitor.access.lockout import Failures
from monitor.access.principal import User
from monitor.access.role import parse_assignment
from monitor.service.access.administration import Administration
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.users import (
    AccessCodeRecord,
    FailedAttempt,
    IdentityTakenError,
    SecondFactors,
    UserExistsError,
    Users,
    WebSession,
)
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import T0

HOUR = timedelta(hours=1)


class FixedClock:
    """A clock that does not advance."""

    def now(self) -> datetime:
        return T0


def entry(what: str = "said") -> AuditEntry:
    return AuditEntry(at=T0, actor="Pentadbir Contoh", event=what)


async def add_user(users: Users, name: str = "siti", *roles: str) -> User:
    number = await users.add(name, "Siti Contoh", entry())
    await users.assign(number, {parse_assignment(each) for each in roles}, entry())
    found = await users.find(name)
    assert found is not None
    return found.user


def session(user: User, digest: str = "a" * 64) -> WebSession:
    return WebSession(digest=digest, user=user, started_at=T0, seen_at=T0, ends_at=T0 + HOUR, address="127.0.0.1")


async def test_users_page_searches_name_full_name_and_agency(database: Database) -> None:
    users = Users(database)
    for name, role in (("ali", "viewer:JCM"), ("siti", "officer:MDC"), ("ravi.j", "noc"), ("ravi", "clerk:MDC")):
        await add_user(users, name, role)

    async def listed(wanted: str, after: str = "", limit: int = 9) -> list[str]:
        return [each.name for each in await users.page(wanted, after=after, limit=limit)]

    assert await listed("", limit=3) == ["ali", "ravi", "ravi.j"]
    assert await listed("", "ravi.j") == ["siti"]
    assert await listed("RAVI") == ["ravi", "ravi.j"]
    assert await listed("siti c") == ["ali", "ravi", "ravi.j", "siti"]
    assert await listed("mdc") == ["ravi", "siti"]
    assert await listed("mdc", "ravi") == ["siti"]
    for nothing in ("%", "_", "tiada", "j_m"):
        assert await listed(nothing) == []
    (siti,) = await users.page("siti", after="ravi.j", limit=1)
    assert {str(each) for each in siti.assignments} == {"officer:MDC"}


async def test_assign_replaces_roles(database: Database) -> None:
    users = Users(database)
    user = await add_user(users, "siti", "officer:JCM", "clerk:JCM")
    await add_user(users, "ravi", "noc")
    assert {str(each) for each in user.assignments} == {"officer:JCM", "clerk:JCM"}
    assert not user.has_password
    await users.assign(user.id, {parse_assignment("duty:MDC")}, entry())
    assert [(each.name, {str(role) for role in each.assignments}) for each in await users.all()] == [
        ("ravi", {"noc"}),
        ("siti", {"duty:MDC"}),
    ]
    assert await users.find("nobody") is None


async def test_add_duplicate_name_is_refused(database: Database) -> None:
    users = Users(database)
    await add_user(users)
    with pytest.raises(UserExistsError):
        await users.add("siti", "Siti Lain", entry("must not be there"))
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert "must not be there" not in events


async def test_session_has_current_roles_until_ended(database: Database) -> None:
    users = Users(database)
    user = await add_user(users, "siti", "viewer")
    begun = session(user)
    await users.start_session(begun, entry())
    assert await users.session(begun.digest) == begun
    await users.assign(user.id, set(), entry())
    await users.record_use(begun.digest, T0 + timedelta(minutes=5))
    found = await users.session(begun.digest)
    assert found is not None
    assert (found.user.assignments, found.seen_at) == (frozenset(), T0 + timedelta(minutes=5))
    await users.end_session(begun.digest, entry())
    assert await users.session(begun.digest) is None


async def test_start_session_deletes_expired_sessions(database: Database) -> None:
    users = Users(database)
    user = await add_user(users)
    await users.start_session(session(user), entry())
    later = WebSession(
        digest="b" * 64, user=user, started_at=T0 + HOUR, seen_at=T0 + HOUR, ends_at=T0 + 2 * HOUR, address=""
    )
    await users.start_session(later, entry())
    assert await users.session("a" * 64) is None
    assert await users.session("b" * 64) == later


@pytest.mark.parametrize("how", ["disabled", "another password"])
async def test_disable_or_new_password_ends_sessions_and_codes(database: Database, how: str) -> None:
    users = Users(database)
    user = await add_user(users)
    other = await add_user(users, "ravi")
    await users.start_session(session(user), entry())
    await users.start_session(session(other, "c" * 64), entry())
    await users.invite(user.id, AccessCodeRecord(kind=CodeKind.LETTER, digest="digest", ends_at=T0 + HOUR), entry())
    if how == "disabled":
        await users.disable(user.id, T0, entry())
    else:
        await users.choose_password(user.id, "$argon2id$...", entry())
    assert await users.session("a" * 64) is None
    assert await users.code(user.id) is None
    assert await users.session("c" * 64) is not None
    found = await users.find("siti")
    assert found is not None
    assert (found.user.disabled_at, found.password) == ((T0, None) if how == "disabled" else (None, "$argon2id$..."))


async def test_failures_are_kept_until_sign_in(database: Database) -> None:
    users = Users(database)
    user = await add_user(users)
    await users.record_failure(user.id, entry(), failed_attempt=FailedAttempt.FIRST_STEP)
    # A failure of a browser with a separate count.
    await users.record_failure(user.id, entry(), failed_attempt=None)
    for _ in range(2):
        await users.record_failure(user.id, entry(), failed_attempt=FailedAttempt.SECOND_STEP)
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(count=1, last=T0), Failures(count=2, last=T0))
    await users.start_session(session(user), entry())
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(), Failures())


async def test_unlock_resets_failures_until_sign_in(database: Database) -> None:
    users = Users(database)
    user = await add_user(users)
    for failed_attempt in FailedAttempt:
        await users.record_failure(user.id, entry(), failed_attempt=failed_attempt)
    await users.unlock(user.id, T0 + HOUR, entry())
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(), Failures())
    assert found.user.unlocked_until == T0 + HOUR
    await users.start_session(session(user), entry())
    found = await users.find("siti")
    assert found is not None
    assert found.user.unlocked_until is None


@pytest.mark.access
@pytest.mark.parametrize("operations", [("disable", "disable"), ("disable", "assign"), ("assign", "assign")])
async def test_administration_two_administrators_at_once_leave_one(
    database: Database, operations: tuple[Literal["disable", "assign"], ...]
) -> None:
    users = Users(database)
    administration = Administration(users, FixedClock(), agencies=tuple, factors=SecondFactors(database))
    for name in ("ali", "siti"):
        user = await add_user(users, name, "admin")
        await users.choose_password(user.id, "$argon2id$...", entry())

    async def lose_admin(name: str, operation: Literal["disable", "assign"]) -> User:
        if operation == "disable":
            return await administration.disable(name, by="Ujian")
        return await administration.assign(name, ["viewer"], by="Ujian")

    orders = [lose_admin(name, operation) for name, operation in zip(("ali", "siti"), operations, strict=True)]
    done = await asyncio.gather(*orders, return_exceptions=True)
    assert [type(each) for each in done].count(OperationRejectedError) == 1, done
    left = [each for each in await users.all() if "admin" in map(str, each.assignments) and each.disabled_at is None]
    assert len(left) == 1


async def test_concurrent_failures_are_all_counted(database: Database) -> None:
    users = Users(database)
    user = await add_user(users)
    await asyncio.gather(
        *(users.record_failure(user.id, entry(), failed_attempt=FailedAttempt.FIRST_STEP) for _ in range(5))
    )
    found = await users.find("siti")
    assert found is not None
    assert found.failures.count == 5


async def test_invite_replaces_earlier_code(database: Database) -> None:
    users = Users(database)
    user = await add_user(users)
    for kept in ("first", "second"):
        await users.invite(user.id, AccessCodeRecord(kind=CodeKind.TELEPHONE, digest=kept, ends_at=T0 + HOUR), entry())
    assert await users.code(user.id) == AccessCodeRecord(kind=CodeKind.TELEPHONE, digest="second", ends_at=T0 + HOUR)
    assert "second" not in repr(await users.code(user.id))


async def test_identity_belongs_to_one_user_and_user_has_one_per_provider(database: Database) -> None:
    users, issuer = Users(database), "https://log-masuk.contoh.gov.my"
    siti, ravi = await add_user(users, "siti", "viewer"), await add_user(users, "ravi")
    await users.link(siti.id, issuer, "a1", entry())
    assert await users.user_by_identity(issuer, "a1") == siti
    assert await users.user_by_identity(issuer, "a2") is None
    assert await users.user_by_identity("https://lain.contoh.my", "a1") is None
    with pytest.raises(IdentityTakenError):
        await users.link(ravi.id, issuer, "a1", entry())
    await users.link(siti.id, issuer, "a2", entry())
    assert await users.user_by_identity(issuer, "a1") is None
    assert await users.identities(siti.id) == [issuer]
    await users.unlink(siti.id, entry())
    assert await users.user_by_identity(issuer, "a2") is None
