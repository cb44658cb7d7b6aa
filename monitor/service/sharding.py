"""Distribution of the agencies among the processes on one PostgreSQL: heartbeats, dead processes, takeover.

Each second a process writes its heartbeat and reads the heartbeats of the other processes. The set of live processes
determines the owner of each agency (docs/adr/0061), so the processes need no other coordination. While the database is
unavailable, every process keeps its agencies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from alerts.hours.elapsed import is_recent
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_policy import process_of
from monitor.planning.ownership import ClusterMember, ClusterMembership, Shard, TakeoverPolicy
from monitor.runtime.cooperative import yielding
from monitor.runtime.repeat import run_periodically
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader
from monitor.store.probing.history import MAX_SINGLE_AGENCIES, History
from monitor.store.probing.processes import Process, Processes

log = structlog.get_logger()

#: Delay before a failed change of shards is tried again.
_RETRY_DELAY = timedelta(seconds=1)
#: Interval, in seconds, of reading the results of other processes' agencies; `_INTERVAL_PER_ROUTE` is added per route.
_PEER_INTERVAL, _INTERVAL_PER_ROUTE = 2.0, 0.001


class ShardManager:
    """Manager of this process's shard, the agencies that it probes. Call `begin` first."""

    def __init__(
        self,
        *,
        name: str,
        processes: Processes,
        history: History,
        reloader: Reloader,
        context: RuntimeContext,
        clock: Clock,
        policy: TakeoverPolicy,
        take_over_notifications: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        """*name*: the name of this process. *clock*: the clock of the database, the same for all processes.

        *policy*: within which time the agencies of a dead process are taken over, and when a process counts as dead.
        *take_over_notifications* continues the pending notifications of the dead processes with these names.
        """
        self._name = name
        self._processes = processes
        self._history = history
        self._reloader = reloader
        self._metrics = context.metrics
        self._signer = context.signer
        self._store = context.store
        self._clock = clock
        self._policy = policy
        self._take_over_notifications = take_over_notifications
        self._membership = ClusterMembership(name=name, policy=policy)
        self._shard = Shard(name=name, alive=frozenset({name}))
        #: Agencies of which other processes have documents (configurations), by the digest of these agencies. Each
        #: process publishes its digest in its row, so that the agencies are read only when they change.
        self._agencies_by_digest: dict[str, frozenset[str]] = {}
        #: The agencies that this process has last published, all with documents here; `None`: not published yet.
        self._published_agencies: Collection[str] | None = None
        #: Agencies of which only other processes have documents, by the last report.
        self._missing_agencies: frozenset[str] = frozenset()
        #: Names of dead processes. This process's own name stands for the process that had the name before this start.
        self._dead_names = frozenset({name})
        #: Set when the live processes differ from those of the current shard.
        self._shard_changed = asyncio.Event()
        #: Set when a process has died and may have left pending work; also set at the start.
        self._processes_left = asyncio.Event()
        self._processes_left.set()
        #: Start of this process's latest successful heartbeat, which is the time in its row of the database.
        self._heartbeat_at: datetime | None = None
        #: When to write all statuses a second time after an interruption of the heartbeats: until then, processes that
        #: noticed the end of the interruption late may have overwritten statuses of this shard. `None`: nothing to do.
        self._rewrite_at: datetime | None = None

    async def begin(self) -> Shard:
        """Return the first shard, by the processes that are alive now. Raise `StoreUnavailable`."""
        others = await self._processes.others()
        await self._read_agencies(others)
        self._update_shard(others, self._clock.now())
        return self._shard

    @property
    def is_leader(self) -> bool:
        """Whether this process does the work that exactly one of the live processes does."""
        return self._name == min(self._shard.alive)

    async def run(self) -> None:
        """Run until cancelled: send heartbeats, change the shard, take over from dead processes, read peer results.

        Peer results are those of agencies that other processes probe.
        """
        async with asyncio.TaskGroup() as tasks:
            for loop in (
                # Heartbeats have a loop of their own: during a long takeover this process must not appear dead.
                run_periodically("process heartbeats", self._send_heartbeat, self._policy.heartbeat_interval),
                run_periodically("sharding", self._apply_shard, _RETRY_DELAY),
                run_periodically("takeover", self._take_over_from_dead, _RETRY_DELAY),
                run_periodically("peer results", self._read_peer_results, timedelta(0)),
            ):
                tasks.create_task(loop)

    async def _send_heartbeat(self) -> None:
        try:
            # After this time the other processes consider this process dead anyway: do not wait longer.
            async with asyncio.timeout(self._policy.dead_after.total_seconds()):
                await self._publish_agencies()
                started_at = self._clock.now()
                others = await self._processes.refresh_heartbeat(started_at)
                await self._read_agencies(others)
        except TimeoutError:
            self._membership.record_failure()
            raise StoreUnavailable("the database stored no heartbeat in time") from None
        except StoreUnavailable:
            self._membership.record_failure()
            raise
        before = self._shard
        if self._heartbeat_at is not None and not is_recent(
            self._heartbeat_at, self._clock.now(), self._policy.dead_after
        ):
            # The other processes may have considered this process dead, and have written statuses of its agencies.
            self._reloader.runtime.pipeline.rewrite_statuses()
            self._rewrite_at = started_at + self._policy.timeout
        elif self._rewrite_at is not None and started_at >= self._rewrite_at:
            self._reloader.runtime.pipeline.rewrite_statuses()
            self._rewrite_at = None
        self._heartbeat_at = started_at
        # Compare the other heartbeats with the start of the write, because the write may have taken long.
        self._update_shard(others, started_at)
        left, joined = before.alive - self._shard.alive, self._shard.alive - before.alive
        if left:
            self._processes_left.set()
        if left or joined:
            log.info("cluster membership changed", left=sorted(left), joined=sorted(joined))
        if self._shard != before:
            self._shard_changed.set()
        self._report_missing_agencies()

    async def _publish_agencies(self) -> None:
        agencies = self._reloader.runtime.configuration.registry.agencies
        if agencies is not self._published_agencies and await self._processes.record_agencies(agencies):
            self._published_agencies = agencies

    async def _read_agencies(self, others: Iterable[Process]) -> None:
        """Read the agencies of other processes whose digest is not cached; drop digests that no process has now."""
        digests = {other.name: other.agencies_digest for other in others if other.agencies_digest is not None}
        new = [name for name, digest in digests.items() if digest not in self._agencies_by_digest]
        if new:
            self._agencies_by_digest |= await self._processes.agencies_by_digest(new)
        self._agencies_by_digest = {
            digest: self._agencies_by_digest[digest]
            for digest in digests.values()
            if digest in self._agencies_by_digest
        }

    def _report_missing_agencies(self) -> None:
        """Export the number of agencies of which only other processes have documents. Log if one is new."""
        own_agencies = self._reloader.runtime.configuration.registry.agencies.keys()
        missing = self._shard.monitored_elsewhere - own_agencies
        self._metrics.set_agencies_without_config(len(missing))
        if missing - self._missing_agencies:
            log.warning(
                "agency documents missing here; other processes monitor these agencies",
                agencies=len(missing),
                examples=sorted(missing)[:10],
            )
        self._missing_agencies = missing

    def _update_shard(self, others: Sequence[Process], now: datetime) -> None:
        alive = self._membership.record_heartbeats(_cluster_members(others), now)
        agencies_by_process = {
            other.name: self._agencies_by_digest[other.agencies_digest]
            for other in others
            if other.name in alive and other.agencies_digest in self._agencies_by_digest
        }
        self._shard = Shard(name=self._name, alive=alive, other_documents=agencies_by_process)
        dead = [other.name for other in others if other.name not in alive]
        self._dead_names = frozenset({self._name, *dead})
        # This process handles the probe messages that the dead processes have sent: nobody else does.
        self._signer.inherit(dead)

    async def _apply_shard(self) -> None:
        """Wait for a changed shard, and apply it. After an error, the next call tries again."""
        await self._shard_changed.wait()
        shard = self._shard
        self._shard_changed.clear()
        try:
            owned = self._reloader.runtime.owned
            owned_after = shard.owned(self._reloader.runtime.configuration.registry.agencies)
            self._metrics.set_agency_ownership(owned=len(owned), to_take_over=len(owned_after - owned))
            gained = await self._reloader.change_shard(shard)
        except Exception:
            self._shard_changed.set()
            raise
        if gained:
            self._metrics.count_takeovers(len(gained))
            log.info("agencies taken over", agencies=len(gained), examples=sorted(gained)[:10])

    async def _take_over_from_dead(self) -> None:
        """Continue the pending notifications of dead processes, and take over their monitoring faults.

        A monitoring fault is a fault of Pantau itself: of a process's network, or of a reference mailbox. Normally the
        process that reported the fault deletes its status, which a dead process cannot do.
        """
        await self._processes_left.wait()
        self._processes_left.clear()
        try:
            # Pending notifications are the most urgent.
            await self._take_over_notifications(self._dead_names)
            await self._history.delete_statuses(self._is_of_dead_process)
            async with self._store.reading() as uow:
                detected_types = {each.dedup_key: each.detected for each in await uow.open_incidents() if each.detected}
        except Exception:
            self._processes_left.set()
            raise
        self._reloader.runtime.pipeline.take_over_faults(detected_types)

    def _is_of_dead_process(self, subject: str) -> bool:
        process = process_of(subject)
        return process is not None and process not in self._shard.alive

    async def _read_peer_results(self) -> None:
        """Wait, then read the health of other processes' agencies, and the latest runs of the unhealthy ones."""
        peer_evaluator = self._reloader.runtime.peer_evaluator
        await asyncio.sleep(_PEER_INTERVAL + _INTERVAL_PER_ROUTE * len(peer_evaluator.routes))
        if not peer_evaluator.routes:
            return
        peer_evaluator.restore(await self._history.healths(peer_evaluator.routes.keys()))
        agencies = yielding({route.agency for route in peer_evaluator.routes.values()})
        failing_agencies = [agency async for agency in agencies if peer_evaluator.mail(agency).unhealthy_routes()]
        # Name at most `MAX_SINGLE_AGENCIES`: for more, the history would read the runs of all agencies, every few
        # seconds of a mass outage.
        await self._history.refresh_latest(sorted(failing_agencies)[:MAX_SINGLE_AGENCIES])


def _cluster_members(others: Iterable[Process]) -> Sequence[ClusterMember]:
    return [
        ClusterMember(name=each.name, heartbeat_at=each.heartbeat_at, has_left=each.stopped_at is not None)
        for each in others
    ]
