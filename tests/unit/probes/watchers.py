"""Mailbox watchers at fake servers, and a counter of their arrivals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from probes.arrival.watcher import MailboxWatcher
from probes.mail.message import compose
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.probe import Timeouts
from probes.model.result import Arrival
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import Handler, ImapStandIn, listening, mailbox, server, server_context, until

KEY = b"kunci-untuk-ujian-sahaja"
SIGNER = TokenSigner(KEY, "putrajaya-1")
#: The session timeout is as long as a busy machine may stall.
TIMEOUTS = Timeouts(session=timedelta(seconds=2), arrival=timedelta(seconds=2))
POLLING = PollingPolicy(
    min_interval=timedelta(seconds=0.01), retry_min=timedelta(seconds=0.05), stable_after=timedelta(0)
)
FOREIGN = b"From: bos@jabatan-contoh.gov.my\r\nSubject: mesyuarat\r\n\r\nPukul 9.\r\n"


def issue(at: datetime | None = None, signer: TokenSigner = SIGNER) -> Token:
    return signer.issue("jabatan-contoh/inbound/reference-a", at or datetime.now(UTC))


def mail(token: Token) -> bytes:
    return compose(token, sender="a@rujukan.example", recipient="semakan@jabatan-contoh.gov.my", now=token.sent_at)


@dataclass
class Counted:
    arrivals: list[tuple[Arrival, str | None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        assert seen_at.tzinfo is UTC
        self.arrivals.append((arrival, token_id))
        self.changed.set()

    async def until(self, count: int) -> list[tuple[Arrival, str | None]]:
        async with asyncio.timeout(HANG_TIMEOUT):
            while len(self.arrivals) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.arrivals


@asynccontextmanager
async def running(watcher: MailboxWatcher) -> AsyncIterator[None]:
    async with asyncio.timeout(HANG_TIMEOUT), asyncio.TaskGroup() as group:
        task = group.create_task(watcher.run())
        yield
        task.cancel()


@asynccontextmanager
async def watching(
    standin: Handler,
    counted: Counted,
    *,
    box: Callable[[int], Mailbox] = lambda port: mailbox(imap=server(port)),
    polling: PollingPolicy = POLLING,
    ended: tuple[str, ...] = (),
    arrived: tuple[str, ...] = (),
) -> AsyncIterator[MailboxWatcher]:
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            box(port), SIGNER, on_arrival=counted, timeouts=TIMEOUTS, polling=polling, ended=ended, arrived=arrived
        )
        async with running(watcher):
            yield watcher


async def until_deleted(standin: ImapStandIn, uid: int) -> None:
    await until(lambda: uid not in standin.mails)
