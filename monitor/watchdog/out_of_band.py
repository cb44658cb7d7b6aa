"""Ring the NOC when no notice can be written: by gateways that need no store, to numbers from a file of their own.

It is the last thing that works. So it reads nothing but its file, remembers nothing but a few hundred octets, and asks
for no key: there would be nowhere to write it down.
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
from monitor.config.service.lifeline import CHANNELS, InvalidNumbersError, LifelineSettings, Number, read_numbers
from monitor.evaluation.out_of_band import ActiveReason, Memory, OutOfBandReason, SendOutOfBand, recall, untold
from monitor.metrics.watchdog import WatchdogSeries

_MEMORY = TypeAdapter(dict[OutOfBandReason, ActiveReason])

#: One block of any disk: it is written whole or not at all, as far as disks promise anything.
_SIZE = 512


class MemoryFile:
    """What is remembered from one life of the process to the next, in a small file beside the store.

    It is made once, at its full size, and then written over in place: on a disk that is full, which is what it is for, a
    new file could not be written. One that cannot be read is as good as none. Both block, and writing for as long as a disk
    hangs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Memory:
        """Return what is remembered; nothing when there is no file, or none that makes sense."""
        try:
            return _MEMORY.validate_json(self._path.read_bytes().rstrip(b" \0"))
        except (OSError, ValidationError):
            return {}

    def write(self, memory: Memory) -> bool:
        """Remember; return whether it could be written."""
        octets = _MEMORY.dump_json(dict(memory))
        if len(octets) > _SIZE:
            # Names are short; but a name that is not must cost the name and not the memory.
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
    return ActiveReason(since=spell.since, told_at=spell.told_at, failed_at=spell.failed_at)


log = structlog.get_logger()

#: A gateway keeps deadlines of its own, at most a minute; this is for one that does not.
_DEADLINE_SECONDS = 90.0
#: A small file takes no time, or the disk does not answer.
_WRITTEN_WITHIN_SECONDS = 5.0
#: Telephones that are rung at a time.
_AT_ONCE = 4
#: After this nobody needs to hear of it.
_USE = timedelta(minutes=15)


class OutOfBandAlerter:
    """Knows the numbers and the gateways, and what was told."""

    def __init__(
        self,
        settings: LifelineSettings,
        *,
        lines: Sequence[ConfiguredGateway],
        office: IssuingOffice,
        wording: Wording,
        memory_file: MemoryFile,
        metrics: WatchdogSeries,
        clock: Clock,
    ) -> None:
        """*lines*: voice and SMS gateways in the order of preference, built without a callback address."""
        self._settings = settings
        self._lines = lines
        self._office = office
        self._wording = wording
        self._memory_file = memory_file
        self._metrics = metrics
        self._clock = clock
        self._memory: Memory = memory_file.read()
        self._numbers: tuple[Number, ...] = ()
        #: Size and time of the file as it was last read; `None`: it was not there.
        self._seen: tuple[int, int] | None = (-1, -1)
        #: The memory file has been made, at its full size, while the disk has room.
        self._is_made = False
        # Of its own: one that waits for a disk must not keep those waiting that look up names.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lifeline")
        self.read_numbers()

    def read_numbers(self) -> None:
        """Read the file if it has changed; one that cannot be used leaves the numbers as they were."""
        path = self._settings.numbers_file
        if self._seen == (seen := _trace(path)):
            return
        self._seen = seen
        try:
            self._numbers = read_numbers(path)
        except (InvalidNumbersError, OSError) as error:
            why = str(error) if isinstance(error, InvalidNumbersError) else (error.strerror or "")
            log.warning("the lifeline's numbers cannot be read", kept=len(self._numbers), why=why)
        self._metrics.lifeline_known(len(self._numbers))

    async def look(self, present: Memory, unknown: AbstractSet[OutOfBandReason] = frozenset()) -> None:
        """Take in the troubles there are, each with since when, and ring if it is time; of *unknown* nothing is known."""
        self.read_numbers()
        memory, rings = recall(self._memory, present, self._settings.patience(), self._clock.now(), unknown)
        if memory != self._memory or not self._is_made:
            await self._remember(memory)
        self._metrics.distressed({trouble for trouble, spell in memory.items() if spell.told_at or spell.failed_at})
        for ring in rings:
            heard = await self._ring(ring)
            what = "it is over" if ring.clear else "the operations centre is rung without the store"
            log.warning(what, trouble=ring.trouble, since=ring.since.isoformat(), telephones=heard)
            if not heard and not ring.clear:
                await self._remember(untold(self._memory, ring, self._clock.now()))

    async def close(self) -> None:
        """Release the gateways' connections."""
        for line in self._lines:
            await line.gateway.close()
        self._thread.shutdown(wait=False)

    async def _remember(self, memory: Memory) -> None:
        self._memory, self._is_made = memory, True
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._memory_file.write, memory)
        # The store that cannot be written may be a disk that hangs, and this file lies beside it.
        done, _ = await asyncio.wait({writing}, timeout=_WRITTEN_WITHIN_SECONDS)
        if not done or not writing.result():
            log.warning("what the lifeline has told cannot be remembered over a restart")

    async def _ring(self, ring: SendOutOfBand) -> int:
        """Ring every number by every channel; return to how many telephones something went out."""
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
                # Good news rings nobody out of bed, where an SMS can be read.
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
                log.warning("a gateway of the lifeline failed", gateway=line.name, why=str(error) or "no answer")
            # Our bug in a gateway, and the next one may be sound: this is the last thing that works.
            except Exception:
                log.exception("a gateway of the lifeline broke", gateway=line.name)
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
