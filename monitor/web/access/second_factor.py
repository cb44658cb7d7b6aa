"""Second factor: the code step of a sign-in, and the account page that enables and disables it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.principal import Principal
from monitor.access.totp import app_address, in_groups
from monitor.service.access.authenticator import Authenticator, SignInFailedError, TotpEnrolment
from monitor.store.admin.users import WebSession
from monitor.web.access.access_control import AccessControl, SignInNeededError, public_route
from monitor.web.access.sign_in import from_where, going_on
from monitor.web.form import Pages, form_of, own_path
from monitor.web.page_query import remember

_OWN = public_route("is about the account of who has signed in, and how a role that asks for a second factor gets one")
_STEP = public_route("is the second half of a sign-in")
_PLACE: Final = "/account/second-factor"
#: Characters; a longer code is invalid.
_LONGEST: Final = 64


def code_pages(authenticator: Authenticator, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the code step, between the password and the session."""
    router = APIRouter(include_in_schema=False, dependencies=_STEP)

    @router.get("/sign-in/code")
    async def code_page(request: Request) -> Response:
        wanted = own_path(request.query_params.get("next", "/"))
        if access_control.half_key(request) is None:
            # The pending session has expired or never existed: redirect to the start, and from there directly to the
            # requested page.
            return remember(request, RedirectResponse(f"/sign-in?{going_on(wanted)}".rstrip("?&"), status_code=303))
        return shown(request, wanted)

    @router.post("/sign-in/code")
    async def code(request: Request) -> Response:
        form, key = await form_of(request), access_control.half_key(request)
        wanted = own_path(form.get("next", "/"))
        try:
            written, shows = form.get("code", "")[:_LONGEST], access_control.device_shown(request)
            signed_in = await authenticator.second_step(key, written, from_where(request), shows)
        except SignInFailedError as refused:
            return shown(request, wanted, str(refused))
        return access_control.admit(RedirectResponse(wanted, status_code=303), signed_in)

    def shown(request: Request, wanted: str, problem: str = "") -> Response:
        is_over = problem == "sign_in_again"
        path = "/sign-in" if is_over else request.url.path
        facts = {"next": wanted, "query": going_on(wanted), "problem": problem, "name": "", "path": path}
        return pages.show(request, "sign_in.html" if is_over else "code.html", facts, 403 if problem else 200)

    return router


def second_factor_pages(authenticator: Authenticator, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the second-factor pages."""
    router = APIRouter(include_in_schema=False, dependencies=_OWN)

    @router.get(_PLACE)
    async def second_factor(request: Request) -> Response:
        return await shown(request, await mine(request))

    @router.post(_PLACE)
    async def set_up(request: Request) -> Response:
        form, session = await form_of(request), await mine(request)
        offer = None
        try:
            offer = authenticator.offered(session, form.get("offer", ""))
            code, password = form.get("code", "")[:_LONGEST], form.get("password", "")
            signed_in, codes = await authenticator.set_up(session, offer, code, password, from_where(request))
        except SignInFailedError as refused:
            return await shown(request, session, status=403, problem=str(refused), offer=offer)
        # Show the codes in this response only: a URL that shows them again would be a security risk.
        return access_control.admit(await shown(request, signed_in.session, codes=codes, done="factor_done"), signed_in)

    @router.post(f"{_PLACE}/codes")
    async def codes(request: Request) -> Response:
        form, session = await form_of(request), await mine(request)
        try:
            new = await authenticator.renew_recovery_codes(
                session, form.get("code", "")[:_LONGEST], from_where(request)
            )
        except SignInFailedError as refused:
            return await shown(request, session, status=403, problem=str(refused))
        return await shown(request, session, codes=new)

    @router.post(f"{_PLACE}/off")
    async def take_off(request: Request) -> Response:
        form, session = await form_of(request), await mine(request)
        try:
            await authenticator.take_off(session, form.get("code", "")[:_LONGEST], from_where(request))
        except SignInFailedError as refused:
            return await shown(request, session, status=403, problem=str(refused))
        return RedirectResponse(_PLACE, status_code=303)

    async def mine(request: Request) -> WebSession:
        if (session := await access_control.session(request)) is None:
            raise SignInNeededError
        return session

    async def shown(
        request: Request,
        session: WebSession,
        *,
        status: int = 200,
        offer: TotpEnrolment | None = None,
        **facts: object,
    ) -> Response:
        user, is_held = session.user, authenticator.is_held(session.user)
        has_one = user.has_second_factor
        offer = None if has_one else offer or authenticator.offer(session)
        common = {
            "principal": Principal(user=user, is_held=is_held),
            "path": _PLACE,
            "user": user,
            "is_held": is_held,
            "offer": offer,
            "secret": in_groups(offer.secret) if offer else "",
            "picture": _picture(offer.secret, user.name) if offer else "",
            "left": await authenticator.recovery_codes(user) if has_one else 0,
            "codes": (),
            "done": "",
        }
        return pages.show(request, "second_factor.html", {**common, **facts}, status)

    return router


def _picture(secret: str, name: str) -> str:
    """Return the QR code for an authenticator app as a data URL: the policy forbids inline styles and scripts."""
    import segno  # noqa: PLC0415 - is wanted once in the life of an account

    drawn = segno.make(app_address(secret, name, "Pantau"), error="m", micro=False)
    address: str = drawn.svg_data_uri(scale=4, border=4, light="white")
    return address
