"""Sign-in, sign-out, choice of a password, and the page of the user's own account."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.principal import Principal
from monitor.access.role import PERMISSIONS
from monitor.service.access.authenticator import Authenticator, SignInFailedError
from monitor.service.access.openid import OpenIdLogin
from monitor.store.admin.users import WebSession
from monitor.web.access.access_control import AccessControl, public_route
from monitor.web.form import Pages, form_of, own_path

_ITSELF = public_route("is how somebody signs in, or finds out that they have not")
#: Characters; a longer name belongs to no user.
_LONGEST = 64


def sign_in_pages(
    authenticator: Authenticator, access_control: AccessControl, pages: Pages, openid: OpenIdLogin | None = None
) -> APIRouter:
    """Build the router of the sign-in pages. *openid*: the identity provider, if configured."""
    router = APIRouter(include_in_schema=False, dependencies=_ITSELF)

    @router.get("/sign-in")
    async def sign_in_page(request: Request) -> Response:
        return shown(request, "sign_in.html", next=own_path(request.query_params.get("next", "/")))

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await form_of(request)
        name, wanted = _name(form), own_path(form.get("next", "/"))
        try:
            shows = access_control.device_shown(request)
            signed_in = await authenticator.sign_in(name, form.get("password", ""), from_where(request), shows)
        except SignInFailedError as refused:
            return shown(request, "sign_in.html", status=403, name=name, next=wanted, problem=str(refused))
        return access_control.let_on(signed_in, wanted)

    @router.get("/welcome")
    async def welcome_page(request: Request) -> Response:
        return shown(request, "welcome.html", name=request.query_params.get("name", "")[:_LONGEST])

    @router.post("/welcome")
    async def welcome(request: Request) -> Response:
        form = await form_of(request)
        name, code = _name(form), form.get("code", "")
        try:
            signed_in = await authenticator.choose_password(name, code, form.get("password", ""), from_where(request))
        except SignInFailedError as refused:
            # Fill in the code again: possibly only the password is invalid.
            return shown(request, "welcome.html", status=403, name=name, code=code, problem=str(refused))
        return access_control.let_on(signed_in, "/account?welcome=1")

    @router.get("/account")
    async def account(request: Request) -> Response:
        return await own(request, await access_control.own_session(request))

    @router.post("/account/password")
    async def change_password(request: Request) -> Response:
        form, session = await form_of(request), await access_control.own_session(request)
        try:
            signed_in = await authenticator.change_password(
                session, form.get("old", ""), form.get("password", ""), from_where(request)
            )
        except SignInFailedError as refused:
            return await own(request, session, status=403, problem=str(refused))
        return access_control.admit(RedirectResponse("/account?changed=1", status_code=303), signed_in)

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await form_of(request)
        if (session := await access_control.session(request)) is not None:
            await authenticator.sign_out(session, from_where(request))
        return access_control.dismiss(RedirectResponse("/sign-in", status_code=303))

    async def own(request: Request, session: WebSession, *, status: int = 200, problem: str = "") -> Response:
        user = session.user
        return shown(
            request,
            "account.html",
            status=status,
            principal=Principal(user=user),
            user=user,
            session=session,
            permitted={each: sorted(map(str, PERMISSIONS[each.role])) for each in sorted(user.assignments)},
            problem=problem,
            changed="changed" in request.query_params,
            welcome="welcome" in request.query_params,
            linked=openid is not None and await openid.is_linked(user),
            # Not the path of the password form.
            path="/account",
        )

    def shown(request: Request, template: str, *, status: int = 200, **facts: object) -> Response:
        blank = {"name": "", "code": "", "next": "/"}
        query = going_on(str(facts.get("next", "/")))
        return pages.show(request, template, {**blank, "query": query, **facts}, status)

    return router


def from_where(request: Request) -> str:
    """Return the client's address, as far as it is known."""
    return request.client.host if request.client else ""


def going_on(wanted: str) -> str:
    """Return the final destination as a URL parameter that another parameter may follow."""
    return "" if wanted == "/" else f"next={quote(wanted)}&"


def _name(form: Mapping[str, str]) -> str:
    return form.get("name", "").strip().lower()[:_LONGEST]
