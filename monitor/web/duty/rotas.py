"""On-call pages: all rotas in the principal's scope, and one rota with its overrides and calendar feeds.

A rota says who is on call. It belongs to an agency ("JCM/bertugas"), or all agencies share it ("bertugas"). An override
puts another person on call for a time. A calendar feed is a URL with a key, by which a calendar program reads a rota.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.oncall import Override
from monitor.access.principal import Principal, User
from monitor.access.role import PANTAU_ITSELF, Permission
from monitor.config.fields.phone import format_printed
from monitor.service.access.secret import FeedKey
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.oncall import OnCall, owner_of
from monitor.service.portal.rota_feed import RotaFeedService
from monitor.web.access.access_control import PeopleReader, RequirePermission, SignInNeededError, allow_public
from monitor.web.access.sign_in import client_address
from monitor.web.form import Pages, read_form
from monitor.web.request import Id

#: Rotas per page. It takes some milliseconds to compute the next three months of a rota.
_PAGE_SIZE: Final = 30
#: Replaces the agency code in the URL of a shared rota.
_NO_AGENCY: Final = "-"


async def _owner(request: Request) -> str:
    """Return the agency of the rota in the path; `PANTAU_ITSELF` for a shared rota."""
    code = str(request.path_params["code"]).upper()
    return PANTAU_ITSELF if code == _NO_AGENCY else code


_RotaReader = Annotated[Principal, Depends(RequirePermission(Permission.READ_PEOPLE, _owner))]
_RotaOverrider = Annotated[Principal, Depends(RequirePermission(Permission.OVERRIDE, _owner))]


def rota_path(rota: str) -> str:
    """Return the path of a rota's page."""
    return f"/rotas/{owner_of(rota) or _NO_AGENCY}/{rota.rpartition('/')[2]}"


def rota_pages(on_call_service: OnCall, feed_service: RotaFeedService, pages: Pages) -> APIRouter:
    """Build the router of the on-call pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/rotas")
    async def list_rotas(
        request: Request,
        principal: PeopleReader,
        q: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        visible = on_call_service.visible_rotas(principal.scope(Permission.READ_PEOPLE))
        matching = [name for name in visible if q.strip().casefold() in name.casefold() and name > after]
        rotas_on_page = matching[:_PAGE_SIZE]
        next_page = (
            f"/rotas?{urlencode({'q': q, 'after': rotas_on_page[-1]})}" if len(matching) > len(rotas_on_page) else ""
        )
        context = {
            "rotas": sorted(await on_call_service.show("", "", only=rotas_on_page), key=lambda view: view.rota),
            "empty_rotas": sorted(set(on_call_service.empty_rotas or ()) & set(visible)),
            "q": q,
            "next_page": next_page,
        }
        return render(request, principal, "rotas.html", context)

    @router.get(
        "/rotas/{code}/{rota}.ics",
        dependencies=allow_public("checks the key of the feed, because calendar programs do not sign in"),
    )
    async def calendar(code: str, rota: str, key: Annotated[str, Query(max_length=100)] = "") -> Response:
        name = rota if code == _NO_AGENCY else f"{code.upper()}/{rota}"
        return Response(await feed_service.read(name, FeedKey(text=key)), media_type="text/calendar")

    @router.get("/rotas/{code}/{rota}")
    async def show_rota(request: Request, principal: _RotaReader, code: str, rota: str) -> Response:
        return await render_rota(request, principal, find_rota(code, rota))

    @router.post("/rotas/{code}/{rota}/overrides")
    async def add_override(request: Request, principal: _RotaOverrider, code: str, rota: str) -> Response:
        form = await read_form(request)
        name, person = find_rota(code, rota), form.get("person", "")
        if not person:
            return await render_rota(request, principal, name, status=422, problem="no_person", form=form)
        starts_at, ends_at = form.get("begins", ""), form.get("ends", "")
        operation = on_call_service.add(rota=name, person=person, begins=starts_at, ends=ends_at, by=principal.by)
        return await redirect_after(request, principal, name, operation, form)

    @router.post("/rotas/{code}/{rota}/overrides/{override_id}/remove")
    async def remove_override(
        request: Request, principal: _RotaOverrider, code: str, rota: str, override_id: Id
    ) -> Response:
        await read_form(request)
        name = find_rota(code, rota)
        # The permission was checked for this rota only, so the override must belong to it.
        if override_id not in {each.id for each in await overrides_of(name)}:
            raise NotFoundError.from_text("no_override_of", override=override_id, rota=name)
        return await redirect_after(request, principal, name, on_call_service.remove(override_id, principal.by), {})

    @router.post("/rotas/{code}/{rota}/feeds")
    async def create_feed(request: Request, principal: _RotaReader, code: str, rota: str) -> Response:
        await read_form(request)
        name = find_rota(code, rota)
        key = await feed_service.make(name, _signed_in_user(principal), address=client_address(request))
        # Only this response shows the URL with the key of the feed.
        feed_url = f"{str(request.base_url).rstrip('/')}{rota_path(name)}.ics?key={key.text}"
        return await render_rota(request, principal, name, new_feed_url=feed_url)

    @router.post("/rotas/{code}/{rota}/feeds/{feed_id}/revoke")
    async def revoke_feed(request: Request, principal: _RotaReader, code: str, rota: str, feed_id: Id) -> Response:
        await read_form(request)
        name = find_rota(code, rota)
        await feed_service.revoke(feed_id, name, _signed_in_user(principal), address=client_address(request))
        return RedirectResponse(rota_path(name), status_code=303)

    def find_rota(code: str, rota: str) -> str:
        """Return the full name of the rota in the path. Raise `NotFoundError`."""
        name = rota if code == _NO_AGENCY else f"{code.upper()}/{rota}"
        # `candidates` raises `NotFoundError` for an unknown rota.
        on_call_service.candidates(name)
        return name

    async def overrides_of(name: str) -> list[Override]:
        return [each for each in await on_call_service.overrides() if each.rota == name]

    async def redirect_after(
        request: Request, principal: Principal, name: str, operation: Awaitable[Override], form: Mapping[str, str]
    ) -> Response:
        # Redirect to the page of the rota, which lists the people to inform of the override.
        try:
            override = await operation
        except NotFoundError:
            # The error page shows this subclass of `OperationRejectedError`.
            raise
        except OperationRejectedError as error:
            context = {"problem": "not_done", "reason": error, "form": form}
            return await render_rota(request, principal, name, status=409, **context)
        affected_people = urlencode(
            [("tell", each.key) for each in await on_call_service.contacts_affected_by(override)]
        )
        return RedirectResponse(f"{rota_path(name)}?{affected_people}", status_code=303)

    async def render_rota(
        request: Request, principal: Principal, name: str, *, status: int = 200, **context: object
    ) -> Response:
        [view] = await on_call_service.show("", "", only=[name])
        defaults: dict[str, object] = {
            # The links to the other language need a path that accepts GET; the URL of a form may accept POST only.
            "path": rota_path(name),
            "view": view,
            "overrides": await overrides_of(name),
            "candidates": on_call_service.candidates(name),
            # People to be informed of an override. Show only people of the rota, because a URL may contain anything.
            "to_inform": [
                each for each in on_call_service.candidates(name) if each.key in request.query_params.getlist("tell")
            ],
            "may_override": principal.may(Permission.OVERRIDE, owner_of(name)),
            "feeds": await feed_service.feeds(name),
            "new_feed_url": "",
        }
        return render(request, principal, "rota.html", {**defaults, **context}, status)

    def render(
        request: Request, principal: Principal, template: str, context: Mapping[str, object], status: int = 200
    ) -> Response:
        helpers: dict[str, object] = {
            "rota_path": rota_path,
            "format_phone": format_printed,
            # Officers of an agency see the names of a shared rota, but not its numbers: they call their own staff.
            "may_see_numbers": lambda rota: principal.may(Permission.READ_PEOPLE, owner_of(rota)),
        }
        return pages.show(request, template, {**helpers, **context}, status)

    return router


def _signed_in_user(principal: Principal) -> User:
    if principal.user is None:
        raise SignInNeededError
    return principal.user
