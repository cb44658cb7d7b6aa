"""Check that makes the same attempt with each mailbox, a few at a time, and reports one finding per mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from probes.model.check import Finding, Verdict
from probes.model.mailbox import Mailbox
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import timeout_failure
from probes.model.result import Failure, Outcome, Party
from probes.run.trace import TraceRecorder

T = TypeVar("T")
R = TypeVar("R")

#: Timeout of one session. It begins when the credentials are available.
SESSION_TIMEOUT = timedelta(seconds=30)
#: Timeout of one attempt, which may have to obtain an access token, and a second one, before its session.
_MAILBOX_TIMEOUT = 3 * SESSION_TIMEOUT
_CONCURRENCY = 4

#: Attempt with one mailbox, such as a sign-in. Returns the verdict and the text of the finding. Raises
#: `ProbeFailedError` and `TimeoutError`.
Attempt = Callable[[Mailbox, Trace], Awaitable[tuple[Verdict, str]]]


async def gather_limited(limit: int, process: Callable[[T], Awaitable[R]], items: Iterable[T]) -> Sequence[R]:
    """Return the result of *process* for each item, in the order of *items*; at most *limit* run concurrently."""
    semaphore = asyncio.Semaphore(limit)

    async def process_limited(item: T) -> R:
        async with semaphore:
            return await process(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(process_limited(item)) for item in items]
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCheck:
    """Implementation of `probes.model.check.Check`: one finding for each mailbox, in the order of `mailboxes`."""

    aspect: str
    #: SENDER if the attempt is made with the submission server, RECIPIENT if with the IMAP or POP3 server.
    party: Party
    mailboxes: Sequence[Mailbox]
    attempt: Attempt

    async def run(self) -> tuple[Finding, ...]:
        return tuple(await gather_limited(_CONCURRENCY, self._check_mailbox, self.mailboxes))

    async def _check_mailbox(self, mailbox: Mailbox) -> Finding:
        recorder = TraceRecorder()
        try:
            async with asyncio.timeout(_MAILBOX_TIMEOUT.total_seconds()):
                verdict, detail = await self.attempt(mailbox, recorder)
        except ProbeFailedError as error:
            verdict, detail = _verdict(error.outcome), _failure_text(error.failure)
        except TimeoutError as error:
            timeout_error = timeout_failure(recorder.location[0], self.party, str(error))
            verdict, detail = _verdict(timeout_error.outcome), _failure_text(timeout_error.failure)
        return Finding(aspect=self.aspect, subject=mailbox.name, verdict=verdict, detail=detail)


def _verdict(outcome: Outcome) -> Verdict:
    match outcome:
        case Outcome.INCONCLUSIVE:
            return Verdict.UNKNOWN
        case Outcome.DEFERRED:
            # A mail client retries, so its user only waits.
            return Verdict.WARN
        case _:
            return Verdict.FAIL


def _failure_text(failure: Failure) -> str:
    """Return phase, reason and detail: "auth: credentials refused (535 5.7.8 wrong password)"."""
    code = "" if failure.code is None or failure.detail.startswith(str(failure.code)) else str(failure.code)
    text = " ".join(part for part in (code, failure.detail) if part)
    return f"{failure.phase}: {failure.reason} ({text})" if text else f"{failure.phase}: {failure.reason}"
