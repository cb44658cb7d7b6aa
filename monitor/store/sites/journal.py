"""Audit entries at the hub about sites that have joined or left, and who ordered it."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.persistence.store import AuditEntry
from monitor.store.backend.postgres import PostgresServer, ServerClock, StoreUnusableError, connected
from monitor.store.engine import audit
from monitor.store.schema.tables import to_storable
from monitor.store.sites.link import SiteRefusedError


async def write(store: PostgresServer, event: str, *, by: str, detail: Mapping[str, str]) -> None:
    """Append an entry to the audit log of *store*; a service may use it at the same time. Raise `SiteRefusedError`.

    *event*: name of the audit event. *by*: the author. The schema is not migrated, because the running service may be
    older than this command.
    """
    clock = ServerClock()
    try:
        async with connected(store, clock) as engine, engine.begin() as connection:
            entry = AuditEntry(at=clock.now(), actor=to_storable(by, 200), event=event, detail=detail)
            await audit.append(connection, [entry])
    except StoreUnusableError as error:
        raise SiteRefusedError(str(error)) from None
