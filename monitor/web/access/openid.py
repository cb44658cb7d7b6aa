"""Sign-in at an identity provider, its callback, and linking of an existing account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.principal import User
from monitor.config.service.openid import ANSWER_PATH
from monitor.service.access.authenticator import SignInFailedError
from monitor.service.access.openid import OpenIdLogin
from monitor.service.access.secret import SessionKey
from monitor.web.access.access_control import AccessControl, public_route
from monitor.web.access.sign_in import from_where
from monitor.web.form import Pages, form_of, own_path

#: Cookie that binds the provider's callback to the browser that began the sign-in: another site must not be able to
#: replace it.
_COOKIE: Final = "pantau-openid"
_PATH: Final = "/sign-in/openid"
#: Seconds.
_GOOD_FOR: Final = 600

#: Returns the response that redirects a browser to an external URL.
_Answered = Callable[[Request, str], Response]


def openid_pages(door: OpenIdLogin, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the OpenID pages."""
    why = public_route("is how somebody signs in with an account elsewhere")
    router = APIRouter(include_in_schema=False, dependencies=why)

    @router.get(_PATH)
    async def depart(request: Request) -> Response:
        return await sent(request, own_path(request.query_params.get("next", "/")), None, redirected)

    @router.post("/account/openid")
    async def link(request: Request) -> Response:
        await form_of(request)
        session = await access_control.own_session(request)
        return await sent(request, "/account", session.user, leads)

    @router.get(ANSWER_PATH)
    async def answer(request: Request) -> Response:
        key = request.cookies.get(_COOKIE)
        try:
            back = await door.welcome(request, SessionKey(text=key) if key else None, from_where(request))
        except SignInFailedError as refused:
            return forgotten(shown(request, str(refused)))
        if back.session is None:
            return forgotten(RedirectResponse(back.next, status_code=303))
        return forgotten(access_control.let_on(back.session, back.next))

    async def sent(request: Request, to: str, user: User | None, answered: _Answered) -> Response:
        try:
            departure = await door.depart(request, to, user)
        except SignInFailedError as refused:
            return shown(request, str(refused))
        response = answered(request, departure.address)
        response.set_cookie(
            _COOKIE,
            departure.key.text,
            max_age=_GOOD_FOR,
            path=_PATH,
            secure=access_control.is_secure,
            httponly=True,
            samesite="lax",
        )
        return response

    def redirected(_request: Request, address: str) -> Response:
        return RedirectResponse(address, status_code=303)

    def leads(request: Request, address: str) -> Response:
        # Chromium applies `form-action` to each redirect after a form, also at the provider. It does not apply it to
        # links on a page.
        return pages.show(request, "openid_link.html", {"address": address, "name": door.name, "path": "/account"})

    def forgotten(response: Response) -> Response:
        response.delete_cookie(_COOKIE, path=_PATH, secure=access_control.is_secure, httponly=True, samesite="lax")
        return response

    def shown(request: Request, problem: str) -> Response:
        facts = {"problem": problem, "name": "", "next": "/", "path": "/sign-in"}
        return pages.show(request, "sign_in.html", facts, 403)

    return router
