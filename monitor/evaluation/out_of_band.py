"""Decision to alert the NOC out of band, without the database. Pure.

Used when the database or a whole process has failed: no incident can be opened and no notification written. The alert
is short and without acknowledgement: it is sent once, repeated while the problem lasts, and followed by an all-clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE


class OutOfBandReason(StrEnum):
    """Reason why the NOC is called without the store."""

    #: Nothing can be written to the store: incidents do not open and nobody is notified.
    STORE = "store"
    #: Another process on the store has stopped.
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandPolicy:
    """How long a problem must last before an alert, and how often it is repeated."""

    store: timedelta = timedelta(minutes=10)
    peer: timedelta = timedelta(minutes=2)
    repeat: timedelta = timedelta(minutes=30)
    #: Retry interval when every gateway failed.
    retry: timedelta = timedelta(minutes=1)
    #: A peer that is silent for so long has been reported or removed for good.
    forget_peer: timedelta = timedelta(days=1)

    def of(self, trouble: OutOfBandReason) -> timedelta:
        """Return how long a problem must last."""
        return self.store if trouble is OutOfBandReason.STORE else self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveReason:
    """One occurrence of a problem."""

    since: datetime
    #: Last alert; `None`: none yet.
    notified_at: datetime | None = None
    #: Start of the last alert that failed.
    failed_at: datetime | None = None
    #: Name of the silent peer; "" for the database.
    whose: str = ""


#: State by reason. It is kept in a file, so that a restart does not repeat alerts.
Memory = Mapping[OutOfBandReason, ActiveReason]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutOfBand:
    """Alert the NOC now."""

    trouble: OutOfBandReason
    since: datetime
    whose: str = ""
    #: The problem is over.
    clear: bool = False


def recall(
    memory: Memory,
    present: Memory,
    patience: OutOfBandPolicy,
    now: datetime,
    unknown: AbstractSet[OutOfBandReason] = frozenset(),
) -> tuple[Memory, tuple[SendOutOfBand, ...]]:
    """Return the new state and the alerts to send.

    *present*: current problems with their start; *unknown*: reasons that cannot be examined now. An earlier start in
    the state counts, unless it is in the future because the clock was set back.
    """
    kept: dict[OutOfBandReason, ActiveReason] = {}
    rings = []
    for trouble in OutOfBandReason:
        before, found = memory.get(trouble), present.get(trouble)
        if before is not None and any(at > now for at in (before.since, before.notified_at, before.failed_at) if at):
            before = None
        if trouble in unknown:
            if before is not None:
                kept[trouble] = before
            continue
        if found is None:
            if before is not None and before.notified_at is not None:
                rings.append(SendOutOfBand(trouble=trouble, since=before.since, whose=before.whose, clear=True))
            continue
        since = min(found.since, now) if before is None else min(before.since, found.since)
        spell = replace(before or found, since=since)
        if _is_due(spell, trouble, patience, now):
            rings.append(SendOutOfBand(trouble=trouble, since=spell.since, whose=found.whose))
            # Saved before sending: a process that dies meanwhile must not repeat the alert at once.
            spell = replace(spell, notified_at=now, failed_at=None, whose=found.whose)
        kept[trouble] = spell
    return kept, tuple(rings)


def untold(memory: Memory, ring: SendOutOfBand, now: datetime) -> Memory:
    """Return the state after no gateway accepted *ring*: it stays due."""
    spell = memory.get(ring.trouble)
    return memory if spell is None else {**memory, ring.trouble: replace(spell, notified_at=None, failed_at=now)}


def _is_due(spell: ActiveReason, trouble: OutOfBandReason, patience: OutOfBandPolicy, now: datetime) -> bool:
    if now - spell.since < patience.of(trouble):
        return False
    if spell.notified_at is not None:
        return now - spell.notified_at >= patience.repeat
    return spell.failed_at is None or now - spell.failed_at >= patience.retry


def silent_peer(
    me: str, beats: Mapping[str, tuple[datetime, datetime | None]], patience: OutOfBandPolicy, now: datetime
) -> ActiveReason | None:
    """Return the peer that is silent for longest and that *me* must report; `None` without any.

    *beats*: last heartbeat and orderly stop (or `None`) of every other process. The first live process by name sends
    the alert, so that one silence causes one alert.
    """

    def has_beaten(at: datetime) -> bool:
        return -TOLERANCE <= now - at <= patience.peer

    gone = {
        name: at
        for name, (at, stopped) in beats.items()
        if (stopped is None or stopped < at) and not has_beaten(at) and now - at < patience.forget_peer
    }
    living = [name for name, (at, stopped) in beats.items() if stopped is None and has_beaten(at)]
    if not gone or min([me, *living]) != me:
        return None
    whose = min(gone, key=lambda name: (gone[name], name))
    return ActiveReason(since=gone[whose], whose=whose)
