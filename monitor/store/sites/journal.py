"""Records in the hub's audit log that a site has joined or left, and on whose order."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.persistence.store import AuditEntry
from monitor.store.backend.postgres import PostgresServer, ServerClock, StoreUnusableError, connected
from monitor.store.engine import audit
from monitor.store.schema.tables import clean
from monitor.store.sites.link import SiteRefusedError


async def write(store: PostgresServer, event: str, *, by: str, detail: Mapping[str, str]) -> None:
    """Add an entry to the audit log of *store* while others may write to it. Raise `SiteRefusedError`.

    The schema is not migrated: a running service may be older than this command.
    """
    clock = ServerClock()
    try:
        async with connected(store, clock) as engine, engine.begin() as connection:
            entry = AuditEntry(at=clock.now(), actor=clean(by, 200), event=event, detail=detail)
            await audit.append(connection, [entry])
    except StoreUnusableError as error:
        raise SiteRefusedError(str(error)) from None
