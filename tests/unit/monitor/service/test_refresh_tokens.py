"""Rotation of refresh tokens over real sockets: the newest survives a restart, and two services share it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.service.portal.refresh_tokens import RefreshTokenRotation
from monitor.store.admin.keyring import Keyring, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, store_secret
from monitor.store.backend.database import Database
from pantau_lab.oauth import AuthorizationServer, app
from pantau_lab.serving import serve
from probes.credentials.oauth import AccessTokenError
from probes.credentials.oauth_endpoint import Client, RefreshTokenIssuer
from tests.unit.alerts.people import T0

NAME, TYPED = "typed-aaaabbbbccccdddd", "segar-0"
KEY = new_key()


@dataclass
class Clock:
    at: datetime = T0

    def now(self) -> datetime:
        return self.at


@dataclass
class RotationFixture:
    """A database, a provider that accepts each refresh token once, and services that start."""

    database: Database
    server: AuthorizationServer
    client: Client
    clock: Clock = field(default_factory=Clock)

    def service(
        self, secrets: Secrets | None = None, key: str = KEY
    ) -> tuple[RefreshTokenRotation, RefreshTokenIssuer]:
        """Return the rotation and the issuer of a new service."""
        secrets, rotations = secrets or Secrets(self.database), RefreshTokenRotation()
        rotations.open(secrets, SecretStore(secrets, self.clock, Keyring(key)), self.clock)
        return rotations, RefreshTokenIssuer(self.client, rotations.rotation(NAME, TYPED))

    @property
    def asked(self) -> list[str]:
        """The refresh tokens that the provider received."""
        return [form["refresh_token"] for form in self.server.requests]


@pytest.fixture
async def rotation_fixture(tmp_path: Path) -> AsyncIterator[RotationFixture]:
    server = AuthorizationServer(username="pantau@jcm.gov.my", rotates_refresh_token=True)
    async with Database.open(tmp_path) as database, serve(app(server)) as url:
        place = SecretId(purpose=SecretPurpose.MAILBOX, owner=NAME)
        async with database.write() as connection:
            entry = AuditEntry(at=T0, actor="Siti", event="secret typed")
            await store_secret(connection, place, Keyring(KEY).encrypt(place, "{}"), entry)
        client = Client(
            token_url=f"{url}/token",
            client_id=server.client_id,
            client_secret=server.client_secret,
            tls=ssl.create_default_context(),
        )
        yield RotationFixture(database=database, server=server, client=client)


async def test_token_rotation_after_restart_uses_newest_token_without_leak(
    rotation_fixture: RotationFixture, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        rotations, first = rotation_fixture.service()
        for _ in range(2):
            await first.issue()
        _, second = rotation_fixture.service()
        await second.issue()
    assert rotation_fixture.asked == ["segar-0", "segar-1", "segar-2"]
    assert logs == []
    assert "segar" not in repr(rotations._latest)
    files = [tmp_path / f"pantau.sqlite{end}" for end in ("", "-wal")]
    assert not any(b"segar-" in each.read_bytes() for each in files if each.exists())


async def test_token_rotation_two_services_share_one_token(rotation_fixture: RotationFixture) -> None:
    services = [rotation_fixture.service()[1] for _ in range(2)]
    for number in range(6):
        rotation_fixture.clock.at += timedelta(hours=1)
        await services[number % 2].issue()
    assert rotation_fixture.asked == [f"segar-{number}" for number in range(6)]


async def test_token_rotation_clock_set_back_keeps_newest_token(rotation_fixture: RotationFixture) -> None:
    for number in range(3):
        rotation_fixture.clock.at = T0 - timedelta(days=number)
        await rotation_fixture.service()[1].issue()
    assert rotation_fixture.asked == ["segar-0", "segar-1", "segar-2"]


class UnavailableSecrets(Secrets):
    """Secrets that reject writes while `rejects_writes` is set."""

    rejects_writes = False

    async def store_rotated_token(self, name: str, later: RotatedToken) -> bool:
        if self.rejects_writes:
            raise StoreUnavailable("the disk is full")
        return await super().store_rotated_token(name, later)


async def test_token_rotation_while_database_unavailable_is_stored_later_but_not_over_newer(
    rotation_fixture: RotationFixture,
) -> None:
    secrets = UnavailableSecrets(rotation_fixture.database)
    rotations, here = rotation_fixture.service(secrets)
    secrets.rejects_writes = True
    await here.issue()
    await here.issue()
    assert rotation_fixture.asked == ["segar-0", "segar-1"]
    secrets.rejects_writes = False
    await rotations.catch_up()
    _, there = rotation_fixture.service()
    assert await there._refresh_tokens.current() == "segar-2"

    # This token was replaced first; the other service stores a later one meanwhile.
    secrets.rejects_writes = True
    rotation_fixture.clock.at += timedelta(hours=1)
    await rotations.store_replacement(NAME, "lama")
    rotation_fixture.clock.at += timedelta(hours=1)
    await rotation_fixture.service()[0].store_replacement(NAME, "baharu")
    secrets.rejects_writes = False
    await rotations.catch_up()
    assert [await each._refresh_tokens.current() for each in (here, there, rotation_fixture.service()[1])] == [
        "baharu"
    ] * 3


class CountingSecrets(Secrets):
    """Secrets that count writes; the first write runs `meanwhile`, the second fails."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.times = 0

    async def store_rotated_token(self, name: str, later: RotatedToken) -> bool:
        self.times += 1
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()
        elif self.times == 2:
            raise StoreUnavailable("the disk is full")
        return await super().store_rotated_token(name, later)


async def test_token_rotation_during_store_of_previous_token_is_stored_next(rotation_fixture: RotationFixture) -> None:
    secrets = CountingSecrets(rotation_fixture.database)
    rotations, here = rotation_fixture.service(secrets)
    secrets.meanwhile = lambda: rotations.store_replacement(NAME, "segar-2")
    await rotations.store_replacement(NAME, "segar-1")
    assert await here._refresh_tokens.current() == "segar-2"
    assert await rotation_fixture.service()[1]._refresh_tokens.current() == "segar-1"
    await rotations.catch_up()
    assert await rotation_fixture.service()[1]._refresh_tokens.current() == "segar-2"


async def test_token_rotation_stored_token_is_not_written_again(rotation_fixture: RotationFixture) -> None:
    secrets = CountingSecrets(rotation_fixture.database)
    rotations, here = rotation_fixture.service(secrets)
    await here.issue()
    await rotations.catch_up()
    rotation_fixture.clock.at += timedelta(hours=1)
    await rotation_fixture.service()[1].issue()
    assert await here._refresh_tokens.current() == "segar-2"
    await rotations.catch_up()
    assert secrets.times == 1


class UnresponsiveSecrets(Secrets):
    """Secrets that do not answer and are unavailable while `is_frozen` is set."""

    is_frozen = False
    asked = 0

    @property
    def is_unavailable(self) -> bool:
        return self.is_frozen

    async def find_rotated_token(self, name: str) -> RotatedToken | None:
        await self._wait_while_frozen()
        return await super().find_rotated_token(name)

    async def store_rotated_token(self, name: str, later: RotatedToken) -> bool:
        await self._wait_while_frozen()
        return await super().store_rotated_token(name, later)

    async def _wait_while_frozen(self) -> None:
        self.asked += 1
        if self.is_frozen:
            await asyncio.Event().wait()


async def test_token_rotation_unresponsive_database_delays_only_first_sign_in(
    rotation_fixture: RotationFixture,
) -> None:
    """A name whose newest token was never read waits: the original token may be invalid or look stolen."""
    secrets = UnresponsiveSecrets(rotation_fixture.database)
    rotations, here = rotation_fixture.service(secrets)
    await here.issue()
    secrets.is_frozen, secrets.asked = True, 0
    first = asyncio.create_task(here.issue())
    while not secrets.asked:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    async with asyncio.timeout(60):
        for _ in range(3):
            await here.issue()
    assert (rotation_fixture.asked, secrets.asked) == ([f"segar-{number}" for number in range(4)], 1)
    other = asyncio.create_task(rotations.newest("typed-other"))
    while secrets.asked == 1:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    other.cancel()
    await asyncio.wait({other})
    secrets.is_frozen = False
    await rotations.catch_up()
    assert await rotation_fixture.service()[1]._refresh_tokens.current() == "segar-4"


async def test_token_rotation_read_only_database_is_read_for_token_of_other_service(
    rotation_fixture: RotationFixture,
) -> None:
    """The disk is full."""
    secrets = UnavailableSecrets(rotation_fixture.database)
    secrets.rejects_writes = True
    _, here = rotation_fixture.service(secrets)
    assert await here._refresh_tokens.current() == TYPED
    await rotation_fixture.service()[1].issue()
    rotation_fixture.database.availability.unavailable_since = T0
    await here.issue()
    assert rotation_fixture.asked == ["segar-0", "segar-1"]


async def test_token_rotation_killed_before_store_uses_previous_token(rotation_fixture: RotationFixture) -> None:
    """A Microsoft provider accepts the previous token until it expires; other providers report an error."""
    rotation_fixture.server.rotates_refresh_token = False
    secrets = UnavailableSecrets(rotation_fixture.database)
    secrets.rejects_writes = True
    rotations, here = rotation_fixture.service(secrets)
    await rotations.store_replacement(NAME, "segar-1")
    await rotation_fixture.service()[1].issue()
    assert rotation_fixture.asked == ["segar-0"]
    rotation_fixture.server.refresh_token = "segar-1"
    with pytest.raises(AccessTokenError, match="invalid_grant"):
        await rotation_fixture.service()[1].issue()
    assert await here._refresh_tokens.current() == "segar-1"


async def test_token_rotation_undecryptable_or_ownerless_token_is_ignored(rotation_fixture: RotationFixture) -> None:
    _, here = rotation_fixture.service()
    await here.issue()
    rotation_fixture.server.refresh_token = TYPED
    with capture_logs() as logs:
        await rotation_fixture.service(key=new_key())[1].issue()
    assert [each["event"] for each in logs][:1] == ["rotated refresh token cannot be decrypted"]
    assert "segar" not in str(logs)

    secrets = Secrets(rotation_fixture.database)
    later = RotatedToken(secret=Ciphertext(key_id="1", text="1.x"), at=rotation_fixture.clock.at)
    assert await secrets.store_rotated_token("typed-tiada", later) is False
    assert await secrets.find_rotated_token("typed-tiada") is None
