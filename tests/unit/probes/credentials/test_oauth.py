"""Access tokens: asked for once, kept while they are good, renewed in time, and never hammered for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from probes.credentials.oauth import AccessTokenError, TokenCache
from probes.model.mailbox import AccessToken

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class CallbackHandler:
    """An issuer, and the clock on its wall."""

    now: datetime = NOON
    lifetime: timedelta | None = timedelta(hours=1)
    failure: AccessTokenError | None = None
    asked: int = 0
    silent: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def clock(self) -> datetime:
        return self.now

    async def issue(self) -> AccessToken:
        self.asked += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        expires_at = self.now + self.lifetime if self.lifetime else None
        return AccessToken(secret=f"tanda-{self.asked}", expires_at=expires_at)


def kept(desk: CallbackHandler) -> TokenCache:
    return TokenCache(desk, within=timedelta(seconds=3), clock=desk.clock)


async def test_a_token_is_kept_until_shortly_before_it_expires() -> None:
    desk = CallbackHandler()
    tokens = kept(desk)
    assert tokens.expires_at is None
    first = await tokens.get()
    assert tokens.expires_at == NOON + timedelta(hours=1)
    desk.now += 54 * MINUTE
    assert await tokens.get() is first
    desk.now += 2 * MINUTE
    assert (await tokens.get()).secret == "tanda-2"
    assert desk.asked == 2


async def test_a_short_lived_token_is_kept_for_most_of_its_life() -> None:
    desk = CallbackHandler(lifetime=MINUTE)
    tokens = kept(desk)
    first = await tokens.get()
    desk.now += timedelta(seconds=40)
    assert await tokens.get() is first
    desk.now += timedelta(seconds=10)
    assert await tokens.get() is not first


@pytest.mark.blind
async def test_token_clock_set_back_expires_when_its_lifetime_has_passed() -> None:
    """Defect: After a clock is set back, an expired access token is used for 420 minutes.

    Pantau: Its age uses a monotonic clock.
    """
    desk, passed = CallbackHandler(), 0.0
    tokens = TokenCache(desk, clock=lambda: desk.now, monotonic=lambda: passed)
    first = await tokens.get()
    desk.now -= timedelta(hours=8)
    passed = 54 * 60.0
    assert await tokens.get() is first
    passed = 56 * 60.0
    assert await tokens.get() is not first
    desk.failure = AccessTokenError("rehat")
    passed += 61 * 60.0
    desk.now -= timedelta(hours=8)
    with pytest.raises(AccessTokenError, match="rehat"):
        await tokens.get()


async def test_a_token_without_a_date_is_asked_for_now_and_then() -> None:
    desk = CallbackHandler(lifetime=None)
    tokens = kept(desk)
    first = await tokens.get()
    assert tokens.expires_at is None
    desk.now += 3 * MINUTE
    assert await tokens.get() is first
    desk.now += 3 * MINUTE
    assert await tokens.get() is not first


async def test_all_who_share_a_mailbox_wait_for_one_request() -> None:
    desk = CallbackHandler()
    desk.open.clear()
    tokens = kept(desk)
    asking = [asyncio.ensure_future(tokens.get()) for _ in range(20)]
    await asyncio.sleep(0)
    desk.open.set()
    assert len({token.secret for token in await asyncio.gather(*asking)}) == 1
    assert desk.asked == 1


async def test_one_who_gives_up_leaves_the_others_waiting_for_theirs() -> None:
    desk = CallbackHandler()
    desk.open.clear()
    tokens = kept(desk)
    impatient, patient = asyncio.ensure_future(tokens.get()), asyncio.ensure_future(tokens.get())
    await asyncio.sleep(0)
    impatient.cancel()
    desk.open.set()
    assert (await patient).secret.startswith("tanda-")


@pytest.mark.parametrize(("refused", "hold"), [(True, timedelta(seconds=60)), (False, timedelta(seconds=5))])
async def test_after_a_failure_nothing_is_asked_for_a_while(*, refused: bool, hold: timedelta) -> None:
    desk = CallbackHandler(failure=AccessTokenError("invalid_client: tamat", refused=refused))
    tokens = kept(desk)
    for _ in range(5):
        with pytest.raises(AccessTokenError, match="tamat") as caught:
            await tokens.get()
        assert caught.value.refused is refused
    assert desk.asked == 1
    desk.now += hold
    with pytest.raises(AccessTokenError):
        await tokens.get()
    assert desk.asked == 2
    # A clock that is put back by an hour does not make an hour of it.
    desk.now -= timedelta(hours=1)
    desk.failure = None
    assert (await tokens.get()).secret == "tanda-3"


async def test_an_authorization_server_that_fails_early_costs_nothing_while_the_old_token_is_good() -> None:
    desk = CallbackHandler()
    tokens = kept(desk)
    first = await tokens.get()
    desk.failure = AccessTokenError("rehat")
    desk.now += 57 * MINUTE
    assert await tokens.get() is first
    assert await tokens.get() is first
    assert desk.asked == 2
    desk.now += 4 * MINUTE
    with pytest.raises(AccessTokenError, match="rehat"):
        await tokens.get()


async def test_an_authorization_server_that_does_not_answer_is_given_up() -> None:
    desk = CallbackHandler()
    desk.open.clear()
    with pytest.raises(AccessTokenError, match="no answer") as caught:
        await kept(desk).get()
    assert not caught.value.refused


async def test_a_refused_token_is_renewed_unless_it_is_new() -> None:
    desk = CallbackHandler()
    tokens = kept(desk)
    first = await tokens.get()
    assert not tokens.reject(first)
    assert await tokens.get() is first
    desk.now += 3 * MINUTE
    assert tokens.reject(first)
    second = await tokens.get()
    assert second is not first
    # The other one who used the first has only to ask.
    assert tokens.reject(first)
    assert await tokens.get() is second
    assert desk.asked == 2
