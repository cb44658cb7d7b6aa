"""Calendar feeds of rotas for programs that cannot sign in: each has its own key, shown once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.principal import User
from monitor.access.role import Permission, scope_of
from monitor.service.access.secret import FeedKey
from monitor.service.errors import NotFoundError
from monitor.service.oncall import OnCall
from monitor.store.admin.rota_feeds import RotaFeed, RotaFeeds
from monitor.store.admin.users import Users
from monitor.views.duty_calendar import duty_calendar

_PAST: Final = timedelta(days=7)
_AHEAD: Final = timedelta(days=56)


class RotaFeedService:
    """Creates, revokes and serves calendar feeds."""

    def __init__(self, feeds: RotaFeeds, duty: OnCall, users: Users, clock: Clock) -> None:
        self._feeds = feeds
        self._duty = duty
        self._users = users
        self._clock = clock

    async def feeds(self, rota: str) -> Sequence[RotaFeed]:
        """Return the valid feeds of a rota."""
        return await self._feeds.of(rota)

    async def make(self, rota: str, user: User, *, address: str = "") -> FeedKey:
        """Create a feed for a user who may see the rota; return its key.

        *address*: the client address. Raise `NotFoundError`.
        """
        self._duty.candidates(rota)
        key = FeedKey.new()
        await self._feeds.add(rota, user.name, key.digest, self._entry("calendar made", rota, user, address))
        return key

    async def revoke(self, feed_id: int, rota: str, user: User, *, address: str = "") -> None:
        """Revoke a feed. Raise `NotFoundError`."""
        if not await self._feeds.revoke(feed_id, rota, self._entry("calendar revoked", rota, user, address)):
            raise NotFoundError.said("no_calendar", rota=rota, number=feed_id)

    async def read(self, rota: str, key: FeedKey) -> bytes:
        """Return a rota's calendar. Raise `NotFoundError` whatever is wrong, so that the cause stays undisclosed.

        The feed is valid while its author may see the rota.
        """
        feed, gone = await self._feeds.find(key.digest), NotFoundError("there is no such calendar")
        if feed is None or feed.rota != rota:
            raise gone
        kept = await self._users.find(feed.user)
        if kept is None or kept.user.disabled_at is not None:
            raise gone
        if rota not in self._duty.visible(scope_of(kept.user.assignments, Permission.READ_PEOPLE)):
            raise gone
        now = self._clock.now()
        return duty_calendar(rota, await self._duty.spells(rota, now - _PAST, now + _AHEAD), now)

    def _entry(self, what: str, rota: str, user: User, address: str) -> AuditEntry:
        detail = {"rota": rota, "address": address}
        return AuditEntry(at=self._clock.now(), actor=user.by, event=what, detail=detail)
