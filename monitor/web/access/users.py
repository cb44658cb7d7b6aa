"""Administration pages of users: list, roles, and invitation codes.

With an invitation code, given by telephone or letter, a user chooses a password (`/welcome`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypedDict
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from monitor.access.invitation_code import CodeKind
from monitor.access.principal import Principal, User
from monitor.access.role import Permission, Role
from monitor.service.access.administration import Administration
from monitor.service.errors import OperationRejectedError
from monitor.web.access.access_control import Administrator, require
from monitor.web.access.sign_in import client_address
from monitor.web.form import Pages, last_values, read_fields, read_form
from monitor.web.request import Name

_NAME = TypeAdapter(Name)
#: Users per page. A page of thousands of users would block the event loop, and nobody could read it.
_PAGE_SIZE: Final = 100


class _Author(TypedDict):
    """Author of a command, as keyword arguments."""

    by: str
    #: IP address of the client.
    address: str


def user_pages(administration: Administration, pages: Pages) -> APIRouter:
    """Build the router of the user pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.MANAGE_USERS))

    @router.get("/users")
    async def users(
        request: Request,
        *,
        q: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=64)] = "",
        role: Annotated[str, Query(max_length=16)] = "",
        agency: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        # *q*: text to search for. *after*: list the users after this sign-in name. *role* and *agency*: a link may
        # prefill the form for a new user, because an administrator who adds an agency usually invites its officers.
        form = {"role": role, "agency": agency}
        return await render_list(request, q=q.strip(), after=after, form=form)

    @router.post("/users")
    async def add(request: Request, principal: Administrator) -> Response:
        fields = await read_fields(request)
        form = last_values(fields)
        try:
            full_name = _NAME.validate_python(form.get("full_name", ""))
        except ValidationError:
            return await render_list(request, status=422, form=form, problem="no_full_name")
        try:
            user = await administration.add(
                form.get("name", ""), full_name, selected_role(form), **_author(request, principal)
            )
        except OperationRejectedError as error:
            return await render_list(request, status=409, form=form, reason=error)
        return RedirectResponse(f"/users/{user.name}", status_code=303)

    @router.get("/users/{name}")
    async def user(request: Request, name: str) -> Response:
        return await render_user(request, name)

    @router.post("/users/{name}/roles")
    async def roles(request: Request, name: str, principal: Administrator) -> Response:
        fields = await read_fields(request)
        # The present roles that remain ticked, and the role to add.
        assignments = [*fields.get("kept", []), *selected_role(last_values(fields))]
        operation = administration.assign(name, assignments, **_author(request, principal))
        return await redirect_after(request, name, operation)

    @router.post("/users/{name}/invite")
    async def invite(request: Request, name: str, principal: Administrator) -> Response:
        kind = CodeKind.LETTER if (await read_form(request)).get("way") == "letter" else CodeKind.TELEPHONE
        try:
            invitation = await administration.invite(name, kind, **_author(request, principal))
        except OperationRejectedError as error:
            return await render_user(request, name, status=409, reason=error)
        # Only this response shows the code: for security, no URL shows it again.
        return await render_user(request, name, invitation=invitation)

    # Add the route of a form with only a button, which calls *operation* with the name and the author.
    def add_action(action: str, operation: Callable[..., Awaitable[User]]) -> None:
        @router.post(f"/users/{{name}}/{action}")
        async def run_action(request: Request, name: str, principal: Administrator) -> Response:
            await read_form(request)
            return await redirect_after(request, name, operation(name, **_author(request, principal)))

    add_action("disable", administration.disable)
    add_action("enable", administration.enable)
    # Unlink the user's accounts at an identity provider.
    add_action("unlink", administration.unlink)
    # Exempt the user for some time from the delay of sign-ins after failed attempts; `is_unlocked`: exempt now.
    add_action("unlock", administration.unlock)
    add_action("reset-second-factor", administration.reset_second_factor)

    async def redirect_after(request: Request, name: str, operation: Awaitable[User]) -> Response:
        try:
            await operation
        except OperationRejectedError as error:
            return await render_user(request, name, status=409, reason=error)
        return RedirectResponse(f"/users/{name}", status_code=303)

    async def render_list(
        request: Request, *, status: int = 200, q: str = "", after: str = "", **context: object
    ) -> Response:
        # Request one user more than the page shows, to find out whether there is a next page.
        users_found = await administration.page(q, after=after, limit=_PAGE_SIZE + 1)
        page = users_found[:_PAGE_SIZE]
        next_page = f"/users?{urlencode({'q': q, 'after': page[-1].name})}" if len(users_found) > len(page) else ""
        defaults: dict[str, object] = {"users": page, "q": q, "next_page": next_page}
        return render(request, "users.html", status, {**defaults, **context})

    async def render_user(request: Request, name: str, *, status: int = 200, **context: object) -> Response:
        user = await administration.user(name)
        defaults: dict[str, object] = {
            "invitation": None,
            "user": user,
            "is_unlocked": administration.is_unlocked(user),
        }
        # The links to the other language need a path that accepts GET; the URL of a form may accept POST only.
        return render(request, "user.html", status, {**defaults, "path": f"/users/{name}", **context})

    def render(request: Request, template: str, status: int, context: Mapping[str, object]) -> Response:
        welcome_url = f"{request.url.scheme}://{request.headers.get('host', '')}/welcome"
        common = {"welcome_url": welcome_url, "roles": list(Role)}
        return pages.show(request, template, {**common, **context}, status)

    return router


def selected_role(form: Mapping[str, str]) -> list[str]:
    """Return the role selected in a form (role_fields.html), such as ["officer:JCM"]; an empty list for none."""
    role, agency = (form.get(name, "").strip() for name in ("role", "agency"))
    return [f"{role}:{agency}" if agency else role] if role else []


def _author(request: Request, principal: Principal) -> _Author:
    return {"by": principal.by, "address": client_address(request)}
