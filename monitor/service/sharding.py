"""Distribution of the agencies among the processes on one PostgreSQL: heartbeats, detection of dead processes, takeover.

The database is queried each second for the live processes only: they determine the owner of each agency
(docs/adr/0061). While it is unavailable every process keeps its agencies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from alerts.hours.elapsed import is_recent
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.noc_brief import speaker_of
from monitor.planning.ownership import ClusterMember, ClusterMembership, Shard, TakeoverPolicy
from monitor.runtime.cooperative import yielding
from monitor.runtime.repeat import run_periodically
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader
from monitor.store.probing.history import APART, History
from monitor.store.probing.processes import Process, Processes

log = structlog.get_logger()

#: Delay before a change of shards that had to wait is tried again.
_AGAIN = timedelta(seconds=1)
#: Interval of reading the results of other processes' agencies, and the addition for each route.
_FOLLOWED, _FOR_EACH = 2.0, 0.001


class ShardManager:
    """Manager of this process's shard. `begin` returns it before the first run."""

    def __init__(
        self,
        *,
        name: str,
        processes: Processes,
        history: History,
        reloader: Reloader,
        around: RuntimeContext,
        clock: Clock,
        policy: TakeoverPolicy,
        take_over: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        """*name*: this process's own.

        *clock*: the database's. *take_over*: continues pending notifications of dead processes.
        """
        self._name = name
        self._processes = processes
        self._history = history
        self._reloader = reloader
        self._metrics = around.metrics
        self._signer = around.signer
        self._store = around.store
        self._clock = clock
        self._policy = policy
        self._take_over = take_over
        self._membership = ClusterMembership(name=name, policy=policy)
        self._share = Shard(name=name, alive=frozenset({name}))
        #: The agencies of which others have documents, by the digest in their rows.
        self._known: dict[str, frozenset[str]] = {}
        #: The agencies of which this process has published that it has documents, and those that only others have.
        self._said: Collection[str] | None = None
        self._lacking: frozenset[str] = frozenset()
        #: Dead processes, and earlier incarnations of this one.
        self._gone = frozenset({name})
        #: Set when the live processes differ from those of the current shard.
        self._changed = asyncio.Event()
        #: Set when a process is gone, perhaps before the start, that may have left pending work.
        self._left = asyncio.Event()
        self._left.set()
        #: Begin of the latest successful heartbeat: this is its age for the others, until the next is written.
        self._lived_at: datetime | None = None
        #: When all statuses are written again after a recovery: others may not have noticed it at once.
        self._says_again_at: datetime | None = None

    async def begin(self) -> Shard:
        """Return the first shard: among the live processes and this one. Raise `StoreUnavailable`."""
        others = await self._processes.others()
        await self._learn(others)
        self._see(others, self._clock.now())
        return self._share

    @property
    def speaks_for_all(self) -> bool:
        """Whether this process does the work that one of the live processes does for all."""
        return self._name == min(self._share.alive)

    async def keep(self) -> None:
        """Send heartbeats, take over, and read the results of others, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for loop in (
                # Separate from the takeover, which may read for longer than a process may be silent.
                run_periodically("process heartbeats", self._beat, self._policy.beat_every),
                run_periodically("sharding", self._take_share, _AGAIN),
                run_periodically("takeover", self._take_back, _AGAIN),
                run_periodically("peer results", self._follow, timedelta(0)),
            ):
                tasks.create_task(loop)

    async def _beat(self) -> None:
        try:
            # After this time others consider this process dead: waiting longer is useless.
            async with asyncio.timeout(self._policy.dead_after.total_seconds()):
                await self._say_what_is_known()
                begun = self._clock.now()
                others = await self._processes.lives(begun)
                await self._learn(others)
        except TimeoutError:
            self._membership.missed()
            raise StoreUnavailable("it took no sign of life in time") from None
        except StoreUnavailable:
            self._membership.missed()
            raise
        before = self._share
        if self._lived_at is not None and not is_recent(self._lived_at, self._clock.now(), self._policy.dead_after):
            # The others may have considered it dead, and written statuses of its agencies.
            self._reloader.runtime.pipeline.say_again()
            self._says_again_at = begun + self._policy.within
        elif self._says_again_at is not None and begun >= self._says_again_at:
            self._reloader.runtime.pipeline.say_again()
            self._says_again_at = None
        self._lived_at = begun
        # They were read before ours was written, which may have taken long.
        self._see(others, begun)
        gone, come = before.alive - self._share.alive, self._share.alive - before.alive
        if gone:
            self._left.set()
        if gone or come:
            log.info("cluster membership changed", left=sorted(gone), joined=sorted(come))
        if self._share != before:
            self._changed.set()
        self._show_what_is_lacking()

    async def _say_what_is_known(self) -> None:
        agencies = self._reloader.runtime.configuration.registry.agencies
        if agencies is not self._said and await self._processes.knows(agencies):
            self._said = agencies

    async def _learn(self, others: Iterable[Process]) -> None:
        """Read the agencies of which others have documents, for those whose digest has changed."""
        digests = {other.name: other.agencies_digest for other in others if other.agencies_digest is not None}
        new = [name for name, digest in digests.items() if digest not in self._known]
        if new:
            self._known |= await self._processes.known(new)
        self._known = {digest: self._known[digest] for digest in digests.values() if digest in self._known}

    def _show_what_is_lacking(self) -> None:
        """Export the number of agencies of which only others have documents, and log changes."""
        here = self._reloader.runtime.configuration.registry.agencies.keys()
        lacking = self._share.watched_elsewhere - here
        self._metrics.agencies_lacking(len(lacking))
        if lacking - self._lacking:
            log.warning(
                "agency documents missing here; other processes monitor these agencies",
                agencies=len(lacking),
                examples=sorted(lacking)[:10],
            )
        self._lacking = lacking

    def _see(self, others: Sequence[Process], now: datetime) -> None:
        alive = self._membership.beat(_members(others), now)
        known = {
            other.name: self._known[other.agencies_digest]
            for other in others
            if other.name in alive and other.agencies_digest in self._known
        }
        self._share = Shard(name=self._name, alive=alive, known=known)
        dead = [other.name for other in others if other.name not in alive]
        self._gone = frozenset({self._name, *dead})
        self._signer.inherit(dead)

    async def _take_share(self) -> None:
        await self._changed.wait()
        share = self._share
        self._changed.clear()
        try:
            owned = self._reloader.runtime.owned
            wanted = share.of(self._reloader.runtime.configuration.registry.agencies)
            self._metrics.agencies_shared(owned=len(owned), unowned=len(wanted - owned))
            gained = await self._reloader.take_share(share)
        except Exception:
            self._changed.set()
            raise
        if gained:
            self._metrics.agencies_taken_over(len(gained))
            log.info("agencies taken over", agencies=len(gained), examples=sorted(gained)[:10])

    async def _take_back(self) -> None:
        """Continue the pending notifications of processes that are gone, and delete their statuses of our own parts.

        No other process deletes what they reported about their network and our references.
        """
        await self._left.wait()
        self._left.clear()
        try:
            # First: notifications are pending.
            await self._take_over(self._gone)
            await self._history.say_no_more(self._is_left)
            async with self._store.reading() as ledger:
                measured = {each.dedup_key: each.detected for each in await ledger.open_incidents() if each.detected}
        except Exception:
            self._left.set()
            raise
        self._reloader.runtime.pipeline.inherit(measured)

    def _is_left(self, subject: str) -> bool:
        speaker = speaker_of(subject)
        return speaker is not None and speaker not in self._share.alive

    async def _follow(self) -> None:
        """Read the health of others' agencies after a while, and the latest runs of those in trouble."""
        elsewhere = self._reloader.runtime.elsewhere
        await asyncio.sleep(_FOLLOWED + _FOR_EACH * len(elsewhere.routes))
        if not elsewhere.routes:
            return
        elsewhere.restore(await self._history.healths(elsewhere.routes.keys()))
        agencies = yielding({route.agency for route in elsewhere.routes.values()})
        troubled = [agency async for agency in agencies if elsewhere.mail(agency).troubled()]
        # For more of them all agencies would be read, every few seconds of a mass outage.
        await self._history.look_up(sorted(troubled)[:APART])


def _members(others: Iterable[Process]) -> Sequence[ClusterMember]:
    return [
        ClusterMember(name=each.name, heartbeat_at=each.heartbeat_at, has_left=each.stopped_at is not None)
        for each in others
    ]
