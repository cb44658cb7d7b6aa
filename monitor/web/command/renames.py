"""Command that updates stored records after an item of the configuration, such as an agency, was renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.model.renaming import RenamedKind, Renaming
from monitor.service.renamer import Renamer
from monitor.web.request import CommandRequest


class RenameRequest(CommandRequest):
    """Rename of an item: its kind, old name, new name, and the author."""

    #: Kind of the item: "agency", or "mailbox" of an agency or of the operator.
    what: RenamedKind
    old: str = Field(min_length=1, max_length=130)
    new: str = Field(min_length=1, max_length=130)


class RenameView(BaseModel):
    """Result of a rename."""

    #: Number of updated records by kind of record.
    counts: Mapping[str, int]
    #: Problems of the configuration, which the command also reloads.
    problems: Sequence[str]


def rename_commands(renamer: Renamer) -> APIRouter:
    """Build the router of renames on the control socket, which the command line uses."""
    router = APIRouter()

    @router.post("/renames")
    async def rename(command: RenameRequest) -> RenameView:
        renaming = Renaming(kind=command.what, old=command.old.strip(), new=command.new.strip())
        result = await renamer.rename(renaming, command.by)
        return RenameView(counts=result.counts, problems=[str(problem) for problem in result.problems])

    return router
