"""Sign-in, sign-out, choice of a password with an invitation code, and the page of the user's own account.

The message of a `SignInFailedError` is the key of an error text.
"""

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
from monitor.web.access.access_control import AccessControl, allow_public
from monitor.web.form import Pages, local_path, read_form

_PUBLIC = allow_public("sign-in, and pages of the user's own account, which check the session themselves")
#: Maximum number of characters of a user's sign-in name.
_MAX_NAME_LENGTH = 64


def sign_in_pages(
    authenticator: Authenticator, access_control: AccessControl, pages: Pages, openid: OpenIdLogin | None = None
) -> APIRouter:
    """Build the router of the sign-in pages. *openid*: the identity provider, if configured."""
    router = APIRouter(include_in_schema=False, dependencies=_PUBLIC)

    @router.get("/sign-in")
    async def sign_in_page(request: Request) -> Response:
        return render_page(request, "sign_in.html", next=local_path(request.query_params.get("next", "/")))

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await read_form(request)
        name, destination = _entered_name(form), local_path(form.get("next", "/"))
        try:
            read_device_cookie = access_control.device_cookie_reader(request)
            signed_in = await authenticator.sign_in(
                name, form.get("password", ""), client_address(request), read_device_cookie
            )
        except SignInFailedError as error:
            return render_page(request, "sign_in.html", status=403, name=name, next=destination, problem=str(error))
        return access_control.continue_sign_in(signed_in, destination)

    @router.get("/welcome")
    async def welcome_page(request: Request) -> Response:
        return render_page(request, "welcome.html", name=request.query_params.get("name", "")[:_MAX_NAME_LENGTH])

    @router.post("/welcome")
    async def welcome(request: Request) -> Response:
        form = await read_form(request)
        name, code = _entered_name(form), form.get("code", "")
        try:
            signed_in = await authenticator.choose_password(
                name, code, form.get("password", ""), client_address(request)
            )
        except SignInFailedError as error:
            # Show the code again: it may be valid, and only the password unacceptable.
            return render_page(request, "welcome.html", status=403, name=name, code=code, problem=str(error))
        return access_control.continue_sign_in(signed_in, "/account?welcome=1")

    @router.get("/account")
    async def account(request: Request) -> Response:
        return await render_account(request, await access_control.own_session(request))

    @router.post("/account/password")
    async def change_password(request: Request) -> Response:
        form, session = await read_form(request), await access_control.own_session(request)
        try:
            signed_in = await authenticator.change_password(
                session, form.get("old", ""), form.get("password", ""), client_address(request)
            )
        except SignInFailedError as error:
            return await render_account(request, session, status=403, problem=str(error))
        return access_control.set_session_cookie(RedirectResponse("/account?changed=1", status_code=303), signed_in)

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await read_form(request)
        if (session := await access_control.session(request)) is not None:
            await authenticator.sign_out(session, client_address(request))
        return access_control.delete_session_cookie(RedirectResponse("/sign-in", status_code=303))

    async def render_account(
        request: Request, session: WebSession, *, status: int = 200, problem: str = ""
    ) -> Response:
        user = session.user
        return render_page(
            request,
            "account.html",
            status=status,
            principal=Principal(user=user),
            user=user,
            session=session,
            permissions_by_role={each: sorted(map(str, PERMISSIONS[each.role])) for each in sorted(user.assignments)},
            problem=problem,
            is_password_changed="changed" in request.query_params,
            is_new_user="welcome" in request.query_params,
            is_linked=openid is not None and await openid.is_linked(user),
            # The links to the other language need a path that accepts GET; the URL of a form may accept POST only.
            path="/account",
        )

    def render_page(request: Request, template: str, *, status: int = 200, **context: object) -> Response:
        defaults = {"name": "", "code": "", "next": "/"}
        # The links to the other language keep only `next` of the query parameters.
        other_parameters = next_parameter(str(context.get("next", "/")))
        return pages.show(request, template, {**defaults, "other_parameters": other_parameters, **context}, status)

    return router


def client_address(request: Request) -> str:
    """Return the IP address of the client; "" if it is unknown."""
    return request.client.host if request.client else ""


def next_parameter(destination: str) -> str:
    """Return the path to open after the sign-in as a URL parameter with a final "&": "next=/tasks&"; "" for "/"."""
    return "" if destination == "/" else f"next={quote(destination)}&"


def _entered_name(form: Mapping[str, str]) -> str:
    return form.get("name", "").strip().lower()[:_MAX_NAME_LENGTH]
