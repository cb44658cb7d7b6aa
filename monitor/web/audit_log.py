"""Audit log page, the newest entries first.

Entries that concern no incident require the permission for all agencies.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.store.admin.users import Users
from monitor.store.engine.audit_log import AuditLogFilter, AuditLogPages, AuditLogRow
from monitor.store.engine.listing import NEWEST
from monitor.web.access.access_control import RequirePermission, permit
from monitor.web.form import Pages

_Auditor = Annotated[Principal, Depends(RequirePermission(Permission.READ_AUDIT_LOG))]
#: Entries per page.
_MOST: Final = 50
#: Characters of a filter, as in the audit log.
_LONGEST: Final = 200
_Word = Annotated[str, Query(max_length=_LONGEST)]
_Before = Annotated[int, Query(ge=1, le=NEWEST)]


def audit_log_pages(journal: AuditLogPages, users: Users, pages: Pages) -> APIRouter:
    """Build the router of the audit log."""
    router = APIRouter(include_in_schema=False)

    @router.get("/audit")
    async def entries(  # noqa: PLR0917 - what may be asked
        request: Request,
        principal: _Auditor,
        agency: _Word = "",
        incident: _Word = "",
        by: _Word = "",
        event: _Word = "",
        before: _Before = NEWEST,
    ) -> Response:
        scope = principal.scope(Permission.READ_AUDIT_LOG)
        code = agency.strip().upper()
        if code:
            permit(principal, Permission.READ_AUDIT_LOG, code)
        filters = {"agency": code, "incident": incident.strip().upper(), "by": by.strip(), "event": event.strip()}
        wanted = AuditLogFilter(
            agencies=frozenset({code}) if code else None if scope.everything else frozenset(scope.agencies),
            number=filters["incident"],
            actor=await actor(filters["by"]),
            event=filters["event"],
        )
        page = await journal.page(wanted, most=_MOST, before=before)
        kept = {name: value for name, value in filters.items() if value}
        facts = {
            "rows": [(each, _details(each)) for each in page.rows],
            "asked": filters,
            "all": scope.everything,
            "since": page.since,
            "narrowed": bool(kept),
            "newest": f"/audit?{urlencode(kept)}" if before != NEWEST else None,
            "older": f"/audit?{urlencode({**kept, 'before': page.before})}" if page.before is not None else None,
        }
        return pages.show(request, "audit_log.html", facts)

    async def actor(written: str) -> str:
        """Return the display name of an actor; for a user the sign-in name is sufficient."""
        kept = await users.find(written.lower()) if written else None
        return kept.user.by if kept else written

    return router


def _details(row: AuditLogRow) -> list[tuple[str, str]]:
    """Return the details of an entry besides actor and event."""
    return (
        [] if row.entry is None else [(name, _said(value)) for name, value in row.entry.detail.items() if value != ""]
    )


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
