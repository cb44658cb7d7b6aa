"""What every store promises about users, their sessions and codes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.access.invitation_code import CodeWay
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


class StorePosition:
    """A clock that stands."""

    def now(self) -> datetime:
        return T0


def entry(what: str = "said") -> AuditEntry:
    return AuditEntry(at=T0, actor="Pentadbir Contoh", event=what)


async def made(users: Users, name: str = "siti", *roles: str) -> User:
    number = await users.add(name, "Siti Contoh", entry())
    await users.assign(number, {parse_assignment(each) for each in roles}, entry())
    found = await users.find(name)
    assert found is not None
    return found.user


def session(user: User, digest: str = "a" * 64) -> WebSession:
    return WebSession(digest=digest, user=user, started_at=T0, seen_at=T0, ends_at=T0 + HOUR, address="127.0.0.1")


async def test_users_are_listed_a_page_at_a_time_by_name_full_name_or_agency(database: Database) -> None:
    users = Users(database)
    for name, role in (("ali", "viewer:JCM"), ("siti", "officer:MDC"), ("ravi.j", "noc"), ("ravi", "clerk:MDC")):
        await made(users, name, role)

    async def listed(wanted: str, after: str = "", most: int = 9) -> list[str]:
        return [each.name for each in await users.page(wanted, after=after, most=most)]

    assert await listed("", most=3) == ["ali", "ravi", "ravi.j"]
    assert await listed("", "ravi.j") == ["siti"]
    assert await listed("RAVI") == ["ravi", "ravi.j"]
    assert await listed("siti c") == ["ali", "ravi", "ravi.j", "siti"]
    assert await listed("mdc") == ["ravi", "siti"]
    assert await listed("mdc", "ravi") == ["siti"]
    for nothing in ("%", "_", "tiada", "j_m"):
        assert await listed(nothing) == []
    (siti,) = await users.page("siti", after="ravi.j", most=1)
    assert {str(each) for each in siti.assignments} == {"officer:MDC"}


async def test_a_user_has_the_roles_that_were_given_last_and_no_others(database: Database) -> None:
    users = Users(database)
    user = await made(users, "siti", "officer:JCM", "clerk:JCM")
    await made(users, "ravi", "noc")
    assert {str(each) for each in user.assignments} == {"officer:JCM", "clerk:JCM"}
    assert not user.has_password
    await users.assign(user.id, {parse_assignment("duty:MDC")}, entry())
    assert [(each.name, {str(role) for role in each.assignments}) for each in await users.all()] == [
        ("ravi", {"noc"}),
        ("siti", {"duty:MDC"}),
    ]
    assert await users.find("nobody") is None


async def test_a_name_is_given_once(database: Database) -> None:
    users = Users(database)
    await made(users)
    with pytest.raises(UserExistsError):
        await users.add("siti", "Siti Lain", entry("must not be there"))
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert "must not be there" not in events


async def test_a_session_is_known_with_its_users_present_roles_until_it_ends(database: Database) -> None:
    users = Users(database)
    user = await made(users, "siti", "viewer")
    begun = session(user)
    await users.begin(begun, entry())
    assert await users.session(begun.digest) == begun
    await users.assign(user.id, set(), entry())
    await users.see(begun.digest, T0 + timedelta(minutes=5))
    found = await users.session(begun.digest)
    assert found is not None
    assert (found.user.assignments, found.seen_at) == (frozenset(), T0 + timedelta(minutes=5))
    await users.end(begun.digest, entry())
    assert await users.session(begun.digest) is None


async def test_what_has_ended_is_cleared_away_when_the_next_begins(database: Database) -> None:
    users = Users(database)
    user = await made(users)
    await users.begin(session(user), entry())
    later = WebSession(
        digest="b" * 64, user=user, started_at=T0 + HOUR, seen_at=T0 + HOUR, ends_at=T0 + 2 * HOUR, address=""
    )
    await users.begin(later, entry())
    assert await users.session("a" * 64) is None
    assert await users.session("b" * 64) == later


@pytest.mark.parametrize("how", ["disabled", "another password"])
async def test_sessions_and_codes_end_with_what_they_were_given_for(database: Database, how: str) -> None:
    users = Users(database)
    user = await made(users)
    other = await made(users, "ravi")
    await users.begin(session(user), entry())
    await users.begin(session(other, "c" * 64), entry())
    await users.invite(user.id, AccessCodeRecord(kind=CodeWay.LETTER, digest="digest", ends_at=T0 + HOUR), entry())
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


async def test_failures_are_kept_until_somebody_signs_in(database: Database) -> None:
    users = Users(database)
    user = await made(users)
    await users.fail(user.id, entry(), failed_attempt=FailedAttempt.FIRST_STEP)
    # Of a browser that has a count of its own.
    await users.fail(user.id, entry(), failed_attempt=None)
    for _ in range(2):
        await users.fail(user.id, entry(), failed_attempt=FailedAttempt.SECOND_STEP)
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(count=1, last=T0), Failures(count=2, last=T0))
    await users.begin(session(user), entry())
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(), Failures())


async def test_unlock_forgets_failures_until_somebody_signs_in(database: Database) -> None:
    users = Users(database)
    user = await made(users)
    for failed_attempt in FailedAttempt:
        await users.fail(user.id, entry(), failed_attempt=failed_attempt)
    await users.unlock(user.id, T0 + HOUR, entry())
    found = await users.find("siti")
    assert found is not None
    assert (found.failures, found.code_failures) == (Failures(), Failures())
    assert found.user.unlocked_until == T0 + HOUR
    await users.begin(session(user), entry())
    found = await users.find("siti")
    assert found is not None
    assert found.user.unlocked_until is None


@pytest.mark.access
@pytest.mark.parametrize("ways", [("disable", "disable"), ("disable", "assign"), ("assign", "assign")])
async def test_administration_two_administrators_at_once_leave_one(
    database: Database, ways: tuple[Literal["disable", "assign"], ...]
) -> None:
    users = Users(database)
    administration = Administration(users, StorePosition(), agencies=tuple, factors=SecondFactors(database))
    for name in ("ali", "siti"):
        user = await made(users, name, "admin")
        await users.choose_password(user.id, "$argon2id$...", entry())

    async def lose(name: str, way: Literal["disable", "assign"]) -> User:
        if way == "disable":
            return await administration.disable(name, by="Ujian")
        return await administration.assign(name, ["viewer"], by="Ujian")

    orders = [lose(name, way) for name, way in zip(("ali", "siti"), ways, strict=True)]
    done = await asyncio.gather(*orders, return_exceptions=True)
    assert [type(each) for each in done].count(OperationRejectedError) == 1, done
    left = [each for each in await users.all() if "admin" in map(str, each.assignments) and each.disabled_at is None]
    assert len(left) == 1


async def test_what_fails_at_several_services_at_once_is_counted_each_time(database: Database) -> None:
    users = Users(database)
    user = await made(users)
    await asyncio.gather(*(users.fail(user.id, entry(), failed_attempt=FailedAttempt.FIRST_STEP) for _ in range(5)))
    found = await users.find("siti")
    assert found is not None
    assert found.failures.count == 5


async def test_a_new_code_takes_the_place_of_the_one_before(database: Database) -> None:
    users = Users(database)
    user = await made(users)
    for kept in ("first", "second"):
        await users.invite(user.id, AccessCodeRecord(kind=CodeWay.TELEPHONE, digest=kept, ends_at=T0 + HOUR), entry())
    assert await users.code(user.id) == AccessCodeRecord(kind=CodeWay.TELEPHONE, digest="second", ends_at=T0 + HOUR)
    assert "second" not in repr(await users.code(user.id))


async def test_an_account_elsewhere_is_one_users_and_each_has_one_at_a_provider(database: Database) -> None:
    users, issuer = Users(database), "https://log-masuk.contoh.gov.my"
    siti, ravi = await made(users, "siti", "viewer"), await made(users, "ravi")
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
