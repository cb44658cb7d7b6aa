"""What every store promises about secrets: encrypted, in their place, and under another key whenever one is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.keyring import Keyring, SecretLockedError, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, drop_secret, keep_secret
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, secret
from tests.unit.alerts.people import T0

OLD, NEW = new_key(), new_key()
ENTRY = AuditEntry(at=T0, actor="Pentadbir Contoh", event="said")


class Clock:
    def now(self) -> datetime:
        return T0


def place(owner: object) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.ONE_TIME, owner=str(owner))


def safe(database: Database, *keys: str) -> SecretStore:
    return SecretStore(Secrets(database), Clock(), Keyring(*keys) if keys else None)


async def keep(database: Database, count: int, key: str = OLD) -> None:
    ring = Keyring(key)
    # Not in one transaction: a busy machine may not end it before its deadline.
    for begin in range(0, count, 50):
        async with database.write() as connection:
            for number in range(begin, min(begin + 50, count)):
                where = place(f"{number:04}")
                await keep_secret(connection, where, ring.encrypt(where, f"rahsia {number}"), ENTRY)


async def test_a_secret_is_read_at_its_place_until_it_is_forgotten_and_the_last_written_counts(
    database: Database,
) -> None:
    await keep(database, 2)
    at_hand = safe(database, OLD)
    assert await at_hand.read(place("0001")) == "rahsia 1"
    async with database.write() as connection:
        await keep_secret(connection, place("0001"), at_hand.encrypt(place("0001"), "baharu"), ENTRY)
    assert await at_hand.read(place("0001")) == "baharu"
    async with database.write() as connection:
        await drop_secret(connection, place("0001"))
    assert await at_hand.read(place("0001")) is None
    assert await at_hand.read(place("0000")) == "rahsia 0"


async def test_nothing_of_a_secret_is_in_the_database_in_the_clear(database: Database) -> None:
    await keep(database, 1)
    async with database.read() as connection:
        [row] = (await connection.execute(select(secret))).all()
    assert "rahsia" not in str(row)
    assert OLD not in str(row)
    assert "rahsia" not in repr(await Secrets(database).find(place("0000")))


async def test_a_ciphertext_that_is_moved_to_another_row_does_not_open_there(database: Database) -> None:
    await keep(database, 2)
    async with database.write() as connection:
        theirs = select(secret.c.ciphertext).where(secret.c.owner == "0000").scalar_subquery()
        await connection.execute(update(secret).where(secret.c.owner == "0001").values(ciphertext=theirs))
    with pytest.raises(SecretLockedError, match="belongs to something else"):
        await safe(database, OLD).read(place("0001"))
    assert await safe(database, OLD).read(place("0000")) == "rahsia 0"


async def test_all_secrets_come_under_the_new_key_and_the_old_is_needed_no_more(database: Database) -> None:
    await keep(database, 250)
    both = safe(database, NEW, OLD)
    assert await both.read(place("0249")) == "rahsia 249"
    assert {(each.count, each.is_current, each.is_readable) for each in await both.counts()} == {(250, False, True)}
    done = await both.rotate(by="Pentadbir Contoh")
    assert (done.changed, done.locked) == (250, 0)
    alone = safe(database, NEW)
    assert [await alone.read(place(f"{each:04}")) for each in (0, 100, 249)] == [
        "rahsia 0",
        "rahsia 100",
        "rahsia 249",
    ]
    assert (await both.rotate(by="Pentadbir Contoh")).changed == 0
    async with database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.detail))).all()
    assert [(row.actor, row.detail["secrets"]) for row in rows] == [
        ("Pentadbir Contoh", "100"),
        ("Pentadbir Contoh", "100"),
        ("Pentadbir Contoh", "50"),
    ]


async def test_of_tokens_that_came_in_exchange_the_latest_stays_whoever_writes_last(database: Database) -> None:
    name, secrets = "typed-aaaabbbbccccdddd", Secrets(database)
    typed = SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name)
    async with database.write() as connection:
        await keep_secret(connection, typed, Keyring(OLD).encrypt(typed, "{}"), ENTRY)
    come = [
        RotatedToken(secret=Ciphertext(key_id="1", text=str(second)), at=T0 + timedelta(seconds=second))
        for second in range(6)
    ]
    assert all(await asyncio.gather(*(secrets.renew(name, each) for each in (*come[3:], *come[:3]))))
    assert await secrets.renewed(name) == come[-1]
    # Of two that came at one moment the last to be written counts, and the typed one is as it was.
    again = RotatedToken(secret=Ciphertext(key_id="1", text="lagi"), at=come[-1].at)
    assert await secrets.renew(name, again)
    assert await secrets.renewed(name) == again
    assert await safe(database, OLD).read(typed) == "{}"


class Killed(BaseException):
    """The process is no more."""


async def test_a_rotation_that_is_killed_in_the_middle_loses_nothing_and_goes_on(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    class Mortal(Secrets):
        batches = 0

        async def replace(
            self, changes: Sequence[tuple[SecretPlace, Ciphertext, Ciphertext]], entry: AuditEntry
        ) -> int:
            if self.batches == 1:
                raise Killed
            self.batches += 1
            return await super().replace(changes, entry)

    async with open_database() as database:
        await keep(database, 250)
        with pytest.raises(Killed):
            await SecretStore(Mortal(database), Clock(), Keyring(NEW, OLD)).rotate(by="Pentadbir Contoh")
    async with open_database() as database:
        both = safe(database, NEW, OLD)
        assert sorted(each.count for each in await both.counts()) == [100, 150]
        assert [await both.read(place(f"{each:04}")) for each in range(250)] == [f"rahsia {n}" for n in range(250)]
        assert (await both.rotate(by="Pentadbir Contoh")).changed == 150
        assert await safe(database, NEW).read(place("0249")) == "rahsia 249"


async def test_what_somebody_writes_while_a_rotation_is_under_way_stays(database: Database) -> None:
    await keep(database, 1)

    class Slow(Secrets):
        async def replace(
            self, changes: Sequence[tuple[SecretPlace, Ciphertext, Ciphertext]], entry: AuditEntry
        ) -> int:
            async with database.write() as connection:
                written = Keyring(NEW).encrypt(place("0000"), "ditulis tadi")
                await keep_secret(connection, place("0000"), written, ENTRY)
            return await super().replace(changes, entry)

    done = await SecretStore(Slow(database), Clock(), Keyring(NEW, OLD)).rotate(by="Pentadbir Contoh")
    assert done.changed == 0
    assert await safe(database, NEW).read(place("0000")) == "ditulis tadi"


async def test_two_rotations_at_once_leave_every_secret_readable(database: Database) -> None:
    await keep(database, 120)
    both = [safe(database, NEW, OLD).rotate(by="Pentadbir Contoh") for _ in range(2)]
    assert sum(done.changed for done in await asyncio.gather(*both)) == 120
    assert await safe(database, NEW).read(place("0119")) == "rahsia 119"


async def test_with_a_lost_key_it_is_said_which_and_nothing_is_lost(database: Database) -> None:
    await keep(database, 3)
    lost = safe(database, NEW)
    with pytest.raises(SecretLockedError, match=rf"with the key {Keyring(OLD).key_id}, which is not here"):
        await lost.read(place("0000"))
    done = await lost.rotate(by="Pentadbir Contoh")
    assert (done.changed, done.locked) == (0, 3)
    assert [each.is_readable for each in await lost.counts()] == [False]
    # The key is found again.
    assert await safe(database, OLD).read(place("0000")) == "rahsia 0"


async def test_without_a_key_nothing_is_kept_and_it_is_said_how_one_is_made(database: Database) -> None:
    none = safe(database)
    assert not none.has_key
    with pytest.raises(SecretLockedError, match="secrets_key_file"):
        none.encrypt(place("0000"), "rahsia")
    with pytest.raises(OperationRejectedError, match="secrets_key_file"):
        await none.rotate(by="Pentadbir Contoh")
