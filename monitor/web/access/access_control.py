"""Authentication of requests, and the permission check of every route.

The principal of a request is a signed-in user (session cookie), a program (API token), or a wallboard (cookie of its
link). A wallboard is a screen in the network operations centre. On a portal without sign-in, everybody is a local user.
Each HTTP route requires a permission, or declares that it is public; the portal is not built if a route does neither.
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
from monitor.access.device import DEVICE_LIFETIME, device_cookie_suffix
from monitor.access.principal import LOCAL_PERMISSIONS, Principal
from monitor.access.role import PANTAU_ITSELF, AgencyScope, Permission
from monitor.model.translatable import translatable
from monitor.service.access.authenticator import Authenticator, DeviceCookieReader, NewPendingSession, NewSession
from monitor.service.access.secret import SessionKey, TokenSecret
from monitor.service.access.tokens import InvalidTokenError, ProgramTokens, TooManyAttemptsError
from monitor.service.access.wallboards import Wallboards
from monitor.service.facade import ServiceFacade
from monitor.store.admin.users import WebSession
from monitor.web.form import is_from_our_page
from monitor.web.problem import problem

#: Name of the session cookie. Its prefix `__Host-` keeps pages of other sites from setting it (RFC 6265bis, 4.1.3.2).
_SESSION_COOKIE: Final = "__Host-pantau"
#: Name of the session cookie over plain HTTP, where browsers reject the prefix. Only this machine uses plain HTTP.
_SESSION_COOKIE_INSECURE: Final = "pantau"
#: Names of the cookie of a wallboard, over HTTPS and over plain HTTP. Wallboards do not use the session cookie, because
#: sessions expire too soon for them.
_WALLBOARD_COOKIE: Final = "__Host-pantau-wall"
_WALLBOARD_COOKIE_INSECURE: Final = "pantau-wall"
#: Paths that a wallboard may request: the status page, and its fragment (the part that changes), which the page polls.
_WALLBOARD_PATHS: Final = frozenset({"/", "/fragment"})
#: Signs of a request that a page sends without the user, possibly in an unattended tab: the suffix of the paths that
#: scripts poll, and the query parameter of pages that refresh themselves without scripts. Such a request extends the
#: session only if it has `_ACTIVITY_HEADER`.
_FRAGMENT_SUFFIX: Final = "/fragment"
_POLL_PARAMETER: Final = "polled"
#: Header by which the page's script reports that the user has clicked or typed since its last request.
_ACTIVITY_HEADER: Final = "x-pantau-used"
#: Suffix of the cookie of a pending session: the user has entered the password, and not yet the code of the second
#: factor.
_PENDING_SUFFIX: Final = "-half"
#: Maximum number of digits of a notification's ID. A longer number may exceed an integer of the database.
_MAX_ID_DIGITS: Final = 9
#: Methods that change nothing (RFC 9110, 9.2.1).
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

#: Function that returns the code of the agency that a request concerns; `PANTAU_ITSELF` for Pantau itself.
AgencyResolver = Callable[[Request], Awaitable[str]]


class SignInNeededError(Exception):
    """The request is unauthenticated, and the route is not public."""


class SecondFactorNeededError(Exception):
    """The user's role requires a second factor, and the user has not set one up."""


class RouteWithoutPermissionError(Exception):
    """The route neither requires a permission nor declares that it is public."""


class AccessControl:
    """Authenticator of requests, by session cookie, API token or wallboard cookie. It also sets these cookies."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        tokens: ProgramTokens | None = None,
        *,
        wallboards: Wallboards | None = None,
        is_secure: bool = False,
        metrics_networks: Sequence[str] = (),
    ) -> None:
        """Take the services that authenticate users, programs and wallboards.

        Without an *authenticator* the portal has no sign-in. *is_secure*: whether browsers reach the portal by HTTPS.
        *metrics_networks*: networks that may read metrics without sign-in, in addition to this machine.
        """
        self.authenticator = authenticator
        self._tokens = tokens
        self._wallboards = wallboards
        self._wallboard_cookie = _WALLBOARD_COOKIE if is_secure else _WALLBOARD_COOKIE_INSECURE
        self._metrics_networks = [ip_network(each) for each in metrics_networks]
        self.is_secure = is_secure
        self._session_cookie = _SESSION_COOKIE if is_secure else _SESSION_COOKIE_INSECURE

    async def principal(self, request: Request) -> Principal:
        """Return the principal of a request.

        On a portal without sign-in, everybody has the permissions of a local user. Raise `HTTPException` for an invalid
        token.

        The cookies of a request that may change something count only if a page of the portal sent the request: a page
        of another site can send requests with these cookies (CSRF), but not the header `Authorization` with a token.
        """
        if self.authenticator is None:
            return Principal(open_permissions=LOCAL_PERMISSIONS)
        if self._tokens is not None and (secret := _bearer_token(request)) is not None:
            return Principal(token=await _authenticate_token(self._tokens, secret, request))
        if request.method not in _SAFE_METHODS and not is_from_our_page(request):
            return Principal()
        session = await self.session(request)
        if session is None:
            return Principal(wallboard=await self._wallboard_scope(request))
        return Principal(
            user=session.user, needs_second_factor_setup=self.authenticator.must_set_up_second_factor(session.user)
        )

    async def _wallboard_scope(self, request: Request) -> AgencyScope:
        """Return the agencies that a wallboard may see: none without a valid key, or if it requests another page."""
        key = request.cookies.get(self._wallboard_cookie)
        is_permitted_request = (
            request.url.path in _WALLBOARD_PATHS
            and "wallboard" in request.query_params
            and request.method in _SAFE_METHODS
        )
        if key is None or self._wallboards is None or not is_permitted_request:
            return AgencyScope()
        return await self._wallboards.scope(SessionKey(text=key))

    def is_trusted_network(self, request: Request) -> bool:
        """Whether a request comes from this machine or from a network that may read metrics."""
        try:
            address = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._metrics_networks)

    async def session(self, request: Request) -> WebSession | None:
        """Return the browser's session. Extend it, unless the page sent the request without an action of the user."""
        key = request.cookies.get(self._session_cookie)
        if key is None or self.authenticator is None:
            return None
        is_polled = request.url.path.endswith(_FRAGMENT_SUFFIX) or _POLL_PARAMETER in request.query_params
        is_activity = not is_polled or _ACTIVITY_HEADER in request.headers
        return await self.authenticator.session(SessionKey(text=key), is_activity=is_activity)

    async def own_session(self, request: Request) -> WebSession:
        """Return the session of the signed-in user, for the pages of this user's own account.

        Raise `SignInNeededError` or `SecondFactorNeededError`.
        """
        if (session := await self.session(request)) is None:
            raise SignInNeededError
        if self.authenticator is not None and self.authenticator.must_set_up_second_factor(session.user):
            raise SecondFactorNeededError
        return session

    def continue_sign_in(self, signed_in: NewSession | NewPendingSession, destination: str) -> Response:
        """Set the cookie, and redirect to *destination*.

        For a pending session, redirect to the form for the code of the second factor first.
        """
        if isinstance(signed_in, NewPendingSession):
            return self.set_pending_cookie(
                RedirectResponse(f"/sign-in/code?next={quote(destination)}", status_code=303), signed_in
            )
        return self.set_session_cookie(RedirectResponse(destination, status_code=303), signed_in)

    def set_session_cookie(self, response: Response, signed_in: NewSession) -> Response:
        """Set the session cookie, and delete the cookie of the pending session.

        The session cookie expires when the browser is closed. If *signed_in* has a device cookie, set it, too: it marks
        a browser from which the user has signed in before.
        """
        self._set_cookie(response, self._session_cookie, signed_in.key.text)
        if signed_in.device_cookie:
            name = self._session_cookie + device_cookie_suffix(signed_in.session.user.name)
            self._set_cookie(response, name, signed_in.device_cookie, max_age=DEVICE_LIFETIME, samesite="strict")
        return self._delete_cookie(response, self._session_cookie + _PENDING_SUFFIX)

    def device_cookie_reader(self, request: Request) -> DeviceCookieReader:
        """Return a function that takes a sign-in name, and returns this user's device cookie; "" without a cookie."""
        return lambda name: request.cookies.get(self._session_cookie + device_cookie_suffix(name), "")

    def pending_session_key(self, request: Request) -> SessionKey | None:
        """Return the key of the browser's pending session."""
        key = request.cookies.get(self._session_cookie + _PENDING_SUFFIX)
        return None if key is None else SessionKey(text=key)

    def set_pending_cookie(self, response: Response, pending: NewPendingSession) -> Response:
        """Set the cookie of a pending session."""
        return self._set_cookie(response, self._session_cookie + _PENDING_SUFFIX, pending.key.text)

    def set_wallboard_cookie(self, response: Response, key: SessionKey, max_age: timedelta) -> Response:
        """Set the cookie of a wallboard to the key of its link."""
        return self._set_cookie(response, self._wallboard_cookie, key.text, max_age=max_age)

    def delete_session_cookie(self, response: Response) -> Response:
        """Delete the session cookie."""
        return self._delete_cookie(response, self._session_cookie)

    def _set_cookie(
        self,
        response: Response,
        name: str,
        value: str,
        *,
        max_age: timedelta | None = None,
        samesite: Literal["lax", "strict"] = "lax",
    ) -> Response:
        """Set a cookie. Without *max_age*, closing the browser deletes the cookie."""
        max_age_seconds = None if max_age is None else int(max_age.total_seconds())
        response.set_cookie(name, value, max_age_seconds, secure=self.is_secure, httponly=True, samesite=samesite)
        return response

    def _delete_cookie(self, response: Response, name: str) -> Response:
        response.delete_cookie(name, secure=self.is_secure, httponly=True, samesite="lax")
        return response


@dataclass(frozen=True, slots=True)
class RequirePermission:
    """FastAPI dependency of a route that requires a permission; it returns the principal.

    Raises `SignInNeededError`, `SecondFactorNeededError` or `HTTPException`, and the errors of the resolver.
    """

    permission: Permission
    #: Resolver of the agency for which the permission is required. `None`: the permission for any agency is enough;
    #: then the route itself must limit what it shows or does to the agencies in the principal's scope.
    agency: AgencyResolver | None = None

    async def __call__(self, request: Request) -> Principal:
        """Return the principal of *request* if the principal has the permission."""
        principal = await access_control_of(request).principal(request)
        # `Pages.show` reads the principal there, for instance to show the name of the signed-in user.
        request.state.principal = principal
        if not principal.may(self.permission):
            if not principal.is_authenticated:
                raise SignInNeededError
            if principal.needs_second_factor_setup:
                raise SecondFactorNeededError
            raise forbidden(principal, self.permission)
        # Skip the look-up of the agency if the principal has the permission for all agencies.
        if self.agency is not None and not principal.scope(self.permission).is_unrestricted:
            check_permission(principal, self.permission, await self.agency(request))
        return principal


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """FastAPI dependency that declares a route public. It checks nothing."""

    #: Why the route needs no permission.
    reason: str

    async def __call__(self) -> None:
        """Accept every request."""


@dataclass(frozen=True, slots=True)
class RequireTrustedNetwork:
    """FastAPI dependency that limits who may read the metrics.

    It accepts requests from this machine, from the networks in `portal.metrics_networks`, and from principals who may
    read the state of Pantau itself.
    """

    async def __call__(self, request: Request) -> None:
        """Raise `HTTPException` for any other client."""
        access_control = access_control_of(request)
        if access_control.is_trusted_network(request):
            return
        principal = await access_control.principal(request)
        if not principal.may(Permission.READ, PANTAU_ITSELF):
            raise HTTPException(
                403, "metrics are for scrapers only: add their network to `portal.metrics_networks` in the settings"
            )


def check_permission(principal: Principal, permission: Permission, agency: str) -> None:
    """Raise `HTTPException` unless the principal has the permission for the agency."""
    if not principal.may(permission, agency):
        raise forbidden(principal, permission, agency)


def forbidden(principal: Principal, permission: Permission, agency: str | None = None) -> HTTPException:
    """Return the error for a principal without the permission for *agency*; `None`: without it for every agency."""
    message = {
        None: "{who} has no permission to {permission}; an administrator gives roles",
        PANTAU_ITSELF: "{who} has no permission to {permission} for Pantau itself; an administrator gives roles",
    }.get(agency, "{who} has no permission to {permission} for {agency}; an administrator gives roles")
    values = {"who": principal.refusal_name, "permission": translatable(permission.replace("_", " ")), "agency": agency}
    return HTTPException(403, translatable(message, **values))


def _bearer_token(request: Request) -> str | None:
    """Return the token in the header `Authorization: Bearer`; `None` without one."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


async def _authenticate_token(tokens: ProgramTokens, secret: str, request: Request) -> ApiToken:
    try:
        return await tokens.authenticate(TokenSecret(text=secret), request.client.host if request.client else "")
    except TooManyAttemptsError as error:
        reason = "too many invalid tokens from this address; wait, and check which program sends them"
        seconds = str(ceil(error.retry_after.total_seconds()))
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, reason, headers={"Retry-After": seconds}) from None
    except InvalidTokenError:
        reason = (
            "the token in the header Authorization is unknown, expired or revoked; an administrator creates another at "
            "/tokens, or by `pantau token add`"
        )
        header = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise HTTPException(HTTPStatus.UNAUTHORIZED, reason, headers=header) from None


def access_control_of(request: Request) -> AccessControl:
    """Return the access control of the portal that received the request."""
    access_control: AccessControl = request.app.state.access_control
    return access_control


async def pantau_as_agency(_request: Request) -> str:
    """Return `PANTAU_ITSELF`, for a request that concerns Pantau itself and no agency."""
    return PANTAU_ITSELF


async def agency_in_path(request: Request) -> str:
    """Return the agency code from the path parameter {code}."""
    return str(request.path_params["code"]).upper()


def incident_in_path(facade: ServiceFacade) -> AgencyResolver:
    """Return a resolver of the agency of the incident {number} in the path.

    The resolver raises `NotFoundError`.
    """

    async def agency(request: Request) -> str:
        return (await facade.find_incident(str(request.path_params["number"]))).policy.agency

    return agency


def notification_in_path(facade: ServiceFacade) -> AgencyResolver:
    """Return a resolver of the agency of the notification {notification_id} in the path.

    The resolver raises `NotFoundError` or `HTTPException`.
    """

    async def agency(request: Request) -> str:
        notification_id = str(request.path_params["notification_id"])
        if not notification_id.isdecimal() or len(notification_id) > _MAX_ID_DIGITS:
            raise HTTPException(404, "there is no such notification")
        return (await facade.status_reader.notification(int(notification_id))).notification.agency

    return agency


def install_access_control(app: FastAPI, access_control: AccessControl) -> None:
    """Let *access_control* authenticate the requests of *app*. Call this after all routes were added to *app*.

    Raise `RouteWithoutPermissionError` for a route that neither requires a permission nor is declared public.
    """
    app.state.access_control = access_control
    app.add_exception_handler(SignInNeededError, _require_sign_in)
    app.add_exception_handler(SecondFactorNeededError, _require_second_factor)
    for route in portal_routes(app):
        if requirement_of(route) is None:
            raise RouteWithoutPermissionError(f"{route.path} requires no permission and is not declared public")


def portal_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Yield the routes of *app*, without the mount of static files.

    Raise `RouteWithoutPermissionError` for any other route that is no `APIRoute`: it cannot require a permission.
    """
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        elif not _is_static_mount(route):
            raise RouteWithoutPermissionError(f"{route} is no route that can require a permission")


def requirement_of(route: APIRoute) -> RequirePermission | RequireTrustedNetwork | PublicRoute | None:
    """Return the requirement or the declaration of a route; `None` if it has neither."""
    calls = [each.call for each in route.dependant.dependencies]
    # The last requirement counts, because the route's own dependencies follow the dependencies of its router.
    return next(
        (call for call in reversed(calls) if isinstance(call, RequirePermission | RequireTrustedNetwork | PublicRoute)),
        None,
    )


def _is_static_mount(route: BaseRoute) -> bool:
    return isinstance(route, Mount) and route.path == "/static"


async def _require_sign_in(request: Request, _error: Exception) -> Response:
    """Return a redirect to the sign-in if a browser requests a page; otherwise return an error."""
    if access_control_of(request).authenticator is None:
        return problem(HTTPStatus.FORBIDDEN, "this portal has no sign-in (`portal` in the settings), which this needs")
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        destination = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/sign-in?next={destination}", status_code=303)
    return problem(HTTPStatus.UNAUTHORIZED, "sign in first, at /sign-in", headers={"WWW-Authenticate": "Session"})


async def _require_second_factor(request: Request, _error: Exception) -> Response:
    """Return a redirect to the set-up of a second factor if a browser requests a page; otherwise return an error."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/account/second-factor", status_code=303)
    return problem(
        HTTPStatus.FORBIDDEN, "your role requires a second factor: set it up first, at /account/second-factor"
    )


#: Types of route parameters. The value is the principal, who must have the permission of the type; for types whose
#: names begin with `Agency`, the permission for the agency in the path.
Administrator = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_USERS))]
PeopleReader = Annotated[Principal, Depends(RequirePermission(Permission.READ_PEOPLE))]
Reader = Annotated[Principal, Depends(RequirePermission(Permission.READ))]
AgencyOfficer = Annotated[Principal, Depends(RequirePermission(Permission.EDIT_AGENCY, agency_in_path))]
AgencyReader = Annotated[Principal, Depends(RequirePermission(Permission.READ, agency_in_path))]
AgencyTester = Annotated[Principal, Depends(RequirePermission(Permission.RUN_TESTS, agency_in_path))]


def require(permission: Permission, agency: AgencyResolver | None = None) -> list[params.Depends]:
    """Return the `dependencies` of a route that needs a permission."""
    return [Depends(RequirePermission(permission, agency))]


def allow_public(reason: str) -> list[params.Depends]:
    """Return the `dependencies` of a public route; *reason* states why it is public."""
    return [Depends(PublicRoute(reason))]
