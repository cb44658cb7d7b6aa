"""Status page, rendered once for all viewers; only changed parts are rendered again."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from alerts.model.incident import IncidentState
from alerts.persistence.store import StoreUnavailable
from monitor.access.principal import Principal
from monitor.access.role import EVERYTHING, AgencyScope
from monitor.runtime.cooperative import yielding
from monitor.service.status_reader import StatusOverview, StatusReader
from monitor.store.engine.listing import IncidentFilter, NotificationFilter
from monitor.views.agency_filter import place
from monitor.views.agency_status import AgencyStatus
from monitor.views.days import AgencyDays
from monitor.views.overview import AgencyView
from monitor.views.self_health import worst
from monitor.web.page import Card, PageLanguage, PlaceLink, card_of, words
from monitor.web.page_query import PageQuery
from monitor.web.uptime_bars import strip_of

#: Limit of incidents and notifications on the page of a user with some agencies.
_LISTED = 50
#: Seconds: maximum age of the data. It is queried no more often, regardless of the number of viewers.
_FRESH = 2.0
#: The page is mostly repetition: a higher level saves a twentieth and takes twice as long.
_EFFORT = 6
#: Limit of problems per component on the page.
_COMPLAINTS = 5
#: Limit of agencies with a card, the worst first; the others have a tile. A thousand cards would fill seventy screens.
_CARDS = 8
#: Limit of whole pages of one rendering: those of duty officers, of mail officers, and of other users.
_HEADS = 3
#: Limit of cached renderings: two languages, a wallboard, and filters. Each takes half a megabyte.
_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBody:
    """Response body, and its compressed form."""

    plain: bytes
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """A rendered page."""

    #: Differs after every change, also across a restart.
    etag: str
    #: The part of the page that changes.
    state: PageBody
    ask: PageQuery
    path: str
    #: Whole pages made from it, by navigation links.
    wholes: dict[tuple[PlaceLink, ...], PageBody] = field(default_factory=dict, compare=False)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """Cached agency: its latest view, the card, and the HTML by language, as a card or as a tile."""

    view: AgencyView
    card: Card
    #: With the days that a card shows.
    made: dict[tuple[PageLanguage, str], tuple[AgencyDays | None, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """Data of all pages, the same object until something changes."""

    overview: StatusOverview
    #: The worst first.
    entries: Sequence[_Entry]
    counts: Mapping[AgencyStatus, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A rendered page, and the data from which it was rendered."""

    shown: _Shown
    #: By code, for the agencies with a card.
    histories: Mapping[str, AgencyDays]
    #: Time of the query.
    asked_at: float
    rendering: RenderedPage


class StatusPage:
    """Renderer of the status page: each agency separately, compression in a thread, a few milliseconds at a time."""

    def __init__(
        self, board: StatusReader, templates: Mapping[PageLanguage, Environment], *, version: str, fresh: float = _FRESH
    ) -> None:
        self._board = board
        self._fresh = fresh
        self._templates = templates
        self._version = version
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._shown: _Shown | None = None
        self._entries: dict[str, _Entry] = {}
        #: Pages by query and scope, in order of their last use.
        self._renderings: dict[tuple[PageQuery, AgencyScope], _Kept] = {}
        #: By scope: the data of all pages, and the filtered part.
        self._parted: dict[AgencyScope, tuple[_Shown, _Shown]] = {}
        #: Other parts by template and language: the data, and the HTML.
        self._parts: dict[tuple[str, PageLanguage], tuple[Any, str]] = {}

    async def rendering(self, ask: PageQuery = PageQuery(), scope: AgencyScope = EVERYTHING) -> RenderedPage:  # noqa: B008 - a value
        """Return the page, at most as old as its data may be. Concurrent requests share one rendering.

        *scope*: the part that the viewer may see.
        """
        async with self._looking:
            shown = await self._within(await self._look(), scope)
            what = ask, scope
            known, now = self._renderings.pop(what, None), asyncio.get_running_loop().time()
            if known is None or known.shown is not shown or now - known.asked_at >= self._fresh:
                known = await self._again(shown, ask, known, now)
            self._renderings[what] = known
            while len(self._renderings) > _KEPT:
                del self._renderings[next(iter(self._renderings))]
            return known.rendering

    async def page(self, rendering: RenderedPage, places: tuple[PlaceLink, ...] = ()) -> tuple[str, PageBody]:
        """Return the whole page with its ETag, for viewers with these navigation links. It is rendered on request."""
        heads = blake2b(repr(places).encode(), digest_size=6).hexdigest() if places else ""
        async with self._looking:
            if (body := rendering.wholes.pop(places, None)) is None:
                body = await asyncio.to_thread(self._whole, rendering, places)
            rendering.wholes[places] = body
            while len(rendering.wholes) > _HEADS:
                del rendering.wholes[next(iter(rendering.wholes))]
        return (f'{rendering.etag[:-1]}-{heads}"' if heads else rendering.etag), body

    async def _again(self, shown: _Shown, ask: PageQuery, known: _Kept | None, now: float) -> _Kept:
        """Return the current page: the previous rendering, unless something has changed."""
        # Uptime bars are illegible at a distance of five metres.
        codes = [] if ask.is_wallboard else [each.card.agency for each in _cards(shown, ask)]
        histories = await self._board.histories(codes)
        if known is not None and known.shown is shown and known.histories == histories:
            return replace(known, asked_at=now)
        rendering = await self._render(shown, histories, ask, known.rendering if known else None)
        return _Kept(shown=shown, histories=histories, asked_at=now, rendering=rendering)

    async def agency(self, code: str, ask: PageQuery, principal: Principal) -> RenderedPage | None:
        """Return the page of one agency with the actions that *principal* may perform; `None` for an unknown code."""
        async with self._looking:
            shown = await self._look()
            entry = self._entries.get(code)
            if entry is None:
                return None
            overview = shown.overview
            history = (await self._board.histories([code])).get(code)
            facts = {
                # Nothing if the database could not be queried yet: empty bars would suggest that nothing was monitored.
                "history": history and strip_of(history, ask.language),
                "view": entry.view,
                "card": entry.card,
                "principal": principal,
                "incidents": list(
                    {i.id: i for i in (*overview.open, *overview.incidents) if i.agency == code}.values()
                ),
                "notices": [notice for notice in overview.notices if notice.agency == code],
                "was_read": overview.was_read,
                "recorded_at": overview.recorded_at,
            }
            # Without a filter: the link back leads to all agencies.
            ask = replace(PageQuery(), language=ask.language)
            pieces = [self._own(shown, ask.language), self._template(ask, "detail.html").render(facts)]
            return await asyncio.to_thread(self._packed, pieces, ask, None, f"/agencies/{code}")

    async def _within(self, shown: _Shown, scope: AgencyScope) -> _Shown:
        """Return the part of the data that is in *scope*; the same object if nothing has changed."""
        if scope.everything:
            return shown
        known = self._parted.pop(scope, None)
        if known is None or known[0] is not shown:
            known = shown, await self._part_of(shown, scope)
        self._parted[scope] = known
        while len(self._parted) > _KEPT:
            del self._parted[next(iter(self._parted))]
        return known[1]

    async def _part_of(self, shown: _Shown, scope: AgencyScope) -> _Shown:
        overview, codes = shown.overview, set(scope.agencies)
        entries = [each for each in shown.entries if each.card.agency in scope]
        opened = [each for each in overview.open if each.agency in scope]
        incidents = [each for each in overview.incidents if each.agency in scope]
        notices = [each for each in overview.notices if each.agency in scope]
        # The latest items of all agencies may belong to others, so query again. If the database is unavailable, omit
        # them.
        if overview.recorded_at is None:
            with suppress(StoreUnavailable):
                wanted = IncidentFilter(agencies=codes, states={IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED})
                opened = [*(await self._board.incident_page(wanted, most=_LISTED)).rows]
                incidents = [*(await self._board.incident_page(IncidentFilter(agencies=codes), most=_LISTED)).rows]
                # In the list's pages open incidents come first; here the newest do.
                incidents.sort(key=lambda each: -each.id)
                notices = [*(await self._board.notice_page(NotificationFilter(agencies=codes), most=_LISTED)).rows]
        return _Shown(
            overview=replace(
                overview,
                agencies=[each for each in overview.agencies if each.agency in scope],
                own_checks=(),
                open=opened,
                # Only the newest incidents are listed, and each agency has at most one.
                open_count=max(len(opened), sum(each.view.incident is not None for each in entries)),
                incidents=incidents,
                notices=notices,
                attention=[each for each in overview.attention if each.agency in scope],
            ),
            entries=entries,
            counts=Counter(each.card.standing for each in entries),
        )

    async def _look(self) -> _Shown:
        """Return the current data, no older than `_FRESH`; the same object if nothing has changed."""
        loop = asyncio.get_running_loop()
        if self._shown is not None and loop.time() - self._looked_at < self._fresh:
            return self._shown
        overview = await self._board.overview()
        before = self._entries
        entries = {each.agency: _entry(each, before.get(each.agency)) async for each in yielding(overview.agencies)}
        self._entries = entries
        same = self._shown is not None and _same(self._shown.overview, overview)
        if self._shown is None or not same or [*before.values()] != [*entries.values()]:
            in_order = sorted(entries.values(), key=lambda each: place(each.view))
            counts = Counter(each.card.standing for each in in_order)
            self._shown = _Shown(overview=overview, entries=in_order, counts=counts)
        self._looked_at = loop.time()
        return self._shown

    async def _render(
        self, shown: _Shown, histories: Mapping[str, AgencyDays], ask: PageQuery, before: RenderedPage | None
    ) -> RenderedPage:
        overview = shown.overview
        chosen = _chosen(shown, ask)
        ill = _ill(chosen, ask)
        cards = ill[:_CARDS]
        facts = {
            "ask": ask,
            "counts": [(each, shown.counts.get(each, 0)) for each in AgencyStatus],
            "all": len(shown.entries),
            "found": len(chosen),
        }
        pieces = [
            self._own(shown, ask.language),
            self._template(ask, "counts.html").render(facts),
            self._part("open_incidents.html", ask, overview, "open", "open_count", "recorded_at", "was_read"),
            '<section id="agencies" class="cards" tabindex="-1" aria-labelledby="agencies-name">\n',
            f'<h2 id="agencies-name" class="unseen">{words("say", ask.language)["agencies"]}</h2>\n',
        ]
        pieces += [
            self._agency(each, ask, "agency.html", histories.get(each.card.agency)) async for each in yielding(cards)
        ]
        pieces.append("</section>\n")
        if ask.is_wallboard:
            pieces.append(self._template(ask, "more_agencies.html").render(count=len(ill) - len(cards)))
        else:
            tiles: dict[AgencyStatus, list[str]] = {each: [] for each in AgencyStatus}
            async for each in yielding(chosen[len(cards) :]):
                tiles[each.card.standing].append(self._agency(each, ask, "tile.html"))
            for standing, theirs in tiles.items():
                if theirs:
                    head = self._template(ask, "tiles.html").render(standing=standing, count=len(theirs))
                    pieces += [head, *theirs, "</ul></section>\n"]
            told = ("own_checks", "incidents", "notices", "attention", "was_read")
            pieces.append(self._part("rest.html", ask, overview, *told))
        # Joining and compressing hundreds of kilobytes takes long, so use a thread.
        return await asyncio.to_thread(self._packed, pieces, ask, before, "/")

    def _template(self, ask: PageQuery, name: str) -> Any:
        return self._templates[ask.language].get_template(name)

    def _own(self, shown: _Shown, language: PageLanguage) -> str:
        own = shown.overview.own
        facts = {"parts": own, "health": worst(own), "most": _COMPLAINTS}
        return self._made("self_health.html", language, facts)

    def _part(self, name: str, ask: PageQuery, overview: StatusOverview, *told: str) -> str:
        return self._made(name, ask.language, {each: getattr(overview, each) for each in told})

    def _made(self, name: str, language: PageLanguage, facts: Mapping[str, Any]) -> str:
        known = self._parts.get((name, language))
        if known is None or known[0] != facts:
            render: Callable[..., str] = self._templates[language].get_template(name).render
            known = self._parts[name, language] = facts, render(facts)
        return known[1]

    def _agency(self, entry: _Entry, ask: PageQuery, name: str, days: AgencyDays | None = None) -> str:
        how = ask.language, name
        known = entry.made.get(how)
        if known is None or known[0] != days:
            history = days and strip_of(days, ask.language)
            known = entry.made[how] = days, self._template(ask, name).render(card=entry.card, history=history)
        return known[1]

    def _packed(self, pieces: Sequence[str], ask: PageQuery, before: RenderedPage | None, path: str) -> RenderedPage:
        text = "".join(pieces)
        plain = text.encode()
        etag = f'"{blake2b(plain, digest_size=12).hexdigest()}"'
        if before is not None and before.etag == etag:
            return before
        return RenderedPage(etag=etag, state=_body(plain), ask=ask, path=path)

    def _whole(self, rendering: RenderedPage, places: tuple[PlaceLink, ...]) -> PageBody:
        ask, path = rendering.ask, rendering.path
        page = self._template(ask, "status.html").render(
            # Every part was escaped by its own template.
            state=Markup(rendering.state.plain.decode()),  # noqa: S704
            etag=rendering.etag,
            version=self._version,
            ask=ask,
            path=path,
            fragment=ask.address("/fragment" if path == "/" else f"{path}/fragment", language=ask.language),
            languages=list(PageLanguage),
            standings=list(AgencyStatus),
            # A wallboard has no navigation.
            places=() if ask.is_wallboard else places,
        )
        return _body(page.encode())


def _chosen(shown: _Shown, ask: PageQuery) -> Sequence[_Entry]:
    """Return the agencies that match the query, the worst first."""
    choice = ask.choice
    if not choice.is_narrow:
        return shown.entries
    return [each for each in shown.entries if choice.takes(each.view)]


def _ill(chosen: Sequence[_Entry], ask: PageQuery) -> Sequence[_Entry]:
    """Return those of *chosen* that have a card instead of a tile; if there are few, all."""
    few = ask.choice.is_narrow or (ask.is_wallboard and len(chosen) <= _CARDS)
    return chosen if few else [each for each in chosen if each.card.standing is not AgencyStatus.UP]


def _cards(shown: _Shown, ask: PageQuery) -> Sequence[_Entry]:
    return _ill(_chosen(shown, ask), ask)[:_CARDS]


def _entry(view: AgencyView, known: _Entry | None) -> _Entry:
    """Return an agency's entry: the cached one, unless something that is shown has changed."""
    if known is not None:
        if known.view is view:
            return known
        card = card_of(view)
        if known.card == card:
            known.view = view
            return known
        return _Entry(view=view, card=card)
    return _Entry(view=view, card=card_of(view))


def _same(before: StatusOverview, now: StatusOverview) -> bool:
    """Whether all shown data besides the agencies is the same."""
    return replace(before, agencies=()) == replace(now, agencies=())


def _body(plain: bytes) -> PageBody:
    return PageBody(plain=plain, packed=gzip.compress(plain, _EFFORT, mtime=0))
