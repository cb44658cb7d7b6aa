"""Administration pages of users: roles, and invitation codes with which users choose a password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypedDict
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from monitor.access.invitation_code import CodeWay
from monitor.access.principal import Principal, User
from monitor.access.role import Permission, Role
from monitor.service.access.administration import Administration
from monitor.service.errors import OperationRejectedError
from monitor.web.access.access_control import Administrator, require
from monitor.web.access.sign_in import from_where
from monitor.web.form import Pages, fields_of, form_of, last_of
from monitor.web.request import Name

_NAME = TypeAdapter(Name)
#: Users per page. Thousands would block the event loop and be unreadable.
_AT_A_TIME: Final = 100


class _Who(TypedDict):
    by: str
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
        # A link may prefill the form: after adding an agency, an administrator usually invites its officers.
        written = {"role": role, "agency": agency}
        return await listed(request, q=q.strip(), after=after, written=written)

    @router.post("/users")
    async def add(request: Request, principal: Administrator) -> Response:
        fields = await fields_of(request)
        written = last_of(fields)
        try:
            full_name = _NAME.validate_python(written.get("full_name", ""))
        except ValidationError:
            return await listed(request, status=422, written=written, problem="no_full_name")
        try:
            user = await administration.add(
                written.get("name", ""), full_name, chosen_role(written), **_who(request, principal)
            )
        except OperationRejectedError as wrong:
            return await listed(request, status=409, written=written, why=wrong)
        return RedirectResponse(f"/users/{user.name}", status_code=303)

    @router.get("/users/{name}")
    async def user(request: Request, name: str) -> Response:
        return await shown(request, name)

    @router.post("/users/{name}/roles")
    async def roles(request: Request, name: str, principal: Administrator) -> Response:
        fields = await fields_of(request)
        wanted = [*fields.get("kept", []), *chosen_role(last_of(fields))]
        return await after(request, name, administration.assign(name, wanted, **_who(request, principal)))

    @router.post("/users/{name}/invite")
    async def invite(request: Request, name: str, principal: Administrator) -> Response:
        way = CodeWay.LETTER if (await form_of(request)).get("way") == "letter" else CodeWay.TELEPHONE
        try:
            invitation = await administration.invite(name, way, **_who(request, principal))
        except OperationRejectedError as wrong:
            return await shown(request, name, status=409, why=wrong)
        # Show the code in this response only: a URL that shows it again would be a security risk.
        return await shown(request, name, invitation=invitation)

    def offer(deed: str, do: Callable[..., Awaitable[User]]) -> None:
        @router.post(f"/users/{{name}}/{deed}")
        async def done(request: Request, name: str, principal: Administrator) -> Response:
            await form_of(request)
            return await after(request, name, do(name, **_who(request, principal)))

    offer("disable", administration.disable)
    offer("enable", administration.enable)
    offer("unlink", administration.unlink)
    offer("unlock", administration.unlock)
    offer("reset-second-factor", administration.take_second_factor)

    async def after(request: Request, name: str, doing: Awaitable[User]) -> Response:
        try:
            await doing
        except OperationRejectedError as wrong:
            return await shown(request, name, status=409, why=wrong)
        return RedirectResponse(f"/users/{name}", status_code=303)

    async def listed(request: Request, *, status: int = 200, q: str = "", after: str = "", **facts: object) -> Response:
        found = await administration.page(q, after=after, most=_AT_A_TIME + 1)
        page = found[:_AT_A_TIME]
        more = f"/users?{urlencode({'q': q, 'after': page[-1].name})}" if len(found) > len(page) else ""
        blank: dict[str, object] = {"users": page, "q": q, "more": more}
        return render(request, "users.html", status, {**blank, **facts})

    async def shown(request: Request, name: str, *, status: int = 200, **facts: object) -> Response:
        user = await administration.user(name)
        blank: dict[str, object] = {"invitation": None, "user": user, "is_unlocked": administration.is_unlocked(user)}
        # Not the path of a form, which has no page to show in another language.
        return render(request, "user.html", status, {**blank, "path": f"/users/{name}", **facts})

    def render(request: Request, template: str, status: int, facts: Mapping[str, object]) -> Response:
        welcome = f"{request.url.scheme}://{request.headers.get('host', '')}/welcome"
        common = {"welcome": welcome, "roles": list(Role)}
        return pages.show(request, template, {**common, **facts}, status)

    return router


def chosen_role(form: Mapping[str, str]) -> list[str]:
    """Return the role selected in a form (role_fields.html), in text form; an empty list if none is selected."""
    role, agency = (form.get(name, "").strip() for name in ("role", "agency"))
    return [f"{role}:{agency}" if agency else role] if role else []


def _who(request: Request, principal: Principal) -> _Who:
    return {"by": principal.by, "address": from_where(request)}
