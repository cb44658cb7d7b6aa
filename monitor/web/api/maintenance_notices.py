"""Maintenance notices over HTTP: list planned work and notices, preview, create, download pages."""

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
from monitor.service.portal.maintenance_notices import MaintenanceNotices, MaintenanceOverview, papers_of
from monitor.web.access.access_control import ItsEditor
from monitor.web.api.route.command import ApiRequest, Once, given_orders, name_of, orderer_of
from monitor.web.api.route.query import NOT_FOUND, Moment, questions
from monitor.web.problem import problems
from monitor.web.routers import together

_PAGES: Final = {"letter.pdf": Channel.LETTER, "fax.pdf": Channel.FAX}
_PDF: Final = {"description": "Pages to be printed.", "content": {"application/pdf": {}}}


_StartsAt = Annotated[Moment | None, Query(description="Start of the work. Without it the notice is a cancellation.")]
_Before = Annotated[str, Query(max_length=32, description="Number of the notice that it replaces.")]
_Sides = Annotated[Literal[1, 2], Query(description="2: each addressee begins on a sheet of their own.")]


#: The number of a notice; empty if there is none.
_Number = Annotated[str, BeforeValidator(lambda notice: notice.number if notice else "")]


class MaintenanceNoticeResponse(BaseModel):
    """Notice about one period of maintenance."""

    number: str
    kind: MaintenanceNoticeKind
    starts_at: datetime
    ends_at: datetime
    reason: str
    made_at: datetime
    #: Empty if the notice has not been created.
    made_by: str
    #: The number of the notice that this one replaces.
    before: _Number


class PlannedMaintenanceResponse(BaseModel):
    """Future maintenance; of a recurring window the next occurrence."""

    starts_at: datetime
    ends_at: datetime
    reason: str
    #: The number of the notice about it.
    told: _Number


class MaintenanceNoticesResponse(BaseModel):
    """Planned maintenance, and the notices about it."""

    agency: str
    works: list[PlannedMaintenanceResponse]
    #: Notices about future work that is not planned any more. Recipients need a change or a cancellation.
    outdated: list[MaintenanceNoticeResponse]
    #: Notices about all work that has not ended, the newest first.
    made: list[MaintenanceNoticeResponse]


class MaintenanceRecipientResponse(BaseModel):
    """Recipient of a notice."""

    title: str
    organisation: str
    #: "letter" and "fax"; empty if the recipient must be informed by telephone.
    papers: list[Channel]


class MaintenanceDraftResponse(BaseModel):
    """Preview of a notice and its letter."""

    notice: MaintenanceNoticeResponse
    #: Title and paragraphs of the letter in Malay.
    text: list[str]
    recipients: list[MaintenanceRecipientResponse]


class MaintenanceNoticeRequest(ApiRequest):
    """The work and the replaced notice.

    Work alone is a plan, both are a change, a replaced notice alone is a cancellation.
    """

    starts_at: Annotated[
        Moment | None, Field(description="Start of the work. Without it the notice is a cancellation.")
    ] = None
    before: Annotated[str, Field(max_length=32, description="Number of the notice that it replaces.")] = ""


_NOTICE: Final = TypeAdapter(MaintenanceNoticeResponse)


def advance_orders(notices: MaintenanceNotices) -> APIRouter:
    """Build the router of the maintenance notices."""
    router, asked = given_orders(), questions()
    here = "/agencies/{code}/maintenance-notices"

    @asked.get(
        here,
        summary="List planned maintenance and its maintenance notices",
        response_model=MaintenanceNoticesResponse,
        responses=NOT_FOUND,
    )
    async def overview(code: str, _visitor: ItsEditor) -> MaintenanceOverview:
        return await notices.overview(code)

    @asked.get(
        f"{here}/draft",
        summary="Preview a maintenance notice; nothing is stored",
        response_model=MaintenanceDraftResponse,
        responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    async def draft(
        code: str, _visitor: ItsEditor, starts_at: _StartsAt = None, before: _Before = ""
    ) -> MaintenanceDraftResponse:
        made = await notices.draft(code, starts_at, before)
        body = notices.said(code, made, Language.MALAY)
        items = [[item.text for item in each.items] for each in body.paragraphs]
        texts = [text for each, of_it in zip(body.paragraphs, items, strict=True) for text in (each.text, *of_it)]
        return MaintenanceDraftResponse(
            notice=_word(made),
            text=[body.title, body.opening, *texts],
            recipients=[_recipient(each) for each in notices.recipients(code)],
        )

    @router.post(
        here,
        summary="Create a maintenance notice; nothing is sent: print, sign and send its pages",
        response_model=MaintenanceNoticeResponse,
        status_code=HTTPStatus.CREATED,
    )
    async def make(code: str, said: MaintenanceNoticeRequest, principal: ItsEditor, carry_out: Once) -> Response:
        name = name_of(principal, said.by)

        async def act() -> MaintenanceNoticeResponse:
            return _word(await notices.make(code, said.starts_at, said.before, by=name))

        return await carry_out.answer(orderer_of(principal), _NOTICE, act, HTTPStatus.CREATED)

    @asked.get(
        f"{here}/{{number}}/{{page}}",
        summary="Download its pages; each download is in the audit log",
        response_class=Response,
        responses={200: _PDF, **NOT_FOUND},
    )
    async def pages(
        code: str, number: str, page: Literal["letter.pdf", "fax.pdf"], principal: ItsEditor, sides: _Sides = 1
    ) -> Response:
        octets = await notices.papers(code, number, _PAGES[page], principal.by, both_sides=sides == 2)
        headers = {"Content-Disposition": f'attachment; filename="{number}-{page}"'}
        return Response(octets, media_type="application/pdf", headers=headers)

    return together(asked, router)


def _word(notice: MaintenanceNotice) -> MaintenanceNoticeResponse:
    return MaintenanceNoticeResponse.model_validate(notice, from_attributes=True)


def _recipient(recipient: RecipientSettings) -> MaintenanceRecipientResponse:
    return MaintenanceRecipientResponse(
        title=recipient.title, organisation=recipient.organisation, papers=list(papers_of(recipient))
    )
