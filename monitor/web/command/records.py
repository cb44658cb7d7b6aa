"""Commands for records: audit log, incident records, monthly reports, and the purge of old records."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field, StringConstraints

from monitor.audit.archive import Archive
from monitor.service.days.monthly_reports import MonthlyReports
from monitor.service.errors import OperationRejectedError, incident_not_found
from monitor.web.request import CommandRequest


class PurgeRequest(CommandRequest):
    """Purge of old records, or its dry run."""

    #: Records before this time are deleted.
    before: AwareDatetime
    #: Reference of the written consent to the purge (Act 629, section 25).
    authority: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]
    #: The counts that the dry run returned, such as "2/3/0" (incidents/notifications/audit entries), to confirm the
    #: purge; "": this is the dry run.
    confirm: str = ""


class MonthlyReportRequest(CommandRequest):
    """Request for a monthly report: agency, month, author."""

    #: Agency code.
    agency: str = Field(min_length=1, max_length=64)
    #: Month, such as "2026-11".
    month: str = Field(min_length=1, max_length=20)


def record_commands(archive: Archive) -> APIRouter:
    """Build the router of records on the control socket, which the command line uses."""
    router = APIRouter()

    # The last entry of the audit log, which is a hash chain. The fingerprint is the beginning of the hash as a number.
    @router.get("/audit/head")
    async def head() -> Mapping[str, Any]:
        head_entry = await archive.head()
        return {"number": head_entry.number, "hash": head_entry.hash, "fingerprint": head_entry.fingerprint}

    @router.get("/audit/entries")
    async def entries(after: Annotated[int, Query(ge=0)] = 0) -> Sequence[Mapping[str, Any]]:
        return await archive.entries(after)

    @router.post("/incidents/{number}/record")
    async def record(number: str, command: CommandRequest) -> Mapping[str, str]:
        files = await archive.incident_record(number, command.by)
        if files is None:
            raise incident_not_found(number)
        return {name: b64encode(content).decode() for name, content in files.items()}

    @router.post("/purge")
    async def purge(command: PurgeRequest) -> Mapping[str, Any]:
        purge_set = await archive.purge_set(command.before)
        result = {
            "counts": purge_set.counts,
            "incidents": [number for _, number in purge_set.incidents],
            "purged": False,
        }
        if not command.confirm:
            return result
        if command.confirm != purge_set.counts:
            raise OperationRejectedError(
                f"the counts are now {purge_set.counts} and not {command.confirm}: "
                "run the command again without --confirm"
            )
        counts = await archive.purge(command.before, command.authority, command.by)
        return {**result, "counts": counts, "purged": True}

    return router


def monthly_report_commands(monthly_reports: MonthlyReports) -> APIRouter:
    """Build the router of monthly reports on the control socket, which the command line uses."""
    router = APIRouter()

    @router.post("/monthly-reports")
    async def monthly_report(command: MonthlyReportRequest) -> Mapping[str, str]:
        files = await monthly_reports.render(command.agency, command.month, command.by)
        return {name: b64encode(content).decode() for name, content in files.items()}

    return router
