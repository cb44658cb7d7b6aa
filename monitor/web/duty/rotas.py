"""On-call pages: all rotas in the principal's scope, and one rota with its overrides."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.oncall import Override
from monitor.access.principal import Principal, User
from monitor.access.role import OURSELVES, Permission
from monitor.config.fields.phone import printed
from monitor.service.access.secret import FeedKey
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.oncall import OnCall, owner_of
from monitor.service.portal.rota_feed import RotaFeedService
from monitor.web.access.access_control import Colleague, RequirePermission, SignInNeededError, public_route
from monitor.web.access.sign_in import from_where
from monitor.web.form import Pages, form_of
from monitor.web.request import Id

#: Rotas per page: the preview of three months takes some milliseconds each.
_AT_A_TIME: Final = 30
#: Replaces the agency in the URL of a rota that belongs to no agency.
_OURS: Final = "-"


async def _owner(request: Request) -> str:
    """Return the owner of the rota in the path."""
    code = str(request.path_params["code"]).upper()
    return OURSELVES if code == _OURS else code


_TheirColleague = Annotated[Principal, Depends(RequirePermission(Permission.READ_PEOPLE, _owner))]
_TheirDuty = Annotated[Principal, Depends(RequirePermission(Permission.OVERRIDE, _owner))]


def path_of(rota: str) -> str:
    """Return the path of a rota's page."""
    return f"/rotas/{owner_of(rota) or _OURS}/{rota.rpartition('/')[2]}"


def rota_pages(duty: OnCall, desk: RotaFeedService, pages: Pages) -> APIRouter:
    """Build the router of the on-call pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/rotas")
    async def everywhere(
        request: Request,
        principal: Colleague,
        q: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        visible = duty.visible(principal.scope(Permission.READ_PEOPLE))
        found = [name for name in visible if q.strip().casefold() in name.casefold() and name > after]
        some = found[:_AT_A_TIME]
        more = f"/rotas?{urlencode({'q': q, 'after': some[-1]})}" if len(found) > len(some) else ""
        facts = {
            "views": sorted(await duty.show("", "", only=some), key=lambda view: view.rota),
            "deserted": sorted(set(duty.deserted or ()) & set(visible)),
            "q": q,
            "more": more,
        }
        return page(request, principal, "rotas.html", facts)

    @router.get(
        "/rotas/{code}/{rota}.ics", dependencies=public_route("has keys of its own: calendar programs do not sign in")
    )
    async def calendar(code: str, rota: str, key: Annotated[str, Query(max_length=100)] = "") -> Response:
        name = rota if code == _OURS else f"{code.upper()}/{rota}"
        return Response(await desk.read(name, FeedKey(text=key)), media_type="text/calendar")

    @router.get("/rotas/{code}/{rota}")
    async def one(request: Request, principal: _TheirColleague, code: str, rota: str) -> Response:
        return await shown(request, principal, called(code, rota))

    @router.post("/rotas/{code}/{rota}/overrides")
    async def hand_over(request: Request, principal: _TheirDuty, code: str, rota: str) -> Response:
        written = await form_of(request)
        name, person = called(code, rota), written.get("person", "")
        if not person:
            return await shown(request, principal, name, status=422, problem="no_person", written=written)
        begins, ends = written.get("begins", ""), written.get("ends", "")
        doing = duty.add(rota=name, person=person, begins=begins, ends=ends, by=principal.by)
        return await carried_out(request, principal, name, doing, written)

    @router.post("/rotas/{code}/{rota}/overrides/{override_id}/remove")
    async def take_back(request: Request, principal: _TheirDuty, code: str, rota: str, override_id: Id) -> Response:
        await form_of(request)
        name = called(code, rota)
        # Only overrides of this rota: permission to revoke here does not apply to other rotas.
        if override_id not in {each.id for each in await standing(name)}:
            raise NotFoundError.said("no_override_of", override=override_id, rota=name)
        return await carried_out(request, principal, name, duty.remove(override_id, principal.by), {})

    @router.post("/rotas/{code}/{rota}/feeds")
    async def make(request: Request, principal: _TheirColleague, code: str, rota: str) -> Response:
        await form_of(request)
        name = called(code, rota)
        key = await desk.make(name, _known(principal), address=from_where(request))
        # Show the URL in this response only.
        feed = f"{str(request.base_url).rstrip('/')}{path_of(name)}.ics?key={key.text}"
        return await shown(request, principal, name, feed=feed)

    @router.post("/rotas/{code}/{rota}/feeds/{feed_id}/revoke")
    async def revoke(request: Request, principal: _TheirColleague, code: str, rota: str, feed_id: Id) -> Response:
        await form_of(request)
        name = called(code, rota)
        await desk.revoke(feed_id, name, _known(principal), address=from_where(request))
        return RedirectResponse(path_of(name), status_code=303)

    def called(code: str, rota: str) -> str:
        name = rota if code == _OURS else f"{code.upper()}/{rota}"
        duty.candidates(name)
        return name

    async def standing(name: str) -> list[Override]:
        return [each for each in await duty.overrides() if each.rota == name]

    async def carried_out(
        request: Request, principal: Principal, name: str, doing: Awaitable[Override], written: Mapping[str, str]
    ) -> Response:
        try:
            changed = await doing
        except NotFoundError:
            raise
        except OperationRejectedError as wrong:
            facts = {"problem": "not_done", "why": wrong, "written": written}
            return await shown(request, principal, name, status=409, **facts)
        tell = urlencode([("tell", each.key) for each in await duty.concerned(changed)])
        return RedirectResponse(f"{path_of(name)}?{tell}", status_code=303)

    async def shown(
        request: Request, principal: Principal, name: str, *, status: int = 200, **facts: object
    ) -> Response:
        [view] = await duty.show("", "", only=[name])
        blank: dict[str, object] = {
            # Not the path of a form, which has no page to show in another language.
            "path": path_of(name),
            "view": view,
            "overrides": await standing(name),
            "candidates": duty.candidates(name),
            # Only known candidates, because a URL may contain anything.
            "tell": [each for each in duty.candidates(name) if each.key in request.query_params.getlist("tell")],
            "may_override": principal.may(Permission.OVERRIDE, owner_of(name)),
            "feeds": await desk.feeds(name),
            "feed": "",
        }
        return page(request, principal, "rota.html", {**blank, **facts}, status)

    def page(
        request: Request, principal: Principal, template: str, facts: Mapping[str, object], status: int = 200
    ) -> Response:
        common: dict[str, object] = {
            "path_of": path_of,
            "printed": printed,
            # A shared rota does not belong to the agency: its officers see names, and call their own staff.
            "sees_numbers": lambda rota: principal.may(Permission.READ_PEOPLE, owner_of(rota)),
        }
        return pages.show(request, template, {**common, **facts}, status)

    return router


def _known(principal: Principal) -> User:
    if principal.user is None:
        raise SignInNeededError
    return principal.user
