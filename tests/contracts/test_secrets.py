"""Stored secrets on both stores: encryption, key rotation and missing keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.keyring import Keyring, SecretLockedError, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, delete_secret, store_secret
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, secret
from tests.unit.alerts.people import T0

OLD, NEW = new_key(), new_key()
ENTRY = AuditEntry(at=T0, actor="Pentadbir Contoh", event="said")


class Clock:
    def now(self) -> datetime:
        return T0


def secret_id(owner: object) -> SecretId:
    return SecretId(purpose=SecretPurpose.ONE_TIME, owner=str(owner))


def safe(database: Database, *keys: str) -> SecretStore:
    return SecretStore(Secrets(database), Clock(), Keyring(*keys) if keys else None)


async def add_secrets(database: Database, count: int, key: str = OLD) -> None:
    ring = Keyring(key)
    # Not in one transaction: a busy machine may not end it before its deadline.
    for begin in range(0, count, 50):
        async with database.write() as connection:
            for number in range(begin, min(begin + 50, count)):
                where = secret_id(f"{number:04}")
                await store_secret(connection, where, ring.encrypt(where, f"rahsia {number}"), ENTRY)


async def test_secret_read_returns_last_written_until_deleted(
    database: Database,
) -> None:
    await add_secrets(database, 2)
    with_key = safe(database, OLD)
    assert await with_key.read(secret_id("0001")) == "rahsia 1"
    async with database.write() as connection:
        await store_secret(connection, secret_id("0001"), with_key.encrypt(secret_id("0001"), "baharu"), ENTRY)
    assert await with_key.read(secret_id("0001")) == "baharu"
    async with database.write() as connection:
        await delete_secret(connection, secret_id("0001"))
    assert await with_key.read(secret_id("0001")) is None
    assert await with_key.read(secret_id("0000")) == "rahsia 0"


async def test_secret_is_stored_encrypted_only(database: Database) -> None:
    await add_secrets(database, 1)
    async with database.read() as connection:
        [row] = (await connection.execute(select(secret))).all()
    assert "rahsia" not in str(row)
    assert OLD not in str(row)
    assert "rahsia" not in repr(await Secrets(database).find(secret_id("0000")))


async def test_ciphertext_moved_to_other_row_is_rejected(database: Database) -> None:
    await add_secrets(database, 2)
    async with database.write() as connection:
        other_ciphertext = select(secret.c.ciphertext).where(secret.c.owner == "0000").scalar_subquery()
        await connection.execute(update(secret).where(secret.c.owner == "0001").values(ciphertext=other_ciphertext))
    with pytest.raises(SecretLockedError, match="belongs to something else"):
        await safe(database, OLD).read(secret_id("0001"))
    assert await safe(database, OLD).read(secret_id("0000")) == "rahsia 0"


async def test_rotate_reencrypts_all_with_new_key(database: Database) -> None:
    await add_secrets(database, 250)
    with_both_keys = safe(database, NEW, OLD)
    assert await with_both_keys.read(secret_id("0249")) == "rahsia 249"
    assert {(each.count, each.is_current, each.is_readable) for each in await with_both_keys.counts()} == {
        (250, False, True)
    }
    done = await with_both_keys.rotate(by="Pentadbir Contoh")
    assert (done.changed, done.locked) == (250, 0)
    alone = safe(database, NEW)
    assert [await alone.read(secret_id(f"{each:04}")) for each in (0, 100, 249)] == [
        "rahsia 0",
        "rahsia 100",
        "rahsia 249",
    ]
    assert (await with_both_keys.rotate(by="Pentadbir Contoh")).changed == 0
    async with database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.detail))).all()
    assert [(row.actor, row.detail["secrets"]) for row in rows] == [
        ("Pentadbir Contoh", "100"),
        ("Pentadbir Contoh", "100"),
        ("Pentadbir Contoh", "50"),
    ]


async def test_store_rotated_token_latest_is_kept_in_any_write_order(database: Database) -> None:
    name, secrets = "typed-aaaabbbbccccdddd", Secrets(database)
    typed = SecretId(purpose=SecretPurpose.MAILBOX, owner=name)
    async with database.write() as connection:
        await store_secret(connection, typed, Keyring(OLD).encrypt(typed, "{}"), ENTRY)
    tokens = [
        RotatedToken(secret=Ciphertext(key_id="1", text=str(second)), at=T0 + timedelta(seconds=second))
        for second in range(6)
    ]
    assert all(await asyncio.gather(*(secrets.store_rotated_token(name, each) for each in (*tokens[3:], *tokens[:3]))))
    assert await secrets.find_rotated_token(name) == tokens[-1]
    # Of two tokens with the same time the last written is kept; the typed secret is unchanged.
    again = RotatedToken(secret=Ciphertext(key_id="1", text="lagi"), at=tokens[-1].at)
    assert await secrets.store_rotated_token(name, again)
    assert await secrets.find_rotated_token(name) == again
    assert await safe(database, OLD).read(typed) == "{}"


class Killed(BaseException):
    """The process was killed."""


async def test_rotate_killed_midway_loses_nothing_and_continues(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    class KilledSecrets(Secrets):
        batches = 0

        async def replace(self, changes: Sequence[tuple[SecretId, Ciphertext, Ciphertext]], entry: AuditEntry) -> int:
            if self.batches == 1:
                raise Killed
            self.batches += 1
            return await super().replace(changes, entry)

    async with open_database() as database:
        await add_secrets(database, 250)
        with pytest.raises(Killed):
            await SecretStore(KilledSecrets(database), Clock(), Keyring(NEW, OLD)).rotate(by="Pentadbir Contoh")
    async with open_database() as database:
        with_both_keys = safe(database, NEW, OLD)
        assert sorted(each.count for each in await with_both_keys.counts()) == [100, 150]
        assert [await with_both_keys.read(secret_id(f"{each:04}")) for each in range(250)] == [
            f"rahsia {n}" for n in range(250)
        ]
        assert (await with_both_keys.rotate(by="Pentadbir Contoh")).changed == 150
        assert await safe(database, NEW).read(secret_id("0249")) == "rahsia 249"


async def test_rotate_keeps_secret_written_meanwhile(database: Database) -> None:
    await add_secrets(database, 1)

    class RacingSecrets(Secrets):
        async def replace(self, changes: Sequence[tuple[SecretId, Ciphertext, Ciphertext]], entry: AuditEntry) -> int:
            async with database.write() as connection:
                written = Keyring(NEW).encrypt(secret_id("0000"), "ditulis tadi")
                await store_secret(connection, secret_id("0000"), written, ENTRY)
            return await super().replace(changes, entry)

    done = await SecretStore(RacingSecrets(database), Clock(), Keyring(NEW, OLD)).rotate(by="Pentadbir Contoh")
    assert done.changed == 0
    assert await safe(database, NEW).read(secret_id("0000")) == "ditulis tadi"


async def test_rotate_twice_concurrently_keeps_secrets_readable(database: Database) -> None:
    await add_secrets(database, 120)
    with_both_keys = [safe(database, NEW, OLD).rotate(by="Pentadbir Contoh") for _ in range(2)]
    assert sum(done.changed for done in await asyncio.gather(*with_both_keys)) == 120
    assert await safe(database, NEW).read(secret_id("0119")) == "rahsia 119"


async def test_missing_key_is_named_and_secrets_are_kept(database: Database) -> None:
    await add_secrets(database, 3)
    without_old_key = safe(database, NEW)
    with pytest.raises(SecretLockedError, match=rf"with the key {Keyring(OLD).key_id}, which is not available"):
        await without_old_key.read(secret_id("0000"))
    done = await without_old_key.rotate(by="Pentadbir Contoh")
    assert (done.changed, done.locked) == (0, 3)
    assert [each.is_readable for each in await without_old_key.counts()] == [False]
    # The key is available again.
    assert await safe(database, OLD).read(secret_id("0000")) == "rahsia 0"


async def test_without_key_encrypt_and_rotate_name_setting(database: Database) -> None:
    without_keys = safe(database)
    assert not without_keys.has_key
    with pytest.raises(SecretLockedError, match="secrets_key_file"):
        without_keys.encrypt(secret_id("0000"), "rahsia")
    with pytest.raises(OperationRejectedError, match="secrets_key_file"):
        await without_keys.rotate(by="Pentadbir Contoh")
