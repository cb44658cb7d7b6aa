"""Refresh tokens that a provider exchanges, over real sockets: the newest outlives a restart, and two services share it."""

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
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.service.portal.refresh_tokens import RefreshTokenRotation
from monitor.store.admin.keyring import Keyring, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, keep_secret
from monitor.store.backend.database import Database
from pantau_lab.oauth import AuthorizationServer, app
from pantau_lab.serving import serve
from probes.credentials.oauth import AccessTokenError
from probes.credentials.oauth_endpoint import Client, RefreshToken
from tests.unit.alerts.people import T0

NAME, TYPED = "typed-aaaabbbbccccdddd", "segar-0"
KEY = new_key()


@dataclass
class Clock:
    at: datetime = T0

    def now(self) -> datetime:
        return self.at


@dataclass
class Hill:
    """A store, a provider that takes each refresh token once, and services that come and go."""

    database: Database
    server: AuthorizationServer
    client: Client
    clock: Clock = field(default_factory=Clock)

    def service(self, secrets: Secrets | None = None, key: str = KEY) -> tuple[RefreshTokenRotation, RefreshToken]:
        """Start one."""
        secrets, renewals = secrets or Secrets(self.database), RefreshTokenRotation()
        renewals.open(secrets, SecretStore(secrets, self.clock, Keyring(key)), self.clock)
        return renewals, RefreshToken(self.client, renewals.rotation(NAME, TYPED))

    @property
    def asked(self) -> list[str]:
        """The refresh tokens that were shown."""
        return [form["refresh_token"] for form in self.server.asked]


@pytest.fixture
async def hill(tmp_path: Path) -> AsyncIterator[Hill]:
    server = AuthorizationServer(username="pantau@jcm.gov.my", rotates=True)
    async with Database.open(tmp_path) as database, serve(app(server)) as url:
        place = SecretPlace(purpose=SecretPurpose.MAILBOX, owner=NAME)
        async with database.write() as connection:
            entry = AuditEntry(at=T0, actor="Siti", event="secret typed")
            await keep_secret(connection, place, Keyring(KEY).encrypt(place, "{}"), entry)
        client = Client(
            token_url=f"{url}/token",
            client_id=server.client_id,
            client_secret=server.client_secret,
            tls=ssl.create_default_context(),
        )
        yield Hill(database=database, server=server, client=client)


async def test_the_next_start_goes_on_with_the_newest_and_nothing_shows_it(hill: Hill, tmp_path: Path) -> None:
    with capture_logs() as logs:
        renewals, first = hill.service()
        for _ in range(2):
            await first.issue()
        _, second = hill.service()
        await second.issue()
    assert hill.asked == ["segar-0", "segar-1", "segar-2"]
    assert logs == []
    assert "segar" not in repr(renewals._latest)
    files = [tmp_path / f"pantau.sqlite{end}" for end in ("", "-wal")]
    assert not any(b"segar-" in each.read_bytes() for each in files if each.exists())


async def test_two_services_on_a_store_take_turns_with_one_token(hill: Hill) -> None:
    services = [hill.service()[1] for _ in range(2)]
    for number in range(6):
        hill.clock.at += timedelta(hours=1)
        await services[number % 2].issue()
    assert hill.asked == [f"segar-{number}" for number in range(6)]


async def test_a_clock_that_was_put_back_makes_no_token_older(hill: Hill) -> None:
    for number in range(3):
        hill.clock.at = T0 - timedelta(days=number)
        await hill.service()[1].issue()
    assert hill.asked == ["segar-0", "segar-1", "segar-2"]


class Ailing(Secrets):
    """Takes nothing while it is ill."""

    is_ill = False

    async def renew(self, name: str, later: RotatedToken) -> bool:
        if self.is_ill:
            raise StoreUnavailable("the disk is full")
        return await super().renew(name, later)


async def test_while_the_store_is_away_the_newest_holds_and_it_is_kept_later_but_never_over_a_newer(
    hill: Hill,
) -> None:
    secrets = Ailing(hill.database)
    renewals, here = hill.service(secrets)
    secrets.is_ill = True
    await here.issue()
    await here.issue()
    assert hill.asked == ["segar-0", "segar-1"]
    secrets.is_ill = False
    await renewals.catch_up()
    _, there = hill.service()
    assert await there._rotation.current() == "segar-2"

    # It came here first, and the other's later one is in the store by then.
    secrets.is_ill = True
    hill.clock.at += timedelta(hours=1)
    await renewals.keep(NAME, "lama")
    hill.clock.at += timedelta(hours=1)
    await hill.service()[0].keep(NAME, "baharu")
    secrets.is_ill = False
    await renewals.catch_up()
    assert [await each._rotation.current() for each in (here, there, hill.service()[1])] == ["baharu"] * 3


class Watched(Secrets):
    """Notes what it is to keep, and lets something happen before it keeps the first."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.times = 0

    async def renew(self, name: str, later: RotatedToken) -> bool:
        self.times += 1
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()
        elif self.times == 2:
            raise StoreUnavailable("the disk is full")
        return await super().renew(name, later)


async def test_what_comes_while_the_one_before_is_being_kept_holds_and_is_kept_after_it(hill: Hill) -> None:
    secrets = Watched(hill.database)
    renewals, here = hill.service(secrets)
    secrets.meanwhile = lambda: renewals.keep(NAME, "segar-2")
    await renewals.keep(NAME, "segar-1")
    assert await here._rotation.current() == "segar-2"
    assert await hill.service()[1]._rotation.current() == "segar-1"
    await renewals.catch_up()
    assert await hill.service()[1]._rotation.current() == "segar-2"


async def test_what_is_kept_is_not_written_again(hill: Hill) -> None:
    secrets = Watched(hill.database)
    renewals, here = hill.service(secrets)
    await here.issue()
    await renewals.catch_up()
    hill.clock.at += timedelta(hours=1)
    await hill.service()[1].issue()
    assert await here._rotation.current() == "segar-2"
    await renewals.catch_up()
    assert secrets.times == 1


class Frozen(Secrets):
    """Answers nothing while it is frozen, which is known."""

    is_frozen = False
    asked = 0

    @property
    def is_unavailable(self) -> bool:
        return self.is_frozen

    async def renewed(self, name: str) -> RotatedToken | None:
        await self._thawed()
        return await super().renewed(name)

    async def renew(self, name: str, later: RotatedToken) -> bool:
        await self._thawed()
        return await super().renew(name, later)

    async def _thawed(self) -> None:
        self.asked += 1
        if self.is_frozen:
            await asyncio.Event().wait()


async def test_whoever_signs_in_does_not_wait_again_for_a_store_that_does_not_answer(hill: Hill) -> None:
    """But where it never said what had followed: what was typed may be good for nothing, and be taken for theft."""
    secrets = Frozen(hill.database)
    renewals, here = hill.service(secrets)
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
    assert (hill.asked, secrets.asked) == ([f"segar-{number}" for number in range(4)], 1)
    other = asyncio.create_task(renewals.newest("typed-other"))
    while secrets.asked == 1:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    other.cancel()
    await asyncio.wait({other})
    secrets.is_frozen = False
    await renewals.catch_up()
    assert await hill.service()[1]._rotation.current() == "segar-4"


async def test_a_store_that_takes_nothing_and_can_be_read_is_asked_what_another_has_kept(hill: Hill) -> None:
    """As on a full disk."""
    secrets = Ailing(hill.database)
    secrets.is_ill = True
    _, here = hill.service(secrets)
    assert await here._rotation.current() == TYPED
    await hill.service()[1].issue()
    hill.database.presence.away_since = T0
    await here.issue()
    assert hill.asked == ["segar-0", "segar-1"]


async def test_killed_before_it_is_kept_the_next_start_asks_with_the_one_before(hill: Hill) -> None:
    """As Microsoft has it, which takes the one before until it ends; who takes each once says so."""
    hill.server.rotates = False
    secrets = Ailing(hill.database)
    secrets.is_ill = True
    renewals, here = hill.service(secrets)
    await renewals.keep(NAME, "segar-1")
    await hill.service()[1].issue()
    assert hill.asked == ["segar-0"]
    hill.server.refresh_token = "segar-1"
    with pytest.raises(AccessTokenError, match="invalid_grant"):
        await hill.service()[1].issue()
    assert await here._rotation.current() == "segar-1"


async def test_what_cannot_be_read_or_belongs_to_nobody_costs_no_token(hill: Hill) -> None:
    _, here = hill.service()
    await here.issue()
    hill.server.refresh_token = TYPED
    with capture_logs() as logs:
        await hill.service(key=new_key())[1].issue()
    assert [each["event"] for each in logs][:1] == ["rotated refresh token cannot be decrypted"]
    assert "segar" not in str(logs)

    secrets = Secrets(hill.database)
    later = RotatedToken(secret=Ciphertext(key_id="1", text="1.x"), at=hill.clock.at)
    assert await secrets.renew("typed-tiada", later) is False
    assert await secrets.renewed("typed-tiada") is None
