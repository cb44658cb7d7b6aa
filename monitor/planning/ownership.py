"""Decide which of the processes on one store are alive, and which agency is whose among them. Pure.

An agency goes to one process whole, by rendezvous hashing: of all that are alive the one whose name weighs most with the
agency's code. Nobody is asked, all come to the same, and of whoever joins or dies only its own share moves. While files are
rolled out some processes have a document of an agency and others do not: it goes to one that has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType

#: A process beats so often in the time within which it is to be replaced.
_BEATS = 10
#: It is dead after this part of that time without a beat: the rest is for looking, reading its past, and being busy.
_DEAD = 0.4
#: A process that has not beaten for so long is waited for by nobody who begins.
GIVEN_UP = timedelta(days=1)
#: What the hash says of one name and one code, in octets.
_WEIGHT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverPolicy:
    """How soon others probe what a dead process has probed."""

    within: timedelta = timedelta(seconds=10)

    @property
    def beat_every(self) -> timedelta:
        """How often each process says that it lives."""
        return self.within / _BEATS

    @property
    def dead_after(self) -> timedelta:
        """Without a beat for so long it is dead."""
        return self.within * _DEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMember:
    """A process on the store, as it last said of itself."""

    name: str
    #: By the store's clock.
    beat_at: datetime
    #: It has ended as it was told to.
    has_left: bool = False


@dataclass(slots=True, kw_only=True)
class ClusterMembership:
    """Who is alive, as one of them sees it. Times are the store's clock's.

    Nobody is called dead except by one whose own beats have gone through for as long since: after a store that was away
    nobody has an old beat because of himself. While it is away nothing changes.
    """

    #: Its own.
    name: str
    policy: TakeoverPolicy = field(default_factory=TakeoverPolicy)
    #: Since when its beats go through, one soon after the other; and the latest of them.
    _steady_since: datetime | None = None
    _beat_at: datetime | None = None
    #: Who was called dead, by which beat: dead it stays until it beats again.
    _dead: dict[str, datetime] = field(default_factory=dict)
    #: Whose beat is still to come, as before the clock was set back: which one, and when it was first seen.
    _ahead: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _has_begun: bool = False

    def missed(self) -> None:
        """Take in that a beat of its own did not go through."""
        self._steady_since = None

    def beat(self, others: Collection[ClusterMember], now: datetime) -> frozenset[str]:
        """Take in that a beat of its own went through *now*, and what the *others* last said; return who is alive."""
        is_gap = self._beat_at is None or not timedelta(0) <= now - self._beat_at < self.policy.dead_after
        if self._steady_since is None or is_gap:
            self._steady_since = now
        self._beat_at = now
        self._ahead = {one.name: self._first_seen(one, now) for one in others if one.beat_at > now}
        self._dead = {one.name: one.beat_at for one in others if self._is_dead(one, self._steady_since, now)}
        self._has_begun = True
        return frozenset({self.name, *(one.name for one in others if not one.has_left and one.name not in self._dead)})

    def _first_seen(self, other: ClusterMember, now: datetime) -> tuple[datetime, datetime]:
        beat_at, seen_at = self._ahead.get(other.name, (None, now))
        return other.beat_at, min(seen_at, now) if beat_at == other.beat_at else now

    def _is_dead(self, other: ClusterMember, steady_since: datetime, now: datetime) -> bool:
        if self._dead.get(other.name) == other.beat_at:
            return True
        if not self._has_begun and now - other.beat_at > GIVEN_UP:
            return True
        _, beat_at = self._ahead.get(other.name, (None, other.beat_at))
        return now - max(beat_at, steady_since) > self.policy.dead_after


def owners(
    agencies: Iterable[str], alive: Collection[str], known: Mapping[str, AbstractSet[str]] = MappingProxyType({})
) -> Mapping[str, str]:
    """Return whose each agency is, by its code: of those that are *alive*, which is one at least, and know it.

    *known*: of which agencies a process has documents, by its name; one that is not there has those of all.
    """
    if len(alive) == 1:
        return dict.fromkeys(agencies, *alive)
    # With its length before it no name with a code is another name with another code.
    keys = [(name, len(name.encode()).to_bytes(2, "big") + name.encode()) for name in alive]
    found: dict[str, str] = {}
    for agency in agencies:
        code = agency.encode()
        able = keys
        if known:
            able = [(name, key) for name, key in keys if name not in known or agency in known[name]] or keys
        # Of two that weigh the same the name decides: all come to the same.
        found[agency] = max((blake2b(key + code, digest_size=_WEIGHT).digest(), name) for name, key in able)[1]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one process has of the agencies. What belongs to none, such as control routes, is every process's own."""

    #: Its name, and those of all that are alive, it among them.
    name: str = ""
    alive: frozenset[str] = frozenset({""})
    #: Of which agencies the others have documents, as far as they have said so. It is asked about those that it has itself.
    known: Mapping[str, AbstractSet[str]] = field(default_factory=dict, hash=False)

    def of(self, agencies: Iterable[str]) -> frozenset[str]:
        """Return those of *agencies* that are its own."""
        return frozenset(code for code, whose in owners(agencies, self.alive, self.known).items() if whose == self.name)

    @property
    def watched_elsewhere(self) -> frozenset[str]:
        """Return the agencies of which others say that they have documents."""
        return frozenset[str]().union(*self.known.values())

    def owner(self, agency: str) -> str:
        """Return whose an agency is, by its code."""
        return owners([agency], self.alive, self.known)[agency]


#: Of a process that shares with nobody.
WHOLE = Shard()
