"""Out-of-band alerts to the NOC by SMS and voice, when the database is unavailable or another process is silent.

The NOC is the network operations centre. The alerts need no database: the telephone numbers are in one file, and the
state is in another file of 512 octets. Telephone calls accept no key presses, because an acknowledgement could not be
stored. A *reason* is a kind of problem: an unavailable database, or a silent process.
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
from alerts.wording import out_of_band as texts
from alerts.wording.texts import Wording
from monitor.config.service.out_of_band import (
    OUT_OF_BAND_CHANNELS,
    InvalidNumbersError,
    OutOfBandNumber,
    OutOfBandSettings,
    read_numbers,
)
from monitor.evaluation.out_of_band import (
    ActiveReason,
    ActiveReasons,
    OutOfBandReason,
    SendOutOfBand,
    mark_failed,
    update_reasons,
)
from monitor.metrics.watchdog import WatchdogSeries

_STATE = TypeAdapter(dict[OutOfBandReason, ActiveReason])

#: Name of the state file in Pantau 0.2.0, and its JSON key for the time of the last alert.
_OLD_NAME = "lifeline.json"
_OLD_KEY = b'"told_at":'

#: Size of the state file: one disk block. Disks with atomic writes guarantee them for one block.
_FILE_SIZE = 512


class StateFile:
    """File with the state of the alerts, so that a restart does not repeat them.

    For each reason, it has the start of the problem, the times of the last sent and the last failed alert, and the name
    of the silent process.

    The file is created once in full size and overwritten in place, because a full disk has no room for a new file. An
    unreadable file counts as missing. Both methods block; `write` may block as long as a disk hangs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> ActiveReasons:
        """Return the state; empty if there is no valid file. Files of version 0.2.0 are read, too."""
        try:
            if not self._path.exists() and (old_path := self._path.with_name(_OLD_NAME)).exists():
                old_path.rename(self._path)
            # Read the time of the last alert under its old key: an upgrade during a problem must not alert again.
            octets = self._path.read_bytes().replace(_OLD_KEY, b'"notified_at":')
            return _STATE.validate_json(octets.rstrip(b" \0"))
        except (OSError, ValidationError):
            return {}

    def write(self, state: ActiveReasons) -> bool:
        """Write the state; return whether it succeeded."""
        octets = _STATE.dump_json(dict(state))
        if len(octets) > _FILE_SIZE:
            # The names of silent processes, which are usually short, do not fit: drop them.
            octets = _STATE.dump_json({reason: _without_name(active_reason) for reason, active_reason in state.items()})
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.pwrite(descriptor, octets.ljust(_FILE_SIZE), 0)
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

#: Timeout of a request to a gateway. Most gateways have a timeout of their own, of a minute at most.
_GATEWAY_TIMEOUT_SECONDS = 90.0
#: Timeout for writing the state file. A write takes that long only if the disk hangs.
_WRITE_TIMEOUT_SECONDS = 5.0
#: Maximum number of telephone numbers that are notified at the same time.
_MAX_CONCURRENT = 4
#: Time after which a gateway must not deliver an alert any more.
_ALERT_LIFETIME = timedelta(minutes=15)


class OutOfBandAlerter:
    """Sender of out-of-band alerts, with their state."""

    def __init__(
        self,
        settings: OutOfBandSettings,
        *,
        gateways: Sequence[ConfiguredGateway],
        office: IssuingOffice,
        wording: Wording,
        state_file: StateFile,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """*gateways*: voice and SMS gateways in order of preference, built without a callback address."""
        self._settings = settings
        self._gateways = gateways
        self._office = office
        self._wording = wording
        self._state_file = state_file
        self._metrics = metrics
        self._clock = clock
        self._state: ActiveReasons = state_file.read()
        self._numbers: tuple[OutOfBandNumber, ...] = ()
        #: Size and modification time (ns) of the numbers file when it was last read; `None`: it was missing. The first
        #: value is that of no possible file, so that the first check reads the file.
        self._read_version: tuple[int, int] | None = (-1, -1)
        #: Whether this process has begun to write the state file: an early write reserves space before the disk is full.
        self._is_written = False
        # A separate thread, because a hanging disk must not block the threads that resolve host names.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lifeline")
        self.read_numbers()

    def read_numbers(self) -> None:
        """Read the numbers file if it has changed. If it is invalid, keep the present numbers."""
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
        """Update the state, and send the alerts that are due.

        *active_reasons*: the present problems. *unknown*: reasons that cannot be examined now, whose state stays.
        """
        self.read_numbers()
        state, due_alerts = update_reasons(
            self._state, active_reasons, self._settings.build(), self._clock.now(), unknown
        )
        if state != self._state or not self._is_written:
            await self._save(state)
        self._metrics.set_out_of_band_active(
            {reason for reason, active_reason in state.items() if active_reason.notified_at or active_reason.failed_at}
        )
        for alert in due_alerts:
            reached_count = await self._send(alert)
            event = "out-of-band alert resolved" if alert.is_resolved else "out-of-band alert sent"
            log.warning(event, reason=alert.reason, since=alert.since.isoformat(), reached=reached_count)
            # Repeat an alert that reached nobody soon, but not an all-clear.
            if not reached_count and not alert.is_resolved:
                await self._save(mark_failed(self._state, alert, self._clock.now()))

    async def close(self) -> None:
        """Close the gateways' connections."""
        for entry in self._gateways:
            await entry.gateway.close()
        self._thread.shutdown(wait=False)

    async def _save(self, state: ActiveReasons) -> None:
        self._state, self._is_written = state, True
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._state_file.write, state)
        # Do not wait longer: a failed disk that makes the database unavailable may also have this file.
        done, _ = await asyncio.wait({writing}, timeout=_WRITE_TIMEOUT_SECONDS)
        if not done or not writing.result():
            log.warning("out-of-band state could not be saved; it is lost at a restart")

    async def _send(self, alert: SendOutOfBand) -> int:
        """Send *alert* to every number. Return for how many numbers a gateway accepted it."""
        at = self._clock.now() if alert.is_resolved else alert.since
        situation = "clear" if alert.is_resolved else str(alert.reason)
        message = texts.OutOfBandMessage(situation=situation, office=self._office, at=at, process=alert.peer)
        contents: dict[Channel, Content] = {
            Channel.SMS: texts.sms(message, self._wording),
            Channel.VOICE: texts.call(message, self._wording),
        }
        limit = asyncio.Semaphore(_MAX_CONCURRENT)

        async def notify(number_index: int, number: OutOfBandNumber) -> bool:
            async with limit:
                channels = [c for c in OUT_OF_BAND_CHANNELS if c is Channel.VOICE or number.is_mobile]
                # Send the all-clear by SMS only, if possible, so that it wakes nobody.
                if (
                    alert.is_resolved
                    and number.is_mobile
                    and any(entry.channel is Channel.SMS for entry in self._gateways)
                ):
                    channels = [Channel.SMS]
                reached = [
                    await self._send_via_channel(channel, number_index, number, contents[channel])
                    for channel in channels
                ]
                return any(reached)

        return sum(await asyncio.gather(*(notify(n, number) for n, number in enumerate(self._numbers, 1))))

    async def _send_via_channel(
        self, channel: Channel, number_index: int, number: OutOfBandNumber, content: Content
    ) -> bool:
        """Send *content* by the first gateway of *channel* that accepts it. Return whether one did."""
        now = self._clock.now()
        for entry in self._gateways:
            if entry.channel is not channel:
                continue
            request = SendRequest(
                reference=f"lifeline{number_index}-{channel}-{now.timestamp():.0f}",
                address=number.number,
                content=content,
                expires_at=now + _ALERT_LIFETIME,
                created_at=now,
            )
            try:
                async with asyncio.timeout(_GATEWAY_TIMEOUT_SECONDS):
                    report = await entry.gateway.send(request)
            except (DeliveryError, TimeoutError) as error:
                log.warning("out-of-band gateway failed", gateway=entry.name, reason=str(error) or "no answer")
            # A bug in a gateway must not prevent the use of the next one.
            except Exception:
                log.exception("out-of-band gateway failed unexpectedly", gateway=entry.name)
            else:
                if report.progress is not SubmissionState.FAILED:
                    return True
        return False


def _file_version(path: Path) -> tuple[int, int] | None:
    """Return the size and the modification time (ns) of a file; `None`: it is missing or cannot be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
