"""Commands for drills, which test notifications to staff: start one, and show the results.

Responses contain no telephone numbers.
"""

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

#: Duration of a drill on request, short enough for its requester to see the result.
TIME_LIMIT = timedelta(hours=2)
#: Number of the latest drills whose results are shown.
_MAX_DRILLS = 5


class DrillRequest(CommandRequest):
    """Start of a drill: whom to notify, and the author."""

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


def drill_commands(drill_runner: DrillRunner, is_monitor_only: Callable[[], bool] = lambda: False) -> APIRouter:
    """Build the router of drills on the control socket, which the command line uses.

    *is_monitor_only*: whether the service is in monitor-only mode, in which nobody is notified.
    """
    router = APIRouter()

    @router.post("/drills")
    async def begin(request: DrillRequest) -> BegunView:
        if is_monitor_only():
            raise OperationRejectedError("nobody is notified (mode: monitor_only), so there are no drills")
        started = await drill_runner.start(request.contact, request.by, TIME_LIMIT)
        if started is None:
            raise NotFoundError(f"there is nobody called '{request.contact}' to drill; write a contact's key, or all")
        drill, notifications = started
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
            for drill, record in await drill_runner.latest_results(_MAX_DRILLS)
        ]

    return router
