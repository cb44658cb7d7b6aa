"""Commands for drills: start one, and show the results. Telephone numbers are not sent to the client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import APIRouter
from pydantic import Field

from alerts.decide.drill import DrillState
from alerts.model.channel import Channel
from monitor.drills.runner import DrillRunner
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.web.request import CommandRequest

#: A drill on request ends within this time, while its requester is still available.
WITHIN = timedelta(hours=2)
#: Number of drills whose results are shown.
_SHOWN = 5


class DrillRequest(CommandRequest):
    """Drill: participants and author."""

    contact: str = Field(min_length=1, max_length=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunView:
    """Drill that was started."""

    number: str
    #: Number of its notifications.
    notifications: int
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """Result of one notification of a drill."""

    drill: str
    started_at: datetime
    agency: str
    name: str
    channel: Channel
    gateway: str
    state: DrillState
    confirmed_at: datetime | None
    reason: str


def drills(instructor: DrillRunner, rests: Callable[[], bool] = lambda: False) -> APIRouter:
    """Build the control router of drills. *rests*: whether the service is in monitor-only mode."""
    router = APIRouter()

    @router.post("/drills")
    async def begin(wish: DrillRequest) -> BegunView:
        if rests():
            raise OperationRejectedError("nobody is told of anything (mode: monitor_only), so nobody is drilled")
        begun = await instructor.ask(wish.contact, wish.by, WITHIN)
        if begun is None:
            raise NotFoundError(f"there is nobody called '{wish.contact}' to drill; write a contact's key, or all")
        drill, notifications = begun
        return BegunView(number=drill.number, notifications=notifications, ends_at=drill.ends_at)

    @router.get("/drills")
    async def results() -> list[DrillResult]:
        return [
            DrillResult(
                drill=drill.number,
                started_at=record.started_at,
                agency=record.agency,
                name=record.name,
                channel=record.channel,
                gateway=record.gateway,
                state=record.state,
                confirmed_at=record.confirmed_at,
                reason=record.reason,
            )
            for drill, record in await instructor.latest(_SHOWN)
        ]

    return router
