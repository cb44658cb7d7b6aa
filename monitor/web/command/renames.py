"""Commands that rename items of the configuration and update their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.model.renaming import Renamed, Renaming
from monitor.service.renamer import Renamer
from monitor.web.request import CommandRequest


class RenameRequest(CommandRequest):
    """Rename: old name, new name, author."""

    what: Renamed
    old: str = Field(min_length=1, max_length=130)
    new: str = Field(min_length=1, max_length=130)


class RenameView(BaseModel):
    """Renamed records, and problems of the configuration."""

    counts: Mapping[str, int]
    problems: Sequence[str]


def renames(renamer: Renamer) -> APIRouter:
    """Build the control router of renames."""
    router = APIRouter()

    @router.post("/renames")
    async def rename(order: RenameRequest) -> RenameView:
        renaming = Renaming(what=order.what, old=order.old.strip(), new=order.new.strip())
        done = await renamer.rename(renaming, order.by)
        return RenameView(counts=done.counts, problems=[str(problem) for problem in done.problems])

    return router
