"""Limits for servers that send endless, slow or padded answers, and longer pauses after each failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from probes.arrival.watcher import MailboxWatcher
from probes.model.polling import PollingPolicy, ReadRateLimit, reading_cost
from probes.model.probe import ProbeFailedError, ProtocolError, Timeouts
from probes.model.reply import Reason
from probes.model.result import Outcome
from probes.protocol.imap_wire import ImapWire
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.imap_session import session_with
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Handler, ImapStandIn, listening, mailbox, server, server_context, until
from tests.unit.probes.watchers import SIGNER, Counted, issue, mail

MIB = 1024 * 1024
TIMEOUTS = Timeouts(session=timedelta(seconds=8), arrival=timedelta(seconds=2))
POLLING = PollingPolicy(
    min_interval=timedelta(seconds=0.01), max_interval=timedelta(seconds=2), retry_min=timedelta(seconds=0.2)
)


@dataclass
class EndlessSender:
    """Server that sends the same data without end, with a *pause* after each time."""

    standin: ImapStandIn | Pop3StandIn
    data: bytes
    first: bytes = b""
    pause: float = 0
    sent_octets: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.first)
        while not writer.is_closing():
            writer.write(self.data)
            await writer.drain()
            self.sent_octets += len(self.data)
            await asyncio.sleep(self.pause)


@asynccontextmanager
async def watched(
    standin: Handler, *, polling: PollingPolicy = POLLING, pop3: bool = False
) -> AsyncIterator[MailboxWatcher]:
    async with listening(standin, server_context()) as port:
        mailbox_ = box(port) if pop3 else mailbox(imap=server(port))
        watcher = MailboxWatcher(mailbox_, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=polling)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.run())
            yield watcher
            watching.cancel()


@pytest.mark.blind
@pytest.mark.parametrize("command", ["IDLE", "NOOP", "SELECT", "LIST", "UID FETCH"])
@pytest.mark.parametrize("data", [b"* 1 EXISTS\r\n" * 1000, b"* OK " + b"x" * 8000 + b"\r\n"], ids=["lines", "octets"])
async def test_imap_flood_ends_connection_and_lengthens_retry_pause(command: str, data: bytes) -> None:
    """Defect: An IMAP server that never stops sending takes a fifth of the core.

    Pantau: Each answer has a limit; beyond it the connection ends, and the pause grows.
    """
    standin = ImapStandIn()
    endless = EndlessSender(standin, data, first=b"+ dengar\r\n" if command == "IDLE" else b"")
    standin.tricks[command] = endless
    # It works before it floods: the watcher must not retry at once.
    async with watched(standin, polling=replace(POLLING, stable_after=timedelta(0))) as watcher:
        with watcher.expect(issue()) as expectation:
            error = await expectation.arrival
        assert isinstance(error, ProbeFailedError)
        assert (error.outcome, error.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)
        before = standin.connections
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 1.5:
            # Each new run requests another attempt.
            with watcher.expect(issue()) as expectation:
                assert isinstance(await expectation.ready, ProbeFailedError | None)
            await asyncio.sleep(0.01)
        # After 0.2, 0.4 and 0.8 seconds.
        assert standin.connections - before <= 3
    # Socket buffers hold as much again.
    assert endless.sent_octets < 40 * MIB * standin.connections


@pytest.mark.blind
async def test_imap_unsolicited_data_is_limited() -> None:
    """Defect: A server that sends between commands takes the core.

    Pantau: That has a limit too.
    """
    standin = ImapStandIn()
    endless = EndlessSender(standin, b"* OK " + b"x" * 8000 + b"\r\n")
    standin.tricks["NOOP"] = lambda reader, writer: send_endlessly_after(writer)

    async def send_endlessly_after(writer: asyncio.StreamWriter) -> None:
        writer.write(f"{standin.asked[-1].split()[0]} OK\r\n".encode())
        await endless(asyncio.StreamReader(), writer)

    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.noop()
        await until(lambda: session.cost > MIB)
        with pytest.raises(Exception, match="larger than any that is expected"):
            await session.noop()
        # Data that arrived meanwhile is read to the end; on a busy machine that is more.
        assert session.cost < 8 * MIB


@pytest.mark.blind
async def test_imap_useless_notifications_trigger_fewer_and_fewer_polls() -> None:
    """Defect: A slow stream of notifications makes the mailbox be polled without a pause.

    Pantau: Useless ones are heeded less and less.
    """
    standin = ImapStandIn()
    slow_sender = EndlessSender(standin, b"* 1 EXISTS\r\n", first=b"+ dengar\r\n", pause=0.002)

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        dripping = asyncio.create_task(slow_sender(reader, writer))
        await reader.readline()
        dripping.cancel()
        writer.write(f"{tag} OK\r\n".encode())

    def count_polls() -> int:
        return sum("UID FETCH" in line for line in standin.asked)

    standin.tricks["IDLE"] = idle
    async with watched(standin) as watcher:
        with watcher.expect(issue()):
            await asyncio.sleep(1.5)
            assert count_polls() <= 16
            await until(lambda: count_polls() >= 4)
            token = issue()
            with watcher.expect(token) as wanted:
                standin.put(mail(token))
                assert await wanted.content == mail(token)
        assert watcher.failure is None


@pytest.mark.blind
async def test_imap_exists_within_each_answer_triggers_no_poll() -> None:
    """Defect: A server that reports the message count with each answer is polled 670 times a second.

    Pantau: A report within an answer triggers no poll.
    """
    standin = ImapStandIn()

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"* 0 EXISTS\r\n{standin.asked[-1].split()[0]} OK\r\n".encode())

    standin.tricks["NOOP"] = count
    async with watched(standin) as watcher:
        with watcher.expect(issue()):
            await until(lambda: bool(standin.idling))
            await asyncio.sleep(1)
    assert sum(line.endswith("NOOP") for line in standin.asked) <= 3


@pytest.mark.blind
async def test_imap_padded_answers_slow_polling() -> None:
    """Defect: A server pads every answer up to the limit.

    Pantau: The total cost of answers is waited for.
    """
    standin = ImapStandIn(capabilities="IMAP4rev1 UIDPLUS")
    padding = "* OK " + "x" * 90 + "\r\n"

    async def pad(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(f"{padding * 500}{tag} OK\r\n".encode())

    standin.tricks["NOOP"] = pad
    began = asyncio.get_running_loop().time()
    async with watched(standin, polling=replace(POLLING, read_burst=MIB, read_rate=MIB)) as watcher:
        with watcher.expect(issue()) as expectation:
            expectation.request_fast_polling()
            await asyncio.sleep(2)
            assert watcher.failure is None
    # 600 octets are counted for each line: three answers a second, and not one in each hundredth.
    elapsed = asyncio.get_running_loop().time() - began
    assert sum(line.endswith("NOOP") for line in standin.asked) <= 6 + 3 * elapsed


@pytest.mark.blind
async def test_pop3_long_list_slows_polling_and_only_newest_are_examined() -> None:
    """Defect: A long POP3 list is read every three seconds, all of it.

    Pantau: Its cost is waited for, and only the newest are examined.
    """
    standin = Pop3StandIn()
    lines = "".join(f"{number} u{number}\r\n" for number in range(1, 20_001))
    small = "+OK\r\nSubject: x\r\n\r\n.\r\n"
    standin.tricks |= {"UIDL": f"+OK\r\n{lines}.\r\n", "TOP": small, "RETR": small}
    fast_polling = replace(POLLING, pop3_interval=timedelta(seconds=0.01), read_burst=MIB, read_rate=8 * MIB)
    began = asyncio.get_running_loop().time()
    async with watched(standin, polling=fast_polling, pop3=True) as watcher:
        with watcher.expect(issue()):
            await asyncio.sleep(3)
            await until(lambda: standin.sessions >= 2)
            assert watcher.failure is None
        assert watcher.polled_at is not None
    # Some 10 MiB by the count of lines, so one and a quarter seconds each.
    elapsed = asyncio.get_running_loop().time() - began
    assert standin.sessions <= 1.5 + elapsed / 1.25


@pytest.mark.blind
async def test_imap_wire_oversized_data_is_not_parsed() -> None:
    """Defect: An oversized IMAP answer is parsed.

    Pantau: It is not parsed beyond the limit.
    """
    wake_calls: list[str] = []
    wire = ImapWire(lambda: wake_calls.append("stirred"), 1.0)
    wire.greeted.set()
    wire.data_received(b"* 1 EXISTS\r\n" * 1000)
    assert (wire.failure, len(wake_calls)) == (None, 1000)
    wire.data_received(b"* 1 EXISTS\r\n" * 5000)
    # The last call reports that the connection is unusable.
    assert (isinstance(wire.failure, ProtocolError), len(wake_calls)) == (True, 1001)


def test_read_rate_limit_exceeded_returns_wait() -> None:
    now = [100.0]
    allowance = ReadRateLimit(read_burst=1000, read_rate=100, clock=lambda: now[0])
    assert allowance.spend(1000) == 0
    assert allowance.spend(500) == 5
    now[0] += 5
    assert allowance.spend(0) == 0
    now[0] += 3600
    # After a long pause one burst is allowed, and no more.
    assert allowance.spend(1100) == 1
    assert reading_cost(b"a\r\nb\r\n") == 6 + 2 * 512
