"""Export and deletion of records: audit log, incident records, purges."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from alerts.documents.incident_record import IncidentRecord
from alerts.model.incident import Incident
from alerts.persistence.audit import PURGED, ChainedEntry, ChainHead, as_json
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from alerts.wording.texts import Wording
from monitor.audit import dossier as paper
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import RetentionPolicy
from monitor.views.site_report import SITES_SAY, WORDS_OF_SITES, SiteIncidentData, read_words
from probes.model.result import Outcome

log = structlog.get_logger()

#: Audit event of an incident record that was exported.
DOSSIER_MADE = "dossier made"


class Archive:
    """Audit log, incident records and purges of one store."""

    def __init__(
        self,
        *,
        database: Database,
        history: History,
        clock: Clock,
        wording: Callable[[], Wording],
        keep: Callable[[], RetentionPolicy],
        sites: Callable[[Incident, int], Awaitable[Sequence[SiteIncidentData]]] | None = None,
    ) -> None:
        """*wording* and *keep* return the current values.

        *sites* returns each site's status of an incident, our own first, with at most so many runs of each other site.
        """
        self._database = database
        self._store = SqlStore(database)
        self._history = history
        self._clock = clock
        self._wording = wording
        self._keep = keep
        self._sites = sites

    # -- audit log -----------------------------------------------------------------------------------------------

    async def head(self) -> ChainHead:
        """Return the end of the audit log's chain."""
        async with self._database.read() as connection:
            return await audit.head(connection)

    async def entries(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Return the next entries of the audit log as JSON; an unreadable one has only its number."""
        async with self._database.read() as connection:
            found = await audit.entries(connection, after)
        return [as_json(entry) if isinstance(entry, ChainedEntry) else {"number": entry} for entry in found]

    # -- incident records ----------------------------------------------------------------------------------------

    async def dossier(self, number: str, by: str) -> Mapping[str, bytes] | None:
        """Return the files of an incident record by name, created in a person's name; `None`: no such incident.

        The files are final before they are sealed: the audit entry about their creation contains the digest of their
        checksums, so the hash of that entry authenticates each of them.
        """
        async with self._store.reading() as ledger:
            incident = await ledger.incident_numbered(number)
            notices = [] if incident is None else await ledger.notices(incident.id)
        if incident is None:
            return None
        async with self._database.read() as connection:
            entries = await audit.of_incident(connection, incident.id)
            head = await audit.head(connection)
            # If no audit entry is about it, the chain at least includes the head.
            trail = await audit.trail(connection, [*(entry.number for entry in entries), head.number])
        now, keep = self._clock.now(), self._keep()
        runs = await self._history.between(incident.policy.agency, paper.since(incident), incident.resolved_at or now)
        sites = [] if self._sites is None else list(await self._sites(incident, paper.SITE_RUNS))
        if sites:
            # All runs of our own site are read.
            sites[0] = replace(sites[0], results=[each for each in runs if each.outcome is not Outcome.DELIVERED])
            said = read_words([str(each.detail[WORDS_OF_SITES]) for each in entries if each.event == SITES_SAY])
            # The present statuses of sites are irrelevant to an incident that is over.
            sites = [each if each.report else replace(each, report=said.get(each.site)) for each in sites]
        made = IncidentRecord(
            incident=incident,
            notices=notices,
            entries=entries,
            evidence=paper.evidence(runs),
            sites=[paper.site_word(each) for each in sites],
            evidence_since=now - keep.failed,
            delivered_since=now - keep.delivered,
            head=head,
            made_at=now,
            made_by=by,
        )
        files = await asyncio.to_thread(paper.files, made, trail, self._wording())
        entry = AuditEntry(
            at=self._clock.now(),
            actor=by,
            event=DOSSIER_MADE,
            incident_id=incident.id,
            detail={
                "number": incident.number,
                "sha256": hashlib.sha256(files["SHA256SUMS"]).hexdigest(),
                "entries": str(len(entries)),
            },
        )
        async with self._database.write() as connection:
            [sealed] = await audit.append(connection, [entry])
        async with self._database.read() as connection:
            between = await audit.links(connection, head.number + 1, sealed.number)
        log.info("incident record created", incident=incident.number, head=f"{sealed.number}:{sealed.hash}")
        return {**files, paper.SEAL: paper.seal(sealed, between)}

    # -- purges --------------------------------------------------------------------------------------------------

    async def doomed(self, before: datetime) -> purge.PurgeSet:
        """Return what a purge would delete; nothing is changed."""
        search, parts = purge.Search(before), []
        while not search.is_over:
            # A snapshot for each part: a server ends one that lasts as long as a hundred thousand incidents take.
            async with self._database.read() as connection:
                parts.append(await search.further(connection))
        return purge.PurgeSet(
            incidents=sorted(i for part in parts for i in part.incidents),
            notices=sorted(n for part in parts for n in part.notices),
            entries=sorted(e for part in parts for e in part.entries),
        )

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        """Delete them, and return the numbers deleted: incidents/notifications/entries."""
        taken, search = [0, 0, 0], purge.Search(before)
        while not search.is_over:
            told = AuditEntry(
                at=self._clock.now(),
                actor=by,
                event=PURGED,
                detail={"authority": authority, "before": before.date().isoformat()},
            )
            async with self._database.write() as connection:
                doomed = await search.further(connection, purge.AT_ONCE)
                parts = (doomed.incidents, doomed.notices, doomed.entries)
                if any(parts):
                    await purge.carry_out(connection, doomed, told)
            taken = [so_far + len(part) for so_far, part in zip(taken, parts, strict=True)]
        log.warning(
            "records purged", by=by, authority=authority, incidents=taken[0], notifications=taken[1], entries=taken[2]
        )
        return "/".join(map(str, taken))
