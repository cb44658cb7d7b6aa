"""Decide whether the NOC is to be rung without the store, and what is remembered of it. Pure.

This is for when the store is what failed, or a whole process: then no incident can be opened and no notice written. It
has few words and no acknowledgement: it rings once, again while the trouble lasts, and says when it is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE


class OutOfBandReason(StrEnum):
    """What the NOC is rung about."""

    #: Nothing can be written into the store: outages are not taken in, and nobody is told.
    STORE = "store"
    #: Another process on the store has fallen silent.
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandPolicy:
    """How long each trouble must last before it is told, and how often it is told again."""

    store: timedelta = timedelta(minutes=10)
    peer: timedelta = timedelta(minutes=2)
    repeat: timedelta = timedelta(minutes=30)
    #: When no gateway took it, it is tried again after this.
    retry: timedelta = timedelta(minutes=1)
    #: A peer that has been silent for so long is known by then, or gone for good.
    forget_peer: timedelta = timedelta(days=1)

    def of(self, trouble: OutOfBandReason) -> timedelta:
        """Return how long a trouble must last."""
        return self.store if trouble is OutOfBandReason.STORE else self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveReason:
    """One stretch of a trouble."""

    since: datetime
    #: When it was last told; `None`: not yet.
    told_at: datetime | None = None
    #: When telling was last begun and came to nothing.
    failed_at: datetime | None = None
    #: Whose trouble it is: a peer's name; "" for the store.
    whose: str = ""


#: What is remembered, by trouble. It is kept in a file: a process that dies and starts again must not ring each time.
Memory = Mapping[OutOfBandReason, ActiveReason]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutOfBand:
    """Ring the NOC now."""

    trouble: OutOfBandReason
    since: datetime
    whose: str = ""
    #: It is over.
    clear: bool = False


def recall(
    memory: Memory,
    present: Memory,
    patience: OutOfBandPolicy,
    now: datetime,
    unknown: AbstractSet[OutOfBandReason] = frozenset(),
) -> tuple[Memory, tuple[SendOutOfBand, ...]]:
    """Return what is to be remembered from now on, and what the NOC is to be rung about.

    *present*: the troubles there are, each with since when; *unknown*: those of which it is not known whether they are
    there. What is remembered of an earlier beginning counts, unless it lies in the future: then the clock was set back.
    """
    kept: dict[OutOfBandReason, ActiveReason] = {}
    rings = []
    for trouble in OutOfBandReason:
        before, found = memory.get(trouble), present.get(trouble)
        if before is not None and any(at > now for at in (before.since, before.told_at, before.failed_at) if at):
            before = None
        if trouble in unknown:
            if before is not None:
                kept[trouble] = before
            continue
        if found is None:
            if before is not None and before.told_at is not None:
                rings.append(SendOutOfBand(trouble=trouble, since=before.since, whose=before.whose, clear=True))
            continue
        since = min(found.since, now) if before is None else min(before.since, found.since)
        spell = replace(before or found, since=since)
        if _is_due(spell, trouble, patience, now):
            rings.append(SendOutOfBand(trouble=trouble, since=spell.since, whose=found.whose))
            # Remembered before anybody is rung: a process that dies while it rings must not begin again at once.
            spell = replace(spell, told_at=now, failed_at=None, whose=found.whose)
        kept[trouble] = spell
    return kept, tuple(rings)


def untold(memory: Memory, ring: SendOutOfBand, now: datetime) -> Memory:
    """Return what is remembered when no gateway took *ring*: it is owed still."""
    spell = memory.get(ring.trouble)
    return memory if spell is None else {**memory, ring.trouble: replace(spell, told_at=None, failed_at=now)}


def _is_due(spell: ActiveReason, trouble: OutOfBandReason, patience: OutOfBandPolicy, now: datetime) -> bool:
    if now - spell.since < patience.of(trouble):
        return False
    if spell.told_at is not None:
        return now - spell.told_at >= patience.repeat
    return spell.failed_at is None or now - spell.failed_at >= patience.retry


def silent_peer(
    me: str, beats: Mapping[str, tuple[datetime, datetime | None]], patience: OutOfBandPolicy, now: datetime
) -> ActiveReason | None:
    """Return the peer that has been silent for longest and that *me* is to ring about; `None` when there is none.

    *beats*: of every process but this one, when it last wrote and when it ended as it was told to (`None`: it did not).
    Of those that live, the first by name rings: several telephones need not ring in the NOC for one silence.
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
