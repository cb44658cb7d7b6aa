"""Commands for paused paper (letters and faxes): show the status, resume.

Pantau pauses paper after the database was restored from a backup. If the backup is older than the last letters, new
incidents could get numbers that are already on letters.
"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from alerts.persistence.restoration import Restoration
from monitor.service.paper.restore_guard import PaperView, RestoreGuard, ResumePaper
from monitor.web.request import CommandRequest, Reason


class ResumePaperRequest(CommandRequest):
    """Request to resume paper."""

    reason: Reason
    #: The last numbers on paper that staff found, of incidents or of pages, separated by blanks.
    last_numbers: str = Field(default="", max_length=2000)
    #: "yes": the author states that the database is up to date, so that no numbers are needed.
    nothing_lost: str = Field(default="", pattern="^(yes)?$")


def paper_commands(restore_guard: RestoreGuard) -> APIRouter:
    """Build the router of paused paper on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/paper")
    async def status() -> PaperView:
        return await restore_guard.view()

    @router.post("/paper/resume")
    async def resume(command: ResumePaperRequest) -> Restoration:
        resume_paper = ResumePaper(
            by=command.by,
            reason=command.reason,
            after=command.last_numbers.split(),
            nothing_lost=bool(command.nothing_lost),
        )
        return await restore_guard.resume(resume_paper)

    return router
