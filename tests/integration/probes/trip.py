"""Runs round trips as the service does: a watcher for each mailbox in one task group."""

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
from tests.hanging import HANGS

SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
#: What is waited for comes within tenths of a second, and on a busy machine in its own time.
PATIENCE = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=30))
#: With an arrival that is given up soon. A quarter of it is what the last look has: sign-in, and all folders.
HASTY = Timeouts(session=timedelta(seconds=10), arrival=timedelta(seconds=10))
PACE = PollingPolicy(retry_min=timedelta(seconds=0.1), pop3_interval=timedelta(seconds=0.1))


@dataclass(slots=True)
class Trips:
    """Two mailboxes that are watched, and the round trips between them."""

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
        async with asyncio.timeout(HANGS):
            await self.recipient.wait_until_deleted()
            await self.sender.wait_until_deleted()
        return result

    async def arrived(self, count: int) -> list[tuple[Arrival, str | None]]:
        """Wait until so many arrivals outside of runs were counted."""
        async with asyncio.timeout(HANGS):
            while len(self.arrivals) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.arrivals


@asynccontextmanager
async def between(
    sender: Mailbox, recipient: Mailbox, timeouts: Timeouts = PATIENCE, *, ended: tuple[str, ...] = ()
) -> AsyncIterator[Trips]:
    arrivals: list[tuple[Arrival, str | None]] = []
    changed = asyncio.Event()

    def count(arrival: Arrival, token_id: str | None, _: datetime) -> None:
        arrivals.append((arrival, token_id))
        changed.set()

    def watch(mailbox: Mailbox) -> MailboxWatcher:
        # POP3 tells nothing by itself: what comes after the last look would be seen minutes later.
        polling = PACE if mailbox.pop3 is None else replace(PACE, announced_interval=timedelta(seconds=1))
        return MailboxWatcher(mailbox, SIGNER, on_arrival=count, timeouts=timeouts, polling=polling, ended=ended)

    watchers = {mailbox.name: watch(mailbox) for mailbox in (sender, recipient)}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.run()) for watcher in watchers.values()]
        yield Trips(watchers[sender.name], watchers[recipient.name], timeouts, arrivals, changed)
        for task in tasks:
            task.cancel()
