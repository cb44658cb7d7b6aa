"""Links that open a wallboard, a screen that shows the status of mail, without a sign-in, and permit nothing else."""

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
from monitor.service.errors import NotFoundError, OperationRejectedError, find_agency_code
from monitor.store.admin.wallboards import WallboardLink, WallboardLinks

log = structlog.get_logger()

#: Maximum lifetime of a link: somebody must check once a year whether the link is still needed.
MAX_LIFETIME: Final = timedelta(days=366)
#: Lifetime of a cached link, in seconds. A revocation in another process takes effect after this time.
_CACHE_SECONDS: Final = 5.0
#: Maximum number of cached keys, valid and invalid.
_MAX_CACHED: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWallboard:
    """A new link, with its key, which is shown once."""

    key: SessionKey
    link: WallboardLink


class Wallboards:
    """Links of wallboards: creation, revocation, and authorization of browsers that present the key of a link.

    Raises `StoreUnavailable`, except for cached keys.
    """

    def __init__(self, links: WallboardLinks, clock: Clock, *, agencies: Callable[[], Collection[str]]) -> None:
        """Take *agencies*, which returns the codes of the monitored agencies."""
        self._links = links
        self._clock = clock
        self._agencies = agencies
        #: By digest of a key: its link as last read (`None`: invalid), and the time of the read by the loop's clock.
        self._cache: OrderedDict[str, tuple[WallboardLink | None, float]] = OrderedDict()

    async def links(self) -> Sequence[WallboardLink]:
        """Return the valid links, newest first."""
        return await self._links.list_valid(self._clock.now())

    async def create(
        self, name: str, agencies: Sequence[str], days: int, *, by: str, address: str = ""
    ) -> NewWallboard:
        """Create a link for *agencies*, or for all agencies if empty. Raise `OperationRejectedError`."""
        if not timedelta(0) < timedelta(days=days) <= MAX_LIFETIME:
            raise OperationRejectedError.from_text("wall_span", days=MAX_LIFETIME.days)
        codes = frozenset(find_agency_code(each, self._agencies()) for each in agencies)
        now, key = self._clock.now(), SessionKey.new()
        link = WallboardLink(
            name=name,
            scope=AgencyScope(is_unrestricted=not codes, agencies=codes),
            made_by=by,
            made_at=now,
            ends_at=now + timedelta(days=days),
        )
        detail = {"wall": name, "agencies": " ".join(sorted(codes)) or "all", "until": link.ends_at.isoformat()}
        entry = AuditEntry(at=now, actor=by, event="wall's link made", detail={**detail, "address": address})
        await self._links.add(link, key.digest, entry)
        return NewWallboard(key=key, link=link)

    async def revoke(self, link_id: int, *, by: str, address: str = "") -> None:
        """Revoke a link: the browsers that have opened it lose access. Raise `NotFoundError`."""
        link_name = next((each.name for each in await self.links() if each.id == link_id), None)
        detail = {"wall": link_name or "", "address": address}
        entry = AuditEntry(at=self._clock.now(), actor=by, event="wall's link revoked", detail=detail)
        if link_name is None or not await self._links.revoke(link_id, entry):
            raise NotFoundError.from_text("no_wall")
        self._cache.clear()

    async def open(self, key: SessionKey, address: str) -> WallboardLink | None:
        """Return the link with *key* for a browser that opens it, and write an audit entry; `None`: it is invalid."""
        link = await self._read(key.digest)
        if link is None or link.ends_at <= self._clock.now():
            return None
        detail = {"address": address, "made by": link.made_by}
        event = "wall opened by its link"
        await self._links.open(AuditEntry(at=self._clock.now(), actor=f"wall {link.name}", event=event, detail=detail))
        log.info("wallboard opened by its link", wallboard=link.name, address=address)
        return link

    async def scope(self, key: SessionKey) -> AgencyScope:
        """Return the agencies that a browser with *key* may see; empty: the link is invalid.

        While the database is unavailable, cached links stay valid, so that the wallboard can show the outage.
        """
        digest, loop = key.digest, asyncio.get_running_loop()
        cached = self._cache.get(digest)
        link = cached[0] if cached else None
        if cached is None or loop.time() - cached[1] >= _CACHE_SECONDS:
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
        self._cache.pop(digest, None)
        self._cache[digest] = link, asyncio.get_running_loop().time()
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
