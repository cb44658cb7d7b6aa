"""Process heartbeat: writes to the database, reads the other processes, and sends external heartbeats.

A successful write proves that the database is writable. Attributes of `ProcessHeartbeat` contain the time since which
writes fail, and the other processes on the database as last read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.liveness import LivenessFailure, LivenessInputs, find_liveness_failures, is_alive
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.heartbeat import SYSTEMD, HeartbeatSender

log = structlog.get_logger()

_INTERVAL = timedelta(seconds=15)
#: A slower write counts as failed: a disk hangs, or the database does not answer.
_WRITE_TIMEOUT_SECONDS = 10.0


class ProcessHeartbeat:
    """Writes heartbeats until cancelled."""

    def __init__(
        self,
        *,
        processes: Processes,
        liveness_inputs: Callable[[datetime | None], LivenessInputs],
        heartbeat: Callable[[], tuple[HeartbeatSender, timedelta] | None],
        manager: ServiceManager,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """Take *liveness_inputs*, which is called with the time of the last successful write.

        *heartbeat* returns the sender of external heartbeats and its interval; `None`: no heartbeat is sent.
        """
        self._processes = processes
        self._liveness_inputs = liveness_inputs
        self._heartbeat = heartbeat
        self._manager = manager
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock.now()
        #: The sender of the last external heartbeat, and the time of that heartbeat.
        self._last_sender: HeartbeatSender | None = None
        self._sent_at: datetime | None = None
        self._failures: frozenset[LivenessFailure] = frozenset()
        #: The write under way, even if it has exceeded its time-out.
        self._writing: asyncio.Task[Sequence[Process]] | None = None
        #: Whether the present failure of writes was logged.
        self._is_logged = False
        #: Last successful write; `None`: none since the start.
        self.written_at: datetime | None = None
        #: Since when writes fail; `None`: the last one succeeded.
        self.failing_since: datetime | None = None
        #: Since when the other processes are read without a gap; `None`: the last read failed.
        self.peers_observed_since: datetime | None = None
        #: The other processes, as last read.
        self.peers: Sequence[Process] = ()
        if manager.has_watchdog:
            metrics.register_heartbeat(SYSTEMD)

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        try:
            await run_periodically("process heartbeat", self.beat, _INTERVAL)
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.wait({self._writing}, timeout=_WRITE_TIMEOUT_SECONDS)

    async def beat(self) -> None:
        """Write to the database, evaluate liveness, and send external heartbeats if this process works."""
        await self._write()
        now = self._clock.now()
        liveness_inputs = self._liveness_inputs(self.written_at)
        failures = find_liveness_failures(liveness_inputs, now)
        self._report_failures(failures)
        if self._manager.has_watchdog and is_alive(liveness_inputs, now) and self._manager.keep_alive():
            self._metrics.record_heartbeat(SYSTEMD, now)
        if not failures:
            await self._send(now)

    async def stop(self) -> None:
        """Record that this process is being stopped, so that the others do not report it."""
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
                await self._processes.stop(self._clock.now())
        # The stop must not hang because of an unavailable database.
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("stop of the process could not be recorded", reason=str(error) or "no answer in time")
        except Exception:
            log.exception("stop of the process could not be recorded")

    async def _write(self) -> None:
        try:
            self.peers = await self._write_in_time()
        # Any error: retried at the next heartbeat.
        except Exception as error:  # noqa: BLE001 - logged once, and not with a traceback every 15 s
            self.failing_since = self.failing_since or self._clock.now()
            # The database layer has logged that it is unavailable.
            if not self._is_logged and not isinstance(error, StoreUnavailable):
                log.warning("database not writable", reason=type(error).__name__)
                self._is_logged = True
            self.peers_observed_since = None
            return
        if self._is_logged:
            log.info("database writable again")
        self._is_logged = False
        self.failing_since = None
        self.written_at = self._clock.now()
        # After the clock was set back the other processes get as much time to write as after a start.
        if self.peers_observed_since is None or self.peers_observed_since > self.written_at:
            self.peers_observed_since = self.written_at

    async def _write_in_time(self) -> Sequence[Process]:
        """Write, and return the other processes. Raise `TimeoutError`; the write then continues, and no other starts.

        The write is not cancelled, because SQLAlchemy would first roll back on the same hanging disk.
        """
        if self._writing is None:
            self._writing = asyncio.create_task(self._processes.beat(self._started_at, self._clock.now()))
        done, _ = await asyncio.wait({self._writing}, timeout=_WRITE_TIMEOUT_SECONDS)
        if not done:
            raise TimeoutError
        write, self._writing = self._writing, None
        return write.result()

    def _report_failures(self, failures: frozenset[LivenessFailure]) -> None:
        self._metrics.set_liveness_failures(failures)
        if failures != self._failures:
            message = "heartbeat suppressed" if failures else "heartbeat no longer suppressed"
            log.warning(message, reasons=", ".join(sorted(failures))) if failures else log.info(message)
        self._failures = failures

    async def _send(self, now: datetime) -> None:
        configured = self._heartbeat()
        if configured is None:
            return
        heartbeat, interval = configured
        if heartbeat is not self._last_sender:  # A reload has changed the receivers; the new ones got no heartbeat yet.
            self._last_sender, self._sent_at = heartbeat, None
        # Send half a round early rather than late, and at once after the clock was set back.
        if self._sent_at is None or not timedelta(0) <= now - self._sent_at < interval - _INTERVAL / 2:
            self._sent_at = now
            await heartbeat.send()
