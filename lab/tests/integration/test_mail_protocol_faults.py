"""Protocol faults of a mail system on raw sockets with real TLS."""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import pytest

from pantau_lab.mail import Fault, FaultDelays, LabNetwork, MailSystem, SystemPlan
from probes.model.mailbox import Mailbox
from tests.mailbox_parts import imap_of, password_of, smtp_of

AGENCY = "jabatan-contoh"
#: In seconds, for a busy machine.
TIMEOUT = 30.0
DRIP = timedelta(milliseconds=20)
#: Long enough for a message to arrive meanwhile.
IDLE_FOR = timedelta(seconds=2)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    plans = [
        SystemPlan.with_one_mailbox(AGENCY, "jabatan-contoh.gov.my", tempo=FaultDelays(drip=DRIP, idle_limit=IDLE_FOR)),
        SystemPlan.with_one_mailbox("rujukan-satu", "rujukan-satu.example"),
    ]
    async with LabNetwork(plans, folder=tmp_path) as running:
        yield running


@pytest.fixture
def agency(network: LabNetwork) -> MailSystem:
    return network.systems[AGENCY]


@pytest.fixture
def box(network: LabNetwork) -> Mailbox:
    return network.mailboxes()[AGENCY]


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Connection]:
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@asynccontextmanager
async def signed_in(box: Mailbox) -> AsyncIterator[Connection]:
    """Open the inbox on an IMAP connection."""
    login = password_of(box)
    async with connected(imap_of(box).port, imap_of(box).tls) as (reader, writer):
        await reader.readline()
        await ask(reader, writer, f"a LOGIN {login.username} {login.secret}")
        await ask(reader, writer, "b SELECT INBOX")
        yield reader, writer


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str) -> list[bytes]:
    """Send a command and return the lines up to the tagged response."""
    writer.write(f"{command}\r\n".encode())
    lines = [await reader.readline()]
    while lines[-1] and not lines[-1].startswith(command[:2].encode()):
        lines.append(await reader.readline())
    return lines


async def test_tarpit_delays_every_byte(agency: MailSystem) -> None:
    await agency.break_(Fault.TARPIT)
    began = time.monotonic()
    async with connected(agency.submission) as (reader, _):
        greeting = await reader.readline()
        assert time.monotonic() - began >= DRIP.total_seconds() * (len(greeting) - 1)
    assert greeting.startswith(b"220 mail.jabatan-contoh.gov.my ")


async def test_half_closed_server_keeps_reading(agency: MailSystem, box: Mailbox) -> None:
    await agency.break_(Fault.HALF_CLOSE)
    for port, tls in ((agency.submission, None), (agency.imap, imap_of(box).tls)):
        async with connected(port, tls) as (reader, writer):
            await reader.readline()
            writer.write(b"a NOOP\r\n")
            assert await reader.read() == b""
            if tls is None:
                for _ in range(20):
                    writer.write(b"NOOP\r\n")
                    await writer.drain()
                assert not writer.transport.is_closing()


async def test_mute_server_reads_commands_and_stays_connected(agency: MailSystem) -> None:
    await agency.break_(Fault.MUTE)
    async with connected(agency.submission) as (reader, writer):
        await reader.readline()
        writer.write(b"EHLO saya.example\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        assert not reader.at_eof()


async def test_flood_follows_reading_speed_and_ends_with_client(agency: MailSystem) -> None:
    await agency.break_(Fault.FLOOD)
    before = asyncio.all_tasks()
    async with connected(agency.submission) as (reader, _):
        received = 0
        while received < 1_000_000:
            received += len(await reader.read(65536))
    async with asyncio.timeout(TIMEOUT):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks of the lab's own
            await asyncio.sleep(0.01)


async def test_repair_closes_broken_session_and_serves_next(agency: MailSystem) -> None:
    await agency.break_(Fault.MUTE)
    async with connected(agency.submission) as (reader, _):
        await reader.readline()
        await agency.repair()
        assert await reader.read() == b""
    async with connected(agency.submission) as (reader, writer):
        await reader.readline()
        writer.write(b"NOOP\r\n")
        assert (await reader.readline()).startswith(b"250 ")


async def test_burst_sends_over_thousand_lines_at_once(agency: MailSystem, box: Mailbox) -> None:
    await agency.break_(Fault.BURST)
    async with signed_in(box) as (reader, writer):
        assert len(await ask(reader, writer, "c NOOP")) == 1501


async def test_no_uidplus_is_not_advertised_and_is_refused(agency: MailSystem, box: Mailbox) -> None:
    async with signed_in(box) as (reader, writer):
        assert b"UIDPLUS" in b"".join(await ask(reader, writer, "c CAPABILITY"))
    await agency.break_(Fault.NO_UIDPLUS)
    async with signed_in(box) as (reader, writer):
        assert b"UIDPLUS" not in b"".join(await ask(reader, writer, "c CAPABILITY"))
        assert (await ask(reader, writer, "d UID EXPUNGE 1"))[-1].startswith(b"d BAD")
        assert (await ask(reader, writer, "e EXPUNGE"))[-1].startswith(b"e OK")


async def test_fetch_during_expunge_and_append_returns_right_message(agency: MailSystem, box: Mailbox) -> None:
    for text in (b"satu", b"dua", b"tiga"):
        await agency.put(box.address, b"Subject: " + text + b"\r\n\r\nIsi\r\n")
    async with signed_in(box) as (reader, writer), signed_in(box) as (other, others):
        await ask(other, others, r"b UID STORE 3 +FLAGS.SILENT (\Flagged)")
        await ask(other, others, r"c UID STORE 1 +FLAGS.SILENT (\Deleted)")
        await ask(other, others, "d UID EXPUNGE 1")
        fetched = b"".join(await ask(reader, writer, "c UID FETCH 2 (UID BODY.PEEK[HEADER])"))
        untagged = b"".join(await ask(reader, writer, "d NOOP"))

    assert b"* 2 FETCH (UID 2 BODY[HEADER]" in fetched
    assert b"Subject: dua" in fetched
    assert b"EXPUNGE" not in fetched
    assert b"* 1 EXPUNGE" in untagged


async def test_silent_idle_reports_nothing_until_noop(agency: MailSystem, box: Mailbox) -> None:
    await agency.break_(Fault.SILENT_IDLE)
    async with signed_in(box) as (reader, writer):
        writer.write(b"c IDLE\r\n")
        await reader.readline()
        await agency.put(box.address, b"Subject: ujian\r\n\r\nIsi\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.write(b"DONE\r\n")
        assert await reader.readline() == b"c OK IDLE completed.\r\n"
        assert b"* 1 EXISTS\r\n" in await ask(reader, writer, "d NOOP")


@pytest.mark.parametrize("fault", [Fault.HANDSHAKE, Fault.OLD_TLS, Fault.TARPIT, Fault.FLOOD, Fault.MUTE])
async def test_client_reset_does_not_stop_server(agency: MailSystem, fault: Fault) -> None:
    await agency.break_(fault)
    for port in (agency.imap, agency.submissions, agency.submission):
        async with connected(port) as (reader, writer):
            writer.write(b"hello\r\n")
            if fault not in {Fault.HANDSHAKE, Fault.OLD_TLS} and port == agency.submission:
                await reader.read(1)
            socket = writer.get_extra_info("socket")
            socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    await agency.repair()
    async with connected(agency.submission) as (reader, _):
        assert (await reader.readline()).startswith(b"220 ")


@pytest.mark.parametrize(
    ("fault", "said"),
    [(Fault.PLAIN, "WRONG_VERSION_NUMBER"), (Fault.OLD_TLS, "TLSV1_ALERT_PROTOCOL_VERSION")],
)
async def test_tls_fault_fails_alike_for_implicit_and_starttls(
    agency: MailSystem, box: Mailbox, fault: Fault, said: str
) -> None:
    await agency.break_(fault)
    for port in (agency.submissions, agency.imap):
        with pytest.raises(ssl.SSLError, match=said):
            async with connected(port, smtp_of(box).tls):
                pass
    async with connected(agency.submission) as (reader, writer):
        await reader.readline()
        writer.write(b"EHLO saya.example\r\nSTARTTLS\r\n")
        while not (await reader.readline()).startswith(b"220 "):
            pass
        with pytest.raises(ssl.SSLError, match=said):
            await writer.start_tls(smtp_of(box).tls, server_hostname="127.0.0.1")


async def test_bye_idle_reports_messages_until_it_ends(agency: MailSystem, box: Mailbox) -> None:
    await agency.break_(Fault.BYE_IDLE)
    async with signed_in(box) as (reader, writer):
        writer.write(b"c IDLE\r\n")
        await reader.readline()
        await agency.put(box.address, b"Subject: ujian\r\n\r\nIsi\r\n")
        said = [await reader.readline()]
        while not said[-1].startswith(b"* BYE"):
            said.append(await reader.readline())
    assert b"* 1 EXISTS\r\n" in said


async def test_tarpit_allows_starttls_and_stays_slow(agency: MailSystem, box: Mailbox) -> None:
    await agency.break_(Fault.TARPIT)
    async with connected(agency.submission) as (reader, writer):
        await reader.readline()
        writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220 ")
        # Encrypted octets are not delayed: the handshake alone has some 1,500.
        async with asyncio.timeout(DRIP.total_seconds() * 500):
            await writer.start_tls(smtp_of(box).tls, server_hostname="127.0.0.1")
        writer.write(b"NOOP\r\n")
        began = time.monotonic()
        answer = await reader.readline()
        assert time.monotonic() - began >= DRIP.total_seconds() * (len(answer) - 1)


@pytest.mark.parametrize("fault", [Fault.FLOOD, Fault.TARPIT])
async def test_response_after_session_end_stops_with_system(tmp_path: Path, fault: Fault) -> None:
    before = asyncio.all_tasks()
    plan = SystemPlan.with_one_mailbox(AGENCY, "jabatan-contoh.gov.my", tempo=FaultDelays(drip=timedelta(minutes=1)))
    async with asyncio.timeout(TIMEOUT):
        async with LabNetwork([plan], folder=tmp_path) as network:
            await network.systems[AGENCY].break_(fault)
            reader, writer = await asyncio.open_connection("127.0.0.1", network.systems[AGENCY].submission)
            writer.write(b"QUIT\r\n")
            assert await reader.read(1) == b"2"
            while len(asyncio.all_tasks() - before) > 1:  # noqa: ASYNC110 - until its session is over
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)  # Lets the listener notice the end of the session.
        writer.transport.abort()
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks of the lab's own
            await asyncio.sleep(0.01)


async def test_session_is_cut_during_handshake(agency: MailSystem) -> None:
    async with connected(agency.submission) as (reader, writer):
        await reader.readline()
        writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220 ")
        await agency.break_(Fault.DOWN)
        assert await reader.read() == b""
