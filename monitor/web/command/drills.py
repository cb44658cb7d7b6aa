"""Commands for drills: start a drill, and show the results. A drill tests notifications to staff.

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

#: Time in which people can confirm the notifications of a drill that a user has started. It is short, because the user
#: waits for the result.
CONFIRMATION_TIME = timedelta(hours=2)
#: Maximum number of drills whose results are shown, the latest ones.
_MAX_DRILLS = 5


class DrillRequest(CommandRequest):
    """Start of a drill."""

    #: Whom to notify: a contact's key, such as "siti" or "JCONTOH/siti"; "JCONTOH/all", all of an agency; or "all".
    contact: str = Field(min_length=1, max_length=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunView:
    """Drill that was started."""

    number: str
    #: How many notifications the drill sends.
    notifications: int
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """Result of one notification of a drill."""

    #: Number of the drill.
    drill: str
    started_at: datetime
    agency: str
    #: Name of the notified person.
    name: str
    channel: Channel
    gateway: str
    state: DrillState
    #: When the person confirmed the notification; `None`: not yet.
    confirmed_at: datetime | None
    #: Why the notification failed; "" if it did not.
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
        started = await drill_runner.start(request.contact, request.by, CONFIRMATION_TIME)
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
