"""API of maintenance notices: list, preview, create, download pages.

A maintenance notice announces, changes or cancels maintenance by letter and fax. A person prints, signs and sends its
pages. If plans change, a new notice replaces the previous one.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter

from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind
from alerts.model.channel import Channel
from alerts.model.notification import Language
from monitor.config.agency.announcement import RecipientSettings
from monitor.service.portal.maintenance_notices import MaintenanceNotices, MaintenanceOverview, paper_channels
from monitor.web.access.access_control import AgencyOfficer
from monitor.web.api.route.command import ApiRequest, Idempotency, author_of, command_router, requester_of
from monitor.web.api.route.query import NOT_FOUND, Moment, query_router
from monitor.web.problem import problems
from monitor.web.routers import combine_routers

#: Channel by the file name in a download URL.
_PAGES: Final = {"letter.pdf": Channel.LETTER, "fax.pdf": Channel.FAX}
_PDF: Final = {"description": "Pages to be printed.", "content": {"application/pdf": {}}}


_StartsAt = Annotated[
    Moment | None, Query(description="Start of the maintenance. Without it, the notice is a cancellation.")
]
_Before = Annotated[str, Query(max_length=32, description="Number of the notice that the new notice replaces.")]
_Sides = Annotated[Literal[1, 2], Query(description="2: each addressee begins on a sheet of their own.")]


#: Number of a notice. It is converted from the notice; `None` (no notice) becomes "".
_Number = Annotated[str, BeforeValidator(lambda notice: notice.number if notice else "")]


class MaintenanceNoticeResponse(BaseModel):
    """Notice about one period of maintenance."""

    number: str
    kind: MaintenanceNoticeKind
    starts_at: datetime
    ends_at: datetime
    reason: str
    made_at: datetime
    #: Author; "" in a preview, whose notice has not been created.
    made_by: str
    #: Number of the notice that this one replaces; "" for none.
    before: _Number


class PlannedMaintenanceResponse(BaseModel):
    """Planned maintenance; of a recurring maintenance window only the next occurrence."""

    starts_at: datetime
    ends_at: datetime
    reason: str
    #: Number of the notice that announces this maintenance; "": no notice announces it.
    told: _Number


class MaintenanceNoticesResponse(BaseModel):
    """Planned maintenance, and the notices about it."""

    agency: str
    #: Planned maintenance, the earliest first.
    works: list[PlannedMaintenanceResponse]
    #: Notices about future maintenance that is no longer planned. Their recipients need a new notice, which states a
    #: change or a cancellation.
    outdated: list[MaintenanceNoticeResponse]
    #: Notices about all maintenance that has not ended, the newest first.
    made: list[MaintenanceNoticeResponse]


class MaintenanceRecipientResponse(BaseModel):
    """Recipient of a notice."""

    title: str
    organisation: str
    #: Channels on paper, "letter" and "fax"; empty: the recipient must be informed by telephone.
    papers: list[Channel]


class MaintenanceDraftResponse(BaseModel):
    """Preview of a notice and its letter."""

    notice: MaintenanceNoticeResponse
    #: Title and paragraphs of the letter in Malay.
    text: list[str]
    recipients: list[MaintenanceRecipientResponse]


class MaintenanceNoticeRequest(ApiRequest):
    """New notice: start of the maintenance, and the notice that it replaces.

    With only `starts_at`, it announces maintenance; with both, it states a change; with only `before`, a cancellation.
    """

    starts_at: Annotated[
        Moment | None, Field(description="Start of the maintenance. Without it, the notice is a cancellation.")
    ] = None
    before: Annotated[str, Field(max_length=32, description="Number of the notice that the new notice replaces.")] = ""


_NOTICE: Final = TypeAdapter(MaintenanceNoticeResponse)


def maintenance_notice_routes(notices: MaintenanceNotices) -> APIRouter:
    """Build the router of the maintenance notices."""
    commands, queries = command_router(), query_router()
    path = "/agencies/{code}/maintenance-notices"

    @queries.get(
        path,
        summary="List planned maintenance and its maintenance notices",
        response_model=MaintenanceNoticesResponse,
        responses=NOT_FOUND,
    )
    async def overview(code: str, _principal: AgencyOfficer) -> MaintenanceOverview:
        return await notices.overview(code)

    @queries.get(
        f"{path}/draft",
        summary="Preview a maintenance notice; nothing is stored",
        response_model=MaintenanceDraftResponse,
        responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    async def draft(
        code: str, _principal: AgencyOfficer, starts_at: _StartsAt = None, before: _Before = ""
    ) -> MaintenanceDraftResponse:
        notice = await notices.draft(code, starts_at, before)
        body = notices.letter_body(code, notice, Language.MALAY)
        # Each paragraph, and after it the items of its list.
        texts = [text for each in body.paragraphs for text in (each.text, *(item.text for item in each.items))]
        return MaintenanceDraftResponse(
            notice=_notice_response(notice),
            text=[body.title, body.opening, *texts],
            recipients=[_recipient_response(each) for each in notices.recipients(code)],
        )

    @commands.post(
        path,
        summary="Create a maintenance notice; nothing is sent: print, sign and send its pages",
        response_model=MaintenanceNoticeResponse,
        status_code=HTTPStatus.CREATED,
    )
    async def make(
        code: str, command: MaintenanceNoticeRequest, principal: AgencyOfficer, idempotency: Idempotency
    ) -> Response:
        name = author_of(principal, command.by)

        async def operation() -> MaintenanceNoticeResponse:
            return _notice_response(await notices.create(code, command.starts_at, command.before, by=name))

        return await idempotency.run(requester_of(principal), _NOTICE, operation, HTTPStatus.CREATED)

    @queries.get(
        f"{path}/{{number}}/{{page}}",
        summary="Download the pages of a maintenance notice; the audit log records each download",
        response_class=Response,
        responses={200: _PDF, **NOT_FOUND},
    )
    async def pages(
        code: str, number: str, page: Literal["letter.pdf", "fax.pdf"], principal: AgencyOfficer, sides: _Sides = 1
    ) -> Response:
        octets = await notices.render_pdf(code, number, _PAGES[page], principal.by, both_sides=sides == 2)
        headers = {"Content-Disposition": f'attachment; filename="{number}-{page}"'}
        return Response(octets, media_type="application/pdf", headers=headers)

    return combine_routers(queries, commands)


def _notice_response(notice: MaintenanceNotice) -> MaintenanceNoticeResponse:
    return MaintenanceNoticeResponse.model_validate(notice, from_attributes=True)


def _recipient_response(recipient: RecipientSettings) -> MaintenanceRecipientResponse:
    return MaintenanceRecipientResponse(
        title=recipient.title, organisation=recipient.organisation, papers=list(paper_channels(recipient))
    )
