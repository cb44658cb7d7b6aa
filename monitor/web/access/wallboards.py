"""Wallboard links: administration page, and the URL that a wallboard's browser opens."""

from __future__ import annotations

import re

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from alerts.persistence.clock import Clock
from monitor.access.role import Permission
from monitor.service.access.secret import SessionKey
from monitor.service.access.wallboards import LONGEST, Wallboards
from monitor.service.errors import OperationRejectedError
from monitor.web.access.access_control import Administrator, access_control_of, public_route, require
from monitor.web.access.sign_in import from_where
from monitor.web.form import Pages, form_of
from monitor.web.request import Id, Name

_NAME = TypeAdapter(Name)
_ITSELF = public_route("is where a wall shows the key of its link")


def wallboard_pages(walls: Wallboards, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the wallboard pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/wallboard", dependencies=_ITSELF)
    async def hang(request: Request) -> Response:
        key = SessionKey(text=request.query_params.get("key", ""))
        link = await walls.open(key, from_where(request))
        if link is None:
            raise HTTPException(404, "this link for a wall is no good any more; an administrator makes another")
        # Redirect, so that the key is not visible in the address bar of the wallboard.
        answer = RedirectResponse("/?wallboard=1", status_code=303)
        return access_control_of(request).hang(answer, key, link.ends_at - clock.now())

    @router.get("/wallboards", dependencies=require(Permission.MANAGE_USERS))
    async def listed(request: Request) -> Response:
        return await shown(request)

    @router.post("/wallboards")
    async def make(request: Request, principal: Administrator) -> Response:
        form = await form_of(request)
        try:
            name = _NAME.validate_python(form.get("name", ""))
        except ValidationError:
            return await shown(request, status=422, written=form, problem="no_name")
        codes = [each for each in re.split(r"[\s,;]+", form.get("agencies", "")) if each]
        days = form.get("days", "")
        try:
            made = await walls.make(
                name,
                codes,
                int(days) if days.isascii() and days.isdecimal() and len(days) < len("10000") else 0,
                by=principal.by,
                address=from_where(request),
            )
        except OperationRejectedError as wrong:
            return await shown(request, status=409, written=form, why=wrong)
        # Show the URL in this response only: a page that shows it again would be a security risk.
        address = f"{request.url.scheme}://{request.headers.get('host', '')}/wallboard?key={made.key.text}"
        return await shown(request, made=made.link, address=address)

    @router.post("/wallboards/{link_id}/revoke")
    async def revoke(request: Request, link_id: Id, principal: Administrator) -> Response:
        await form_of(request)
        try:
            await walls.revoke(link_id, by=principal.by, address=from_where(request))
        except OperationRejectedError as wrong:
            return await shown(request, status=404, why=wrong)
        return RedirectResponse("/wallboards", status_code=303)

    async def shown(request: Request, *, status: int = 200, **facts: object) -> Response:
        blank: dict[str, object] = {
            "path": "/wallboards",
            "links": await walls.links(),
            "most": LONGEST.days,
            "made": None,
        }
        return pages.show(request, "wallboards.html", {**blank, **facts}, status)

    return router
