"""Checks that try the same in each mailbox, some concurrently; each result is a finding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from probes.model.check import Finding, Verdict
from probes.model.mailbox import Mailbox
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import expired
from probes.model.result import Outcome, Party
from probes.run.trace import TraceRecorder

T = TypeVar("T")
R = TypeVar("R")

#: Timeout of one session, after the credentials are available.
SESSION = timedelta(seconds=30)
#: A trial ends by itself before this; it may have to obtain a token first, and a second one.
_AT_MOST = 3 * SESSION
_AT_ONCE = 4

#: Returns the verdict of a successful attempt, and its text. Raises `ProbeFailedError`, and `TimeoutError`.
Attempt = Callable[[Mailbox, Trace], Awaitable[tuple[Verdict, str]]]


async def some_at_a_time(at_once: int, look: Callable[[T], Awaitable[R]], of: Iterable[T]) -> Sequence[R]:
    """Return the result of *look* for each item, in their order; at most *at_once* run concurrently."""
    room = asyncio.Semaphore(at_once)

    async def one(each: T) -> R:
        async with room:
            return await look(each)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(each)) for each in of]
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCheck:
    """Implementation of `probes.model.check.Check`: one finding for each mailbox, in their order."""

    aspect: str
    party: Party
    mailboxes: Sequence[Mailbox]
    attempt: Attempt

    async def run(self) -> tuple[Finding, ...]:
        return tuple(await some_at_a_time(_AT_ONCE, self._try, self.mailboxes))

    async def _try(self, mailbox: Mailbox) -> Finding:
        recorder = TraceRecorder()
        try:
            async with asyncio.timeout(_AT_MOST.total_seconds()):
                verdict, detail = await self.attempt(mailbox, recorder)
        except ProbeFailedError as failure:
            verdict, detail = _verdict(failure.outcome), _words(failure)
        except TimeoutError as late:
            overdue = expired(recorder.where[0], self.party, str(late))
            verdict, detail = _verdict(overdue.outcome), _words(overdue)
        return Finding(aspect=self.aspect, subject=mailbox.name, verdict=verdict, detail=detail)


def _verdict(outcome: Outcome) -> Verdict:
    match outcome:
        case Outcome.INCONCLUSIVE:
            return Verdict.UNKNOWN
        case Outcome.DEFERRED:
            # A mail client retries, and its user waits.
            return Verdict.WARN
        case _:
            return Verdict.FAIL


def _words(failure: ProbeFailedError) -> str:
    """Return place and reason: "auth: credentials refused (535 5.7.8 wrong password)"."""
    what = failure.failure
    code = "" if what.code is None or what.detail.startswith(str(what.code)) else str(what.code)
    said = " ".join(part for part in (code, what.detail) if part)
    return f"{what.phase}: {what.reason} ({said})" if said else f"{what.phase}: {what.reason}"
