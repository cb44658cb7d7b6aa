"""Administration page that removes an agency. It first shows what is deleted and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.model.document import DocumentVersion, EditSource
from monitor.service.errors import OperationRejectedError
from monitor.service.orphaned_incidents import STAYS
from monitor.service.portal.agency_directory import AgencyDirectory
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import RequirePermission, agency_in_path, require
from monitor.web.access.sign_in import from_where
from monitor.web.agency.difference import differing_lines
from monitor.web.form import Pages, form_of

_Administrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS, agency_in_path))]
_MINUTES: Final = STAYS // timedelta(minutes=1)


def removal_pages(editor: AgencyEditor, roll: AgencyDirectory, pages: Pages) -> APIRouter:
    """Build the router of the removal page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/remove", dependencies=require(Permission.CONFIGURE_SECRETS, agency_in_path))
    async def look(request: Request, code: str) -> Response:
        return await shown(request, code.upper())

    @router.post("/agencies/{code}/remove")
    async def take_out(request: Request, code: str, principal: _Administrator) -> Response:
        code, fields = code.upper(), await form_of(request)
        seen = fields.get("started_from", "")
        present = await editor.latest(code)
        if not editor.is_in_store:
            why = OperationRejectedError.said("agencies_are_files", file=editor.file_of(present))
            return await shown(request, code, status=409, why=why)
        if seen != present.digest:
            return await shown(request, code, status=409, seen=seen)
        if fields.get("code", "").strip().upper() != code:
            typed = fields.get("code", "")
            return await shown(request, code, status=422, started_from=seen, typed=typed, is_other=True)
        try:
            answer = await editor.take_out(
                code, seen, edit_source=EditSource.PORTAL, by=principal.by, address=from_where(request)
            )
        except (OperationRejectedError, VersionConflictError) as wrong:
            return await shown(request, code, status=409, why=wrong)
        if answer.theirs is not None:
            return await shown(request, code, status=409, seen=seen)
        if answer.is_refused:
            return await shown(request, code, status=422, started_from=seen, answer=answer)
        untaken = "&untaken=1" if answer.written is not None and not answer.taken else ""
        return RedirectResponse(f"/agencies?gone={code}{untaken}", status_code=303)

    async def shown(
        request: Request, code: str, *, status: int = 200, seen: str | None = None, **facts: object
    ) -> Response:
        """*seen*: the digest of the version that the user has reviewed, and that is no longer the latest."""
        departure = await roll.departure(code)
        common = {
            "path": f"/agencies/{code}/remove",
            "code": code,
            "departure": departure,
            "started_from": departure.version.digest,
            "minutes": _MINUTES,
            "days": editor.configuration().settings.retention.daily.days,
            "file": editor.file_of(departure.version),
            "has_moved_on": seen is not None,
            "changes": None if seen is None else await since(seen, departure.version),
            "typed": "",
            "is_other": False,
            "answer": None,
        }
        return pages.show(request, "remove_agency.html", {**common, **facts}, status)

    async def since(seen: str, present: DocumentVersion) -> Sequence[tuple[str, str]] | None:
        try:
            before = await editor.started_from(present.agency, seen)
        except OperationRejectedError:
            # Unknown version: show the whole document as new.
            before = ""
        return await asyncio.to_thread(differing_lines, before, present.text or "")

    return router
