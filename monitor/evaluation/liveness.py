"""Liveness of this process, for an external dead man's switch. Pure.

The switch alerts somebody when heartbeats stop. So a heartbeat means more than a running process: probes run, nobody is
left without a notification, and results are stored.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from alerts.hours.elapsed import TOLERANCE

#: The engine's cycle runs every 30 s without work; one with a thousand incidents may take a minute.
CYCLE_WITHIN = timedelta(minutes=3)
#: A database without an answer or an error for so long hangs in this process or with its disk. The out-of-band alert is
#: sent before.
ANSWERS_WITHIN = timedelta(minutes=15)
#: The auditor runs every 30 s.
AUDIT_WITHIN = timedelta(minutes=3)
#: Written every 15 s; a group commit on a slow disk takes longer.
WRITTEN_WITHIN = timedelta(minutes=1)
#: A busy event loop starts runs some seconds late.
PROBES_WITHIN = timedelta(minutes=2)


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


_STANDS_STILL: Final = {
    LivenessFailure.ENGINE: "the engine stands still: nobody is told",
    LivenessFailure.STORE: "nothing can be written into the store",
    LivenessFailure.AUDIT: "the auditor stands still: nobody knows whether anything is overdue",
    LivenessFailure.PROBING: "probes are not started on time",
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
    store_is_away: bool
    #: When the auditor last ran.
    audited_at: datetime | None
    #: Duration of the longest overdue action.
    overdue: timedelta
    #: Delay of the next probe.
    late: timedelta


def ailments(signs: LivenessInputs, now: datetime) -> frozenset[LivenessFailure]:
    """Return the failures; empty if heartbeats may be sent. After a start each has its full time."""

    def is_old(at: datetime | None, within: timedelta) -> bool:
        # Later times were recorded before the clock was set back; they are renewed within seconds unless it has
        # stopped.
        return not -TOLERANCE <= now - (at or signs.started_at) <= within

    found = {
        LivenessFailure.ENGINE: is_old(signs.cycled_at, CYCLE_WITHIN),
        LivenessFailure.STORE: is_old(signs.written_at, WRITTEN_WITHIN),
        LivenessFailure.AUDIT: is_old(signs.audited_at, AUDIT_WITHIN),
        LivenessFailure.OVERDUE: signs.overdue > timedelta(0),
        LivenessFailure.PROBING: signs.late > PROBES_WITHIN,
    }
    return frozenset(ailment for ailment, present in found.items() if present)


def unready(found: AbstractSet[LivenessFailure]) -> str | None:
    """Return which part has stopped; `None` if none has. A late notification may be a gateway's fault."""
    return next((why for ailment, why in _STANDS_STILL.items() if ailment in found), None)


def is_alive(signs: LivenessInputs, now: datetime) -> bool:
    """Whether a restart could not help, for systemd's watchdog.

    A restart cures a cycle or an auditor that has stopped, unless it waits for an unavailable database: then it would
    only stop the probes. A database without any answer may be our own fault.
    """
    found = ailments(signs, now)
    if LivenessFailure.STORE in found:
        return signs.store_is_away or -TOLERANCE <= now - (signs.written_at or signs.started_at) <= ANSWERS_WITHIN
    return not found & {LivenessFailure.ENGINE, LivenessFailure.AUDIT}
