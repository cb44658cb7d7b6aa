"""Second factor (TOTP, RFC 6238): entry of the code at sign-in, and the account page that enables or disables it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.principal import Principal
from monitor.access.totp import group_secret, otpauth_uri
from monitor.service.access.authenticator import Authenticator, SignInFailedError, TotpEnrolment
from monitor.store.admin.users import WebSession
from monitor.web.access.access_control import AccessControl, SignInNeededError, allow_public
from monitor.web.access.sign_in import client_address, next_parameter
from monitor.web.form import Pages, local_path, read_form
from monitor.web.page_query import store_language

#: Declarations, with reasons, that the routes require no permission.
_OWN_ACCOUNT = allow_public("checks the session itself; users who still lack a required second factor may use it")
_PUBLIC_STEP = allow_public("second step of the sign-in")
_PATH: Final = "/account/second-factor"
#: Maximum number of characters of an entered one-time or recovery code; the rest is dropped. Valid codes are shorter.
_MAX_CODE_LENGTH: Final = 64


def code_pages(authenticator: Authenticator, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the page that asks for the code after the password, before the session begins."""
    router = APIRouter(include_in_schema=False, dependencies=_PUBLIC_STEP)

    @router.get("/sign-in/code")
    async def code_page(request: Request) -> Response:
        destination = local_path(request.query_params.get("next", "/"))
        if access_control.pending_session_key(request) is None:
            # There is no pending session (password entered, code awaited): start again, and keep the destination.
            return store_language(
                request, RedirectResponse(f"/sign-in?{next_parameter(destination)}".rstrip("?&"), status_code=303)
            )
        return render_code_step(request, destination)

    @router.post("/sign-in/code")
    async def code(request: Request) -> Response:
        form, key = await read_form(request), access_control.pending_session_key(request)
        destination = local_path(form.get("next", "/"))
        try:
            entered_code = form.get("code", "")[:_MAX_CODE_LENGTH]
            read_device_cookie = access_control.device_cookie_reader(request)
            signed_in = await authenticator.complete_sign_in(
                key, entered_code, client_address(request), read_device_cookie
            )
        except SignInFailedError as error:
            return render_code_step(request, destination, str(error))
        return access_control.set_session_cookie(RedirectResponse(destination, status_code=303), signed_in)

    # *problem*: key of an error text, the message of a `SignInFailedError`.
    def render_code_step(request: Request, destination: str, problem: str = "") -> Response:
        # After this error the pending session cannot continue, so show the form for the password.
        has_expired = problem == "sign_in_again"
        path = "/sign-in" if has_expired else request.url.path
        context = {
            "next": destination,
            "other_parameters": next_parameter(destination),
            "problem": problem,
            "name": "",
            "path": path,
        }
        return pages.show(request, "sign_in.html" if has_expired else "code.html", context, 403 if problem else 200)

    return router


def second_factor_pages(authenticator: Authenticator, access_control: AccessControl, pages: Pages) -> APIRouter:
    """Build the router of the second-factor pages."""
    router = APIRouter(include_in_schema=False, dependencies=_OWN_ACCOUNT)

    @router.get(_PATH)
    async def second_factor(request: Request) -> Response:
        return await render_page(request, await current_session(request))

    @router.post(_PATH)
    async def set_up(request: Request) -> Response:
        form, session = await read_form(request), await current_session(request)
        enrolment = None
        try:
            # An enrolment is a new secret for the user's authenticator app. The hidden field "offer" has it encrypted.
            enrolment = authenticator.read_enrolment(session, form.get("offer", ""))
            code, password = form.get("code", "")[:_MAX_CODE_LENGTH], form.get("password", "")
            signed_in, recovery_codes = await authenticator.set_up_second_factor(
                session, enrolment, code, password, client_address(request)
            )
        except SignInFailedError as error:
            return await render_page(request, session, status=403, problem=str(error), enrolment=enrolment)
        # Only this response shows the recovery codes: for security, no URL shows them again. The session is a new one.
        return access_control.set_session_cookie(
            await render_page(request, signed_in.session, codes=recovery_codes, message="factor_done"), signed_in
        )

    @router.post(f"{_PATH}/codes")
    async def renew_recovery_codes(request: Request) -> Response:
        form, session = await read_form(request), await current_session(request)
        try:
            recovery_codes = await authenticator.renew_recovery_codes(
                session, form.get("code", "")[:_MAX_CODE_LENGTH], client_address(request)
            )
        except SignInFailedError as error:
            return await render_page(request, session, status=403, problem=str(error))
        return await render_page(request, session, codes=recovery_codes)

    @router.post(f"{_PATH}/off")
    async def disable(request: Request) -> Response:
        form, session = await read_form(request), await current_session(request)
        try:
            await authenticator.remove_second_factor(
                session, form.get("code", "")[:_MAX_CODE_LENGTH], client_address(request)
            )
        except SignInFailedError as error:
            return await render_page(request, session, status=403, problem=str(error))
        return RedirectResponse(_PATH, status_code=303)

    async def current_session(request: Request) -> WebSession:
        # Do not use `own_session`, which rejects users who still lack a required second factor.
        if (session := await access_control.session(request)) is None:
            raise SignInNeededError
        return session

    async def render_page(
        request: Request,
        session: WebSession,
        *,
        status: int = 200,
        enrolment: TotpEnrolment | None = None,
        **context: object,
    ) -> Response:
        user, must_set_up = session.user, authenticator.must_set_up_second_factor(session.user)
        has_second_factor = user.has_second_factor
        # `None` also if no encryption key is configured.
        enrolment = None if has_second_factor else enrolment or authenticator.new_enrolment(session)
        defaults = {
            "principal": Principal(user=user, needs_second_factor_setup=must_set_up),
            "path": _PATH,
            "user": user,
            "must_set_up": must_set_up,
            "enrolment": enrolment,
            "secret": group_secret(enrolment.secret) if enrolment else "",
            "qr_code": _qr_code(enrolment.secret, user.name) if enrolment else "",
            "recovery_codes_left": await authenticator.count_recovery_codes(user) if has_second_factor else 0,
            "codes": (),
            "message": "",  # Key of a text about success.
        }
        return pages.show(request, "second_factor.html", {**defaults, **context}, status)

    return router


def _qr_code(secret: str, name: str) -> str:
    """Return the QR code for an authenticator app as a data URL: the content security policy forbids inline styles."""
    import segno  # noqa: PLC0415 - rarely used

    code = segno.make(otpauth_uri(secret, name, "Pantau"), error="m", micro=False)
    data_url: str = code.svg_data_uri(scale=4, border=4, light="white")
    return data_url
