"""Second factors on both stores: set-up, codes, removal and pending sessions."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext
from monitor.access.principal import User
from monitor.store.admin.secrets import Secrets
from monitor.store.admin.users import PendingSession, SecondFactors, UserRecord, Users, WebSession, one_time_secret_id
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, pending_session
from tests.unit.alerts.people import T0

MINUTE = timedelta(minutes=1)
SECRET = Ciphertext(key_id="0a1b2c3d", text="1.AAAA")
CODES = [f"{each:064}" for each in range(10)]


def entry(what: str = "said") -> AuditEntry:
    return AuditEntry(at=T0, actor="Pentadbir Contoh", event=what)


async def add_user(database: Database, name: str = "siti") -> User:
    users = Users(database)
    await users.add(name, "Siti Contoh", entry())
    return (await find_user(users, name)).user


async def find_user(users: Users, name: str = "siti") -> UserRecord:
    found = await users.find(name)
    assert found is not None
    return found


def session(user: User) -> WebSession:
    return WebSession(digest="a" * 64, user=user, started_at=T0, seen_at=T0, ends_at=T0 + 60 * MINUTE, address="")


def pending(user: User, digest: str = "b" * 64, ends: timedelta = 5 * MINUTE) -> PendingSession:
    return PendingSession(digest=digest, user_id=user.id, name=user.name, ends_at=T0 + ends)


async def test_set_up_only_once_and_ends_sessions(database: Database) -> None:
    users, factors = Users(database), SecondFactors(database)
    user = await add_user(database)
    await users.start_session(session(user), entry())
    assert not user.has_second_factor
    assert await factors.set_up(user.id, SECRET, 100, CODES, entry("second factor set up"))
    assert (await find_user(users)).user.has_second_factor
    assert [each.has_second_factor for each in await users.all()] == [True]
    assert await users.session("a" * 64) is None
    assert await Secrets(database).find(one_time_secret_id(user.id)) == SECRET
    other = Ciphertext(key_id="0a1b2c3d", text="1.BBBB")
    assert not await factors.set_up(user.id, other, 200, [], entry("must not be there"))
    assert await Secrets(database).find(one_time_secret_id(user.id)) == SECRET
    assert await factors.recovery_codes(user.id) == 10
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert "second factor set up" in events
    assert "must not be there" not in events


async def test_set_up_concurrent_only_one_succeeds(database: Database) -> None:
    factors = SecondFactors(database)
    user = await add_user(database)
    both = [factors.set_up(user.id, SECRET, 100, [each], entry()) for each in CODES[:2]]
    assert sorted(await asyncio.gather(*both)) == [False, True]
    assert await factors.recovery_codes(user.id) == 1


async def test_use_step_only_increasing_steps_are_accepted(database: Database) -> None:
    factors = SecondFactors(database)
    user, other = await add_user(database), await add_user(database, "ravi")
    assert not await factors.use_step(user.id, 100)
    await factors.set_up(user.id, SECRET, 100, (), entry())
    await factors.set_up(other.id, SECRET, 100, (), entry())
    used = [await factors.use_step(user.id, step) for step in (100, 99, 102, 101, 102, 103)]
    assert used == [False, False, True, False, False, True]
    assert await factors.use_step(other.id, 101)


async def test_concurrent_use_of_one_code_succeeds_once(database: Database) -> None:
    factors = SecondFactors(database)
    user = await add_user(database)
    await factors.set_up(user.id, SECRET, 100, CODES, entry())
    assert sum(await asyncio.gather(*(factors.use_step(user.id, 101) for _ in range(8)))) == 1
    attempts = (factors.use_recovery_code(user.id, CODES[0], entry("recovery code used")) for _ in range(8))
    assert sum(await asyncio.gather(*attempts)) == 1
    assert await factors.recovery_codes(user.id) == 9
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("recovery code used") == 1


async def test_recovery_code_is_per_user_and_replaced_by_new_ones(database: Database) -> None:
    factors = SecondFactors(database)
    user, other = await add_user(database), await add_user(database, "ravi")
    await factors.set_up(user.id, SECRET, 100, CODES[:5], entry())
    await factors.set_up(other.id, SECRET, 100, CODES[5:], entry())
    assert not await factors.use_recovery_code(other.id, CODES[0], entry())
    await factors.renew_recovery_codes(user.id, ["f" * 64], entry())
    assert not await factors.use_recovery_code(user.id, CODES[0], entry())
    assert await factors.use_recovery_code(user.id, "f" * 64, entry())
    assert await factors.recovery_codes(other.id) == 5


@pytest.mark.parametrize("ends_sessions", [True, False])
async def test_remove_second_factor_leaves_nothing(database: Database, *, ends_sessions: bool) -> None:
    users, factors = Users(database), SecondFactors(database)
    user = await add_user(database)
    await factors.set_up(user.id, SECRET, 100, CODES, entry())
    await users.start_session(session(user), entry())
    await factors.begin_pending_session(pending(user), entry())
    await factors.remove(user.id, entry(), ends_sessions=ends_sessions)
    assert not (await find_user(users)).user.has_second_factor
    assert await Secrets(database).find(one_time_secret_id(user.id)) is None
    assert await factors.recovery_codes(user.id) == 0
    assert (await users.session("a" * 64) is None) is ends_sessions
    assert (await factors.pending_session("b" * 64) is None) is ends_sessions


@pytest.mark.parametrize("how", ["begun", "disabled", "another password", "too late"])
async def test_pending_session_ends_with_its_reason(database: Database, how: str) -> None:
    users, factors = Users(database), SecondFactors(database)
    user = await add_user(database)
    await factors.begin_pending_session(pending(user), entry())
    assert await factors.pending_session("b" * 64) == pending(user)
    if how == "begun":
        await users.start_session(session(user), entry())
    elif how == "disabled":
        await users.disable(user.id, T0, entry())
    elif how == "another password":
        await users.choose_password(user.id, "$argon2id$...", entry())
    else:
        late = AuditEntry(at=T0 + 5 * MINUTE, actor="Siti", event="said")
        await factors.begin_pending_session(pending(user, "c" * 64, 10 * MINUTE), late)
    assert await factors.pending_session("b" * 64) is None
    async with database.read() as connection:
        left = (await connection.execute(select(pending_session.c.digest))).scalars().all()
    assert left == (["c" * 64] if how == "too late" else [])
