"""The status page, rendered once for all who look at it, and again only where something changed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from monitor.runtime.slices import Slices
from monitor.service.noticeboard import Noticeboard
from monitor.views.overview import AgencyView
from monitor.views.own_health import worst
from monitor.web.page import Card, card_of

#: In seconds. So old may be what is shown; however many look, they are looked for no more often than that.
_FRESH = 2.0
#: The page is mostly repetition: more effort saves a twentieth and takes twice as long.
_EFFORT = 6
#: So many complaints of a part are on the page.
_COMPLAINTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBody:
    """What is sent, and the same compressed."""

    plain: bytes
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The page as it stands."""

    #: Another with every change, also over a restart.
    etag: str
    #: The whole page, and the part of it that changes.
    page: PageBody
    state: PageBody


class Board:
    """Renders how things stand: each agency by itself, the compression in a thread, a few milliseconds at a time."""

    def __init__(self, board: Noticeboard, templates: Environment, *, version: str, fresh: float = _FRESH) -> None:
        self._board = board
        self._fresh = fresh
        self._own = templates.get_template("own.html")
        self._card = templates.get_template("agency.html")
        self._rest = templates.get_template("rest.html")
        self._shell = templates.get_template("status.html")
        self._version = version
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._rendering: Rendering | None = None
        #: By code: the view that was last seen, what of it is shown, and how.
        self._cards: dict[str, tuple[AgencyView, Card, str]] = {}
        #: The other parts: what each was made of, and how it is shown.
        self._parts: dict[str, tuple[Any, str]] = {}

    async def rendering(self) -> Rendering:
        """Return the page as it was a moment ago. Whoever asks while it is made gets the same."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if self._rendering is None or loop.time() - self._looked_at >= self._fresh:
                self._rendering = await self._look(self._rendering)
                self._looked_at = loop.time()
            return self._rendering

    async def _look(self, before: Rendering | None) -> Rendering:
        shown = await self._board.overview()
        facts = {"parts": shown.own, "health": worst(shown.own), "most": _COMPLAINTS}
        pieces = [self._part("own", facts, self._own.render), '<section aria-label="Agensi">\n']
        slices = Slices()
        for view in shown.agencies:
            pieces.append(self._agency(view))
            await slices.pause()
        if not shown.agencies:
            pieces.append('<p>Tiada agensi. <span lang="en">No agencies are configured.</span></p>\n')
        pieces.append("</section>\n")
        told = ("own_checks", "incidents", "notices", "attention", "recorded_at", "was_read")
        pieces.append(self._part("rest", {name: getattr(shown, name) for name in told}, self._rest.render))
        for gone in self._cards.keys() - {view.agency for view in shown.agencies}:
            del self._cards[gone]
        # What is joined and compressed is a megabyte: not here.
        return await asyncio.to_thread(self._packed, pieces, before)

    def _part(self, name: str, facts: Mapping[str, Any], render: Callable[..., str]) -> str:
        known = self._parts.get(name)
        if known is None or known[0] != facts:
            known = self._parts[name] = facts, render(facts)
        return known[1]

    def _agency(self, view: AgencyView) -> str:
        known = self._cards.get(view.agency)
        if known is not None and known[0] is view:
            return known[2]
        card = card_of(view)
        text = known[2] if known is not None and known[1] == card else self._card.render(card=card)
        self._cards[view.agency] = view, card, text
        return text

    def _packed(self, pieces: Sequence[str], before: Rendering | None) -> Rendering:
        text = "".join(pieces)
        plain = text.encode()
        etag = f'"{blake2b(plain, digest_size=12).hexdigest()}"'
        if before is not None and before.etag == etag:
            return before
        # Every piece was escaped by its own template.
        page = self._shell.render(state=Markup(text), etag=etag, version=self._version)  # noqa: S704
        return Rendering(etag=etag, page=_body(page.encode()), state=_body(plain))


def _body(plain: bytes) -> PageBody:
    return PageBody(plain=plain, packed=gzip.compress(plain, _EFFORT, mtime=0))
