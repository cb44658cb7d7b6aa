"""Calendar feeds (iCalendar) of rotas. Calendar programs cannot sign in, so the URL of a feed contains a secret key.

A rota states who is on call when.
"""

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

#: A feed contains the on-call periods from `_BEFORE` ago until `_AFTER` ahead.
_BEFORE: Final = timedelta(days=7)
_AFTER: Final = timedelta(days=56)


class RotaFeedService:
    """Service that creates, revokes and serves calendar feeds."""

    def __init__(self, feeds: RotaFeeds, on_call: OnCall, users: Users, clock: Clock) -> None:
        self._feeds = feeds
        self._on_call = on_call
        self._users = users
        self._clock = clock

    async def feeds(self, rota: str) -> Sequence[RotaFeed]:
        """Return the valid feeds of a rota."""
        return await self._feeds.of(rota)

    async def make(self, rota: str, user: User, *, address: str = "") -> FeedKey:
        """Create a feed; return its key, of which only the digest is stored.

        *user*: the author; the caller has checked that the author may see the rota. *address*: the client address.
        """
        # Raises `NotFoundError` for an unknown rota.
        self._on_call.candidates(rota)
        key = FeedKey.new()
        await self._feeds.add(rota, user.name, key.digest, self._audit_entry("calendar made", rota, user, address))
        return key

    async def revoke(self, feed_id: int, rota: str, user: User, *, address: str = "") -> None:
        """Revoke a feed. Raise `NotFoundError`."""
        if not await self._feeds.revoke(feed_id, rota, self._audit_entry("calendar revoked", rota, user, address)):
            raise NotFoundError.from_text("no_calendar", rota=rota, number=feed_id)

    async def read(self, rota: str, key: FeedKey) -> bytes:
        """Return a rota's calendar. Raise `NotFoundError` with the same text for every failure, to disclose no cause.

        A feed is valid while its author is enabled and may see the rota.
        """
        feed, not_found = await self._feeds.find(key.digest), NotFoundError("there is no such calendar")
        if feed is None or feed.rota != rota:
            raise not_found
        author = await self._users.find(feed.user)
        if author is None or author.user.disabled_at is not None:
            raise not_found
        if rota not in self._on_call.visible_rotas(scope_of(author.user.assignments, Permission.READ_PEOPLE)):
            raise not_found
        now = self._clock.now()
        return duty_calendar(rota, await self._on_call.on_call_periods(rota, now - _BEFORE, now + _AFTER), now)

    def _audit_entry(self, event: str, rota: str, user: User, address: str) -> AuditEntry:
        detail = {"rota": rota, "address": address}
        return AuditEntry(at=self._clock.now(), actor=user.by, event=event, detail=detail)
