"""Administration page of API tokens. A new token's secret is shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.api_token import LONGEST_TOKEN
from monitor.access.role import Permission, Role
from monitor.service.access.tokens import ProgramTokens
from monitor.service.errors import OperationRejectedError
from monitor.store.engine.listing import NEWEST
from monitor.web.access.access_control import Administrator, require
from monitor.web.access.sign_in import from_where
from monitor.web.access.users import chosen_role
from monitor.web.form import Pages, form_of
from monitor.web.request import Id

#: Lifetimes in the form, in days.
_DAYS = (30, 90, 180, LONGEST_TOKEN.days)
#: Tokens per page. Expired tokens remain, so their number grows.
_AT_A_TIME: Final = 100


def token_pages(tokens: ProgramTokens, pages: Pages) -> APIRouter:
    """Build the router of the token page."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.MANAGE_USERS))

    @router.get("/tokens")
    async def listed(request: Request, before: Annotated[int, Query(ge=1, le=NEWEST)] = NEWEST) -> Response:
        return await shown(request, before=before)

    @router.post("/tokens")
    async def add(request: Request, principal: Administrator) -> Response:
        written = {name: value.strip() for name, value in (await form_of(request)).items()}
        days = written.get("days", "")
        try:
            made = await tokens.make(
                written.get("name", ""),
                chosen_role(written),
                timedelta(days=int(days) if days.isdecimal() and len(days) < 4 else 0),
                by=principal.by,
                address=from_where(request),
                own=principal.user.assignments if principal.user else frozenset(),
            )
        except OperationRejectedError as wrong:
            return await shown(request, status=409, written=written, why=wrong)
        # Show the secret in this response only, like codes.
        return await shown(request, made=made)

    @router.post("/tokens/{number}/revoke")
    async def revoke(request: Request, number: Id, principal: Administrator) -> Response:
        await form_of(request)
        try:
            await tokens.revoke(number, by=principal.by, address=from_where(request))
        except OperationRejectedError as wrong:
            return await shown(request, status=409, why=wrong)
        return RedirectResponse("/tokens", status_code=303)

    async def shown(request: Request, *, status: int = 200, before: int = NEWEST, **facts: object) -> Response:
        found = await tokens.page(before=before, most=_AT_A_TIME + 1)
        blank: dict[str, object] = {
            "path": "/tokens",
            "roles": list(Role),
            "days": _DAYS,
            "tokens": found[:_AT_A_TIME],
            "more": f"/tokens?before={found[_AT_A_TIME - 1].id}" if len(found) > _AT_A_TIME else "",
            "now": tokens.now(),
            "made": None,
        }
        return pages.show(request, "tokens.html", {**blank, **facts}, status)

    return router
