"""On-call records that exist only in the database: overrides of rotas, and telephone numbers confirmed by drills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from alerts.model.oncall import Override
from monitor.store.admin.unopened import StoreUnreadableError, has_store, read_unopened
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.oncall import confirmation_times, overrides_from_rows, select_confirmations, select_overrides
from monitor.store.schema.tables import drill_notification, override


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRecords:
    """Overrides, and telephone numbers that were confirmed by drills. Serialised for `pantau check`."""

    #: Temporary replacements of the person on call.
    overrides: Sequence[Override] = ()
    #: When a person last confirmed a drill (a test notification), by telephone number (E.164).
    answered: Mapping[str, datetime] = field(default_factory=dict)
    #: Reason why the records could not be read; empty: they were read.
    unread: str = ""


def read_duty(directory: Path, server: PostgresServer | None, now: datetime) -> DutyRecords:
    """Return the overrides that have not ended at *now*, and the confirmed numbers.

    The store is the PostgreSQL *server*, or the SQLite file in *directory*. A running service may be using it.
    """
    if server is None and not has_store(directory):
        return DutyRecords(unread=f"there is no store in {directory}")
    try:
        overrides = overrides_from_rows(read_unopened(directory, server, select_overrides(now), override.name))
        confirmed = confirmation_times(
            read_unopened(directory, server, select_confirmations(), drill_notification.name)
        )
    except StoreUnreadableError as error:
        return DutyRecords(unread=str(error))
    return DutyRecords(overrides=overrides, answered=confirmed)
