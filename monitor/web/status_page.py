"""Status page and agency pages. Viewers share the rendered status page; only changed parts are rendered again.

A *query* (`PageQuery`) is what the URL asks for: language, filter of agencies, and the layout for a wallboard.

The status page shows the worst agencies as cards (`agency.html`) and the other agencies as tiles (`tile.html`). The
fragment is the part of a page that changes; the browser's script requests only the fragment. A wallboard, a screen in
the network operations centre, shows cards only.
"""

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
from monitor.access.role import UNRESTRICTED_SCOPE, AgencyScope
from monitor.runtime.cooperative import yielding
from monitor.service.status_reader import StatusOverview, StatusReader
from monitor.store.engine.listing import IncidentFilter, NotificationFilter
from monitor.views.agency_filter import sort_key
from monitor.views.agency_status import AgencyStatus
from monitor.views.days import AgencyDays
from monitor.views.overview import AgencyView
from monitor.views.self_health import worst
from monitor.web.page import Card, NavigationLink, PageLanguage, agency_card, texts_of
from monitor.web.page_query import PageQuery
from monitor.web.uptime_bars import build_uptime_bars

#: Maximum number of incidents, and of notifications, on the page of a user who may see only some agencies.
_MAX_LISTED = 50
#: Maximum age of the data in seconds. The data is not read more often, however many viewers there are.
_MAX_AGE_SECONDS = 2.0
#: Compression level. A higher one takes twice as long, and makes the page only 5% smaller.
_GZIP_LEVEL = 6
#: Maximum number of problems that the page shows per component of Pantau.
_MAX_PROBLEMS = 5
#: Maximum number of agencies with a card. The worst agencies have cards, the others tiles: a thousand cards would fill
#: seventy screens.
_MAX_CARDS = 8
#: Maximum number of cached full pages with the same fragment. They differ by their navigation links: duty officers,
#: mail officers and other users have different links.
_MAX_FULL_PAGES = 3
#: Maximum number of cached pages, and of cached scopes. There is one page, of half a megabyte, per query and scope.
_CACHE_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBody:
    """Response body in two forms: uncompressed and gzipped."""

    plain: bytes
    gzipped: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """A rendered fragment, and the full pages that contain it, which are rendered on demand."""

    #: ETag of the fragment: a digest of its content, so that it stays the same after a restart.
    etag: str
    #: HTML of the part of the page that changes.
    fragment: PageBody
    query: PageQuery
    #: Path of the page: "/", or such as "/agencies/JCM".
    path: str
    #: Full pages with this fragment, by navigation links.
    full_pages: dict[tuple[NavigationLink, ...], PageBody] = field(default_factory=dict, compare=False)


@dataclass(slots=True, kw_only=True)
class _CachedAgency:
    """Cached agency: its latest view and its card, with the rendered HTML."""

    view: AgencyView
    #: Summary of *view*, as pages show it. It omits the time of the last run, so that it often stays the same.
    card: Card
    #: By language and template (card or tile): the days that the uptime bars show, and the rendered HTML.
    html: dict[tuple[PageLanguage, str], tuple[AgencyDays | None, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PageData:
    """Data of a page. Until something changes, readers get the same object, so that they can compare by identity."""

    #: Its field `recorded_at` is `None` while the database is available; otherwise the time of the last read.
    #: `was_read`: the database was read since the start. `own`: components of Pantau. `notices`: notifications.
    #: `attention`: notifications that failed or whose delivery is unknown.
    overview: StatusOverview
    #: All agencies in the viewer's scope, the worst first.
    entries: Sequence[_CachedAgency]
    #: Number of agencies by status.
    counts: Mapping[AgencyStatus, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CachedPage:
    """A rendered page with the data from which it was rendered."""

    data: _PageData
    #: Daily history of the agencies with a card, by agency code.
    histories: Mapping[str, AgencyDays]
    #: Event loop time at which the histories were last read.
    read_at: float
    rendering: RenderedPage


class StatusPage:
    """Renderer of the status page and of agency pages.

    It does not block the event loop for more than a few milliseconds: it renders each agency separately, lets other
    tasks run in between, and compresses in a thread.
    """

    def __init__(
        self,
        status_reader: StatusReader,
        templates: Mapping[PageLanguage, Environment],
        *,
        version: str,
        max_age: float = _MAX_AGE_SECONDS,
    ) -> None:
        self._status_reader = status_reader
        self._max_age = max_age
        self._templates = templates
        self._version = version
        self._lock = asyncio.Lock()
        #: Event loop time at which `_data` was last read.
        self._data_read_at = 0.0
        #: Data of all agencies; `None`: it was not read yet.
        self._data: _PageData | None = None
        #: All agencies by code.
        self._entries: dict[str, _CachedAgency] = {}
        #: Pages by query and scope, the least recently used first.
        self._pages: dict[tuple[PageQuery, AgencyScope], _CachedPage] = {}
        #: By scope: the data of all agencies, and the restricted data that was made from it.
        self._data_by_scope: dict[AgencyScope, tuple[_PageData, _PageData]] = {}
        #: Rendered parts of the page besides agencies, by template and language: the template's context, and the HTML.
        self._sections: dict[tuple[str, PageLanguage], tuple[Any, str]] = {}

    async def render(
        self,
        query: PageQuery = PageQuery(),  # noqa: B008 - immutable
        scope: AgencyScope = UNRESTRICTED_SCOPE,
    ) -> RenderedPage:
        """Return the status page, with data that is at most `_max_age` seconds old.

        Concurrent requests share one rendering. *scope*: the agencies that the viewer may see.
        """
        async with self._lock:
            data = await self._restrict(await self._read_data(), scope)
            key = query, scope
            cached, now = self._pages.pop(key, None), asyncio.get_running_loop().time()
            if cached is None or cached.data is not data or now - cached.read_at >= self._max_age:
                cached = await self._refresh(data, query, cached, now)
            self._pages[key] = cached
            while len(self._pages) > _CACHE_SIZE:
                del self._pages[next(iter(self._pages))]
            return cached.rendering

    async def full_page(
        self, rendering: RenderedPage, navigation: tuple[NavigationLink, ...] = ()
    ) -> tuple[str, PageBody]:
        """Return the ETag and the body of the full page with these navigation links. Render it if it is not cached."""
        links_digest = blake2b(repr(navigation).encode(), digest_size=6).hexdigest() if navigation else ""
        async with self._lock:
            if (body := rendering.full_pages.pop(navigation, None)) is None:
                body = await asyncio.to_thread(self._build_full_page, rendering, navigation)
            rendering.full_pages[navigation] = body
            while len(rendering.full_pages) > _MAX_FULL_PAGES:
                del rendering.full_pages[next(iter(rendering.full_pages))]
        return (f'{rendering.etag[:-1]}-{links_digest}"' if links_digest else rendering.etag), body

    async def _refresh(
        self, data: _PageData, query: PageQuery, previous: _CachedPage | None, now: float
    ) -> _CachedPage:
        """Return *previous* with *now* as `read_at` if data and histories are unchanged; otherwise render the page."""
        # A wallboard shows no uptime bars (histories): nobody could read them at a distance of five metres.
        codes_with_card = [] if query.is_wallboard else [each.card.agency for each in _shown_as_cards(data, query)]
        histories = await self._status_reader.histories(codes_with_card)
        if previous is not None and previous.data is data and previous.histories == histories:
            return replace(previous, read_at=now)
        rendering = await self._render(data, histories, query, previous.rendering if previous else None)
        return _CachedPage(data=data, histories=histories, read_at=now, rendering=rendering)

    async def render_agency(self, code: str, query: PageQuery, principal: Principal) -> RenderedPage | None:
        """Return the page of one agency with the actions that *principal* may perform; `None` for an unknown code."""
        async with self._lock:
            data = await self._read_data()
            entry = self._entries.get(code)
            if entry is None:
                return None
            overview = data.overview
            history = (await self._status_reader.histories([code])).get(code)
            context = {
                # Keep `None` until the database has been read: empty bars would suggest that nothing was monitored.
                "history": history and build_uptime_bars(history, query.language),
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
            # Drop the filter, so that the page's link to the status page leads to all agencies.
            query = replace(PageQuery(), language=query.language)
            parts_html = [
                self._self_health_html(data, query.language),
                self._template(query, "detail.html").render(context),
            ]
            return await asyncio.to_thread(self._build_page, parts_html, query, None, f"/agencies/{code}")

    async def _restrict(self, data: _PageData, scope: AgencyScope) -> _PageData:
        """Return *data* without agencies out of *scope*. Until *data* changes, return the same object."""
        if scope.is_unrestricted:
            return data
        cached = self._data_by_scope.pop(scope, None)
        if cached is None or cached[0] is not data:
            cached = data, await self._filter_data(data, scope)
        self._data_by_scope[scope] = cached
        while len(self._data_by_scope) > _CACHE_SIZE:
            del self._data_by_scope[next(iter(self._data_by_scope))]
        return cached[1]

    async def _filter_data(self, data: _PageData, scope: AgencyScope) -> _PageData:
        overview, codes = data.overview, set(scope.agencies)
        entries = [each for each in data.entries if each.card.agency in scope]
        open_incidents = [each for each in overview.open if each.agency in scope]
        incidents = [each for each in overview.incidents if each.agency in scope]
        notifications = [each for each in overview.notices if each.agency in scope]
        # The overview has only the latest incidents and notifications, and all of them may be out of scope. So read
        # those in scope from the database. If it is unavailable, use the items of the overview that are in scope.
        if overview.recorded_at is None:
            with suppress(StoreUnavailable):
                open_filter = IncidentFilter(
                    agencies=codes, states={IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED}
                )
                open_incidents = [*(await self._status_reader.incident_page(open_filter, limit=_MAX_LISTED)).rows]
                incidents = [
                    *(await self._status_reader.incident_page(IncidentFilter(agencies=codes), limit=_MAX_LISTED)).rows
                ]
                # `incident_page` returns open incidents first; the status page shows the newest first.
                incidents.sort(key=lambda each: -each.id)
                notifications = [
                    *(
                        await self._status_reader.notification_page(
                            NotificationFilter(agencies=codes), limit=_MAX_LISTED
                        )
                    ).rows
                ]
        return _PageData(
            overview=replace(
                overview,
                agencies=[each for each in overview.agencies if each.agency in scope],
                own_checks=(),
                open=open_incidents,
                # The list is limited, so also count the agencies with an open incident: each has at most one.
                open_count=max(len(open_incidents), sum(each.view.incident is not None for each in entries)),
                incidents=incidents,
                notices=notifications,
                attention=[each for each in overview.attention if each.agency in scope],
            ),
            entries=entries,
            counts=Counter(each.card.status for each in entries),
        )

    async def _read_data(self) -> _PageData:
        """Return data that is at most `_max_age` seconds old. Until something changes, return the same object."""
        loop = asyncio.get_running_loop()
        if self._data is not None and loop.time() - self._data_read_at < self._max_age:
            return self._data
        overview = await self._status_reader.overview()
        previous_entries = self._entries
        entries = {
            each.agency: _current_entry(each, previous_entries.get(each.agency))
            async for each in yielding(overview.agencies)
        }
        self._entries = entries
        is_unchanged = self._data is not None and _is_unchanged(self._data.overview, overview)
        if self._data is None or not is_unchanged or [*previous_entries.values()] != [*entries.values()]:
            worst_first = sorted(entries.values(), key=lambda each: sort_key(each.view))
            counts = Counter(each.card.status for each in worst_first)
            self._data = _PageData(overview=overview, entries=worst_first, counts=counts)
        self._data_read_at = loop.time()
        return self._data

    async def _render(
        self, data: _PageData, histories: Mapping[str, AgencyDays], query: PageQuery, previous: RenderedPage | None
    ) -> RenderedPage:
        overview = data.overview
        matching = _matching(data, query)
        need_card = _needing_card(matching, query)
        # The worst agencies are first in *matching*, so the agencies with a card are at its start.
        have_card = need_card[:_MAX_CARDS]
        context = {
            "page_query": query,
            "counts": [(each, data.counts.get(each, 0)) for each in AgencyStatus],
            "total": len(data.entries),
            "matched": len(matching),
        }
        parts_html = [
            self._self_health_html(data, query.language),
            self._template(query, "counts.html").render(context),
            self._section_html("open_incidents.html", query, overview, "open", "open_count", "recorded_at", "was_read"),
            '<section id="agencies" class="cards" tabindex="-1" aria-labelledby="agencies-name">\n',
            f'<h2 id="agencies-name" class="unseen">{texts_of("common", query.language)["agencies"]}</h2>\n',
        ]
        parts_html += [
            self._agency_html(each, query, "agency.html", histories.get(each.card.agency))
            async for each in yielding(have_card)
        ]
        parts_html.append("</section>\n")
        if query.is_wallboard:
            hidden_count = len(need_card) - len(have_card)
            parts_html.append(self._template(query, "more_agencies.html").render(hidden_count=hidden_count))
        else:
            tiles: dict[AgencyStatus, list[str]] = {each: [] for each in AgencyStatus}
            async for each in yielding(matching[len(have_card) :]):
                tiles[each.card.status].append(self._agency_html(each, query, "tile.html"))
            for group_status, tile_html in tiles.items():
                if tile_html:
                    group_head = self._template(query, "tiles.html").render(status=group_status, count=len(tile_html))
                    parts_html += [group_head, *tile_html, "</ul></section>\n"]
            fields = ("own_checks", "incidents", "notices", "attention", "was_read")
            parts_html.append(self._section_html("rest.html", query, overview, *fields))
        # Use a thread, because joining and compressing hundreds of kilobytes takes long.
        return await asyncio.to_thread(self._build_page, parts_html, query, previous, "/")

    def _template(self, query: PageQuery, name: str) -> Any:
        return self._templates[query.language].get_template(name)

    def _self_health_html(self, data: _PageData, language: PageLanguage) -> str:
        components = data.overview.own
        context = {"components": components, "health": worst(components), "limit": _MAX_PROBLEMS}
        return self._cached_html("self_health.html", language, context)

    def _section_html(self, name: str, query: PageQuery, overview: StatusOverview, *fields: str) -> str:
        """Return the HTML of the template *name*. *fields*: the fields of *overview* that the template uses."""
        return self._cached_html(name, query.language, {each: getattr(overview, each) for each in fields})

    def _cached_html(self, name: str, language: PageLanguage, context: Mapping[str, Any]) -> str:
        cached = self._sections.get((name, language))
        if cached is None or cached[0] != context:
            render: Callable[..., str] = self._templates[language].get_template(name).render
            cached = self._sections[name, language] = context, render(context)
        return cached[1]

    def _agency_html(self, entry: _CachedAgency, query: PageQuery, name: str, days: AgencyDays | None = None) -> str:
        cache_key = query.language, name
        cached = entry.html.get(cache_key)
        if cached is None or cached[0] != days:
            history = days and build_uptime_bars(days, query.language)
            cached = entry.html[cache_key] = days, self._template(query, name).render(card=entry.card, history=history)
        return cached[1]

    def _build_page(
        self, parts_html: Sequence[str], query: PageQuery, previous: RenderedPage | None, path: str
    ) -> RenderedPage:
        """Return the page with the fragment that consists of *parts_html*; *previous* if its fragment is the same."""
        text = "".join(parts_html)
        plain = text.encode()
        etag = f'"{blake2b(plain, digest_size=12).hexdigest()}"'
        if previous is not None and previous.etag == etag:
            return previous
        return RenderedPage(etag=etag, fragment=_compress(plain), query=query, path=path)

    def _build_full_page(self, rendering: RenderedPage, navigation: tuple[NavigationLink, ...]) -> PageBody:
        query, path = rendering.query, rendering.path
        page = self._template(query, "status.html").render(
            # The fragment is safe: its templates have escaped all inserted values.
            fragment=Markup(rendering.fragment.plain.decode()),  # noqa: S704
            etag=rendering.etag,
            version=self._version,
            page_query=query,
            path=path,
            fragment_url=query.url("/fragment" if path == "/" else f"{path}/fragment", language=query.language),
            languages=list(PageLanguage),
            statuses=list(AgencyStatus),
            # A wallboard has no navigation.
            navigation=() if query.is_wallboard else navigation,
        )
        return _compress(page.encode())


def _matching(data: _PageData, query: PageQuery) -> Sequence[_CachedAgency]:
    """Return the agencies that match the query, the worst first."""
    agency_filter = query.agency_filter
    if not agency_filter.is_narrow:
        return data.entries
    return [each for each in data.entries if agency_filter.matches(each.view)]


def _needing_card(matching: Sequence[_CachedAgency], query: PageQuery) -> Sequence[_CachedAgency]:
    """Return the agencies of *matching* that need a card. There may be more of them than `_MAX_CARDS`.

    If the query has a filter, or if a wallboard shows at most `_MAX_CARDS` agencies, all need a card. Otherwise only
    the agencies that are not up need one.
    """
    if query.agency_filter.is_narrow or (query.is_wallboard and len(matching) <= _MAX_CARDS):
        return matching
    return [each for each in matching if each.card.status is not AgencyStatus.UP]


def _shown_as_cards(data: _PageData, query: PageQuery) -> Sequence[_CachedAgency]:
    return _needing_card(_matching(data, query), query)[:_MAX_CARDS]


def _current_entry(view: AgencyView, cached: _CachedAgency | None) -> _CachedAgency:
    """Return the cached entry of an agency, with the new *view*, if the card is unchanged; otherwise a new entry."""
    if cached is not None:
        if cached.view is view:
            return cached
        card = agency_card(view)
        if cached.card == card:
            cached.view = view
            return cached
        return _CachedAgency(view=view, card=card)
    return _CachedAgency(view=view, card=agency_card(view))


def _is_unchanged(previous: StatusOverview, current: StatusOverview) -> bool:
    """Whether two overviews are equal. Differences between their agencies do not count."""
    return replace(previous, agencies=()) == replace(current, agencies=())


def _compress(content: bytes) -> PageBody:
    return PageBody(plain=content, gzipped=gzip.compress(content, _GZIP_LEVEL, mtime=0))
