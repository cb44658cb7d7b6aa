"""Export and deletion of records: the audit log, incident records (all about an incident, in files), and purges."""

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
from alerts.persistence.audit import PURGED, ChainedEntry, ChainHead, entry_to_json
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from alerts.wording.texts import Wording
from monitor.audit import dossier as record_files
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import RetentionPolicy
from monitor.views.site_report import SITES_DETAIL, SITES_EVENT, SiteIncidentData, parse_reports
from probes.model.result import Outcome

log = structlog.get_logger()

#: Audit event of an incident record that was exported.
RECORD_EXPORTED = "dossier made"


class Archive:
    """Audit log, incident records and purges of one store."""

    def __init__(
        self,
        *,
        database: Database,
        history: History,
        clock: Clock,
        wording: Callable[[], Wording],
        retention: Callable[[], RetentionPolicy],
        sites: Callable[[Incident, int], Awaitable[Sequence[SiteIncidentData]]] | None = None,
    ) -> None:
        """*wording* and *retention* return the current values.

        *sites* returns each site's status of an incident, our own first, with at most so many runs of each other site.
        """
        self._database = database
        self._store = SqlStore(database)
        self._history = history
        self._clock = clock
        self._wording = wording
        self._retention = retention
        self._sites = sites

    # -- audit log -----------------------------------------------------------------------------------------------

    async def head(self) -> ChainHead:
        """Return the end of the audit log's chain."""
        async with self._database.read() as connection:
            return await audit.head(connection)

    async def entries(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Return the next entries of the audit log as JSON; an unreadable one has only its number."""
        async with self._database.read() as connection:
            entries = await audit.entries(connection, after)
        return [entry_to_json(entry) if isinstance(entry, ChainedEntry) else {"number": entry} for entry in entries]

    # -- incident records ----------------------------------------------------------------------------------------

    async def incident_record(self, number: str, by: str) -> Mapping[str, bytes] | None:
        """Return the files of an incident record by name, created in a person's name; `None`: no such incident.

        The files are final before they are sealed: the audit entry about their creation contains the digest of their
        checksums, so the hash of that entry authenticates each of them.
        """
        async with self._store.reading() as uow:
            incident = await uow.incident_by_number(number)
            notifications = [] if incident is None else await uow.notifications(incident.id)
        if incident is None:
            return None
        async with self._database.read() as connection:
            entries = await audit.of_incident(connection, incident.id)
            head = await audit.head(connection)
            # With the head, so that the chain is not empty if no audit entry is about the incident.
            read_chain_links = await audit.read_chain_links(
                connection, [*(entry.number for entry in entries), head.number]
            )
        now, retention = self._clock.now(), self._retention()
        runs = await self._history.between(
            incident.policy.agency, record_files.since(incident), incident.resolved_at or now
        )
        sites = [] if self._sites is None else list(await self._sites(incident, record_files.SITE_RUNS))
        if sites:
            # Of this site all runs have been read, not only the last ones.
            sites[0] = replace(sites[0], results=[entry for entry in runs if entry.outcome is not Outcome.DELIVERED])
            site_reports = parse_reports(
                [str(entry.detail[SITES_DETAIL]) for entry in entries if entry.event == SITES_EVENT]
            )
            # A site without a current report gets the one that is in the audit log.
            sites = [entry if entry.report else replace(entry, report=site_reports.get(entry.site)) for entry in sites]
        record = IncidentRecord(
            incident=incident,
            notices=notifications,
            entries=entries,
            evidence=record_files.evidence(runs),
            sites=[record_files.site_evidence(entry) for entry in sites],
            evidence_since=now - retention.failed,
            delivered_since=now - retention.delivered,
            head=head,
            made_at=now,
            made_by=by,
        )
        files = await asyncio.to_thread(record_files.files, record, read_chain_links, self._wording())
        entry = AuditEntry(
            at=self._clock.now(),
            actor=by,
            event=RECORD_EXPORTED,
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
        return {**files, record_files.SEAL: record_files.seal(sealed, between)}

    # -- purges --------------------------------------------------------------------------------------------------

    async def purge_set(self, before: datetime) -> purge.PurgeSet:
        """Return what a purge would delete, and change nothing."""
        search, parts = purge.Search(before), []
        while not search.is_over:
            # A transaction for each part: for a hundred thousand incidents it would exceed the server's time limit.
            async with self._database.read() as connection:
                parts.append(await search.further(connection))
        return purge.PurgeSet(
            incidents=sorted(incident for part in parts for incident in part.incidents),
            notices=sorted(n for part in parts for n in part.notices),
            entries=sorted(e for part in parts for e in part.entries),
        )

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        """Delete the records before *before*, and return how many, as "incidents/notifications/entries".

        *authority*: the consent to the purge, for the audit log.
        """
        counts, search = [0, 0, 0], purge.Search(before)
        while not search.is_over:
            entry = AuditEntry(
                at=self._clock.now(),
                actor=by,
                event=PURGED,
                detail={"authority": authority, "before": before.date().isoformat()},
            )
            async with self._database.write() as connection:
                purge_set = await search.further(connection, purge.AT_ONCE)
                parts = (purge_set.incidents, purge_set.notices, purge_set.entries)
                if any(parts):
                    await purge.carry_out(connection, purge_set, entry)
            counts = [count + len(part) for count, part in zip(counts, parts, strict=True)]
        log.warning(
            "records purged",
            by=by,
            authority=authority,
            incidents=counts[0],
            notifications=counts[1],
            entries=counts[2],
        )
        return "/".join(map(str, counts))
