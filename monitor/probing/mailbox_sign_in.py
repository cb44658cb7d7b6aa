"""Signs in to one mailbox to send and to read, for somebody who waits: nothing is sent, and nobody is told."""

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

#: In this order: a password that is wrong is said once, by the first, and not by both.
SENDING: Final = "submission"
READING: Final = "retrieval"


class MailboxSignIn:
    """A check of one mailbox, as a probe: so that its end is told as that of any run."""

    def __init__(self, kind: str, mailbox: Mailbox) -> None:
        """*kind*: `SENDING` or `READING`."""
        premises = CheckScope(agency="", mailboxes=(mailbox,), domains=())
        self._check: Any = check_kinds()[kind].build(premises, lambda: datetime.now(UTC))
        self._mailbox = mailbox

    async def run(self, trace: Trace) -> Outcome:
        """Try it. Raise `ProbeFailedError`."""
        await self._check.attempt(self._mailbox, trace)
        return Outcome.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInResult:
    """How it ended to sign in for sending or for reading."""

    #: `SENDING` or `READING`.
    kind: str
    result: ProbeResult

    @property
    def is_well(self) -> bool:
        """Whether it was let in."""
        return self.result.failure is None and self.result.outcome is Outcome.DELIVERED


async def try_mailbox(mailbox: Mailbox, patience: Timeouts) -> Sequence[SignInResult]:
    """Sign in to send and to read, as far as *mailbox* has servers for it, and no further than the first failure."""
    tried: list[SignInResult] = []
    for kind, is_there in ((SENDING, mailbox.sends), (READING, mailbox.is_read)):
        if is_there and all(each.is_well for each in tried):
            attempt = MailboxSignIn(kind, mailbox)
            result = await run_probe(
                attempt, route=mailbox.name, token_id="", patience=patience, recorder=TraceRecorder()
            )
            tried.append(SignInResult(kind=kind, result=result))
    return tried
