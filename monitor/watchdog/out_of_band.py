"""Out-of-band alerts to the NOC by SMS and voice, when the database is unavailable or another process is silent.

The NOC is the network operations centre. The alerts need no database: the telephone numbers are in one file, and the
state is in another file of 512 octets. Calls accept no key, because an acknowledgement could not be stored.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.gateway import Content, DeliveryError, SendRequest, SubmissionState
from alerts.model.notification import IssuingOffice
from alerts.persistence.clock import Clock
from alerts.wording import out_of_band as words
from alerts.wording.texts import Wording
from monitor.config.service.out_of_band import CHANNELS, InvalidNumbersError, Number, OutOfBandSettings, read_numbers
from monitor.evaluation.out_of_band import (
    ActiveReason,
    ActiveReasons,
    OutOfBandReason,
    SendOutOfBand,
    mark_failed,
    update_reasons,
)
from monitor.metrics.watchdog import WatchdogSeries

_MEMORY = TypeAdapter(dict[OutOfBandReason, ActiveReason])

#: Name of the state file in Pantau 0.2.0, and its key for the time of the last alert.
_OLD_NAME = "lifeline.json"
_OLD_KEY = b'"told_at":'

#: Size of a disk block. A disk that guarantees atomic writes at all guarantees them for one block.
_SIZE = 512


class MemoryFile:
    """State across restarts, in a small file in the state directory.

    It is created once in full size and overwritten in place, because a full disk has no room for a new file. An
    unreadable file counts as missing. Both methods block; `write` may block as long as a disk hangs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> ActiveReasons:
        """Return the state; empty without a valid file. Files of 0.2.0 are read, too."""
        try:
            if not self._path.exists() and (before := self._path.with_name(_OLD_NAME)).exists():
                before.rename(self._path)
            # Without this time, an upgrade during a problem would alert the NOC again.
            octets = self._path.read_bytes().replace(_OLD_KEY, b'"notified_at":')
            return _MEMORY.validate_json(octets.rstrip(b" \0"))
        except (OSError, ValidationError):
            return {}

    def write(self, state: ActiveReasons) -> bool:
        """Write the state; return whether it succeeded."""
        octets = _MEMORY.dump_json(dict(state))
        if len(octets) > _SIZE:
            # The names of processes are usually short. If they are too long, only the names are dropped.
            octets = _MEMORY.dump_json(
                {problem: _without_name(active_reason) for problem, active_reason in state.items()}
            )
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.pwrite(descriptor, octets.ljust(_SIZE), 0)
            os.fsync(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def _without_name(active_reason: ActiveReason) -> ActiveReason:
    return ActiveReason(
        since=active_reason.since, notified_at=active_reason.notified_at, failed_at=active_reason.failed_at
    )


log = structlog.get_logger()

#: Deadline of a gateway call. Most gateways have one of their own, of a minute at most.
_DEADLINE_SECONDS = 90.0
#: Writing a small file takes no time unless the disk hangs.
_WRITE_TIMEOUT_SECONDS = 5.0
#: Concurrent calls.
_MAX_CONCURRENT = 4
#: Expiry of an alert.
_EXPIRY = timedelta(minutes=15)


class OutOfBandAlerter:
    """Sends out-of-band alerts and keeps their state."""

    def __init__(
        self,
        settings: OutOfBandSettings,
        *,
        gateways: Sequence[ConfiguredGateway],
        office: IssuingOffice,
        wording: Wording,
        state_file: MemoryFile,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """Take *gateways*: voice and SMS gateways in order of preference, built without a callback address."""
        self._settings = settings
        self._gateways = gateways
        self._office = office
        self._wording = wording
        self._memory_file = state_file
        self._metrics = metrics
        self._clock = clock
        self._memory: ActiveReasons = state_file.read()
        self._numbers: tuple[Number, ...] = ()
        #: Size and modification time of the numbers file when it was read; `None`: it was missing.
        self._read_version: tuple[int, int] | None = (-1, -1)
        #: Whether the state file was written in full size.
        self._is_created = False
        # A thread of its own, because a hanging disk must not block threads that are used for name resolution.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lifeline")
        self.read_numbers()

    def read_numbers(self) -> None:
        """Read the numbers file if it has changed. An invalid file leaves the numbers unchanged."""
        path = self._settings.numbers_file
        if self._read_version == (version := _file_version(path)):
            return
        self._read_version = version
        try:
            self._numbers = read_numbers(path)
        except (InvalidNumbersError, OSError) as error:
            error_text = str(error) if isinstance(error, InvalidNumbersError) else (error.strerror or "")
            log.warning("out-of-band numbers cannot be read", numbers=len(self._numbers), reason=error_text)
        self._metrics.set_out_of_band_numbers(len(self._numbers))

    async def check(self, active_reasons: ActiveReasons, unknown: AbstractSet[OutOfBandReason] = frozenset()) -> None:
        """Update the state by the present reasons for an alert, each with its start, and send alerts that are due.

        *unknown*: reasons of which it is unknown now whether they are present.
        """
        self.read_numbers()
        state, due_alerts = update_reasons(
            self._memory, active_reasons, self._settings.build(), self._clock.now(), unknown
        )
        if state != self._memory or not self._is_created:
            await self._save(state)
        self._metrics.set_out_of_band_active(
            {
                problem
                for problem, active_reason in state.items()
                if active_reason.notified_at or active_reason.failed_at
            }
        )
        for alert in due_alerts:
            reached_count = await self._send(alert)
            event = "out-of-band alert resolved" if alert.is_resolved else "out-of-band alert sent"
            log.warning(event, reason=alert.problem, since=alert.since.isoformat(), reached=reached_count)
            if not reached_count and not alert.is_resolved:
                await self._save(mark_failed(self._memory, alert, self._clock.now()))

    async def close(self) -> None:
        """Close the gateways' connections."""
        for entry in self._gateways:
            await entry.gateway.close()
        self._thread.shutdown(wait=False)

    async def _save(self, state: ActiveReasons) -> None:
        self._memory, self._is_created = state, True
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._memory_file.write, state)
        # The database may be unavailable because a disk hangs, which may be the disk of this file too.
        done, _ = await asyncio.wait({writing}, timeout=_WRITE_TIMEOUT_SECONDS)
        if not done or not writing.result():
            log.warning("out-of-band state could not be saved; it is lost at a restart")

    async def _send(self, alert: SendOutOfBand) -> int:
        """Send *alert* to every number on every channel. Return how many numbers were reached."""
        at = self._clock.now() if alert.is_resolved else alert.since
        situation = "clear" if alert.is_resolved else str(alert.problem)
        message = words.OutOfBandMessage(situation=situation, office=self._office, at=at, process=alert.peer)
        contents: dict[Channel, Content] = {
            Channel.SMS: words.sms(message, self._wording),
            Channel.VOICE: words.call(message, self._wording),
        }
        limit = asyncio.Semaphore(_MAX_CONCURRENT)

        async def notify(number_index: int, number: Number) -> bool:
            async with limit:
                # The end of an alert is sent by SMS only, if possible, so that it wakes nobody.
                channels = [c for c in CHANNELS if c is Channel.VOICE or number.is_mobile]
                if (
                    alert.is_resolved
                    and number.is_mobile
                    and any(entry.channel is Channel.SMS for entry in self._gateways)
                ):
                    channels = [Channel.SMS]
                reached = [
                    await self._send_by(channel, number_index, number, contents[channel]) for channel in channels
                ]
                return any(reached)

        return sum(await asyncio.gather(*(notify(n, number) for n, number in enumerate(self._numbers, 1))))

    async def _send_by(self, channel: Channel, number_index: int, number: Number, content: Content) -> bool:
        now = self._clock.now()
        for entry in self._gateways:
            if entry.channel is not channel:
                continue
            request = SendRequest(
                reference=f"lifeline{number_index}-{channel}-{now.timestamp():.0f}",
                address=number.number,
                content=content,
                expires_at=now + _EXPIRY,
                created_at=now,
            )
            try:
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    report = await entry.gateway.send(request)
            except (DeliveryError, TimeoutError) as error:
                log.warning("out-of-band gateway failed", gateway=entry.name, reason=str(error) or "no answer")
            # A bug in a gateway must not prevent the next gateway from being used.
            except Exception:
                log.exception("out-of-band gateway failed unexpectedly", gateway=entry.name)
            else:
                if report.progress is not SubmissionState.FAILED:
                    return True
        return False


def _file_version(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
