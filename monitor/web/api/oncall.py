"""Who is on call, for programs: now or at a moment, who comes next, and when nobody does. Names, and no numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, TypeAdapter

from alerts.model.oncall import Gap
from monitor.access.role import OURSELVES, Permission
from monitor.service.noticeboard import Noticeboard
from monitor.service.oncall import Duty
from monitor.service.order import NotDone
from monitor.web.access.gate import Colleague, permit
from monitor.web.api.route.question import (
    USUAL,
    Cursor,
    Limit,
    Moment,
    called,
    listed,
    next_page,
    questions,
    read_cursor,
    wrong,
)

_Agency = Annotated[str | None, Query(description="Only the rotas that this agency's escalation names.")]
_At = Annotated[Moment | None, Query(description="At this moment; now, if it is not said.")]


class OnCallPerson(BaseModel):
    """Somebody who has duty, or will have it."""

    key: str
    name: str


class OnCallView(BaseModel):
    """A rota at one moment."""

    rota: str
    #: `None`: nobody is on call.
    person: OnCallPerson | None
    #: Who made the override by which this person is on call; empty without one.
    instead_by: str
    #: When that changes; `None`: not for three months.
    until: datetime | None
    #: Who comes on then; `None`: nobody.
    following: OnCallPerson | None
    #: When nobody is on call, of the seven days from that moment.
    gaps: list[Gap]


_ROTA = TypeAdapter(OnCallView)


def on_call(duty: Duty, board: Noticeboard) -> APIRouter:
    """Build the route."""
    router = questions()

    @router.get(
        "/on-call", summary="Who is on call, who comes next, and when nobody is", response_model=list[OnCallView]
    )
    async def rotas(
        request: Request,
        visitor: Colleague,
        *,
        agency: _Agency = None,
        at: _At = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Response:
        after = read_cursor("on-call", cursor) or ""
        code = "" if agency is None else called(board, agency)
        # Of all agencies, and of Pantau itself.
        permit(visitor, Permission.READ_PEOPLE, code or OURSELVES)
        names = sorted(name for name in duty.rotas(code) if name > after)
        page = names[:limit]
        try:
            views = await duty.show(code, "" if at is None else at.isoformat(), only=page)
        except NotDone as refusal:
            raise wrong("at", str(refusal)) from None
        rows = [
            OnCallView.model_validate(each, from_attributes=True) for each in sorted(views, key=lambda view: view.rota)
        ]
        headers = next_page(request, "on-call", page[-1] if len(page) < len(names) else None)
        return await listed(_ROTA, rows, headers)

    return router
