"""Out-of-band alerts to the NOC when no notification can be written: gateways without a store, numbers from a file.

The last resort: it reads only its file, keeps a few hundred octets of state, and accepts no key, because nothing could
be stored.
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
from monitor.evaluation.out_of_band import ActiveReason, Memory, OutOfBandReason, SendOutOfBand, recall, untold
from monitor.metrics.watchdog import WatchdogSeries

_MEMORY = TypeAdapter(dict[OutOfBandReason, ActiveReason])

#: Name of the file in 0.2.0.
_NAME_BEFORE = "lifeline.json"

#: One disk block, which is written atomically as far as disks guarantee it.
_SIZE = 512


class MemoryFile:
    """State across restarts, in a small file beside the store.

    It is created once in full size and overwritten in place: a full disk has no room for a new file. An unreadable file
    counts as missing. Both methods block, writing as long as a disk hangs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Memory:
        """Return the state; empty without a valid file. A file with the name of 0.2.0 is renamed."""
        try:
            if not self._path.exists() and (before := self._path.with_name(_NAME_BEFORE)).exists():
                before.rename(self._path)
            return _MEMORY.validate_json(self._path.read_bytes().rstrip(b" \0"))
        except (OSError, ValidationError):
            return {}

    def write(self, memory: Memory) -> bool:
        """Write the state; return whether it succeeded."""
        octets = _MEMORY.dump_json(dict(memory))
        if len(octets) > _SIZE:
            # Names are short; a long one is dropped, not the state.
            octets = _MEMORY.dump_json({trouble: _nameless(spell) for trouble, spell in memory.items()})
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


def _nameless(spell: ActiveReason) -> ActiveReason:
    return ActiveReason(since=spell.since, notified_at=spell.notified_at, failed_at=spell.failed_at)


log = structlog.get_logger()

#: A gateway has its own deadline, at most a minute; this is for one without.
_DEADLINE_SECONDS = 90.0
#: Writing a small file takes no time unless the disk hangs.
_WRITTEN_WITHIN_SECONDS = 5.0
#: Concurrent calls.
_AT_ONCE = 4
#: Expiry of an alert.
_USE = timedelta(minutes=15)


class OutOfBandAlerter:
    """Sends out-of-band alerts and keeps their state."""

    def __init__(
        self,
        settings: OutOfBandSettings,
        *,
        lines: Sequence[ConfiguredGateway],
        office: IssuingOffice,
        wording: Wording,
        memory_file: MemoryFile,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """*lines*: voice and SMS gateways in order of preference, built without a callback address."""
        self._settings = settings
        self._lines = lines
        self._office = office
        self._wording = wording
        self._memory_file = memory_file
        self._metrics = metrics
        self._clock = clock
        self._memory: Memory = memory_file.read()
        self._numbers: tuple[Number, ...] = ()
        #: Size and time of the last read file; `None`: missing.
        self._seen: tuple[int, int] | None = (-1, -1)
        #: The state file exists in full size.
        self._is_made = False
        # A thread of its own: waiting for a disk must not block name resolution.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lifeline")
        self.read_numbers()

    def read_numbers(self) -> None:
        """Read the file if it has changed; an invalid one leaves the numbers unchanged."""
        path = self._settings.numbers_file
        if self._seen == (seen := _trace(path)):
            return
        self._seen = seen
        try:
            self._numbers = read_numbers(path)
        except (InvalidNumbersError, OSError) as error:
            why = str(error) if isinstance(error, InvalidNumbersError) else (error.strerror or "")
            log.warning("out-of-band numbers cannot be read", numbers=len(self._numbers), reason=why)
        self._metrics.set_out_of_band_numbers(len(self._numbers))

    async def look(self, present: Memory, unknown: AbstractSet[OutOfBandReason] = frozenset()) -> None:
        """Process the present problems, each with its start, and alert if due; *unknown*: reasons that cannot be examined."""
        self.read_numbers()
        memory, rings = recall(self._memory, present, self._settings.patience(), self._clock.now(), unknown)
        if memory != self._memory or not self._is_made:
            await self._remember(memory)
        self._metrics.set_out_of_band_active(
            {trouble for trouble, spell in memory.items() if spell.notified_at or spell.failed_at}
        )
        for ring in rings:
            heard = await self._ring(ring)
            what = "out-of-band alert resolved" if ring.clear else "out-of-band alert sent"
            log.warning(what, reason=ring.trouble, since=ring.since.isoformat(), reached=heard)
            if not heard and not ring.clear:
                await self._remember(untold(self._memory, ring, self._clock.now()))

    async def close(self) -> None:
        """Close the gateways' connections."""
        for line in self._lines:
            await line.gateway.close()
        self._thread.shutdown(wait=False)

    async def _remember(self, memory: Memory) -> None:
        self._memory, self._is_made = memory, True
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._memory_file.write, memory)
        # The unavailable database may be a hanging disk, and this file is beside it.
        done, _ = await asyncio.wait({writing}, timeout=_WRITTEN_WITHIN_SECONDS)
        if not done or not writing.result():
            log.warning("out-of-band state could not be saved; it is lost at a restart")

    async def _ring(self, ring: SendOutOfBand) -> int:
        """Alert every number on every channel; return the number of telephones reached."""
        at = self._clock.now() if ring.clear else ring.since
        situation = "clear" if ring.clear else str(ring.trouble)
        plight = words.OutOfBandMessage(situation=situation, office=self._office, at=at, whose=ring.whose)
        contents: dict[Channel, Content] = {
            Channel.SMS: words.sms(plight, self._wording),
            Channel.VOICE: words.call(plight, self._wording),
        }
        room = asyncio.Semaphore(_AT_ONCE)

        async def reach(place: int, number: Number) -> bool:
            async with room:
                # An all-clear wakes nobody if an SMS is possible.
                channels = [c for c in CHANNELS if c is Channel.VOICE or number.is_mobile]
                if ring.clear and number.is_mobile and any(line.channel is Channel.SMS for line in self._lines):
                    channels = [Channel.SMS]
                reached = [await self._by(channel, place, number, contents[channel]) for channel in channels]
                return any(reached)

        return sum(await asyncio.gather(*(reach(n, number) for n, number in enumerate(self._numbers, 1))))

    async def _by(self, channel: Channel, place: int, number: Number, content: Content) -> bool:
        now = self._clock.now()
        for line in self._lines:
            if line.channel is not channel:
                continue
            order = SendRequest(
                reference=f"lifeline{place}-{channel}-{now.timestamp():.0f}",
                address=number.number,
                content=content,
                expires_at=now + _USE,
                created_at=now,
            )
            try:
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    report = await line.gateway.send(order)
            except (DeliveryError, TimeoutError) as error:
                log.warning("out-of-band gateway failed", gateway=line.name, reason=str(error) or "no answer")
            # A bug in a gateway; the next one may work, and this is the last resort.
            except Exception:
                log.exception("out-of-band gateway failed unexpectedly", gateway=line.name)
            else:
                if report.progress is not SubmissionState.FAILED:
                    return True
        return False


def _trace(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
