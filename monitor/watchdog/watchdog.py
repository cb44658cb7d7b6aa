"""Self-monitoring of a process: builds and runs process heartbeat, auditor, out-of-band alerts and drills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.hours.elapsed import TOLERANCE
from alerts.model.gateway import GatewayContext
from alerts.persistence.clock import Clock
from alerts.wording.texts import Wording
from monitor.config.loading import Configuration
from monitor.config.model.settings import Settings
from monitor.config.service.gateway import gateway_kinds
from monitor.config.service.heartbeat import HeartbeatSettings
from monitor.drills.plan import DrillPlans
from monitor.drills.runner import DrillRunner
from monitor.drills.sender import DrillSender
from monitor.evaluation.liveness import LivenessFailure, LivenessInputs, ailments
from monitor.evaluation.out_of_band import ActiveReason, OutOfBandPolicy, OutOfBandReason, silent_peer
from monitor.metrics import Metrics
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.service.per_configuration import PerConfiguration
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.silences import route_muter
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.processes import Processes
from monitor.watchdog.auditor import EscalationAuditor
from monitor.watchdog.heartbeat import FILE, SWITCH, HeartbeatSender
from monitor.watchdog.out_of_band import MemoryFile, OutOfBandAlerter
from monitor.watchdog.process_heartbeat import ProcessHeartbeat

log = structlog.get_logger()

#: In the state directory.
MEMORY_FILE = "out_of_band.json"

_LIFELINE_EVERY = timedelta(seconds=15)


class Watchdog:
    """All self-monitoring. Created with an open store, and run beside the rest."""

    def __init__(
        self,
        *,
        database: Database,
        store: SqlStore,
        pool: GatewayPool,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        runtime: Callable[[], ProbingRuntime],
        processes: Processes,
        name: str,
        directory: Path,
        manager: ServiceManager,
        wording: Wording,
    ) -> None:
        """*runtime* returns the current runtime. *name*: this process. *directory*: base of relative paths."""
        self._metrics = metrics
        self._clock = clock
        self._runtime = runtime
        self._name = name
        self._directory = directory
        self._shared_clock = database.clock
        self._presence = database.presence
        self._started_at = clock.now()
        self._heartbeat: tuple[HeartbeatSettings, HeartbeatSender] | None = None
        self._lifeline: tuple[Configuration, OutOfBandAlerter] | None = None
        self.pulse = ProcessHeartbeat(
            processes=processes,
            signs=self._signs,
            heartbeat=self._heartbeat_in_force,
            manager=manager,
            metrics=metrics.watchdog,
            # One clock for all writers: two machines may differ by more than the limit for a silent peer.
            clock=database.clock,
        )
        self.auditor = EscalationAuditor(
            store=store,
            pool=pool,
            alerting=dispatcher,
            brief=lambda number: self._settings.noc_brief(subject=number, subject_en=number),
            metrics=metrics.watchdog,
            clock=clock,
            muter=route_muter(lambda agency: runtime().troubled(agency)),
            rests=lambda: not self._settings.notifies,
        )
        drills = Drills(database)
        self.exerciser = DrillSender(drills=drills, pool=pool, wording=wording, metrics=metrics, clock=clock)
        self.driller = DrillRunner(
            drills=drills,
            store=store,
            pool=pool,
            exerciser=self.exerciser,
            roster=PerConfiguration(lambda: runtime().configuration, DrillPlans().make),
            metrics=metrics,
            clock=clock,
            rests=lambda: not self._settings.notifies,
        )

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keep_lifeline = run_periodically("out-of-band alerter", self._look_at_lifeline, _LIFELINE_EVERY)
                for watching in (self.pulse.run(), self.auditor.run(), self.driller.run(), keep_lifeline):
                    tasks.create_task(watching)
        finally:
            await self._close()

    def ailments(self) -> AbstractSet[LivenessFailure]:
        """Return the current failures of this process."""
        return ailments(self._signs(self.pulse.written_at), self._clock.now())

    def store_away(self) -> tuple[datetime, str] | None:
        """Return since when the database is unavailable, and why; `None`: available.

        A locked database reports only after its own time-out, which the process heartbeat does not wait for.
        """
        if (since := self._presence.away_since) is not None:
            return since, self._presence.why
        return None if (since := self.pulse.away_since) is None else (since, "it does not answer in time")

    @property
    def _settings(self) -> Settings:
        return self._runtime().configuration.settings

    def _signs(self, written_at: datetime | None) -> LivenessInputs:
        watchdog = self._metrics.watchdog
        return LivenessInputs(
            started_at=self._started_at,
            cycled_at=watchdog.cycled_at,
            written_at=written_at,
            store_is_away=self._presence.away_since is not None,
            audited_at=watchdog.audited_at,
            overdue=watchdog.overdue,
            late=self._runtime().prober.late(self._clock.now()),
        )

    def _heartbeat_in_force(self) -> tuple[HeartbeatSender, timedelta] | None:
        # The external switch relies on notifications: it must alert when they are off.
        settings = self._settings.heartbeat if self._settings.notifies else None
        if self._heartbeat is None or self._heartbeat[0] != settings:
            for receiver in (SWITCH, FILE):
                self._metrics.watchdog.forget_heartbeat(receiver)
            made = None if settings is None else HeartbeatSender(settings, self._metrics.watchdog, self._clock)
            self._heartbeat = None if settings is None or made is None else (settings, made)
        return None if self._heartbeat is None else (self._heartbeat[1], self._heartbeat[0].interval)

    async def _look_at_lifeline(self) -> None:
        configuration = self._runtime().configuration
        settings = configuration.settings.out_of_band if configuration.settings.notifies else None
        # After any change: the gateways may have other tokens, which must not be found out during an alert.
        if self._lifeline is not None and self._lifeline[0] is not configuration:
            await self._lifeline[1].close()
            self._lifeline = None
            self._metrics.watchdog.remove_out_of_band_numbers()
        if settings is None:
            return
        if self._lifeline is None:
            made = lifeline(configuration, self._directory, self._metrics.watchdog, self._clock)
            self._lifeline = None if made is None else (configuration, made)
        if self._lifeline is not None:
            now, patience = self._shared_clock.now(), settings.patience()
            await self._lifeline[1].look(*troubles(self._name, self.pulse, patience, now))

    async def _close(self) -> None:
        if self._heartbeat is not None:
            await self._heartbeat[1].close()
        if self._lifeline is not None:
            await self._lifeline[1].close()


def troubles(
    name: str, pulse: ProcessHeartbeat, patience: OutOfBandPolicy, now: datetime
) -> tuple[Mapping[OutOfBandReason, ActiveReason], AbstractSet[OutOfBandReason]]:
    """Return the present reasons for an out-of-band alert, each with its start, and those that cannot be examined."""
    if pulse.away_since is not None:
        # Knowledge about the others is as old as the failure.
        return {OutOfBandReason.STORE: ActiveReason(since=pulse.away_since)}, {OutOfBandReason.PEER}
    if pulse.watching_since is None:
        return {}, set(OutOfBandReason)  # Nothing has been written yet.
    if -TOLERANCE <= now - pulse.watching_since <= patience.peer:
        # After an outage of the database, or a power failure, the others have not written yet either.
        return {}, {OutOfBandReason.PEER}
    beats = {peer.name: (peer.heartbeat_at, peer.stopped_at) for peer in pulse.peers}
    spell = silent_peer(name, beats, patience, now)
    return {} if spell is None else {OutOfBandReason.PEER: spell}, set()


def lifeline(
    configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock
) -> OutOfBandAlerter | None:
    """Build the out-of-band alerter of a configuration, with its own gateways; `None`: none configured, or no notifications."""
    settings = configuration.settings
    if settings.out_of_band is None or not settings.notifies:
        return None
    kinds = gateway_kinds()
    entries = {entry.name: entry for entries in settings.gateways.values() for entry in entries}
    lines = [
        ConfiguredGateway(
            name=name,
            channel=entries[name].channel,
            # Without a callback address: no content is fetched and no key awaited.
            gateway=kinds[entries[name].kind].build(
                entries[name].config, GatewayContext(callback_base=None, directory=str(directory))
            ),
        )
        for name in settings.out_of_band.gateways
    ]
    return OutOfBandAlerter(
        settings.out_of_band,
        lines=lines,
        office=settings.noc.build_office(),
        wording=configuration.wording,
        memory_file=MemoryFile(settings.state_dir / MEMORY_FILE),
        metrics=metrics,
        clock=clock,
    )


@asynccontextmanager
async def store_opening(
    configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock
) -> AsyncIterator[None]:
    """Examine out-of-band alerts if the store does not open in the block: repeated starts count.

    A store in use by another process is available; that process monitors.
    """
    try:
        yield
    except StoreInUseError:
        raise
    except Exception:
        await _look_once(configuration, directory, metrics, clock)
        raise


async def _look_once(configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock) -> None:
    try:
        made = lifeline(configuration, directory, metrics, clock)
        if made is None:
            return
        try:
            await made.look({OutOfBandReason.STORE: ActiveReason(since=clock.now())}, {OutOfBandReason.PEER})
        finally:
            await made.close()
    # A bug here must not hide the original error.
    except Exception:
        log.exception("out-of-band check failed")
