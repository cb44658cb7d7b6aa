"""Test sign-in of one mailbox for submission and reading, without sending or notifying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitor.runtime.plugins import check_kinds
from probes.model.check import CheckScope
from probes.model.mailbox import Mailbox
from probes.model.probe import Timeouts, Trace
from probes.model.result import Outcome, ProbeResult
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

#: Check kinds of the two sign-ins. If the first is refused, the second is not tried, so that the server counts a wrong
#: password once.
SENDING: Final = "submission"
READING: Final = "retrieval"


class MailboxSignIn:
    """A sign-in with the interface of a probe, so that `run_probe` returns a `ProbeResult`."""

    def __init__(self, kind: str, mailbox: Mailbox) -> None:
        """*kind*: `SENDING` or `READING`."""
        check_scope = CheckScope(agency="", mailboxes=(mailbox,), domains=())
        #: A `MailboxCheck`, whose `attempt` signs in to one mailbox.
        self._check: Any = check_kinds()[kind].build(check_scope, lambda: datetime.now(UTC))
        self._mailbox = mailbox

    async def run(self, trace: Trace) -> Outcome:
        """Sign in, and return `DELIVERED`, which here means success. `attempt` raises `ProbeFailedError`."""
        await self._check.attempt(self._mailbox, trace)
        return Outcome.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInResult:
    """Result of a sign-in for submission or reading."""

    #: `SENDING` or `READING`.
    kind: str
    result: ProbeResult

    @property
    def is_accepted(self) -> bool:
        """Whether the sign-in was accepted."""
        return self.result.failure is None and self.result.outcome is Outcome.DELIVERED


async def try_mailbox(mailbox: Mailbox, timeouts: Timeouts) -> Sequence[SignInResult]:
    """Sign in for submission and then for reading, as far as *mailbox* has these servers; stop after a failure."""
    tried: list[SignInResult] = []
    for kind, has_server in ((SENDING, mailbox.can_send), (READING, mailbox.is_readable)):
        if has_server and all(each.is_accepted for each in tried):
            sign_in = MailboxSignIn(kind, mailbox)
            result = await run_probe(
                sign_in, route=mailbox.name, token_id="", timeouts=timeouts, recorder=TraceRecorder()
            )
            tried.append(SignInResult(kind=kind, result=result))
    return tried
