"""Decide whether this process does its work, so that an outside dead-man's switch may hear of it. Pure.

The switch calls somebody when it hears nothing. So a heartbeat says more than "the process runs": outages are looked
for, nobody is left untold, and what is done is kept.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from alerts.hours.elapsed import TOLERANCE

#: The cycle comes round every 30 s when nothing is due; one over a thousand incidents may take a minute.
CYCLE_WITHIN = timedelta(minutes=3)
#: A store that neither answers nor says that it is away for so long is stuck within this process, or hangs with its disk.
#: The lifeline has rung by then.
ANSWERS_WITHIN = timedelta(minutes=15)
#: The auditor looks every 30 s.
AUDIT_WITHIN = timedelta(minutes=3)
#: It is written every 15 s; a group of commits on a slow disk is no trouble yet.
WRITTEN_WITHIN = timedelta(minutes=1)
#: A busy loop starts runs some seconds late.
PROBES_WITHIN = timedelta(minutes=2)


class LivenessFailure(StrEnum):
    """What keeps the heartbeat back."""

    #: The engine's cycle has not come round: nobody would be told.
    ENGINE = "engine"
    #: Nothing can be written: what is found out and done is not kept.
    STORE = "store"
    #: The auditor has not looked: nobody knows whether anything is overdue.
    AUDIT = "audit"
    #: Somebody who should have been told has not been.
    OVERDUE = "overdue"
    #: Probes are not started on time: outages would not be seen.
    PROBING = "probing"


_STANDS_STILL: Final = {
    LivenessFailure.ENGINE: "the engine stands still: nobody is told",
    LivenessFailure.STORE: "nothing can be written into the store",
    LivenessFailure.AUDIT: "the auditor stands still: nobody knows whether anything is overdue",
    LivenessFailure.PROBING: "probes are not started on time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessInputs:
    """What this process knows of itself. `None`: not yet, since it started."""

    started_at: datetime
    #: When the engine's cycle last came round.
    cycled_at: datetime | None
    #: When something was last written into the store.
    written_at: datetime | None
    #: The store says itself that it cannot be used.
    store_is_away: bool
    #: When the auditor last looked.
    audited_at: datetime | None
    #: How long the longest lapse that it found has lasted.
    overdue: timedelta
    #: By how much the probe that is due next is late.
    late: timedelta


def ailments(signs: LivenessInputs, now: datetime) -> frozenset[LivenessFailure]:
    """Return what is wrong; nothing when the heartbeat may be sent. A start is given the time that each thing has."""

    def is_old(at: datetime | None, within: timedelta) -> bool:
        # What lies ahead was before the clock was set back: it is dated anew within seconds, or stands still.
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
    """Return which part of the work stands still; `None`: none. That somebody is told late may be a gateway's fault."""
    return next((why for ailment, why in _STANDS_STILL.items() if ailment in found), None)


def is_alive(signs: LivenessInputs, now: datetime) -> bool:
    """Whether a restart could not help: systemd's watchdog is told so.

    A cycle or an auditor that stands still is cured by a restart, unless it waits for a store that is away: then a
    restart would only end the probing, too. A store that says nothing at all may be our own fault.
    """
    found = ailments(signs, now)
    if LivenessFailure.STORE in found:
        return signs.store_is_away or -TOLERANCE <= now - (signs.written_at or signs.started_at) <= ANSWERS_WITHIN
    return not found & {LivenessFailure.ENGINE, LivenessFailure.AUDIT}
