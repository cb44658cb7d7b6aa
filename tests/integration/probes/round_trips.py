"""Round trips between two mailboxes, with one watcher for each, as in the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.probe import Route, Timeouts
from probes.model.result import Arrival, ProbeResult
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT

SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
#: Mail arrives within tenths of a second, on a busy machine later.
TIMEOUTS = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=30))
#: Short arrival timeout. The final search has a quarter of it, for sign-in and all folders.
SHORT_TIMEOUTS = Timeouts(session=timedelta(seconds=10), arrival=timedelta(seconds=10))
POLLING = PollingPolicy(retry_min=timedelta(seconds=0.1), pop3_interval=timedelta(seconds=0.1))


@dataclass(slots=True)
class RoundTrips:
    """Round trips between two watched mailboxes."""

    sender: MailboxWatcher
    recipient: MailboxWatcher
    timeouts: Timeouts
    arrivals: list[tuple[Arrival, str | None]]
    changed: asyncio.Event
    recorder: TraceRecorder = field(default_factory=TraceRecorder)

    def issue(self) -> Token:
        return SIGNER.issue("ujian", datetime.now(UTC))

    async def run(self, token: Token | None = None) -> ProbeResult:
        token = token or self.issue()
        route = Route(name="ujian", sender=self.sender.mailbox, recipient=self.recipient.mailbox)
        probe = KIND.build(
            route=route, token=token, timeouts=self.timeouts, sender=self.sender, recipient=self.recipient
        )
        self.recorder = TraceRecorder(keep_dialogue=True)
        result = await run_probe(
            probe, route=route.name, token_id=token.id, timeouts=self.timeouts, recorder=self.recorder
        )
        async with asyncio.timeout(HANG_TIMEOUT):
            await self.recipient.wait_until_deleted()
            await self.sender.wait_until_deleted()
        return result

    async def arrived(self, count: int) -> list[tuple[Arrival, str | None]]:
        """Wait until so many arrivals outside of runs were counted."""
        async with asyncio.timeout(HANG_TIMEOUT):
            while len(self.arrivals) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.arrivals


@asynccontextmanager
async def between(
    sender: Mailbox, recipient: Mailbox, timeouts: Timeouts = TIMEOUTS, *, ended: tuple[str, ...] = ()
) -> AsyncIterator[RoundTrips]:
    arrivals: list[tuple[Arrival, str | None]] = []
    changed = asyncio.Event()

    def count(arrival: Arrival, token_id: str | None, _: datetime) -> None:
        arrivals.append((arrival, token_id))
        changed.set()

    def watch(mailbox: Mailbox) -> MailboxWatcher:
        # POP3 has no notifications: without this, mail after the last poll would be seen minutes later.
        polling = POLLING if mailbox.pop3 is None else replace(POLLING, announced_interval=timedelta(seconds=1))
        return MailboxWatcher(mailbox, SIGNER, on_arrival=count, timeouts=timeouts, polling=polling, ended=ended)

    watchers = {mailbox.name: watch(mailbox) for mailbox in (sender, recipient)}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.run()) for watcher in watchers.values()]
        yield RoundTrips(watchers[sender.name], watchers[recipient.name], timeouts, arrivals, changed)
        for task in tasks:
            task.cancel()
