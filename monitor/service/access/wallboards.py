"""Wallboards without sign-in: links that show the status of mail and grant no other access."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.role import AgencyScope
from monitor.service.access.secret import SessionKey
from monitor.service.errors import NotFoundError, OperationRejectedError, agency_called
from monitor.store.admin.wallboards import WallboardLink, WallboardLinks

log = structlog.get_logger()

#: A link must be renewed once a year, so that its need is reviewed.
LONGEST: Final = timedelta(days=366)
#: In seconds: the maximum delay until a wallboard notices that its link was revoked.
_LOOKED_AT: Final = 5.0
#: Maximum number of keys in memory, valid and invalid.
_REMEMBERED: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWallboard:
    """A link, with the key that is shown once."""

    key: SessionKey
    link: WallboardLink


class Wallboards:
    """Creates and revokes links, and identifies browsers that were opened by one.

    Raises `StoreUnavailable`, except for those recognised before.
    """

    def __init__(self, links: WallboardLinks, clock: Clock, *, agencies: Callable[[], Collection[str]]) -> None:
        """*agencies* returns the codes of the monitored agencies."""
        self._links = links
        self._clock = clock
        self._agencies = agencies
        #: By digest of a key: its link as last read, and when by the loop's clock.
        self._known: OrderedDict[str, tuple[WallboardLink | None, float]] = OrderedDict()

    async def links(self) -> Sequence[WallboardLink]:
        """Return the valid links, newest first."""
        return await self._links.at(self._clock.now())

    async def make(self, name: str, agencies: Sequence[str], days: int, *, by: str, address: str = "") -> NewWallboard:
        """Create a link for *agencies*; for all if empty. Raise `OperationRejectedError`."""
        if not timedelta(0) < timedelta(days=days) <= LONGEST:
            raise OperationRejectedError.said("wall_span", days=LONGEST.days)
        codes = frozenset(agency_called(each, self._agencies()) for each in agencies)
        now, key = self._clock.now(), SessionKey.new()
        link = WallboardLink(
            name=name,
            scope=AgencyScope(everything=not codes, agencies=codes),
            made_by=by,
            made_at=now,
            ends_at=now + timedelta(days=days),
        )
        detail = {"wall": name, "agencies": " ".join(sorted(codes)) or "all", "until": link.ends_at.isoformat()}
        entry = AuditEntry(at=now, actor=by, event="wall's link made", detail={**detail, "address": address})
        await self._links.add(link, key.digest, entry)
        return NewWallboard(key=key, link=link)

    async def revoke(self, link_id: int, *, by: str, address: str = "") -> None:
        """Revoke a link and the browsers opened by it. Raise `NotFoundError`."""
        named = next((each.name for each in await self.links() if each.id == link_id), None)
        detail = {"wall": named or "", "address": address}
        entry = AuditEntry(at=self._clock.now(), actor=by, event="wall's link revoked", detail=detail)
        if named is None or not await self._links.revoke(link_id, entry):
            raise NotFoundError.said("no_wall")
        self._known.clear()

    async def open(self, key: SessionKey, address: str) -> WallboardLink | None:
        """Open a browser by a link and record it; `None`: the link is not valid."""
        link = await self._read(key.digest)
        if link is None or link.ends_at <= self._clock.now():
            return None
        detail = {"address": address, "made by": link.made_by}
        event = "wall opened by its link"
        await self._links.open(AuditEntry(at=self._clock.now(), actor=f"wall {link.name}", event=event, detail=detail))
        log.info("wallboard opened by its link", wallboard=link.name, address=address)
        return link

    async def scope(self, key: SessionKey) -> AgencyScope:
        """Return the scope of a browser that presents *key*; empty: the link is invalid.

        While the database is unavailable, links recognised before stay valid: the wallboard must show the outage.
        """
        digest, loop = key.digest, asyncio.get_running_loop()
        known = self._known.get(digest)
        link = known[0] if known else None
        if known is None or loop.time() - known[1] >= _LOOKED_AT:
            try:
                link = await self._read(digest)
            except StoreUnavailable:
                if link is None:
                    raise
                self._remember(digest, link)
        return link.scope if link is not None and link.ends_at > self._clock.now() else AgencyScope()

    async def _read(self, digest: str) -> WallboardLink | None:
        link = await self._links.find(digest)
        self._remember(digest, link)
        return link

    def _remember(self, digest: str, link: WallboardLink | None) -> None:
        self._known.pop(digest, None)
        self._known[digest] = link, asyncio.get_running_loop().time()
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
