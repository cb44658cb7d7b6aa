"""Liveness of this process, for its heartbeat to an external dead man's switch and for systemd. Pure.

The dead man's switch alerts somebody when heartbeats stop. A heartbeat states not only that the process runs, but also
that probes start on time, notifications are sent, and results are stored.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from alerts.hours.elapsed import TOLERANCE

#: The engine, which processes incidents, has a cycle at least every 30 s; with a thousand incidents it may take a
#: minute.
CYCLE_TIMEOUT = timedelta(minutes=3)
#: If the database gives neither an answer nor an error for so long, a restart may help. The NOC is alerted out of band
#: before.
DATABASE_TIMEOUT = timedelta(minutes=15)
#: The auditor, which finds missed actions, runs every 30 s.
AUDIT_TIMEOUT = timedelta(minutes=3)
#: The process writes every 15 s at least; a group commit on a slow disk takes some seconds.
WRITE_TIMEOUT = timedelta(minutes=1)
#: A busy event loop starts runs some seconds late.
PROBE_TIMEOUT = timedelta(minutes=2)


class LivenessFailure(StrEnum):
    """Reason why the heartbeat is suppressed."""

    #: The engine has not finished a cycle in time: nobody would be notified.
    ENGINE = "engine"
    #: Nothing can be written to the store.
    STORE = "store"
    #: The auditor has not run in time: missed actions would not be found.
    AUDIT = "audit"
    #: A person who should have been notified was not.
    OVERDUE = "overdue"
    #: Probes do not start on time: outages would not be found.
    PROBING = "probing"


_UNREADY_TEXTS: Final = {
    LivenessFailure.ENGINE: "the engine has stopped: nobody is notified",
    LivenessFailure.STORE: "nothing can be written to the database",
    LivenessFailure.AUDIT: "the auditor has stopped: overdue actions are not found",
    LivenessFailure.PROBING: "probes do not start on time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessInputs:
    """Observations of this process. `None`: none since the start."""

    started_at: datetime
    #: When the engine's cycle last ran.
    cycled_at: datetime | None
    #: Last successful write to the database.
    written_at: datetime | None
    #: The database reports that it is unavailable.
    is_store_unavailable: bool
    #: When the auditor last ran.
    audited_at: datetime | None
    #: How long the oldest missed action is overdue.
    overdue: timedelta
    #: Delay of the next probe.
    probe_delay: timedelta


def find_liveness_failures(inputs: LivenessInputs, now: datetime) -> frozenset[LivenessFailure]:
    """Return the failures; empty if heartbeats may be sent. After a start, each limit counts from the start."""

    def is_old(at: datetime | None, timeout: timedelta) -> bool:
        # A time in the future, from before the clock was set back, counts as old: what still works is renewed within
        # seconds.
        return not -TOLERANCE <= now - (at or inputs.started_at) <= timeout

    states = {
        LivenessFailure.ENGINE: is_old(inputs.cycled_at, CYCLE_TIMEOUT),
        LivenessFailure.STORE: is_old(inputs.written_at, WRITE_TIMEOUT),
        LivenessFailure.AUDIT: is_old(inputs.audited_at, AUDIT_TIMEOUT),
        LivenessFailure.OVERDUE: inputs.overdue > timedelta(0),
        LivenessFailure.PROBING: inputs.probe_delay > PROBE_TIMEOUT,
    }
    return frozenset(failure for failure, is_failing in states.items() if is_failing)


def unready_reason(failures: AbstractSet[LivenessFailure]) -> str | None:
    """Return why the process is not ready; `None` if it is.

    An overdue notification is no reason, because a gateway may be the cause.
    """
    return next((reason for failure, reason in _UNREADY_TEXTS.items() if failure in failures), None)


def is_alive(inputs: LivenessInputs, now: datetime) -> bool:
    """Whether systemd's watchdog should leave the process running, because a restart does not help.

    A restart helps if the engine or the auditor has stopped, unless they wait for an unavailable database: then it
    would only stop the probes. It also helps if the database has not answered for `DATABASE_TIMEOUT`.
    """
    failures = find_liveness_failures(inputs, now)
    if LivenessFailure.STORE in failures:
        return (
            inputs.is_store_unavailable
            or -TOLERANCE <= now - (inputs.written_at or inputs.started_at) <= DATABASE_TIMEOUT
        )
    return not failures & {LivenessFailure.ENGINE, LivenessFailure.AUDIT}
