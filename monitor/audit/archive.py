"""Export of the audit log and of incident records, and purges of old records.

An *incident record* is a set of files with everything about one incident. A *purge* deletes incidents, notifications
and audit entries from before a given date. A *site* is a location with its own prober.
"""

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
from monitor.audit import incident_record as record_files
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import RetentionPolicy
from monitor.views.site_report import SITES_DETAIL, SITES_EVENT, SiteIncidentData, parse_reports
from probes.model.result import Outcome

log = structlog.get_logger()

#: Event name of the audit entry about an exported incident record. It is hashed, so it must not be renamed.
RECORD_EXPORTED = "dossier made"


class Archive:
    """Audit log, incident records and purges of one database."""

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

        *sites* returns what each site reports about an incident, this site first. Its second argument limits the number
        of probe runs of each other site. *sites* is `None` if there is only one site.
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
        """Return number and hash of the last audit entry."""
        async with self._database.read() as connection:
            return await audit.head(connection)

    async def entries(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Return the next audit entries after the number *after*, as JSON. An unreadable entry has only its number."""
        async with self._database.read() as connection:
            entries = await audit.entries(connection, after)
        return [entry_to_json(entry) if isinstance(entry, ChainedEntry) else {"number": entry} for entry in entries]

    # -- incident records ----------------------------------------------------------------------------------------

    async def incident_record(self, number: str, by: str) -> Mapping[str, bytes] | None:
        """Return the files of an incident record by name; `None` if there is no incident *number*.

        The actor *by* exports it. The audit entry about the export contains the digest of SHA256SUMS, so that the hash
        of that entry authenticates all files. The entry itself is in the last file, the seal.
        """
        async with self._store.reading() as uow:
            incident = await uow.incident_by_number(number)
            notifications = [] if incident is None else await uow.notifications(incident.id)
        if incident is None:
            return None
        async with self._database.read() as connection:
            entries = await audit.entries_of_incident(connection, incident.id)
            head = await audit.head(connection)
            # Include the head, so that there is a chain to verify even if no audit entry is about the incident.
            chain_links = await audit.read_chain_links(connection, [*(entry.number for entry in entries), head.number])
        now, retention = self._clock.now(), self._retention()
        runs = await self._history.between(
            incident.policy.agency, record_files.runs_start(incident), incident.resolved_at or now
        )
        sites = [] if self._sites is None else list(await self._sites(incident, record_files.MAX_SITE_RUNS))
        if sites:
            # The first site is this one. All its runs have been read above, so replace the limited number.
            failed_runs = [run for run in runs if run.outcome is not Outcome.DELIVERED]
            sites[0] = replace(sites[0], failed_runs=failed_runs)
            site_reports = parse_reports(
                [str(entry.detail[SITES_DETAIL]) for entry in entries if entry.event == SITES_EVENT]
            )
            # For a site that reports nothing now, use its report in the audit log.
            sites = [site if site.report else replace(site, report=site_reports.get(site.site)) for site in sites]
        record = IncidentRecord(
            incident=incident,
            notifications=notifications,
            entries=entries,
            evidence=record_files.build_measurements(runs),
            sites=[record_files.build_site_findings(site) for site in sites],
            # Before these times, all runs or those of delivered messages have been deleted.
            evidence_since=now - retention.failed,
            delivered_since=now - retention.delivered,
            head=head,
            made_at=now,
            made_by=by,
        )
        files = await asyncio.to_thread(record_files.build_files, record, chain_links, self._wording())
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
            seal_links = await audit.links(connection, head.number + 1, sealed.number)
        log.info("incident record created", incident=incident.number, head=f"{sealed.number}:{sealed.hash}")
        return {**files, record_files.SEAL: record_files.serialize_seal(sealed, seal_links)}

    # -- purges --------------------------------------------------------------------------------------------------

    async def purge_set(self, before: datetime) -> purge.PurgeSet:
        """Return the records that a purge would delete. Nothing is changed."""
        search, parts = purge.Search(before), []
        while not search.is_over:
            # Use one transaction per part: a single one for a hundred thousand incidents would exceed the time limit of
            # the database server.
            async with self._database.read() as connection:
                parts.append(await search.search_next(connection))
        return purge.PurgeSet(
            incidents=sorted(incident for part in parts for incident in part.incidents),
            notification_ids=sorted(n for part in parts for n in part.notification_ids),
            entry_ids=sorted(e for part in parts for e in part.entry_ids),
        )

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        """Delete the records from before *before*. Return the counts as "incidents/notifications/entries".

        The audit log names *authority* (who consented to the purge) and the actor *by*.
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
                purge_set = await search.search_next(connection, purge.BATCH_SIZE)
                parts = (purge_set.incidents, purge_set.notification_ids, purge_set.entry_ids)
                if any(parts):
                    await purge.delete_records(connection, purge_set, entry)
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
