"""Sign-in at an identity provider (OpenID Connect): redirect, callback, and linking of an existing account."""

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
from monitor.web.access.access_control import AccessControl, allow_public
from monitor.web.access.sign_in import client_address
from monitor.web.form import Pages, local_path, read_form

#: Cookie with the key of a started sign-in, so that no other browser can complete the sign-in by the callback.
_COOKIE: Final = "pantau-openid"
#: Path that starts a sign-in. Browsers send the cookie to it and to paths below it, such as `ANSWER_PATH` (callback).
_PATH: Final = "/sign-in/openid"
#: Lifetime of the cookie in seconds.
_COOKIE_MAX_AGE: Final = 600

#: Function that returns a response which leads the browser to an external URL.
_ResponseFactory = Callable[[Request, str], Response]


def openid_pages(openid: OpenIdLogin, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the OpenID pages."""
    public = allow_public("sign-in at an identity provider")
    router = APIRouter(include_in_schema=False, dependencies=public)

    @router.get(_PATH)
    async def start_sign_in(request: Request) -> Response:
        return await start(request, local_path(request.query_params.get("next", "/")), None, redirect)

    @router.post("/account/openid")
    async def link_account(request: Request) -> Response:
        await read_form(request)
        session = await access_control.own_session(request)
        return await start(request, "/account", session.user, show_hyperlink)

    @router.get(ANSWER_PATH)
    async def handle_callback(request: Request) -> Response:
        key = request.cookies.get(_COOKIE)
        try:
            result = await openid.handle_callback(
                request, SessionKey(text=key) if key else None, client_address(request)
            )
        except SignInFailedError as error:
            return delete_cookie(render_error(request, str(error)))
        if result.session is None:
            # The user was already signed in, and has linked the account with the one at the provider.
            return delete_cookie(RedirectResponse(result.next_url, status_code=303))
        return delete_cookie(access_control.continue_sign_in(result.session, result.next_url))

    async def start(request: Request, destination: str, user: User | None, to_provider: _ResponseFactory) -> Response:
        """Send the browser to the provider by *to_provider*, and after the sign-in to *destination*.

        *user*: the signed-in user who links the account; `None`: the user signs in.
        """
        try:
            authorization = await openid.redirect(request, destination, user)
        except SignInFailedError as error:
            return render_error(request, str(error))
        response = to_provider(request, authorization.url)
        response.set_cookie(
            _COOKIE,
            authorization.key.text,
            max_age=_COOKIE_MAX_AGE,
            path=_PATH,
            secure=access_control.is_secure,
            httponly=True,
            samesite="lax",
        )
        return response

    def redirect(_request: Request, url: str) -> Response:
        return RedirectResponse(url, status_code=303)

    def show_hyperlink(request: Request, url: str) -> Response:
        # Show a hyperlink instead of a redirect. Chromium applies `form-action` (Content-Security-Policy) to every
        # redirect after a form, even to redirects by the provider, but not to hyperlinks.
        return pages.show(request, "openid_link.html", {"url": url, "name": openid.name, "path": "/account"})

    def delete_cookie(response: Response) -> Response:
        response.delete_cookie(_COOKIE, path=_PATH, secure=access_control.is_secure, httponly=True, samesite="lax")
        return response

    # *problem*: key of an error text, the message of a `SignInFailedError`.
    def render_error(request: Request, problem: str) -> Response:
        context = {"problem": problem, "name": "", "next": "/", "path": "/sign-in"}
        return pages.show(request, "sign_in.html", context, 403)

    return router
