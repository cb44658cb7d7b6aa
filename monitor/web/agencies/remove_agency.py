"""Administration page that removes an agency. It first shows what the removal deletes and what it keeps."""

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
from monitor.service.orphaned_incidents import CLOSING_DELAY
from monitor.service.portal.agency_directory import AgencyDirectory
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import RequirePermission, agency_in_path, require
from monitor.web.access.sign_in import client_address
from monitor.web.agency.difference import diff_lines
from monitor.web.form import Pages, read_form

#: Principal with the permission of administrators, who alone may remove agencies.
_AgencyAdministrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS, agency_in_path))]
#: Minutes after which the service closes the open incidents of a removed agency.
_MINUTES_TO_CLOSE: Final = CLOSING_DELAY // timedelta(minutes=1)


def removal_pages(editor: AgencyEditor, agency_directory: AgencyDirectory, pages: Pages) -> APIRouter:
    """Build the router of the removal page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/remove", dependencies=require(Permission.CONFIGURE_SECRETS, agency_in_path))
    async def preview(request: Request, code: str) -> Response:
        return await render_page(request, code.upper())

    @router.post("/agencies/{code}/remove")
    async def remove(request: Request, code: str, principal: _AgencyAdministrator) -> Response:
        code, fields = code.upper(), await read_form(request)
        # Digest of the version that the user has reviewed.
        seen_digest = fields.get("started_from", "")
        present = await editor.latest(code)
        if not editor.uses_database:
            reason = OperationRejectedError.from_text("agencies_are_files", file=editor.configured_file(present))
            return await render_page(request, code, status=409, reason=reason)
        if seen_digest != present.digest:
            return await render_page(request, code, status=409, outdated_digest=seen_digest)
        # To confirm the removal, the user must type the agency's code.
        if fields.get("code", "").strip().upper() != code:
            entered_code = fields.get("code", "")
            return await render_page(
                request, code, status=422, started_from=seen_digest, entered_code=entered_code, is_wrong_code=True
            )
        try:
            result = await editor.remove_agency(
                code, seen_digest, edit_source=EditSource.PORTAL, by=principal.by, address=client_address(request)
            )
        except (OperationRejectedError, VersionConflictError) as error:
            return await render_page(request, code, status=409, reason=error)
        if result.conflicting_version is not None:
            return await render_page(request, code, status=409, outdated_digest=seen_digest)
        if result.is_refused:
            return await render_page(request, code, status=422, started_from=seen_digest, result=result)
        # With "untaken" the page tells that the removal is stored, but the service still uses the old configuration.
        not_in_effect = "&untaken=1" if result.written is not None and not result.is_in_effect else ""
        return RedirectResponse(f"/agencies?gone={code}{not_in_effect}", status_code=303)

    async def render_page(
        request: Request, code: str, *, status: int = 200, outdated_digest: str | None = None, **context: object
    ) -> Response:
        """Return the page.

        *outdated_digest*: digest of the version of the document that the user has reviewed; `None` if no newer version
        has been stored since.
        """
        removal = await agency_directory.removal_preview(code)
        defaults = {
            "path": f"/agencies/{code}/remove",
            "code": code,
            "removal": removal,
            "started_from": removal.version.digest,
            "minutes": _MINUTES_TO_CLOSE,
            "retention_days": editor.configuration().settings.retention.daily.days,
            "file": editor.configured_file(removal.version),
            "has_changed": outdated_digest is not None,
            "changes": None if outdated_digest is None else await changes_since(outdated_digest, removal.version),
            "entered_code": "",
            "is_wrong_code": False,
            "result": None,
        }
        return pages.show(request, "remove_agency.html", {**defaults, **context}, status)

    async def changes_since(outdated_digest: str, present: DocumentVersion) -> Sequence[tuple[str, str]] | None:
        """Return the changes since the version with *outdated_digest*, in the format of `diff_lines`."""
        try:
            before = await editor.base_text(present.agency, outdated_digest)
        except OperationRejectedError:
            # No version has this digest, so show the whole document as new.
            before = ""
        return await asyncio.to_thread(diff_lines, before, present.text or "")

    return router
