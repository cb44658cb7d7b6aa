"""Liveness of this process, for its heartbeat to an external dead man's switch and for systemd. Pure.

The dead man's switch alerts somebody when heartbeats stop. A heartbeat is sent only if the process runs, probes start
on time, notifications are sent, and results are stored.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from alerts.hours.elapsed import TOLERANCE

#: The engine, which processes incidents, runs a cycle at least every 30 s. With a thousand incidents a cycle may take a
#: minute.
CYCLE_TIMEOUT = timedelta(minutes=3)
#: If the database returns neither a result nor an error for so long, a restart may help. Before that, the NOC (network
#: operations centre) is alerted out of band, that is, without the database.
DATABASE_TIMEOUT = timedelta(minutes=15)
#: The auditor, which finds overdue actions of the engine, runs every 30 s.
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
    #: The auditor has not run in time: overdue actions would not be found.
    AUDIT = "audit"
    #: An action is overdue: somebody was not notified in time.
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
    """Observations of this process. A time is `None` if it has not happened since the start."""

    #: Start of the process.
    started_at: datetime
    #: When the engine last finished a cycle.
    cycled_at: datetime | None
    #: Last successful write to the database.
    written_at: datetime | None
    #: Whether the database reports that it is unavailable.
    is_store_unavailable: bool
    #: When the auditor last ran.
    audited_at: datetime | None
    #: How long the oldest overdue action is overdue; zero: none is.
    overdue: timedelta
    #: How late the next probe is.
    probe_delay: timedelta


def find_liveness_failures(inputs: LivenessInputs, now: datetime) -> frozenset[LivenessFailure]:
    """Return the failures; empty if heartbeats may be sent. Without an observation, timeouts count from the start."""

    def is_old(at: datetime | None, timeout: timedelta) -> bool:
        # A time in the future, from before the clock was set back, counts as old. If the component works, it sets a new
        # time within seconds.
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
    """Return why the process is not ready; `None` if it is ready.

    An overdue action is not a reason, because a gateway may be the cause.
    """
    return next((reason for failure, reason in _UNREADY_TEXTS.items() if failure in failures), None)


def is_alive(inputs: LivenessInputs, now: datetime) -> bool:
    """Whether systemd's watchdog should leave the process running, because a restart does not help.

    A restart helps if the engine or the auditor has stopped. If they only wait for an unavailable database, a restart
    would stop the probes for nothing. A restart may also help if the database has not answered for `DATABASE_TIMEOUT`.
    """
    failures = find_liveness_failures(inputs, now)
    if LivenessFailure.STORE in failures:
        return (
            inputs.is_store_unavailable
            or -TOLERANCE <= now - (inputs.written_at or inputs.started_at) <= DATABASE_TIMEOUT
        )
    return not failures & {LivenessFailure.ENGINE, LivenessFailure.AUDIT}
