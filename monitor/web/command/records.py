"""What the command line is handed of the records, and how it has them purged; a part of the control listener."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime, StringConstraints

from alerts.record.audit import Head
from monitor.store.engine.purge import Doomed
from monitor.web.word import Word


class Disposal(Word):
    """What is to be purged, and by whose word."""

    before: AwareDatetime
    #: The reference of the written consent (Act 629, section 25).
    authority: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]
    #: What the dry run said: incidents/notices/entries. Empty: this is the dry run.
    confirm: str = ""


class Records(Protocol):
    """The records, as the web sees them."""

    async def head(self) -> Head:
        """Return the end of the journal's chain."""

    async def entries(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Return the journal's next entries as JSON; one that cannot be read has nothing but its number."""

    async def dossier(self, number: str, by: str) -> Mapping[str, bytes] | None:
        """Return the files of an incident's dossier by name, made in a person's name; `None`: no such incident."""

    async def doomed(self, before: datetime) -> Doomed:
        """Return what a purge would take; nothing is changed."""

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        """Take it out, and return what was taken: incidents/notices/entries."""


def records(archive: Records) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/audit/head")
    async def head() -> Mapping[str, Any]:
        found = await archive.head()
        return {"number": found.number, "hash": found.hash, "fingerprint": found.fingerprint}

    @router.get("/audit/entries")
    async def entries(after: Annotated[int, Query(ge=0)] = 0) -> Sequence[Mapping[str, Any]]:
        return await archive.entries(after)

    @router.post("/incidents/{number}/dossier")
    async def dossier(number: str, word: Word) -> Mapping[str, str]:
        files = await archive.dossier(number, word.by)
        if files is None:
            raise HTTPException(404, f"there is no incident {number}; `pantau incidents` lists them")
        return {name: b64encode(content).decode() for name, content in files.items()}

    @router.post("/purge")
    async def purge(disposal: Disposal) -> Mapping[str, Any]:
        found = await archive.doomed(disposal.before)
        told = {"counts": found.counts, "incidents": [number for _, number in found.incidents], "purged": False}
        if not disposal.confirm:
            return told
        if disposal.confirm != found.counts:
            raise HTTPException(
                409, f"it is {found.counts} now and not {disposal.confirm}: look at it again without --confirm"
            )
        counts = await archive.purge(disposal.before, disposal.authority, disposal.by)
        return {**told, "counts": counts, "purged": True}

    return router
