"""Drill page of an agency: an officer starts a drill for one contact or for all contacts, and sees the results.

A drill is a test: it sends notifications to people to find out whether their numbers and the gateways work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.channel import Channel
from monitor.access.role import Permission
from monitor.drills.runner import DrillRunner
from monitor.store.engine.drills import drill_number_of
from monitor.web.access.access_control import AgencyTester, agency_in_path, require
from monitor.web.command.drills import CONFIRMATION_TIME
from monitor.web.form import Pages, read_form

#: Form value of "contact" for a drill of all contacts; otherwise the value is the key of a contact.
_ALL_CONTACTS: Final = "all"
#: Maximum number of drills per agency within 24 hours. A drill calls all numbers of a contact, which costs money.
_MAX_DRILLS_PER_DAY: Final = 10
#: No drill starts after an agency's people had this many drill notifications within 24 hours. The limit reduces the
#: harm if a user adds a thousand people without their consent.
_MAX_NOTIFICATIONS_PER_DAY: Final = 300


def drill_pages(drill_runner: DrillRunner, is_monitor_only: Callable[[], bool], pages: Pages) -> APIRouter:
    """Build the router of the drill pages.

    *is_monitor_only*: returns whether the service is in monitor-only mode, in which it notifies nobody.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/drills", dependencies=require(Permission.RUN_TESTS, agency_in_path))
    async def drills(request: Request, code: str) -> Response:
        return await render_page(request, code.upper())

    @router.post("/agencies/{code}/drills")
    async def begin(request: Request, code: str, principal: AgencyTester) -> Response:
        agency, fields = code.upper(), await read_form(request)
        contact = fields.get("contact", "")
        # Read the latest drill before the checks. If somebody starts a drill meanwhile, `start` does nothing, so two
        # simultaneous clicks start only one drill.
        latest_id, _ = await drill_runner.latest_requested(agency)
        if (reason := await rejection_reason(agency, contact, is_confirmed="sure" in fields)) is not None:
            return await render_page(request, agency, reason=reason, contact=contact, status=409)
        if await drill_runner.start(f"{agency}/{contact}", principal.by, CONFIRMATION_TIME, after=latest_id) is None:
            # If nothing else prevents the drill, no number of the contact can be tested.
            reason = await rejection_reason(agency, contact, is_confirmed=True) or "no_gateway"
            return await render_page(request, agency, reason=reason, contact=contact, status=409)
        return RedirectResponse(f"/agencies/{agency}/drills", status_code=303)

    async def rejection_reason(agency: str, contact: str, *, is_confirmed: bool) -> str | None:
        """Return why no drill may start, as a key of the page's texts; `None` if a drill may start."""
        if is_monitor_only():
            return "rests"
        if contact not in {_ALL_CONTACTS, *(each.key for each in drill_runner.people(agency))}:
            return "nobody"
        if not is_confirmed:
            return "unsure"
        active_drills, _ = await drill_runner.of_agency(agency)
        if active_drills:
            # Two simultaneous drills would call the same people twice.
            return "under_way"
        _, recent_count = await drill_runner.latest_requested(agency)
        if recent_count >= _MAX_DRILLS_PER_DAY:
            return "too_many"
        return "many_numbers" if await drill_runner.recently_tested(agency) >= _MAX_NOTIFICATIONS_PER_DAY else None

    async def render_page(
        request: Request, agency: str, *, reason: str = "", contact: str = _ALL_CONTACTS, status: int = 200
    ) -> Response:
        active_drills, results = await drill_runner.of_agency(agency)
        context = {
            "agency": agency,
            # Drills send no letters.
            "people": [
                (each, [address for address in each.addresses if address.channel is not Channel.LETTER])
                for each in drill_runner.people(agency)
            ],
            "active_drills": active_drills,
            # Each with the number of its drill, such as "LATIH-07".
            "results": [(drill_number_of(each.drill_id), each) for each in results],
            "reason": reason,
            "contact": contact,
        }
        return pages.show(request, "drills.html", context, status)

    return router
