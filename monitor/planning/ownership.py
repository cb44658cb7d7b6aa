"""Membership of the processes that share a database, and ownership of agencies among them. Pure.

Rendezvous hashing assigns each agency to the live process whose name has the highest hash with the agency's code. All
processes compute the same owners without coordination. When a process joins or dies, only its own agencies move. During
a rollout, an agency goes to a process that has its document (its configuration).
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
#: Share of the takeover timeout without a heartbeat after which a process is dead. The rest of the time is for
#: detecting it, reading the history of its routes, and load.
_DEAD_AFTER = 0.4
#: When a process starts, other processes without a heartbeat for so long count as dead at once.
GIVEN_UP = timedelta(days=1)
#: Octets of the hash.
_HASH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverPolicy:
    """Time in which the agencies of a dead process are taken over by others (*within*)."""

    within: timedelta = timedelta(seconds=10)

    @property
    def heartbeat_interval(self) -> timedelta:
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
    #: The process has shut down in order.
    has_left: bool = False


@dataclass(slots=True, kw_only=True)
class ClusterMembership:
    """Live processes, as one of them computes them. Times are those of the database's clock.

    After an outage of the database all heartbeats are old. So this process counts another process as dead only after
    its own heartbeats have succeeded again for `dead_after`. During the outage nothing changes.
    """

    #: Name of this process.
    name: str
    policy: TakeoverPolicy = field(default_factory=TakeoverPolicy)
    #: Since when own heartbeats succeed without a gap, and the time of the latest one.
    _succeeding_since: datetime | None = None
    _heartbeat_at: datetime | None = None
    #: Dead processes with their last heartbeat. They stay dead until they have another one.
    _dead: dict[str, datetime] = field(default_factory=dict)
    #: Processes with a heartbeat in the future, after the clock was set back: that time, and when it was first seen.
    _future_heartbeats: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _is_started: bool = False

    def record_failure(self) -> None:
        """Record that an own heartbeat failed."""
        self._succeeding_since = None

    def record_heartbeats(self, others: Collection[ClusterMember], now: datetime) -> frozenset[str]:
        """Record an own heartbeat that succeeded *now*, and the latest of the *others*; return the live processes."""
        is_gap = self._heartbeat_at is None or not timedelta(0) <= now - self._heartbeat_at < self.policy.dead_after
        if self._succeeding_since is None or is_gap:
            self._succeeding_since = now
        self._heartbeat_at = now
        self._future_heartbeats = {
            member.name: self._first_seen(member, now) for member in others if member.heartbeat_at > now
        }
        self._dead = {
            member.name: member.heartbeat_at for member in others if self._is_dead(member, self._succeeding_since, now)
        }
        self._is_started = True
        return frozenset(
            {self.name, *(member.name for member in others if not member.has_left and member.name not in self._dead)}
        )

    def _first_seen(self, other: ClusterMember, now: datetime) -> tuple[datetime, datetime]:
        known_heartbeat_at, seen_at = self._future_heartbeats.get(other.name, (None, now))
        return other.heartbeat_at, min(seen_at, now) if known_heartbeat_at == other.heartbeat_at else now

    def _is_dead(self, other: ClusterMember, succeeding_since: datetime, now: datetime) -> bool:
        if self._dead.get(other.name) == other.heartbeat_at:
            return True
        if not self._is_started and now - other.heartbeat_at > GIVEN_UP:
            return True
        _, first_seen_at = self._future_heartbeats.get(other.name, (None, other.heartbeat_at))
        return now - max(first_seen_at, succeeding_since) > self.policy.dead_after


def owners(
    agencies: Iterable[str], alive: Collection[str], documents: Mapping[str, AbstractSet[str]] = MappingProxyType({})
) -> Mapping[str, str]:
    """Return the owner of each agency: one of the processes *alive*, of which there is at least one.

    *documents*: agencies whose document a process has, by the process's name; a process without an entry has all
    documents. A process with the agency's document takes precedence.
    """
    if len(alive) == 1:
        return dict.fromkeys(agencies, *alive)
    # With the length of the name as a prefix, no two pairs of name and code give the same octets.
    keys = [(name, len(name.encode()).to_bytes(2, "big") + name.encode()) for name in alive]
    owner_of: dict[str, str] = {}
    for agency in agencies:
        code = agency.encode()
        candidates = keys
        if documents:
            candidates = [
                (name, key) for name, key in keys if name not in documents or agency in documents[name]
            ] or keys
        # On equal weights the name decides, so that all processes agree.
        owner_of[agency] = max(
            (blake2b(key + code, digest_size=_HASH_SIZE).digest(), name) for name, key in candidates
        )[1]
    return owner_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Agencies of one process. Control routes, between reference mailboxes, belong to no agency and run everywhere."""

    #: The process's name, and those of all live processes.
    name: str = ""
    alive: frozenset[str] = frozenset({""})
    #: Agencies whose document another process has, by its name, as far as it was reported.
    known: Mapping[str, AbstractSet[str]] = field(default_factory=dict, hash=False)

    def owned(self, agencies: Iterable[str]) -> frozenset[str]:
        """Return those of *agencies* that this process owns."""
        return frozenset(code for code, owner in owners(agencies, self.alive, self.known).items() if owner == self.name)

    @property
    def monitored_elsewhere(self) -> frozenset[str]:
        """Agencies whose document another process has."""
        return frozenset[str]().union(*self.known.values())

    def owner(self, agency: str) -> str:
        """Return the name of the process that owns an agency."""
        return owners([agency], self.alive, self.known)[agency]


#: The shard of a single process.
WHOLE = Shard()
