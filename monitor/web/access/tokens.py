"""Administration page of API tokens. The page shows the secret of a new token once."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.api_token import MAX_TOKEN_LIFETIME
from monitor.access.role import Permission, Role
from monitor.service.access.tokens import ProgramTokens
from monitor.service.errors import OperationRejectedError
from monitor.store.engine.listing import NEWEST
from monitor.web.access.access_control import Administrator, require
from monitor.web.access.sign_in import client_address
from monitor.web.access.users import selected_role
from monitor.web.form import Pages, read_form
from monitor.web.request import Id

#: Lifetimes that the form offers, in days.
_LIFETIMES = (30, 90, 180, MAX_TOKEN_LIFETIME.days)
#: Tokens per page. The list includes expired tokens, so it grows over time.
_PAGE_SIZE: Final = 100


def token_pages(tokens: ProgramTokens, pages: Pages) -> APIRouter:
    """Build the router of the token page."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.MANAGE_USERS))

    # *before*: list the tokens with lower IDs than this, the newest first; `NEWEST` exceeds every ID.
    @router.get("/tokens")
    async def list_tokens(request: Request, before: Annotated[int, Query(ge=1, le=NEWEST)] = NEWEST) -> Response:
        return await render_page(request, before=before)

    @router.post("/tokens")
    async def add(request: Request, principal: Administrator) -> Response:
        form = {name: value.strip() for name, value in (await read_form(request)).items()}
        days = form.get("days", "")
        try:
            created = await tokens.create(
                form.get("name", ""),
                selected_role(form),
                # The service rejects a lifetime of zero, which stands for invalid input.
                timedelta(days=int(days) if days.isdecimal() and len(days) < 4 else 0),
                by=principal.by,
                address=client_address(request),
                # The token's roles must not exceed those of its author.
                author_roles=principal.user.assignments if principal.user else frozenset(),
            )
        except OperationRejectedError as error:
            return await render_page(request, status=409, form=form, reason=error)
        # Only this response shows the secret: for security, no URL shows it again.
        return await render_page(request, created=created)

    @router.post("/tokens/{token_id}/revoke")
    async def revoke(request: Request, token_id: Id, principal: Administrator) -> Response:
        await read_form(request)
        try:
            await tokens.revoke(token_id, by=principal.by, address=client_address(request))
        except OperationRejectedError as error:
            return await render_page(request, status=409, reason=error)
        return RedirectResponse("/tokens", status_code=303)

    async def render_page(request: Request, *, status: int = 200, before: int = NEWEST, **context: object) -> Response:
        # Request one token more than the page shows, to find out whether there is a next page.
        tokens_found = await tokens.page(before=before, limit=_PAGE_SIZE + 1)
        defaults: dict[str, object] = {
            "path": "/tokens",
            "roles": list(Role),
            "days": _LIFETIMES,
            "tokens": tokens_found[:_PAGE_SIZE],
            "next_page": f"/tokens?before={tokens_found[_PAGE_SIZE - 1].id}" if len(tokens_found) > _PAGE_SIZE else "",
            "now": tokens.now(),
            "created": None,
        }
        return pages.show(request, "tokens.html", {**defaults, **context}, status)

    return router
