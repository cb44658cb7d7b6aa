"""Membership of the processes that share a database, and ownership of agencies among them. Pure.

Rendezvous hashing assigns each agency to the live process whose name has the highest hash with the agency's code. All
processes compute the same owners without coordination. When a process joins or dies, only its own agencies move. While
a new agency is rolled out, only some processes have its document (its configuration); it goes to one of these.
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
#: A process is dead after this share of the takeover timeout without a heartbeat. The rest of the time is for detecting
#: the death, reading the history of the routes, and delays under load.
_DEAD_AFTER = 0.4
#: When a process starts, other processes without a heartbeat for this long count as dead at once.
ABANDONED_AFTER = timedelta(days=1)
#: Octets of the hash.
_HASH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverPolicy:
    """Within *timeout*, other processes take over the agencies of a dead process."""

    timeout: timedelta = timedelta(seconds=10)

    @property
    def heartbeat_interval(self) -> timedelta:
        """Interval between two heartbeats."""
        return self.timeout / _HEARTBEATS

    @property
    def dead_after(self) -> timedelta:
        """Time without a heartbeat after which a process is dead."""
        return self.timeout * _DEAD_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMember:
    """A process that uses the database, with its latest heartbeat."""

    name: str
    #: By the database's clock.
    heartbeat_at: datetime
    #: Whether the process has shut down properly.
    has_left: bool = False


@dataclass(slots=True, kw_only=True)
class ClusterMembership:
    """The live processes, as one of them determines them. Times are those of the database's clock.

    After an outage of the database all heartbeats are old. So this process counts another process as dead only after
    its own heartbeats have succeeded again for `dead_after`. During the outage no process becomes dead.
    """

    #: Name of this process.
    name: str
    policy: TakeoverPolicy = field(default_factory=TakeoverPolicy)
    #: Since when this process's own heartbeats succeed without a gap, and the time of the latest one.
    _succeeding_since: datetime | None = None
    _heartbeat_at: datetime | None = None
    #: Dead processes with their last heartbeat. They stay dead until the next heartbeat.
    _dead: dict[str, datetime] = field(default_factory=dict)
    #: Processes with a heartbeat in the future (the clock was set back): the time of the heartbeat, and when this
    #: process first read it.
    _future_heartbeats: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    #: Whether heartbeats have been recorded since the start.
    _is_started: bool = False

    def record_failure(self) -> None:
        """Record that an own heartbeat failed."""
        self._succeeding_since = None

    def record_heartbeats(self, others: Collection[ClusterMember], now: datetime) -> frozenset[str]:
        """Record an own heartbeat that succeeded *now*, and the latest of the *others*; return the live processes."""
        has_gap = self._heartbeat_at is None or not timedelta(0) <= now - self._heartbeat_at < self.policy.dead_after
        if self._succeeding_since is None or has_gap:
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
        """Return the value of `_future_heartbeats` for a process: its heartbeat, and when it was first read."""
        known_heartbeat_at, seen_at = self._future_heartbeats.get(other.name, (None, now))
        return other.heartbeat_at, min(seen_at, now) if known_heartbeat_at == other.heartbeat_at else now

    def _is_dead(self, other: ClusterMember, succeeding_since: datetime, now: datetime) -> bool:
        if self._dead.get(other.name) == other.heartbeat_at:
            return True
        if not self._is_started and now - other.heartbeat_at > ABANDONED_AFTER:
            return True
        _, first_seen_at = self._future_heartbeats.get(other.name, (None, other.heartbeat_at))
        return now - max(first_seen_at, succeeding_since) > self.policy.dead_after


def owners(
    agencies: Iterable[str], alive: Collection[str], documents: Mapping[str, AbstractSet[str]] = MappingProxyType({})
) -> Mapping[str, str]:
    """Return the owner of each agency among the processes *alive*, which must not be empty.

    *documents*: by process, the agencies whose documents it has; a process without an entry has all documents. A
    process with the agency's document takes precedence.
    """
    if len(alive) == 1:
        return dict.fromkeys(agencies, *alive)
    # The length of the name is a prefix, so that different pairs of name and code never give the same octets.
    keys = [(name, len(name.encode()).to_bytes(2, "big") + name.encode()) for name in alive]
    owner_of: dict[str, str] = {}
    for agency in agencies:
        code = agency.encode()
        candidates = keys
        if documents:
            candidates = [
                (name, key) for name, key in keys if name not in documents or agency in documents[name]
            ] or keys
        # On equal hashes the name decides, so that all processes agree.
        owner_of[agency] = max(
            (blake2b(key + code, digest_size=_HASH_SIZE).digest(), name) for name, key in candidates
        )[1]
    return owner_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The part of the agencies that one process probes.

    Control routes connect two reference mailboxes (the operator's mailboxes outside the agencies). They belong to no
    agency, and every process probes them.
    """

    #: Name of this process.
    name: str = ""
    #: Names of all live processes.
    alive: frozenset[str] = frozenset({""})
    #: By name of another process: the agencies whose documents it reported to have.
    other_documents: Mapping[str, AbstractSet[str]] = field(default_factory=dict, hash=False)

    def owned(self, agencies: Iterable[str]) -> frozenset[str]:
        """Return the part of *agencies* that this process owns."""
        return frozenset(
            code for code, owner in owners(agencies, self.alive, self.other_documents).items() if owner == self.name
        )

    @property
    def monitored_elsewhere(self) -> frozenset[str]:
        """Agencies whose documents other processes have."""
        return frozenset[str]().union(*self.other_documents.values())

    def owner(self, agency: str) -> str:
        """Return the name of the process that owns an agency."""
        return owners([agency], self.alive, self.other_documents)[agency]


#: The shard of a process that probes all agencies alone.
UNSHARDED = Shard()
