"""Pages of maintenance notices: planned maintenance, drafts, and printouts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.channel import Channel
from monitor.access.role import Permission
from monitor.model.lazy_text import said
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.maintenance_notices import MaintenanceNotices
from monitor.web.access.access_control import ItsEditor, agency_in_path, require
from monitor.web.form import Pages, form_of
from monitor.web.page import PageLanguage, language_of

_FILES: Final[Mapping[str, Channel]] = {"surat.pdf": Channel.LETTER, "faks.pdf": Channel.FAX}


def maintenance_notice_pages(notices: MaintenanceNotices, pages: Pages) -> APIRouter:
    """Build the router of the maintenance notice pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.EDIT_AGENCY, agency_in_path))

    async def listed(
        request: Request, code: str, *, why: OperationRejectedError | None = None, made: str = ""
    ) -> Response:
        papers = {channel for each in notices.recipients(code) for channel in each.channels}
        facts = {"told": await notices.overview(code), "papers": papers, "why": why, "made": made}
        return pages.show(request, "maintenance_notices.html", facts, 422 if why else 200)

    @router.get("/agencies/{code}/maintenance-notices")
    async def planned(request: Request, code: str) -> Response:
        return await listed(request, code, made=request.query_params.get("made", "")[:40])

    @router.get("/agencies/{code}/maintenance-notices/preview")
    async def look(request: Request, code: str) -> Response:
        begins, before = request.query_params.get("begins", ""), request.query_params.get("before", "")
        try:
            draft = await notices.draft(code, _moment(begins), before)
        except OperationRejectedError as wrong:
            return await listed(request, code, why=wrong)
        facts = {
            "code": code.upper(),
            "body": notices.said(code, draft, language_of(PageLanguage.MALAY)),
            "recipients": notices.recipients(code),
            "begins": begins,
            "before": before,
        }
        return pages.show(request, "maintenance_notice_preview.html", facts)

    @router.post("/agencies/{code}/maintenance-notices")
    async def make(request: Request, code: str, principal: ItsEditor) -> Response:
        fields = await form_of(request)
        try:
            made = await notices.make(
                code, _moment(fields.get("begins", "")), fields.get("before", ""), by=principal.by
            )
        except OperationRejectedError as wrong:
            return await listed(request, code, why=wrong)
        return RedirectResponse(f"/agencies/{code.upper()}/maintenance-notices?made={made.number}", status_code=303)

    @router.get("/agencies/{code}/maintenance-notices/{number}/{file}")
    async def download(
        code: str, number: str, file: str, principal: ItsEditor, sides: Annotated[int, Query(ge=1, le=2)] = 1
    ) -> Response:
        if file not in _FILES:
            raise HTTPException(404, said("there is no file '{file}' of a notice", file=file[:80]))
        octets = await notices.papers(code, number, _FILES[file], principal.by, both_sides=sides == 2)
        headers = {"Content-Disposition": f'attachment; filename="{number}-{file}"'}
        return Response(octets, media_type="application/pdf", headers=headers)

    return router


def _moment(written: str) -> datetime | None:
    """Return the time in a link or a form; `None` if empty.

    Raise `OperationRejectedError` for a value that none of our pages contains.
    """
    if not written:
        return None
    try:
        return datetime.strptime(written, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise OperationRejectedError.said("advance_gone") from None
