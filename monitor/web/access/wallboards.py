"""Wallboard links: administration page, and the URL that a wallboard's browser opens.

A wallboard is a screen, for instance in the NOC, that shows the status page without sign-in.
"""

from __future__ import annotations

import re

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from alerts.persistence.clock import Clock
from monitor.access.role import Permission
from monitor.service.access.secret import SessionKey
from monitor.service.access.wallboards import MAX_LIFETIME, Wallboards
from monitor.service.errors import OperationRejectedError
from monitor.web.access.access_control import Administrator, access_control_of, allow_public, require
from monitor.web.access.sign_in import client_address
from monitor.web.form import Pages, read_form
from monitor.web.request import Id, Name

_NAME = TypeAdapter(Name)
_PUBLIC = allow_public("checks the key of a wallboard's link itself")


def wallboard_pages(wallboards: Wallboards, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the wallboard pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/wallboard", dependencies=_PUBLIC)
    async def open_wallboard(request: Request) -> Response:
        key = SessionKey(text=request.query_params.get("key", ""))
        link = await wallboards.open(key, client_address(request))
        if link is None:
            raise HTTPException(404, "this wallboard link is not valid any more; an administrator creates another")
        # Redirect, so that the address bar of the wallboard does not show the key.
        response = RedirectResponse("/?wallboard=1", status_code=303)
        return access_control_of(request).set_wallboard_cookie(response, key, link.ends_at - clock.now())

    @router.get("/wallboards", dependencies=require(Permission.MANAGE_USERS))
    async def list_links(request: Request) -> Response:
        return await render_page(request)

    @router.post("/wallboards")
    async def create(request: Request, principal: Administrator) -> Response:
        form = await read_form(request)
        try:
            name = _NAME.validate_python(form.get("name", ""))
        except ValidationError:
            return await render_page(request, status=422, form=form, problem="no_name")
        # No codes: all agencies.
        agency_codes = [each for each in re.split(r"[\s,;]+", form.get("agencies", "")) if each]
        days = form.get("days", "")
        try:
            created = await wallboards.create(
                name,
                agency_codes,
                # The service rejects a lifetime of zero days, which stands for invalid input.
                int(days) if days.isascii() and days.isdecimal() and len(days) <= 4 else 0,
                by=principal.by,
                address=client_address(request),
            )
        except OperationRejectedError as error:
            return await render_page(request, status=409, form=form, reason=error)
        # Only this response shows the URL with the key: for security, no page shows it again.
        url = f"{request.url.scheme}://{request.headers.get('host', '')}/wallboard?key={created.key.text}"
        return await render_page(request, created=created.link, url=url)

    @router.post("/wallboards/{link_id}/revoke")
    async def revoke(request: Request, link_id: Id, principal: Administrator) -> Response:
        await read_form(request)
        try:
            await wallboards.revoke(link_id, by=principal.by, address=client_address(request))
        except OperationRejectedError as error:
            return await render_page(request, status=404, reason=error)
        return RedirectResponse("/wallboards", status_code=303)

    async def render_page(request: Request, *, status: int = 200, **context: object) -> Response:
        defaults: dict[str, object] = {
            "path": "/wallboards",
            "links": await wallboards.links(),
            "max_days": MAX_LIFETIME.days,
            "created": None,
        }
        return pages.show(request, "wallboards.html", {**defaults, **context}, status)

    return router
