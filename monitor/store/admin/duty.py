"""On-call records that are in the database and in no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from alerts.model.oncall import Override
from monitor.store.admin.unopened import DocumentsAwayError, has_store, read_unopened
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.oncall import confirmation_times, confirmations, overrides_from_rows, select_overrides
from monitor.store.schema.tables import drill_notification, override


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRecords:
    """Overrides, and which numbers were confirmed by drills, as the running service counts them."""

    overrides: Sequence[Override] = ()
    #: When a drill was last confirmed, by number (E.164).
    answered: Mapping[str, datetime] = field(default_factory=dict)
    #: Why neither could be read; empty when both were.
    unread: str = ""


def read_duty(directory: Path, server: PostgresServer | None, now: datetime) -> DutyRecords:
    """Return the on-call records of a store at *now*, whether or not a service uses the store."""
    if server is None and not has_store(directory):
        return DutyRecords(unread=f"there is no store in {directory}")
    try:
        overrides = overrides_from_rows(read_unopened(directory, server, select_overrides(now), override.name))
        confirmed = confirmation_times(read_unopened(directory, server, confirmations(), drill_notification.name))
    except DocumentsAwayError as away:
        return DutyRecords(unread=str(away))
    return DutyRecords(overrides=overrides, answered=confirmed)
