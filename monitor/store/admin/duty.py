"""What the store has of duties and no file has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from alerts.model.oncall import Override
from monitor.store.admin.unopened import DocumentsAwayError, has_store, read_unopened
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.oncall import answers, answers_of, overrides_after, overrides_of
from monitor.store.schema.tables import exercise, override


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRecords:
    """Overrides, and which numbers answered, as the running service counts them."""

    overrides: Sequence[Override] = ()
    #: When somebody last confirmed a drill, by number (E.164).
    answered: Mapping[str, datetime] = field(default_factory=dict)
    #: Why neither could be read; empty when both were.
    unread: str = ""


def read_duty(directory: Path, server: PostgresServer | None, now: datetime) -> DutyRecords:
    """Return what a store has of duties at *now*; it may be at rest, or a service may use it."""
    if server is None and not has_store(directory):
        return DutyRecords(unread=f"there is no store in {directory}")
    try:
        standing = overrides_of(read_unopened(directory, server, overrides_after(now), override.name))
        answered = answers_of(read_unopened(directory, server, answers(), exercise.name))
    except DocumentsAwayError as away:
        return DutyRecords(unread=str(away))
    return DutyRecords(overrides=standing, answered=answered)
