"""Token cache: one request, reuse while valid, renewal in time, and a pause after failures."""

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
class FakeIssuer:
    """Token issuer with an adjustable clock."""

    now: datetime = NOON
    lifetime: timedelta | None = timedelta(hours=1)
    failure: AccessTokenError | None = None
    asked: int = 0
    silent: bool = False
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def clock(self) -> datetime:
        return self.now

    async def issue(self) -> AccessToken:
        self.asked += 1
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        expires_at = self.now + self.lifetime if self.lifetime else None
        return AccessToken(secret=f"tanda-{self.asked}", expires_at=expires_at)


def cached(issuer: FakeIssuer) -> TokenCache:
    return TokenCache(issuer, within=timedelta(seconds=3), clock=issuer.clock)


async def test_token_cache_renews_shortly_before_expiry() -> None:
    issuer = FakeIssuer()
    tokens = cached(issuer)
    assert tokens.expires_at is None
    first = await tokens.get()
    assert tokens.expires_at == NOON + timedelta(hours=1)
    issuer.now += 54 * MINUTE
    assert await tokens.get() is first
    issuer.now += 2 * MINUTE
    assert (await tokens.get()).secret == "tanda-2"
    assert issuer.asked == 2


async def test_token_cache_short_lived_token_is_kept_for_most_of_lifetime() -> None:
    issuer = FakeIssuer(lifetime=MINUTE)
    tokens = cached(issuer)
    first = await tokens.get()
    issuer.now += timedelta(seconds=40)
    assert await tokens.get() is first
    issuer.now += timedelta(seconds=10)
    assert await tokens.get() is not first


@pytest.mark.blind
async def test_token_clock_set_back_expires_when_its_lifetime_has_passed() -> None:
    """Defect: After a clock is set back, an expired access token is used for 420 minutes.

    Pantau: Its age uses a monotonic clock.
    """
    issuer, passed = FakeIssuer(), 0.0
    tokens = TokenCache(issuer, clock=lambda: issuer.now, monotonic=lambda: passed)
    first = await tokens.get()
    issuer.now -= timedelta(hours=8)
    passed = 54 * 60.0
    assert await tokens.get() is first
    passed = 56 * 60.0
    assert await tokens.get() is not first
    issuer.failure = AccessTokenError("rehat")
    passed += 61 * 60.0
    issuer.now -= timedelta(hours=8)
    with pytest.raises(AccessTokenError, match="rehat"):
        await tokens.get()


async def test_token_cache_token_without_expiry_is_renewed_periodically() -> None:
    issuer = FakeIssuer(lifetime=None)
    tokens = cached(issuer)
    first = await tokens.get()
    assert tokens.expires_at is None
    issuer.now += 3 * MINUTE
    assert await tokens.get() is first
    issuer.now += 3 * MINUTE
    assert await tokens.get() is not first


async def test_token_cache_concurrent_callers_share_one_request() -> None:
    issuer = FakeIssuer()
    issuer.may_answer.clear()
    tokens = cached(issuer)
    asking = [asyncio.ensure_future(tokens.get()) for _ in range(20)]
    await asyncio.sleep(0)
    issuer.may_answer.set()
    assert len({token.secret for token in await asyncio.gather(*asking)}) == 1
    assert issuer.asked == 1


async def test_token_cache_cancelled_caller_does_not_cancel_others() -> None:
    issuer = FakeIssuer()
    issuer.may_answer.clear()
    tokens = cached(issuer)
    cancelled, waiting = asyncio.ensure_future(tokens.get()), asyncio.ensure_future(tokens.get())
    await asyncio.sleep(0)
    cancelled.cancel()
    issuer.may_answer.set()
    assert (await waiting).secret.startswith("tanda-")


@pytest.mark.parametrize(("refused", "hold"), [(True, timedelta(seconds=60)), (False, timedelta(seconds=5))])
async def test_token_cache_failure_is_held_before_next_request(*, refused: bool, hold: timedelta) -> None:
    issuer = FakeIssuer(failure=AccessTokenError("invalid_client: tamat", refused=refused))
    tokens = cached(issuer)
    for _ in range(5):
        with pytest.raises(AccessTokenError, match="tamat") as caught:
            await tokens.get()
        assert caught.value.refused is refused
    assert issuer.asked == 1
    issuer.now += hold
    with pytest.raises(AccessTokenError):
        await tokens.get()
    assert issuer.asked == 2
    # A clock set back by an hour does not lengthen the pause.
    issuer.now -= timedelta(hours=1)
    issuer.failure = None
    assert (await tokens.get()).secret == "tanda-3"


async def test_token_cache_early_renewal_failure_keeps_valid_token() -> None:
    issuer = FakeIssuer()
    tokens = cached(issuer)
    first = await tokens.get()
    issuer.failure = AccessTokenError("rehat")
    issuer.now += 57 * MINUTE
    assert await tokens.get() is first
    assert await tokens.get() is first
    assert issuer.asked == 2
    issuer.now += 4 * MINUTE
    with pytest.raises(AccessTokenError, match="rehat"):
        await tokens.get()


async def test_token_cache_silent_issuer_times_out() -> None:
    issuer = FakeIssuer()
    issuer.may_answer.clear()
    with pytest.raises(AccessTokenError, match="no response") as caught:
        await cached(issuer).get()
    assert not caught.value.refused


async def test_token_cache_rejected_token_is_renewed_unless_new() -> None:
    issuer = FakeIssuer()
    tokens = cached(issuer)
    first = await tokens.get()
    assert not tokens.reject(first)
    assert await tokens.get() is first
    issuer.now += 3 * MINUTE
    assert tokens.reject(first)
    second = await tokens.get()
    assert second is not first
    # Another user of the first token gets the second.
    assert tokens.reject(first)
    assert await tokens.get() is second
    assert issuer.asked == 2
