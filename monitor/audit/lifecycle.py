"""What the service itself does, as the journal tells it: start, stop, and which configuration is in force by whose word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, Store
from monitor.store.probing.records import Applied


class Lifecycle:
    """Writes into the journal. A store that is away raises, as everywhere: what is not written down is not done."""

    def __init__(self, store: Store, clock: Clock, service: str) -> None:
        """*service* names this process in the journal: "pantau@prober-1"."""
        self._store = store
        self._clock = clock
        self._service = service

    async def started(self, *, version: str, user: str) -> None:
        """Tell that the service is about to work. A start that follows no stop was a crash or a power cut."""
        await self.told(self._service, "service started", {"version": version, "user": user})

    async def stopped(self) -> None:
        """Tell that the service has ended as it should."""
        await self.told(self._service, "service stopped", {})

    async def configured(self, by: str, digest: str, files: int, applied: Applied, *, tells: bool = True) -> None:
        """Tell which configuration is in force from now on; *digest* as `monitor.config.loading` makes it.

        Not *tells*: by it nobody is told of anything.
        """
        detail = {"sha256": digest, "files": str(files)} | ({} if tells else {"mode": "watch"})
        await self.told(by, "configuration taken up", detail | applied.detail())

    async def refused(self, by: str, errors: Sequence[str]) -> None:
        """Tell that a configuration was not taken up, and how many errors it has."""
        await self.told(by, "configuration refused", {"errors": str(len(errors)), "first": next(iter(errors), "")})

    async def told(self, by: str, event: str, detail: Mapping[str, str], incident_id: int | None = None) -> None:
        """Tell of what somebody did beside the incidents' own life."""
        entry = AuditEntry(at=self._clock.now(), actor=by, event=event, incident_id=incident_id, detail=detail)
        async with self._store.transaction() as ledger:
            await ledger.journal(entry)
