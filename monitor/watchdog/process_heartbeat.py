"""Process heartbeat: writes to the database, reads the other processes, and triggers external heartbeats.

A successful write proves that the database is writable; it is retried while it is unavailable. The results are public:
since when writes fail, and the other processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.liveness import LivenessFailure, LivenessInputs, ailments, is_alive
from monitor.metrics.watchdog import WatchdogSeries
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.heartbeat import SYSTEMD, HeartbeatSender

log = structlog.get_logger()

_EVERY = timedelta(seconds=15)
#: A slower write counts as failed: a full or missing disk, a database without an answer.
_PATIENCE_SECONDS = 10.0


class ProcessHeartbeat:
    """Writes heartbeats until cancelled."""

    def __init__(
        self,
        *,
        processes: Processes,
        signs: Callable[[datetime | None], LivenessInputs],
        heartbeat: Callable[[], tuple[HeartbeatSender, timedelta] | None],
        manager: ServiceManager,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """*signs* is called with the time of the last write.

        *heartbeat*: returns the configured sender and its interval.
        """
        self._processes = processes
        self._signs = signs
        self._heartbeat = heartbeat
        self._manager = manager
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock.now()
        #: The last used sender and the time.
        self._latest: HeartbeatSender | None = None
        self._sent_at: datetime | None = None
        self._ailing: frozenset[LivenessFailure] = frozenset()
        #: A write that exceeded its time.
        self._writing: asyncio.Task[Sequence[Process]] | None = None
        #: The failure is logged.
        self._is_logged = False
        #: Last successful write; `None`: none since the start.
        self.written_at: datetime | None = None
        #: Since when writes fail; `None`: the last one succeeded.
        self.away_since: datetime | None = None
        #: Since when the others are observed without a gap.
        self.watching_since: datetime | None = None
        #: The other processes, as last read.
        self.peers: Sequence[Process] = ()
        if manager.has_watchdog:
            metrics.watch_heartbeat(SYSTEMD)

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        try:
            await run_periodically("process heartbeat", self.beat, _EVERY)
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.wait({self._writing}, timeout=_PATIENCE_SECONDS)

    async def beat(self) -> None:
        """Write, evaluate liveness, and send heartbeats if this process works."""
        await self._write()
        now = self._clock.now()
        signs = self._signs(self.written_at)
        ailing = ailments(signs, now)
        self._show(ailing)
        if self._manager.has_watchdog and is_alive(signs, now) and self._manager.keep_alive():
            self._metrics.heartbeat_heard(SYSTEMD, now)
        if not ailing:
            await self._send(now)

    async def stop(self) -> None:
        """Write that this process stops in order."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._processes.stop(self._clock.now())
        # The stop must not hang on an unavailable database; the others will report this process.
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("stop of the process could not be recorded", reason=str(error) or "no answer in time")
        except Exception:
            log.exception("stop of the process could not be recorded")

    async def _write(self) -> None:
        try:
            self.peers = await self._written_in_time()
        # Any error: retried at the next heartbeat.
        except Exception as error:  # noqa: BLE001 - told once, and not with its whole story every 15 s
            self.away_since = self.away_since or self._clock.now()
            # An unavailable store has logged it.
            if not self._is_logged and not isinstance(error, StoreUnavailable):
                log.warning("database not writable", reason=type(error).__name__)
                self._is_logged = True
            self.watching_since = None
            return
        if self._is_logged:
            log.info("database writable again")
        self._is_logged = False
        self.away_since = None
        self.written_at = self._clock.now()
        # After the clock was set back the others have as long as at a start.
        if self.watching_since is None or self.watching_since > self.written_at:
            self.watching_since = self.written_at

    async def _written_in_time(self) -> Sequence[Process]:
        """Return the others after the write. Raise `TimeoutError`; the write then continues, and no other starts.

        Cancelling does not interrupt a hanging disk: SQLAlchemy rolls back first, on the same disk.
        """
        if self._writing is None:
            self._writing = asyncio.create_task(self._processes.beat(self._started_at, self._clock.now()))
        done, _ = await asyncio.wait({self._writing}, timeout=_PATIENCE_SECONDS)
        if not done:
            raise TimeoutError
        written, self._writing = self._writing, None
        return written.result()

    def _show(self, ailing: frozenset[LivenessFailure]) -> None:
        self._metrics.set_liveness_failures(ailing)
        if ailing != self._ailing:
            what = "heartbeat suppressed" if ailing else "heartbeat no longer suppressed"
            log.warning(what, reasons=", ".join(sorted(ailing))) if ailing else log.info(what)
        self._ailing = ailing

    async def _send(self, now: datetime) -> None:
        configured = self._heartbeat()
        if configured is None:
            return
        heartbeat, every = configured
        if heartbeat is not self._latest:  # A reload changed the receiver, which has no heartbeat yet.
            self._latest, self._sent_at = heartbeat, None
        # Tolerate half an interval early rather than late; send at once after the clock was set back.
        if self._sent_at is None or not timedelta(0) <= now - self._sent_at < every - _EVERY / 2:
            self._sent_at = now
            await heartbeat.send()
