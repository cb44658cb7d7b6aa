"""Stands before every route: knows who asks by their session's cookie or token, and lets them on if they have the permission that it names.

A route that names none is refused when the portal is built. There is a way in for everybody, and it says so.
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

#: With the prefix no other site's page can put one of its own into its place (RFC 6265bis, 4.1.3.2).
_COOKIE: Final = "__Host-pantau"
#: Over plain HTTP, on this machine alone.
_COOKIE_HERE: Final = "pantau"
#: Of a wall; beside the session's, which ends sooner.
_WALL: Final = "__Host-pantau-wall"
_WALL_HERE: Final = "pantau-wall"
#: What a wall shows, and the part of it that is asked for again and again.
_OF_A_WALL: Final = frozenset({"/", "/fragment"})
#: What a page of ours asks for by itself, in a tab that nobody may look at: by its script, or without scripts by a refresh.
_FRAGMENT: Final = "/fragment"
_REFRESH: Final = "polled"
#: By which the script says that somebody has clicked or typed.
_USED: Final = "x-pantau-used"
#: Of half a sign-in, which is no sign-in: another cookie, so that neither is ever taken for the other.
_HALF: Final = "-half"
#: Of what any database counts.
_DIGITS: Final = 9
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

#: Returns the agency that a request is about; an agency's code, or `OURSELVES`.
AgencyOf = Callable[[Request], Awaitable[str]]


class SignInNeededError(Exception):
    """Nobody has signed in, and what was asked for is not for everybody."""


class SecondFactorNeededError(Exception):
    """Somebody has signed in whose role asks for a second factor, and has set up none."""


class RouteWithoutPermissionError(Exception):
    """A route names neither a permission nor why it needs none."""


class AccessControl:
    """Knows who asks."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        tokens: ProgramTokens | None = None,
        *,
        walls: Wallboards | None = None,
        is_secure: bool = False,
        scrapers: Sequence[str] = (),
    ) -> None:
        """Without an *authenticator* nobody signs in. *tokens*: of programs. *is_secure*: browsers reach the portal by https.

        *scrapers*: the networks from which metrics are asked without signing in, beside this machine.
        """
        self.authenticator = authenticator
        self._tokens = tokens
        self._walls = walls
        self._wall_cookie = _WALL if is_secure else _WALL_HERE
        self._scrapers = [ip_network(each) for each in scrapers]
        self.is_secure = is_secure
        self._cookie = _COOKIE if is_secure else _COOKIE_HERE

    async def principal(self, request: Request) -> Principal:
        """Return who asks.

        A cookie that a stranger's page has sent along with an order of its own is no sign-in. A token is: no page can send the
        header unasked. Raise `HTTPException` for one that opens nothing.
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
        """Return what a wall at which nobody has signed in may show: of the page as a wall has it, and of nothing else."""
        key = request.cookies.get(self._wall_cookie)
        is_asked = request.url.path in _OF_A_WALL and "wallboard" in request.query_params and request.method in _SAFE
        if key is None or self._walls is None or not is_asked:
            return AgencyScope()
        return await self._walls.scope(SessionKey(text=key))

    def is_near(self, request: Request) -> bool:
        """Whether a request comes from this machine, or from where scrapers ask."""
        try:
            address = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._scrapers)

    async def session(self, request: Request) -> WebSession | None:
        """Return the session of the browser that asks. What a page asks by itself does not extend it."""
        key = request.cookies.get(self._cookie)
        if key is None or self.authenticator is None:
            return None
        is_polled = request.url.path.endswith(_FRAGMENT) or _REFRESH in request.query_params
        is_use = not is_polled or _USED in request.headers
        return await self.authenticator.session(SessionKey(text=key), is_use=is_use)

    async def own_session(self, request: Request) -> WebSession:
        """Return the session of whoever looks at their own account. Raise as `RequirePermission` does."""
        if (session := await self.session(request)) is None:
            raise SignInNeededError
        if self.authenticator is not None and self.authenticator.is_held(session.user):
            raise SecondFactorNeededError
        return session

    def let_on(self, signed_in: NewSession | NewPendingSession, wanted: str) -> Response:
        """Send a browser on to where it wanted to go, or first to where its code is asked for."""
        if isinstance(signed_in, NewPendingSession):
            return self.wait(RedirectResponse(f"/sign-in/code?next={quote(wanted)}", status_code=303), signed_in)
        return self.admit(RedirectResponse(wanted, status_code=303), signed_in)

    def admit(self, response: Response, signed_in: NewSession) -> Response:
        """Let the browser be known from now on, until the session ends or the browser does."""
        self._give(response, self._cookie, signed_in.key.text)
        if signed_in.device:
            name = self._cookie + device_cookie(signed_in.session.user.name)
            self._give(response, name, signed_in.device, lasts=KNOWN_FOR, samesite="strict")
        return self._take(response, self._cookie + _HALF)

    def device_shown(self, request: Request) -> DeviceShown:
        """Return by what a browser says that somebody has signed in there before."""
        return lambda name: request.cookies.get(self._cookie + device_cookie(name), "")

    def half_key(self, request: Request) -> SessionKey | None:
        """Return what a browser shows whose password was right, and whose code is awaited."""
        key = request.cookies.get(self._cookie + _HALF)
        return None if key is None else SessionKey(text=key)

    def wait(self, response: Response, half: NewPendingSession) -> Response:
        """Let the browser be known as one whose code is awaited."""
        return self._give(response, self._cookie + _HALF, half.key.text)

    def hang(self, response: Response, key: SessionKey, lasts: timedelta) -> Response:
        """Let the browser of a wall be known by the key of its link for so long."""
        return self._give(response, self._wall_cookie, key.text, lasts=lasts)

    def dismiss(self, response: Response) -> Response:
        """Let the browser be known no more."""
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
        """Let the browser show a cookie, for so long or until it is closed."""
        seconds = None if lasts is None else int(lasts.total_seconds())
        response.set_cookie(name, value, seconds, secure=self.is_secure, httponly=True, samesite=samesite)
        return response

    def _take(self, response: Response, name: str) -> Response:
        response.delete_cookie(name, secure=self.is_secure, httponly=True, samesite="lax")
        return response


@dataclass(frozen=True, slots=True)
class RequirePermission:
    """What a route asks for; as its dependency it returns who asks.

    Raises `SignInNeededError`, `SecondFactorNeededError` or `HTTPException`.
    """

    permission: Permission
    #: `None`: for any agency. Then the route shows or does no more than the visitor may.
    agency: AgencyOf | None = None

    async def __call__(self, request: Request) -> Principal:
        """Let a visitor on who has the permission."""
        principal = await access_control_of(request).principal(request)
        # Pages show who looks at them.
        request.state.principal = principal
        if not principal.may(self.permission):
            if not principal.is_known:
                raise SignInNeededError
            if principal.is_held:
                raise SecondFactorNeededError
            raise forbidden(principal, self.permission)
        # Whoever may for all need not wait for whose it is to be found.
        if self.agency is not None and not principal.scope(self.permission).everything:
            permit(principal, self.permission, await self.agency(request))
        return principal


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """Says of a route that it needs no permission, and why; as its dependency it does nothing."""

    why: str

    async def __call__(self) -> None:
        """Let everybody on."""


@dataclass(frozen=True, slots=True)
class RequireTrustedNetwork:
    """Lets on who asks from this machine, or from where scrapers may; and whoever may see everything."""

    async def __call__(self, request: Request) -> None:
        """Let a scraper on."""
        access_control = access_control_of(request)
        if access_control.is_near(request):
            return
        principal = await access_control.principal(request)
        if not principal.may(Permission.READ, OURSELVES):
            raise HTTPException(
                403, "metrics are for scrapers: `portal.scrapers` in the settings names from where they ask"
            )


def permit(principal: Principal, permission: Permission, agency: str) -> None:
    """Raise `HTTPException` unless a visitor has a permission for an agency."""
    if not principal.may(permission, agency):
        raise forbidden(principal, permission, agency)


def forbidden(principal: Principal, permission: Permission, agency: str | None = None) -> HTTPException:
    """Return how it is said that something is not for a visitor."""
    pattern = {
        None: "{who} has no permission to {permission}; an administrator gives roles",
        OURSELVES: "{who} has no permission to {permission} for Pantau itself; an administrator gives roles",
    }.get(agency, "{who} has no permission to {permission} for {agency}; an administrator gives roles")
    words = {"who": principal.called, "permission": said(permission.replace("_", " ")), "agency": agency}
    return HTTPException(403, said(pattern, **words))


def _bearer(request: Request) -> str | None:
    """Return what stands behind "Bearer" in the header; `None`: it does not."""
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
    """Return the gate of the portal that is asked."""
    access_control: AccessControl = request.app.state.access_control
    return access_control


async def about_ourselves(_request: Request) -> str:
    """Return that a request is about no agency but about Pantau."""
    return OURSELVES


async def agency_in_path(request: Request) -> str:
    """Return the agency that the path names as {code}."""
    return str(request.path_params["code"]).upper()


def incident_in_path(source: ServiceFacade) -> AgencyOf:
    """Return what finds the agency of the incident that the path names as {number}. Raises `NotFoundError`."""

    async def agency(request: Request) -> str:
        return (await source.numbered(str(request.path_params["number"]))).brief.agency

    return agency


def notification_in_path(source: ServiceFacade) -> AgencyOf:
    """Return what finds the agency of the notice that the path names as {notification_id}. Raises `NotFoundError`."""

    async def agency(request: Request) -> str:
        written = str(request.path_params["notification_id"])
        if not written.isdecimal() or len(written) > _DIGITS:
            raise HTTPException(404, "there is no such notice")
        return (await source.board.notice(int(written))).notice.agency

    return agency


def put_access_control(app: FastAPI, access_control: AccessControl) -> None:
    """Let *access_control* stand before all routes of *app*, which has all of them by now. Raise `RouteWithoutPermissionError`."""
    app.state.access_control = access_control
    app.add_exception_handler(SignInNeededError, _sign_in)
    app.add_exception_handler(SecondFactorNeededError, _set_up)
    for route in routes_of(app):
        if need_of(route) is None:
            raise RouteWithoutPermissionError(f"{route.path} names no permission, nor why it needs none")


def routes_of(app: FastAPI) -> Iterator[APIRoute]:
    """Return the routes of *app*. Files that are the same for everybody are none. Raise `RouteWithoutPermissionError`."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        elif not _is_file(route):
            raise RouteWithoutPermissionError(f"{route} is no route that can name a permission")


def need_of(route: APIRoute) -> RequirePermission | RequireTrustedNetwork | PublicRoute | None:
    """Return what a route asks for; `None`: it does not say."""
    calls = [each.call for each in route.dependant.dependencies]
    # What stands nearest to the route counts.
    return next(
        (call for call in reversed(calls) if isinstance(call, RequirePermission | RequireTrustedNetwork | PublicRoute)),
        None,
    )


def _is_file(route: BaseRoute) -> bool:
    return isinstance(route, Mount) and route.path == "/static"


async def _sign_in(request: Request, _error: Exception) -> Response:
    """Show a person the way; tell a program."""
    if access_control_of(request).authenticator is None:
        return problem(HTTPStatus.FORBIDDEN, "this portal has no sign-in (`portal` in the settings), and so not this")
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        wanted = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/sign-in?next={wanted}", status_code=303)
    return problem(HTTPStatus.UNAUTHORIZED, "sign in first, at /sign-in", headers={"WWW-Authenticate": "Session"})


async def _set_up(request: Request, _error: Exception) -> Response:
    """Show a person the way; tell a program."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/account/second-factor", status_code=303)
    return problem(
        HTTPStatus.FORBIDDEN, "your role asks for a second factor: set it up first, at /account/second-factor"
    )


#: As a parameter of a route: who asks, and has the permission; `Its`: for the agency of the path.
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
    """Return the `dependencies` of a route that needs none, and says *why*."""
    return [Depends(PublicRoute(why))]
