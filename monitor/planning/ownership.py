"""Membership of the processes on one store, and ownership of agencies among them. Pure.

Rendezvous hashing assigns each agency to one live process: the one whose name weighs most with the agency's code. All
processes compute the same without coordination, and when one joins or dies only its own share moves. During a rollout,
an agency goes to a process that has its document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType

#: Heartbeats per takeover timeout.
_HEARTBEATS = 10
#: Share of the takeover timeout without a heartbeat after which a process is dead. The rest is for noticing, reading
#: its history, and load.
_DEAD_AFTER = 0.4
#: A process that starts ignores others without a heartbeat for so long.
GIVEN_UP = timedelta(days=1)
#: Octets of the hash.
_HASH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverPolicy:
    """How soon the others take over the agencies of a dead process."""

    within: timedelta = timedelta(seconds=10)

    @property
    def beat_every(self) -> timedelta:
        """Interval between two heartbeats."""
        return self.within / _HEARTBEATS

    @property
    def dead_after(self) -> timedelta:
        """Time without a heartbeat after which a process is dead."""
        return self.within * _DEAD_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMember:
    """A process on the store, by its latest heartbeat."""

    name: str
    #: By the database's clock.
    heartbeat_at: datetime
    #: It has shut down in order.
    has_left: bool = False


@dataclass(slots=True, kw_only=True)
class ClusterMembership:
    """Live processes, as one of them sees it. Times are the database's clock.

    A process declares another dead only after its own heartbeats have succeeded for as long: after an outage of the
    database every heartbeat is old. During the outage nothing changes.
    """

    #: Its own name.
    name: str
    policy: TakeoverPolicy = field(default_factory=TakeoverPolicy)
    #: Since when its heartbeats succeed without a gap, and the latest one.
    _succeeding_since: datetime | None = None
    _beat_at: datetime | None = None
    #: Dead processes with their last heartbeat; they stay dead until the next one.
    _dead: dict[str, datetime] = field(default_factory=dict)
    #: Heartbeats in the future, as after the clock was set back: the heartbeat, and when it was first seen.
    _ahead: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _has_begun: bool = False

    def missed(self) -> None:
        """Record that an own heartbeat failed."""
        self._succeeding_since = None

    def beat(self, others: Collection[ClusterMember], now: datetime) -> frozenset[str]:
        """Record that an own heartbeat succeeded *now*, and those of the *others*.

        Return the names of the live processes.
        """
        is_gap = self._beat_at is None or not timedelta(0) <= now - self._beat_at < self.policy.dead_after
        if self._succeeding_since is None or is_gap:
            self._succeeding_since = now
        self._beat_at = now
        self._ahead = {one.name: self._first_seen(one, now) for one in others if one.heartbeat_at > now}
        self._dead = {one.name: one.heartbeat_at for one in others if self._is_dead(one, self._succeeding_since, now)}
        self._has_begun = True
        return frozenset({self.name, *(one.name for one in others if not one.has_left and one.name not in self._dead)})

    def _first_seen(self, other: ClusterMember, now: datetime) -> tuple[datetime, datetime]:
        beat_at, seen_at = self._ahead.get(other.name, (None, now))
        return other.heartbeat_at, min(seen_at, now) if beat_at == other.heartbeat_at else now

    def _is_dead(self, other: ClusterMember, steady_since: datetime, now: datetime) -> bool:
        if self._dead.get(other.name) == other.heartbeat_at:
            return True
        if not self._has_begun and now - other.heartbeat_at > GIVEN_UP:
            return True
        _, beat_at = self._ahead.get(other.name, (None, other.heartbeat_at))
        return now - max(beat_at, steady_since) > self.policy.dead_after


def owners(
    agencies: Iterable[str], alive: Collection[str], known: Mapping[str, AbstractSet[str]] = MappingProxyType({})
) -> Mapping[str, str]:
    """Return the owner of each agency: one of *alive* (at least one) that knows the agency.

    *known*: agencies of which a process has documents, by its name; a process that is missing there has all.
    """
    if len(alive) == 1:
        return dict.fromkeys(agencies, *alive)
    # The length prefix keeps different pairs of name and code apart.
    keys = [(name, len(name.encode()).to_bytes(2, "big") + name.encode()) for name in alive]
    found: dict[str, str] = {}
    for agency in agencies:
        code = agency.encode()
        able = keys
        if known:
            able = [(name, key) for name, key in keys if name not in known or agency in known[name]] or keys
        # On equal weights the name decides, so that all processes agree.
        found[agency] = max((blake2b(key + code, digest_size=_HASH_SIZE).digest(), name) for name, key in able)[1]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The agencies of one process. What belongs to no agency, such as control routes, runs in every process."""

    #: The process's name, and those of all live processes.
    name: str = ""
    alive: frozenset[str] = frozenset({""})
    #: Agencies of which the other processes have documents, as far as reported. Queried only for agencies that this
    #: process has.
    known: Mapping[str, AbstractSet[str]] = field(default_factory=dict, hash=False)

    def of(self, agencies: Iterable[str]) -> frozenset[str]:
        """Return those of *agencies* that this process owns."""
        return frozenset(code for code, whose in owners(agencies, self.alive, self.known).items() if whose == self.name)

    @property
    def watched_elsewhere(self) -> frozenset[str]:
        """Agencies of which other processes have documents."""
        return frozenset[str]().union(*self.known.values())

    def owner(self, agency: str) -> str:
        """Return the name of the process that owns an agency."""
        return owners([agency], self.alive, self.known)[agency]


#: The shard of a single process.
WHOLE = Shard()
