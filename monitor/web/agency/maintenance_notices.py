"""Pages of maintenance notices: planned maintenance, preview of a notice, downloads.

A maintenance notice announces, changes or cancels maintenance by letter and fax. A person prints and sends its pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from alerts.model.channel import Channel
from monitor.access.role import Permission
from monitor.model.translatable import translatable
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.maintenance_notices import MaintenanceNotices
from monitor.web.access.access_control import AgencyOfficer, agency_in_path, require
from monitor.web.form import Pages, read_form
from monitor.web.page import PageLanguage, notification_language

#: Channel by the file name in a download URL. The names are Malay for letter and fax.
_CHANNEL_BY_FILE: Final[Mapping[str, Channel]] = {"surat.pdf": Channel.LETTER, "faks.pdf": Channel.FAX}


def maintenance_notice_pages(notices: MaintenanceNotices, pages: Pages) -> APIRouter:
    """Build the router of the maintenance notice pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.EDIT_AGENCY, agency_in_path))

    async def render_list(
        request: Request, code: str, *, reason: OperationRejectedError | None = None, created: str = ""
    ) -> Response:
        # The page offers the letter or fax only if it is a channel of a recipient.
        recipient_channels = {channel for each in notices.recipients(code) for channel in each.channels}
        context = {
            "overview": await notices.overview(code),
            "recipient_channels": recipient_channels,
            "reason": reason,
            "created": created,
        }
        return pages.show(request, "maintenance_notices.html", context, 422 if reason else 200)

    @router.get("/agencies/{code}/maintenance-notices")
    async def list_notices(request: Request, code: str) -> Response:
        return await render_list(request, code, created=request.query_params.get("made", "")[:40])

    @router.get("/agencies/{code}/maintenance-notices/preview")
    async def preview(request: Request, code: str) -> Response:
        # *before*: number of the notice that the new one changes or cancels.
        starts_at, before = request.query_params.get("begins", ""), request.query_params.get("before", "")
        try:
            draft = await notices.draft(code, _parse_time(starts_at), before)
        except OperationRejectedError as error:
            return await render_list(request, code, reason=error)
        context = {
            "code": code.upper(),
            "body": notices.letter_body(code, draft, notification_language(PageLanguage.MALAY)),
            "recipients": notices.recipients(code),
            "begins": starts_at,
            "before": before,
        }
        return pages.show(request, "maintenance_notice_preview.html", context)

    @router.post("/agencies/{code}/maintenance-notices")
    async def create(request: Request, code: str, principal: AgencyOfficer) -> Response:
        fields = await read_form(request)
        try:
            notice = await notices.create(
                code, _parse_time(fields.get("begins", "")), fields.get("before", ""), by=principal.by
            )
        except OperationRejectedError as error:
            return await render_list(request, code, reason=error)
        return RedirectResponse(f"/agencies/{code.upper()}/maintenance-notices?made={notice.number}", status_code=303)

    @router.get("/agencies/{code}/maintenance-notices/{number}/{file}")
    async def download(
        code: str, number: str, file: str, principal: AgencyOfficer, sides: Annotated[int, Query(ge=1, le=2)] = 1
    ) -> Response:
        # *sides*: 2 to print on both sides of the paper.
        if file not in _CHANNEL_BY_FILE:
            raise HTTPException(404, translatable("there is no file '{file}' of a maintenance notice", file=file[:80]))
        octets = await notices.render_pdf(code, number, _CHANNEL_BY_FILE[file], principal.by, both_sides=sides == 2)
        headers = {"Content-Disposition": f'attachment; filename="{number}-{file}"'}
        return Response(octets, media_type="application/pdf", headers=headers)

    return router


def _parse_time(text: str) -> datetime | None:
    """Parse a time from a URL or a form, such as "20261201T220000Z"; return `None` for an empty text.

    Raise `OperationRejectedError` for another format, which no page of the portal sends.
    """
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise OperationRejectedError.from_text("advance_gone") from None
