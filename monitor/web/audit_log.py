"""Audit log page, the newest entries first.

A principal whose permission is limited to some agencies sees only the entries about incidents of these agencies.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.store.admin.users import Users
from monitor.store.engine.audit_log_pages import AuditLogFilter, AuditLogPages, AuditLogRow
from monitor.store.engine.listing import NEWEST
from monitor.web.access.access_control import RequirePermission, check_permission
from monitor.web.form import Pages

_Auditor = Annotated[Principal, Depends(RequirePermission(Permission.READ_AUDIT_LOG))]
#: Entries per page.
_PAGE_SIZE: Final = 50
#: Maximum number of characters of a filter. The fields of the audit log are no longer than this.
_MAX_FILTER_LENGTH: Final = 200
_Filter = Annotated[str, Query(max_length=_MAX_FILTER_LENGTH)]
#: The page shows entries with lower numbers than this; `NEWEST` exceeds every number.
_Before = Annotated[int, Query(ge=1, le=NEWEST)]


def audit_log_pages(audit_log: AuditLogPages, users: Users, pages: Pages) -> APIRouter:
    """Build the router of the audit log."""
    router = APIRouter(include_in_schema=False)

    @router.get("/audit")
    async def entries(  # noqa: PLR0917 - query parameters
        request: Request,
        principal: _Auditor,
        agency: _Filter = "",
        incident: _Filter = "",
        by: _Filter = "",
        event: _Filter = "",
        before: _Before = NEWEST,
    ) -> Response:
        scope = principal.scope(Permission.READ_AUDIT_LOG)
        code = agency.strip().upper()
        if code:
            check_permission(principal, Permission.READ_AUDIT_LOG, code)
        filters = {"agency": code, "incident": incident.strip().upper(), "by": by.strip(), "event": event.strip()}
        log_filter = AuditLogFilter(
            # `None`: all entries, also those about no incident.
            agencies=frozenset({code}) if code else None if scope.is_unrestricted else frozenset(scope.agencies),
            incident_number=filters["incident"],
            actor=await actor(filters["by"]),
            event=filters["event"],
        )
        page = await audit_log.page(log_filter, most=_PAGE_SIZE, before=before)
        parameters = {name: value for name, value in filters.items() if value}
        context = {
            "rows": [(each, _details(each)) for each in page.rows],
            "filters": filters,
            "sees_all": scope.is_unrestricted,
            # Entries about incidents that opened earlier than this are not listed; `None`: there are no such incidents.
            "since": page.since,
            "is_filtered": bool(parameters),
            "newest_url": f"/audit?{urlencode(parameters)}" if before != NEWEST else None,
            "older_url": f"/audit?{urlencode({**parameters, 'before': page.before})}"
            if page.before is not None
            else None,
        }
        return pages.show(request, "audit_log.html", context)

    async def actor(entered: str) -> str:
        """Return the name of an actor as the audit log records it.

        For a user, *entered* may also be the sign-in name.
        """
        user_record = await users.find(entered.lower()) if entered else None
        return user_record.user.by if user_record else entered

    return router


def _details(row: AuditLogRow) -> list[tuple[str, str]]:
    """Return the names and values of an entry's details; none for an unreadable entry."""
    if row.entry is None:
        return []
    return [(name, _detail_text(value)) for name, value in row.entry.detail.items() if value != ""]


def _detail_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
