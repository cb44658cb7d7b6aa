"""Commands for paper paused after a restore from a possibly older database copy: show status, resume."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from alerts.persistence.restoration import Restoration
from monitor.service.paper.restore_guard import PaperView, RestoreGuard, ResumePaper
from monitor.web.request import CommandRequest, Why


class ResumePaperRequest(CommandRequest):
    """Resumption of paper: author, reason, and the last numbers used."""

    reason: Why
    #: Separated by blanks.
    last_numbers: str = Field(default="", max_length=2000)
    nothing_lost: str = Field(default="", pattern="^(yes)?$")


def paper(restorer: RestoreGuard) -> APIRouter:
    """Build the control router of paused paper."""
    router = APIRouter()

    @router.get("/paper")
    async def waiting() -> PaperView:
        return await restorer.view()

    @router.post("/paper/resume")
    async def resume(word: ResumePaperRequest) -> Restoration:
        order = ResumePaper(
            by=word.by, reason=word.reason, after=word.last_numbers.split(), nothing_lost=bool(word.nothing_lost)
        )
        return await restorer.confirm(order)

    return router
