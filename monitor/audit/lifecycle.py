"""Audit entries about the service itself: start, stop, and the applied configurations with their authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, Store
from monitor.store.probing.records import Applied


class LifecycleRecorder:
    """Writer of audit entries.

    All methods raise if the database is unavailable. Callers record an action before they execute it, so that no action
    lacks an entry.
    """

    def __init__(self, store: Store, clock: Clock, service: str) -> None:
        """*service*: the name of this process in the audit log: "pantau@prober-1"."""
        self._store = store
        self._clock = clock
        self._service = service

    async def record_start(self, *, version: str, user: str) -> None:
        """Record the start by an operating-system *user*. Two starts without a stop show a crash or a power failure."""
        await self.record(self._service, "service started", {"version": version, "user": user})

    async def record_stop(self) -> None:
        """Record an orderly stop of the service."""
        await self.record(self._service, "service stopped", {})

    async def record_configuration(
        self, by: str, digest: str, files: int, applied: Applied, *, notifies: bool = True
    ) -> None:
        """Record that the actor *by* applies a configuration.

        *digest*: `Configuration.digest`. *files*: the number of its files. *applied*: the added, changed and removed
        agencies. *notifies*: false in monitor-only mode, in which nobody is notified.
        """
        detail = {"sha256": digest, "files": str(files)} | ({} if notifies else {"mode": "monitor_only"})
        await self.record(by, "configuration taken up", detail | applied.detail())

    async def record_rejection(self, by: str, errors: Sequence[str]) -> None:
        """Record a rejected configuration that the actor *by* tried to apply, by the number of errors and the first."""
        await self.record(by, "configuration refused", {"errors": str(len(errors)), "first": next(iter(errors), "")})

    async def record(self, by: str, event: str, detail: Mapping[str, str], incident_id: int | None = None) -> None:
        """Record an action that is no event of an incident. *incident_id*: the incident that it concerns, if any."""
        entry = AuditEntry(at=self._clock.now(), actor=by, event=event, incident_id=incident_id, detail=detail)
        async with self._store.transaction() as uow:
            await uow.add_audit_entry(entry)
