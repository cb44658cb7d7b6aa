"""Commands for records: export, monthly reports, purge."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field, StringConstraints

from monitor.audit.archive import Archive
from monitor.service.days.statements import Statements
from monitor.service.errors import OperationRejectedError, no_incident
from monitor.web.request import CommandRequest


class PurgeRequest(CommandRequest):
    """Purge: records, author, authority."""

    before: AwareDatetime
    #: The reference of the written consent (Act 629, section 25).
    authority: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]
    #: Counts of the dry run: incidents/notifications/entries. Empty: this is the dry run.
    confirm: str = ""


class MonthlyReportRequest(CommandRequest):
    """Monthly report: agency, month, requester."""

    agency: str = Field(min_length=1, max_length=64)
    #: "2026-11".
    month: str = Field(min_length=1, max_length=20)


def records(archive: Archive) -> APIRouter:
    """Build the control router of records."""
    router = APIRouter()

    @router.get("/audit/head")
    async def head() -> Mapping[str, Any]:
        found = await archive.head()
        return {"number": found.number, "hash": found.hash, "fingerprint": found.fingerprint}

    @router.get("/audit/entries")
    async def entries(after: Annotated[int, Query(ge=0)] = 0) -> Sequence[Mapping[str, Any]]:
        return await archive.entries(after)

    @router.post("/incidents/{number}/record")
    async def record(number: str, word: CommandRequest) -> Mapping[str, str]:
        files = await archive.dossier(number, word.by)
        if files is None:
            raise no_incident(number)
        return {name: b64encode(content).decode() for name, content in files.items()}

    @router.post("/purge")
    async def purge(disposal: PurgeRequest) -> Mapping[str, Any]:
        found = await archive.doomed(disposal.before)
        told = {"counts": found.counts, "incidents": [number for _, number in found.incidents], "purged": False}
        if not disposal.confirm:
            return told
        if disposal.confirm != found.counts:
            raise OperationRejectedError(
                f"it is {found.counts} now and not {disposal.confirm}: look at it again without --confirm"
            )
        counts = await archive.purge(disposal.before, disposal.authority, disposal.by)
        return {**told, "counts": counts, "purged": True}

    return router


def statements(maker: Statements) -> APIRouter:
    """Build the control router of monthly reports."""
    router = APIRouter()

    @router.post("/monthly-reports")
    async def monthly_report(order: MonthlyReportRequest) -> Mapping[str, str]:
        files = await maker.statement(order.agency, order.month, order.by)
        return {name: b64encode(content).decode() for name, content in files.items()}

    return router
