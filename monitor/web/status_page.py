"""The status page, rendered once for all who look at it, and again only where something changed."""

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

#: So many incidents and notices of somebody's own agencies are on their page.
_LISTED = 50
#: In seconds. So old may be what is shown; however many look, they are looked for no more often than that.
_FRESH = 2.0
#: The page is mostly repetition: more effort saves a twentieth and takes twice as long.
_EFFORT = 6
#: So many complaints of a part are on the page.
_COMPLAINTS = 5
#: So many agencies have a card, the worst first; the others have a tile. A thousand cards were seventy screens.
_CARDS = 8
#: Whole pages of one of them: those of duty officers, of officers, and of whoever else looks at the same.
_HEADS = 3
#: So many different pages are kept: two languages, a wall, and what people look for. Each is half a megabyte.
_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBody:
    """What is sent, and the same compressed."""

    plain: bytes
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """A page as it stands."""

    #: Another with every change, also over a restart.
    etag: str
    #: The part of the page that changes.
    state: PageBody
    ask: PageQuery
    path: str
    #: The whole pages that were made of it, by where their viewers may go.
    wholes: dict[tuple[PlaceLink, ...], PageBody] = field(default_factory=dict, compare=False)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """An agency: the view that was last seen, what of it is shown, and how: by language, as a card or as a tile."""

    view: AgencyView
    card: Card
    #: With the days that a card shows.
    made: dict[tuple[PageLanguage, str], tuple[AgencyDays | None, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """What all pages show until something changes."""

    overview: StatusOverview
    #: The worst first.
    entries: Sequence[_Entry]
    counts: Mapping[AgencyStatus, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A page that was made, and of what."""

    shown: _Shown
    #: By code, of the agencies that have a card.
    histories: Mapping[str, AgencyDays]
    #: When they were asked for.
    asked_at: float
    rendering: RenderedPage


class StatusPage:
    """Renders how things stand: each agency by itself, the compression in a thread, a few milliseconds at a time."""

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
        #: By what is asked for; the one that was asked for last stands last.
        self._renderings: dict[tuple[PageQuery, AgencyScope], _Kept] = {}
        #: Of what all pages show, by scope: of what it was taken, and the part.
        self._parted: dict[AgencyScope, tuple[_Shown, _Shown]] = {}
        #: The other parts, by template and language: what each was made of, and how it is shown.
        self._parts: dict[tuple[str, PageLanguage], tuple[Any, str]] = {}

    async def rendering(self, ask: PageQuery = PageQuery(), scope: AgencyScope = EVERYTHING) -> RenderedPage:  # noqa: B008 - a value
        """Return the page as it was a moment ago. Whoever asks while it is made gets the same.

        *scope*: what of it the viewer may see.
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
        """Return the whole page with its mark, for viewers who may go to these *places*. It is made when one asks."""
        heads = blake2b(repr(places).encode(), digest_size=6).hexdigest() if places else ""
        async with self._looking:
            if (body := rendering.wholes.pop(places, None)) is None:
                body = await asyncio.to_thread(self._whole, rendering, places)
            rendering.wholes[places] = body
            while len(rendering.wholes) > _HEADS:
                del rendering.wholes[next(iter(rendering.wholes))]
        return (f'{rendering.etag[:-1]}-{heads}"' if heads else rendering.etag), body

    async def _again(self, shown: _Shown, ask: PageQuery, known: _Kept | None, now: float) -> _Kept:
        """Return a page as things are now: as it was made before, unless something has changed."""
        # From five metres nobody reads bars.
        codes = [] if ask.is_wallboard else [each.card.agency for each in _cards(shown, ask)]
        histories = await self._board.histories(codes)
        if known is not None and known.shown is shown and known.histories == histories:
            return replace(known, asked_at=now)
        rendering = await self._render(shown, histories, ask, known.rendering if known else None)
        return _Kept(shown=shown, histories=histories, asked_at=now, rendering=rendering)

    async def agency(self, code: str, ask: PageQuery, principal: Principal) -> RenderedPage | None:
        """Return the page of one agency, as who looks may act on it; `None`: there is none of this code."""
        async with self._looking:
            shown = await self._look()
            entry = self._entries.get(code)
            if entry is None:
                return None
            overview = shown.overview
            history = (await self._board.histories([code])).get(code)
            facts = {
                # Nothing where the store could not be asked yet: an empty strip would look as if nobody had watched.
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
            # Not narrowed: the way back is to all.
            ask = replace(PageQuery(), language=ask.language)
            pieces = [self._own(shown, ask.language), self._template(ask, "detail.html").render(facts)]
            return await asyncio.to_thread(self._packed, pieces, ask, None, f"/agencies/{code}")

    async def _within(self, shown: _Shown, scope: AgencyScope) -> _Shown:
        """Return the part of what is shown that is in *scope*; the same object if nothing has changed."""
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
        # The newest of all need not be theirs. Of a store that is away there is nothing more to be had.
        if overview.recorded_at is None:
            with suppress(StoreUnavailable):
                wanted = IncidentFilter(agencies=codes, states={IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED})
                opened = [*(await self._board.incident_page(wanted, most=_LISTED)).rows]
                incidents = [*(await self._board.incident_page(IncidentFilter(agencies=codes), most=_LISTED)).rows]
                # A page of the list has first what is open; this one the newest.
                incidents.sort(key=lambda each: -each.id)
                notices = [*(await self._board.notice_page(NotificationFilter(agencies=codes), most=_LISTED)).rows]
        return _Shown(
            overview=replace(
                overview,
                agencies=[each for each in overview.agencies if each.agency in scope],
                own_checks=(),
                open=opened,
                # Of many only the newest are listed, and each agency has one at most.
                open_count=max(len(opened), sum(each.view.incident is not None for each in entries)),
                incidents=incidents,
                notices=notices,
                attention=[each for each in overview.attention if each.agency in scope],
            ),
            entries=entries,
            counts=Counter(each.card.standing for each in entries),
        )

    async def _look(self) -> _Shown:
        """Return how things stand, looked for no longer ago than is fresh; the same object if nothing has changed."""
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
        # What is joined and compressed is hundreds of kilobytes: not here.
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
            # Every piece was escaped by its own template.
            state=Markup(rendering.state.plain.decode()),  # noqa: S704
            etag=rendering.etag,
            version=self._version,
            ask=ask,
            path=path,
            fragment=ask.address("/fragment" if path == "/" else f"{path}/fragment", language=ask.language),
            languages=list(PageLanguage),
            standings=list(AgencyStatus),
            # From five metres nobody goes anywhere.
            places=() if ask.is_wallboard else places,
        )
        return _body(page.encode())


def _chosen(shown: _Shown, ask: PageQuery) -> Sequence[_Entry]:
    """Return the agencies that somebody has asked for, the worst first."""
    choice = ask.choice
    if not choice.is_narrow:
        return shown.entries
    return [each for each in shown.entries if choice.takes(each.view)]


def _ill(chosen: Sequence[_Entry], ask: PageQuery) -> Sequence[_Entry]:
    """Return those of *chosen* of which more is to be seen than a tile; where there are few these are all."""
    few = ask.choice.is_narrow or (ask.is_wallboard and len(chosen) <= _CARDS)
    return chosen if few else [each for each in chosen if each.card.standing is not AgencyStatus.UP]


def _cards(shown: _Shown, ask: PageQuery) -> Sequence[_Entry]:
    return _ill(_chosen(shown, ask), ask)[:_CARDS]


def _entry(view: AgencyView, known: _Entry | None) -> _Entry:
    """Return an agency's entry: the one that is known unless something that is shown has changed."""
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
    """Whether what is shown beside the agencies is the same."""
    return replace(before, agencies=()) == replace(now, agencies=())


def _body(plain: bytes) -> PageBody:
    return PageBody(plain=plain, packed=gzip.compress(plain, _EFFORT, mtime=0))
