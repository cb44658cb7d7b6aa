"""Self-monitoring of a process: builds and runs the process heartbeat, the auditor, out-of-band alerts and drills.

The auditor finds overdue actions of escalations. Out-of-band alerts notify the NOC (network operations centre) when the
database is unavailable or another process is silent. Drills send test notifications to contacts and gateways.
"""

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
from monitor.evaluation.liveness import LivenessFailure, LivenessInputs, find_liveness_failures
from monitor.evaluation.out_of_band import ActiveReason, OutOfBandPolicy, OutOfBandReason, find_silent_peer
from monitor.metrics import Metrics
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.service.per_configuration import PerConfiguration
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.silences import route_silence_lookup
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.processes import Processes
from monitor.watchdog.auditor import EscalationAuditor
from monitor.watchdog.heartbeat import FILE, SWITCH, HeartbeatSender
from monitor.watchdog.out_of_band import OutOfBandAlerter, StateFile
from monitor.watchdog.process_heartbeat import ProcessHeartbeat

log = structlog.get_logger()

#: Name of the file with the state of the out-of-band alerts, in the state directory.
STATE_FILE_NAME = "out_of_band.json"

#: Interval between two checks for out-of-band alerts.
_OUT_OF_BAND_INTERVAL = timedelta(seconds=15)


class Watchdog:
    """All self-monitoring of this process, while its database is open."""

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
        """*runtime* returns the objects of the current configuration. *name*: name of this process.

        *directory*: base of relative paths in the settings. *manager*: systemd's service manager.
        """
        self._metrics = metrics
        self._clock = clock
        self._runtime = runtime
        self._name = name
        self._directory = directory
        #: Common clock of the processes on the database.
        self._shared_clock = database.clock
        self._availability = database.availability
        self._started_at = clock.now()
        #: The sender of external heartbeats, and the settings for which it was built; `None`: no heartbeat is sent.
        self._heartbeat: tuple[HeartbeatSettings, HeartbeatSender] | None = None
        #: The out-of-band alerter, and the configuration for which it was built; `None`: none is built.
        self._out_of_band: tuple[Configuration, OutOfBandAlerter] | None = None
        self.process_heartbeat = ProcessHeartbeat(
            processes=processes,
            liveness_inputs=self._liveness_inputs,
            current_sender=self._current_sender,
            manager=manager,
            metrics=metrics.watchdog,
            # The processes compare their heartbeats, so they need the common clock: clocks of two machines may differ
            # by more than the limit for a silent process.
            clock=self._shared_clock,
        )
        self.auditor = EscalationAuditor(
            store=store,
            pool=pool,
            alerting=dispatcher,
            noc_policy=lambda subject: self._settings.build_noc_policy(subject=subject, subject_en=subject),
            metrics=metrics.watchdog,
            clock=clock,
            silence_lookup=route_silence_lookup(lambda agency: runtime().failing_routes(agency)),
            is_monitor_only=lambda: not self._settings.notifies,
        )
        drills = Drills(database)
        self.drill_sender = DrillSender(drills=drills, pool=pool, wording=wording, metrics=metrics, clock=clock)
        self.drill_runner = DrillRunner(
            drills=drills,
            store=store,
            pool=pool,
            sender=self.drill_sender,
            current_plan=PerConfiguration(lambda: runtime().configuration, DrillPlans().make),
            metrics=metrics,
            clock=clock,
            is_monitor_only=lambda: not self._settings.notifies,
        )

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                check_out_of_band = run_periodically(
                    "out-of-band alerter", self._check_out_of_band, _OUT_OF_BAND_INTERVAL
                )
                for task in (
                    self.process_heartbeat.run(),
                    self.auditor.run(),
                    self.drill_runner.run(),
                    check_out_of_band,
                ):
                    tasks.create_task(task)
        finally:
            await self._close()

    def liveness_failures(self) -> AbstractSet[LivenessFailure]:
        """Return the present failures of this process, which suppress its heartbeat."""
        return find_liveness_failures(self._liveness_inputs(self.process_heartbeat.written_at), self._clock.now())

    def store_outage(self) -> tuple[datetime, str] | None:
        """Return since when the database is unavailable, and why; `None`: it is available.

        A query on a locked database fails only after the database's own timeout. The process heartbeat has a shorter
        timeout, and so detects the lock earlier.
        """
        if (since := self._availability.unavailable_since) is not None:
            return since, self._availability.reason
        since = self.process_heartbeat.failing_since
        return None if since is None else (since, "it does not answer in time")

    @property
    def _settings(self) -> Settings:
        return self._runtime().configuration.settings

    def _liveness_inputs(self, written_at: datetime | None) -> LivenessInputs:
        watchdog = self._metrics.watchdog
        return LivenessInputs(
            started_at=self._started_at,
            cycled_at=watchdog.cycled_at,
            written_at=written_at,
            is_store_unavailable=self._availability.unavailable_since is not None,
            audited_at=watchdog.audited_at,
            overdue=watchdog.overdue,
            probe_delay=self._runtime().prober.next_run_delay(self._clock.now()),
        )

    def _current_sender(self) -> tuple[HeartbeatSender, timedelta] | None:
        # If nobody is notified (monitor-only mode), send no heartbeat, so that the external dead man's switch alerts.
        settings = self._settings.heartbeat if self._settings.notifies else None
        if self._heartbeat is None or self._heartbeat[0] != settings:
            for receiver in (SWITCH, FILE):
                self._metrics.watchdog.unregister_heartbeat(receiver)
            sender = None if settings is None else HeartbeatSender(settings, self._metrics.watchdog, self._clock)
            self._heartbeat = None if settings is None or sender is None else (settings, sender)
        return None if self._heartbeat is None else (self._heartbeat[1], self._heartbeat[0].interval)

    async def _check_out_of_band(self) -> None:
        configuration = self._runtime().configuration
        settings = configuration.settings.out_of_band if configuration.settings.notifies else None
        # Rebuild after any change of the configuration: the gateways may have new credentials.
        if self._out_of_band is not None and self._out_of_band[0] is not configuration:
            await self._out_of_band[1].close()
            self._out_of_band = None
            self._metrics.watchdog.remove_out_of_band_numbers()
        if settings is None:
            return
        if self._out_of_band is None:
            alerter = build_out_of_band_alerter(configuration, self._directory, self._metrics.watchdog, self._clock)
            self._out_of_band = None if alerter is None else (configuration, alerter)
        if self._out_of_band is not None:
            now, policy = self._shared_clock.now(), settings.build()
            await self._out_of_band[1].check(*out_of_band_reasons(self._name, self.process_heartbeat, policy, now))

    async def _close(self) -> None:
        if self._heartbeat is not None:
            await self._heartbeat[1].close()
        if self._out_of_band is not None:
            await self._out_of_band[1].close()


def out_of_band_reasons(
    name: str, heartbeat: ProcessHeartbeat, policy: OutOfBandPolicy, now: datetime
) -> tuple[Mapping[OutOfBandReason, ActiveReason], AbstractSet[OutOfBandReason]]:
    """Return the present reasons for an out-of-band alert, each with its start, and the reasons that are unknown now.

    *name*: name of this process.
    """
    if heartbeat.failing_since is not None:
        # The state of the other processes cannot be read.
        return {OutOfBandReason.STORE: ActiveReason(since=heartbeat.failing_since)}, {OutOfBandReason.PEER}
    if heartbeat.peers_observed_since is None:
        return {}, set(OutOfBandReason)  # This process has not written its first heartbeat yet.
    # `policy.peer`: how long another process may be silent. A time up to `TOLERANCE` in the future is normal, because
    # clocks differ.
    if -TOLERANCE <= now - heartbeat.peers_observed_since <= policy.peer:
        # After an outage of the database or a power failure, give the other processes time to write heartbeats.
        return {}, {OutOfBandReason.PEER}
    heartbeats = {peer.name: (peer.heartbeat_at, peer.stopped_at) for peer in heartbeat.peers}
    silent_peer = find_silent_peer(name, heartbeats, policy, now)
    return {} if silent_peer is None else {OutOfBandReason.PEER: silent_peer}, set()


def build_out_of_band_alerter(
    configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock
) -> OutOfBandAlerter | None:
    """Build the out-of-band alerter of a configuration, with gateways of its own.

    Return `None` if out-of-band alerts are not configured, or nobody is notified (monitor-only mode).
    """
    settings = configuration.settings
    if settings.out_of_band is None or not settings.notifies:
        return None
    kinds = gateway_kinds()
    entries = {entry.name: entry for entries in settings.gateways.values() for entry in entries}
    gateways = [
        ConfiguredGateway(
            name=name,
            channel=entries[name].channel,
            # Without a callback address, the provider fetches no content and reports no pressed keys.
            gateway=kinds[entries[name].kind].build(
                entries[name].config, GatewayContext(callback_base=None, directory=str(directory))
            ),
        )
        for name in settings.out_of_band.gateways
    ]
    return OutOfBandAlerter(
        settings.out_of_band,
        gateways=gateways,
        office=settings.noc.build_office(),
        wording=configuration.wording,
        state_file=StateFile(settings.state_dir / STATE_FILE_NAME),
        metrics=metrics,
        clock=clock,
    )


@asynccontextmanager
async def alert_on_failed_opening(
    configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock
) -> AsyncIterator[None]:
    """Run an out-of-band check if the block fails to open the database, so that failed starts count as an outage.

    `StoreInUseError` is no outage: another process uses the database, and monitors mail.
    """
    try:
        yield
    except StoreInUseError:
        raise
    except Exception:
        await _check_once(configuration, directory, metrics, clock)
        raise


async def _check_once(configuration: Configuration, directory: Path, metrics: WatchdogSeries, clock: Clock) -> None:
    try:
        alerter = build_out_of_band_alerter(configuration, directory, metrics, clock)
        if alerter is None:
            return
        try:
            await alerter.check({OutOfBandReason.STORE: ActiveReason(since=clock.now())}, {OutOfBandReason.PEER})
        finally:
            await alerter.close()
    # A bug here must not hide the original error.
    except Exception:
        log.exception("out-of-band check failed")
