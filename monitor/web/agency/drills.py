"""Drill page of an agency: an officer starts a drill for one contact and sees the results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.channel import Channel
from monitor.access.role import Permission
from monitor.drills.runner import DrillRunner
from monitor.store.engine.drills import drill_called
from monitor.web.access.access_control import ItsTrier, agency_in_path, require
from monitor.web.command.drills import WITHIN
from monitor.web.form import Pages, form_of

_ALL: Final = "all"
#: Limit per agency and day, for all users together: each drill calls all numbers of a contact, and costs money.
_MOST_IN_A_DAY: Final = 10
#: Limit of tested numbers per day, in case a user adds a thousand people who have not consented.
_NUMBERS_IN_A_DAY: Final = 300


def drill_pages(driller: DrillRunner, rests: Callable[[], bool], pages: Pages) -> APIRouter:
    """Build the router of the drill pages. *rests*: whether the service is in monitor-only mode."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/drills", dependencies=require(Permission.RUN_TESTS, agency_in_path))
    async def look(request: Request, code: str) -> Response:
        return await shown(request, code.upper())

    @router.post("/agencies/{code}/drills")
    async def begin(request: Request, code: str, principal: ItsTrier) -> Response:
        agency, fields = code.upper(), await form_of(request)
        contact = fields.get("contact", "")
        # Check the order of requests first: of two simultaneous clicks the later one starts nothing.
        after, _ = await driller.asked_of(agency)
        if (why := await objection(agency, contact, is_sure="sure" in fields)) is not None:
            return await shown(request, agency, why=why, contact=contact, status=409)
        if await driller.ask(f"{agency}/{contact}", principal.by, WITHIN, after=after) is None:
            why = await objection(agency, contact, is_sure=True) or "no_gateway"
            return await shown(request, agency, why=why, contact=contact, status=409)
        return RedirectResponse(f"/agencies/{agency}/drills", status_code=303)

    async def objection(agency: str, contact: str, *, is_sure: bool) -> str | None:
        """Return why no drill may start; `None` if one may."""
        if rests():
            return "rests"
        if contact not in {_ALL, *(each.key for each in driller.people(agency))}:
            return "nobody"
        if not is_sure:
            return "unsure"
        under_way, _ = await driller.of_agency(agency)
        if under_way:
            # People would be called twice at the same time.
            return "under_way"
        _, lately = await driller.asked_of(agency)
        if lately >= _MOST_IN_A_DAY:
            return "too_many"
        return "many_numbers" if await driller.tried_lately(agency) >= _NUMBERS_IN_A_DAY else None

    async def shown(
        request: Request, agency: str, *, why: str = "", contact: str = _ALL, status: int = 200
    ) -> Response:
        under_way, tried = await driller.of_agency(agency)
        facts = {
            "agency": agency,
            # Staff receive no letters.
            "people": [
                (each, [a for a in each.addresses if a.channel is not Channel.LETTER])
                for each in driller.people(agency)
            ],
            "under_way": under_way,
            "tried": [(drill_called(each.drill_id), each) for each in tried],
            "why": why,
            "contact": contact,
        }
        return pages.show(request, "drills.html", facts, status)

    return router
