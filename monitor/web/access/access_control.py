"""The permission check of every route: it identifies the principal by session cookie or token and requires the permission that the route names.

A route that names none is refused when the portal is built. A public route declares so explicitly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request, Response, params
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from monitor.access.api_token import ApiToken
from monitor.access.device import KNOWN_FOR, device_cookie
from monitor.access.principal import OPEN_HERE, Principal
from monitor.access.role import OURSELVES, AgencyScope, Permission
from monitor.model.lazy_text import said
from monitor.service.access.authenticator import Authenticator, DeviceShown, NewPendingSession, NewSession
from monitor.service.access.secret import SessionKey, TokenSecret
from monitor.service.access.tokens import InvalidTokenError, ProgramTokens, TooManyAttemptsError
from monitor.service.access.wallboards import Wallboards
from monitor.service.facade import ServiceFacade
from monitor.store.admin.users import WebSession
from monitor.web.form import is_from_our_page
from monitor.web.problem import problem

#: The prefix prevents a page of another site from setting this cookie (RFC 6265bis, 4.1.3.2).
_COOKIE: Final = "__Host-pantau"
#: Over plain HTTP, on this machine only.
_COOKIE_HERE: Final = "pantau"
#: Of a wallboard; separate from the session cookie, which expires sooner.
_WALL: Final = "__Host-pantau-wall"
_WALL_HERE: Final = "pantau-wall"
#: The paths that a wallboard may request: the page and the fragment that it polls.
_OF_A_WALL: Final = frozenset({"/", "/fragment"})
#: Requests that a page sends by itself, possibly in an unattended tab: by its script, or without scripts by a refresh.
_FRAGMENT: Final = "/fragment"
_REFRESH: Final = "polled"
#: The header by which the script reports that the user has clicked or typed.
_USED: Final = "x-pantau-used"
#: Of a pending session, which is not a sign-in: a separate cookie prevents confusion of the two.
_HALF: Final = "-half"
#: Number of digits that fits into an integer of both databases.
_DIGITS: Final = 9
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

#: Returns the agency that a request is about: an agency's code, or `OURSELVES`.
AgencyOf = Callable[[Request], Awaitable[str]]


class SignInNeededError(Exception):
    """An unauthenticated request for a route that is not public."""


class SecondFactorNeededError(Exception):
    """A signed-in user whose role requires a second factor, and who has set up none."""


class RouteWithoutPermissionError(Exception):
    """A route that names neither a permission nor why it needs none."""


class AccessControl:
    """The identification of the principal of a request."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        tokens: ProgramTokens | None = None,
        *,
        walls: Wallboards | None = None,
        is_secure: bool = False,
        scrapers: Sequence[str] = (),
    ) -> None:
        """Without an *authenticator* there is no sign-in.

        *tokens*: API tokens of programs. *is_secure*: browsers reach the portal by https. *scrapers*: the networks that
        may read metrics without sign-in, in addition to this machine.
        """
        self.authenticator = authenticator
        self._tokens = tokens
        self._walls = walls
        self._wall_cookie = _WALL if is_secure else _WALL_HERE
        self._scrapers = [ip_network(each) for each in scrapers]
        self.is_secure = is_secure
        self._cookie = _COOKIE if is_secure else _COOKIE_HERE

    async def principal(self, request: Request) -> Principal:
        """Return the principal of a request.

        A cookie that another site's page has sent with a request that changes something does not count. A token does:
        no page can send the header by itself. Raise `HTTPException` for an invalid token.
        """
        if self.authenticator is None:
            return Principal(open=OPEN_HERE)
        if self._tokens is not None and (secret := _bearer(request)) is not None:
            return Principal(token=await _token(self._tokens, secret, request))
        if request.method not in _SAFE and not is_from_our_page(request):
            return Principal()
        session = await self.session(request)
        if session is None:
            return Principal(wallboard=await self._wall(request))
        return Principal(user=session.user, is_held=self.authenticator.is_held(session.user))

    async def _wall(self, request: Request) -> AgencyScope:
        """Return what an unauthenticated wallboard may see: only the page in its wallboard form."""
        key = request.cookies.get(self._wall_cookie)
        is_asked = request.url.path in _OF_A_WALL and "wallboard" in request.query_params and request.method in _SAFE
        if key is None or self._walls is None or not is_asked:
            return AgencyScope()
        return await self._walls.scope(SessionKey(text=key))

    def is_near(self, request: Request) -> bool:
        """Whether a request comes from this machine or from a scraper's network."""
        try:
            address = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._scrapers)

    async def session(self, request: Request) -> WebSession | None:
        """Return the browser's session. Requests that a page sends by itself do not extend it."""
        key = request.cookies.get(self._cookie)
        if key is None or self.authenticator is None:
            return None
        is_polled = request.url.path.endswith(_FRAGMENT) or _REFRESH in request.query_params
        is_use = not is_polled or _USED in request.headers
        return await self.authenticator.session(SessionKey(text=key), is_use=is_use)

    async def own_session(self, request: Request) -> WebSession:
        """Return the session of a user who opens their own account. Raise as `RequirePermission` does."""
        if (session := await self.session(request)) is None:
            raise SignInNeededError
        if self.authenticator is not None and self.authenticator.is_held(session.user):
            raise SecondFactorNeededError
        return session

    def let_on(self, signed_in: NewSession | NewPendingSession, wanted: str) -> Response:
        """Redirect a browser to the page that it wanted, or first to the form for its code."""
        if isinstance(signed_in, NewPendingSession):
            return self.wait(RedirectResponse(f"/sign-in/code?next={quote(wanted)}", status_code=303), signed_in)
        return self.admit(RedirectResponse(wanted, status_code=303), signed_in)

    def admit(self, response: Response, signed_in: NewSession) -> Response:
        """Set the session cookie, which is valid until the session ends or the browser is closed."""
        self._give(response, self._cookie, signed_in.key.text)
        if signed_in.device:
            name = self._cookie + device_cookie(signed_in.session.user.name)
            self._give(response, name, signed_in.device, lasts=KNOWN_FOR, samesite="strict")
        return self._take(response, self._cookie + _HALF)

    def device_shown(self, request: Request) -> DeviceShown:
        """Return the evidence that a browser presents of an earlier sign-in."""
        return lambda name: request.cookies.get(self._cookie + device_cookie(name), "")

    def half_key(self, request: Request) -> SessionKey | None:
        """Return the key of a pending session: the password was right, and the code is awaited."""
        key = request.cookies.get(self._cookie + _HALF)
        return None if key is None else SessionKey(text=key)

    def wait(self, response: Response, half: NewPendingSession) -> Response:
        """Set the cookie of a pending session, whose code is awaited."""
        return self._give(response, self._cookie + _HALF, half.key.text)

    def hang(self, response: Response, key: SessionKey, lasts: timedelta) -> Response:
        """Set the cookie of a wallboard to the key of its link, for the duration *lasts*."""
        return self._give(response, self._wall_cookie, key.text, lasts=lasts)

    def dismiss(self, response: Response) -> Response:
        """Delete the session cookies."""
        return self._take(response, self._cookie)

    def _give(
        self,
        response: Response,
        name: str,
        value: str,
        *,
        lasts: timedelta | None = None,
        samesite: Literal["lax", "strict"] = "lax",
    ) -> Response:
        """Set a cookie for the duration *lasts*, or until the browser is closed."""
        seconds = None if lasts is None else int(lasts.total_seconds())
        response.set_cookie(name, value, seconds, secure=self.is_secure, httponly=True, samesite=samesite)
        return response

    def _take(self, response: Response, name: str) -> Response:
        response.delete_cookie(name, secure=self.is_secure, httponly=True, samesite="lax")
        return response


@dataclass(frozen=True, slots=True)
class RequirePermission:
    """The permission that a route requires; as its dependency it returns the principal.

    Raises `SignInNeededError`, `SecondFactorNeededError` or `HTTPException`.
    """

    permission: Permission
    #: `None`: for any agency. Then the route shows or does no more than the principal may.
    agency: AgencyOf | None = None

    async def __call__(self, request: Request) -> Principal:
        """Return the principal if it has the permission."""
        principal = await access_control_of(request).principal(request)
        # Pages show the signed-in user.
        request.state.principal = principal
        if not principal.may(self.permission):
            if not principal.is_known:
                raise SignInNeededError
            if principal.is_held:
                raise SecondFactorNeededError
            raise forbidden(principal, self.permission)
        # A principal with the permission for all agencies does not need the look-up of the agency.
        if self.agency is not None and not principal.scope(self.permission).everything:
            permit(principal, self.permission, await self.agency(request))
        return principal


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """The declaration that a route needs no permission, and why; as its dependency it does nothing."""

    reason: str

    async def __call__(self) -> None:
        """Accept every request."""


@dataclass(frozen=True, slots=True)
class RequireTrustedNetwork:
    """The restriction to this machine, scrapers' networks and principals that may see everything."""

    async def __call__(self, request: Request) -> None:
        """Accept a scraper's request."""
        access_control = access_control_of(request)
        if access_control.is_near(request):
            return
        principal = await access_control.principal(request)
        if not principal.may(Permission.READ, OURSELVES):
            raise HTTPException(
                403, "metrics are for scrapers: `portal.metrics_networks` in the settings names from where they ask"
            )


def permit(principal: Principal, permission: Permission, agency: str) -> None:
    """Raise `HTTPException` unless a principal has a permission for an agency."""
    if not principal.may(permission, agency):
        raise forbidden(principal, permission, agency)


def forbidden(principal: Principal, permission: Permission, agency: str | None = None) -> HTTPException:
    """Return the error for a principal without a permission."""
    pattern = {
        None: "{who} has no permission to {permission}; an administrator gives roles",
        OURSELVES: "{who} has no permission to {permission} for Pantau itself; an administrator gives roles",
    }.get(agency, "{who} has no permission to {permission} for {agency}; an administrator gives roles")
    words = {"who": principal.called, "permission": said(permission.replace("_", " ")), "agency": agency}
    return HTTPException(403, said(pattern, **words))


def _bearer(request: Request) -> str | None:
    """Return the token after "Bearer" in the header; `None` if there is none."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


async def _token(tokens: ProgramTokens, secret: str, request: Request) -> ApiToken:
    try:
        return await tokens.shown(TokenSecret(text=secret), request.client.host if request.client else "")
    except TooManyAttemptsError as wait:
        why = "too many tokens from this address opened nothing; wait, and look at what sends them"
        seconds = str(ceil(wait.until.total_seconds()))
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, why, headers={"Retry-After": seconds}) from None
    except InvalidTokenError:
        why = (
            "the token in the header Authorization is not known, too old or taken back; an administrator makes another "
            "at /tokens, or by `pantau token add`"
        )
        header = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise HTTPException(HTTPStatus.UNAUTHORIZED, why, headers=header) from None


def access_control_of(request: Request) -> AccessControl:
    """Return the access control of the portal."""
    access_control: AccessControl = request.app.state.access_control
    return access_control


async def about_ourselves(_request: Request) -> str:
    """Return the target of a request that concerns Pantau itself and no agency."""
    return OURSELVES


async def agency_in_path(request: Request) -> str:
    """Return the agency that the path names as {code}."""
    return str(request.path_params["code"]).upper()


def incident_in_path(source: ServiceFacade) -> AgencyOf:
    """Return a function that finds the agency of the incident {number} in the path. It raises `NotFoundError`."""

    async def agency(request: Request) -> str:
        return (await source.numbered(str(request.path_params["number"]))).policy.agency

    return agency


def notification_in_path(source: ServiceFacade) -> AgencyOf:
    """Return a function that finds the agency of the notification {notification_id} in the path.

    It raises `NotFoundError`.
    """

    async def agency(request: Request) -> str:
        written = str(request.path_params["notification_id"])
        if not written.isdecimal() or len(written) > _DIGITS:
            raise HTTPException(404, "there is no such notice")
        return (await source.board.notice(int(written))).notification.agency

    return agency


def put_access_control(app: FastAPI, access_control: AccessControl) -> None:
    """Require the permission check of *access_control* on all routes of *app*, which must be complete.

    Raise `RouteWithoutPermissionError`.
    """
    app.state.access_control = access_control
    app.add_exception_handler(SignInNeededError, _sign_in)
    app.add_exception_handler(SecondFactorNeededError, _set_up)
    for route in routes_of(app):
        if need_of(route) is None:
            raise RouteWithoutPermissionError(f"{route.path} names no permission, nor why it needs none")


def routes_of(app: FastAPI) -> Iterator[APIRoute]:
    """Return the routes of *app*, without static files. Raise `RouteWithoutPermissionError`."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        elif not _is_file(route):
            raise RouteWithoutPermissionError(f"{route} is no route that can name a permission")


def need_of(route: APIRoute) -> RequirePermission | RequireTrustedNetwork | PublicRoute | None:
    """Return what a route requires; `None` if it declares nothing."""
    calls = [each.call for each in route.dependant.dependencies]
    # The declaration nearest to the route counts.
    return next(
        (call for call in reversed(calls) if isinstance(call, RequirePermission | RequireTrustedNetwork | PublicRoute)),
        None,
    )


def _is_file(route: BaseRoute) -> bool:
    return isinstance(route, Mount) and route.path == "/static"


async def _sign_in(request: Request, _error: Exception) -> Response:
    """Redirect a person to the sign-in; answer a program with an error."""
    if access_control_of(request).authenticator is None:
        return problem(HTTPStatus.FORBIDDEN, "this portal has no sign-in (`portal` in the settings), and so not this")
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        wanted = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/sign-in?next={wanted}", status_code=303)
    return problem(HTTPStatus.UNAUTHORIZED, "sign in first, at /sign-in", headers={"WWW-Authenticate": "Session"})


async def _set_up(request: Request, _error: Exception) -> Response:
    """Redirect a person to the set-up of a second factor; answer a program with an error."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/account/second-factor", status_code=303)
    return problem(
        HTTPStatus.FORBIDDEN, "your role asks for a second factor: set it up first, at /account/second-factor"
    )


#: Route parameters: the principal, who has the permission. `Its`: for the agency in the path.
Administrator = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_USERS))]
Colleague = Annotated[Principal, Depends(RequirePermission(Permission.READ_PEOPLE))]
Reader = Annotated[Principal, Depends(RequirePermission(Permission.READ))]
ItsEditor = Annotated[Principal, Depends(RequirePermission(Permission.EDIT_AGENCY, agency_in_path))]
ItsReader = Annotated[Principal, Depends(RequirePermission(Permission.READ, agency_in_path))]
ItsTrier = Annotated[Principal, Depends(RequirePermission(Permission.RUN_TESTS, agency_in_path))]


def require(permission: Permission, agency: AgencyOf | None = None) -> list[params.Depends]:
    """Return the `dependencies` of a route that needs a permission."""
    return [Depends(RequirePermission(permission, agency))]


def public_route(why: str) -> list[params.Depends]:
    """Return the `dependencies` of a public route; *why* gives the reason."""
    return [Depends(PublicRoute(why))]
