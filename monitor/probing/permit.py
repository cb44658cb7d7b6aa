"""Submission permits: a run waits here until the limits of `monitor.planning.concurrency` allow it to submit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from monitor.planning.concurrency import ConcurrencyLimits
from probes.model.result import Phase


class SubmissionPermit:
    """Permit of one run, which is released when the message is submitted.

    It is not held while the run waits for the arrival, because that uses no connection to the sender's server and takes
    minutes if mail is lost.
    """

    def __init__(self, name: str, permits: SubmissionPermits) -> None:
        self._name = name
        self._permits: SubmissionPermits | None = permits

    def enter_phase(self, phase: Phase) -> None:
        """Record that the run enters *phase*."""
        if phase is Phase.TRANSIT:
            self.release()

    def release(self) -> None:
        """Release the permit. Idempotent."""
        if self._permits is not None:
            self._permits.release(self._name)
            self._permits = None


class SubmissionPermits:
    """Permits in use, and runs that wait for one."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def acquire(self, name: str, limit_names: Sequence[str]) -> AsyncIterator[SubmissionPermit]:
        """Wait until the run *name* has a slot of each limit in *limit_names*, and yield its permit."""
        if not self._limits.acquire(name, limit_names):
            await self._wait_for_permit(name)
        permit = SubmissionPermit(name, self)
        try:
            yield permit
        finally:
            permit.release()

    async def _wait_for_permit(self, name: str) -> None:
        granted = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            await granted
        except asyncio.CancelledError:
            # The run was cancelled, because its route was removed. A permit that was granted just before is released.
            if self._waiting.pop(name, None) is None:
                self.release(name)
            else:
                self._limits.withdraw(name)
            raise

    def release(self, name: str) -> None:
        """Release the permit of the run *name*, and grant permits to waiting runs."""
        self._grant(self._limits.release(name))

    def resize(self, limits: Mapping[str, int]) -> None:
        """Replace the limits."""
        self._grant(self._limits.resize(limits))

    def _grant(self, names: Iterable[str]) -> None:
        for name in names:
            granted = self._waiting.pop(name)
            # A run that was just cancelled releases its permit itself.
            if not granted.done():
                granted.set_result(None)
