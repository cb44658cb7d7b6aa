"""Process heartbeat: writes to the database, reads its peers (the other processes there), sends external heartbeats.

A successful write proves that the database is writable. External heartbeats go to a dead man's switch, a file and
systemd while the process works.
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

#: Interval between two heartbeats in the database.
_INTERVAL = timedelta(seconds=15)
#: Timeout of a write. If a write takes longer, a disk hangs, or the database does not respond.
_WRITE_TIMEOUT_SECONDS = 10.0


class ProcessHeartbeat:
    """Task that writes and sends heartbeats periodically."""

    def __init__(
        self,
        *,
        processes: Processes,
        liveness_inputs: Callable[[datetime | None], LivenessInputs],
        current_sender: Callable[[], tuple[HeartbeatSender, timedelta] | None],
        manager: ServiceManager,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """*liveness_inputs* is called with the time of the last successful write; `None`: there was none.

        *current_sender* returns the sender of external heartbeats and the interval between them; `None`: none are sent.
        *manager* is systemd's service manager.
        """
        self._processes = processes
        self._liveness_inputs = liveness_inputs
        self._current_sender = current_sender
        self._manager = manager
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock.now()
        #: Sender of the last external heartbeat, and when the heartbeat was sent.
        self._last_sender: HeartbeatSender | None = None
        self._sent_at: datetime | None = None
        #: Failures of this process at the last evaluation, which suppress external heartbeats.
        self._failures: frozenset[LivenessFailure] = frozenset()
        #: The write in progress, even if it has exceeded its timeout.
        self._writing: asyncio.Task[Sequence[Process]] | None = None
        #: Whether the log has the present failure of writes.
        self._is_logged = False
        #: Time of the last successful write; `None`: none since the start.
        self.written_at: datetime | None = None
        #: Since when writes fail; `None`: the last write succeeded.
        self.failing_since: datetime | None = None
        #: Since when every write has also read the other processes; `None`: the last write failed, or there was none.
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
        # `is_alive`: there is no failure for which systemd should restart the process.
        if self._manager.has_watchdog and is_alive(liveness_inputs, now) and self._manager.keep_alive():
            self._metrics.record_heartbeat(SYSTEMD, now)
        if not failures:
            await self._send(now)

    async def stop(self) -> None:
        """Record that this process is being stopped, so that the other processes do not report it as silent."""
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
                await self._processes.stop(self._clock.now())
        # An unavailable database must not prevent the process from stopping.
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("stop of the process could not be recorded", reason=str(error) or "no answer in time")
        except Exception:
            log.exception("stop of the process could not be recorded")

    async def _write(self) -> None:
        try:
            self.peers = await self._write_in_time()
        # After any error, the next heartbeat writes again.
        except Exception as error:  # noqa: BLE001 - log once, and without a traceback
            self.failing_since = self.failing_since or self._clock.now()
            # For `StoreUnavailable`, the database layer has logged the reason.
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
        # If the clock was set back, begin a new period: the other processes get as much time to write as after a start.
        if self.peers_observed_since is None or self.peers_observed_since > self.written_at:
            self.peers_observed_since = self.written_at

    async def _write_in_time(self) -> Sequence[Process]:
        """Write a heartbeat, and return the other processes. Raise `TimeoutError`.

        After the timeout the write continues, and the next call waits for it. The write is not cancelled, because
        SQLAlchemy would then roll back, on the same hanging disk.
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
        current = self._current_sender()
        if current is None:
            return
        sender, interval = current
        if sender is not self._last_sender:
            # A reload has changed the receivers: the new receivers have not received a heartbeat yet.
            self._last_sender, self._sent_at = sender, None
        # This method runs once per `_INTERVAL`, so that the time cannot be met exactly: send up to half an `_INTERVAL`
        # early rather than late. If the clock was set back, send at once.
        if self._sent_at is None or not timedelta(0) <= now - self._sent_at < interval - _INTERVAL / 2:
            self._sent_at = now
            await sender.send()
