"""Pre-authentication session: replies of a server before sign-in, in each protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from probes.model.probe import ProtocolError
from probes.preauth.callout import unverified_tls_context
from probes.preauth.forbidden_sign_in import try_wrong_password
from probes.preauth.session import PreAuthSession, Protocol, ReplyKind, offers_tls, open_wire
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import HOST, Handler, hang, listening, server, server_context


@asynccontextmanager
async def session_with(handler: Handler | bytes, protocol: Protocol = Protocol.SMTP) -> AsyncIterator[PreAuthSession]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(handler, bytes)
        writer.write(handler)
        await hang(reader, writer)

    async with listening(say if isinstance(handler, bytes) else handler) as port:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        session = PreAuthSession(protocol, await open_wire(sock))
        try:
            async with asyncio.timeout(HANG_TIMEOUT):
                yield session
        finally:
            session.close()


@pytest.mark.parametrize(
    ("protocol", "said", "answer"),
    [
        (Protocol.SMTP, b"220-tunggu\r\n220-sekejap\r\n220 sedia\r\n", ReplyKind.DONE),
        (Protocol.SMTP, b"220\r\n", ReplyKind.DONE),
        (Protocol.SMTP, b"421 4.3.2 sibuk\r\n", ReplyKind.TEMPORARY),
        (Protocol.SMTP, b"554-tidak\r\n554 pergi\r\n", ReplyKind.PERMANENT),
        (Protocol.IMAP, b"* OK sedia\r\n", ReplyKind.DONE),
        (Protocol.IMAP, b"* PREAUTH masuk\r\n", ReplyKind.DONE),
        (Protocol.IMAP, b"* BYE penuh\r\n", ReplyKind.PERMANENT),
        (Protocol.POP3, b"+OK sedia <1.2@x>\r\n", ReplyKind.DONE),
        (Protocol.POP3, b"-ERR [SYS/TEMP] nanti\r\n", ReplyKind.TEMPORARY),
        (Protocol.POP3, b"-ERR tidak\r\n", ReplyKind.PERMANENT),
    ],
)
async def test_preauth_greeting_is_read_to_last_line(protocol: Protocol, said: bytes, answer: ReplyKind) -> None:
    async with session_with(said, protocol) as session:
        assert (await session.read_greeting()).kind is answer


@pytest.mark.parametrize("protocol", Protocol)
async def test_preauth_greeting_of_other_protocol_is_refused(protocol: Protocol) -> None:
    async with session_with(b"SSH-2.0-OpenSSH_9\r\n", protocol) as session:
        with pytest.raises(ProtocolError):
            await session.read_greeting()


async def test_preauth_endless_greeting_is_limited() -> None:
    async with session_with(b"220-lagi\r\n" * 300) as session:
        with pytest.raises(ProtocolError, match="without an end"):
            await session.read_greeting()
    async with session_with(b"x" * 100_000) as session:
        with pytest.raises(ProtocolError, match="does not stop talking"):
            await session.read_greeting()


async def test_preauth_command_with_line_break_is_not_sent() -> None:
    async with session_with(b"+OK sedia\r\n", Protocol.POP3) as session:
        await session.read_greeting()
        with pytest.raises(ValueError, match="one line"):
            await session.send_command("USER a\r\nDELE 1")


async def test_preauth_closed_connection_is_detected_at_once() -> None:
    async def go(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220-tung")
        writer.close()

    async with session_with(go) as session:
        with pytest.raises(ConnectionResetError):
            await session.read_greeting()


async def test_preauth_text_injected_before_tls_ends_session() -> None:
    async with session_with(b"220 sedia\r\n220 mula\r\n250 disuntik\r\n") as session:
        await session.read_greeting()
        with pytest.raises(ProtocolError, match="plain text after the response to STARTTLS"):
            await session.start_tls(unverified_tls_context(), HOST)


async def test_preauth_starttls_uses_protocol_command() -> None:
    asked: list[bytes] = []

    async def grant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK sedia\r\n")
        asked.append(await reader.readline())
        writer.write(b"+OK\r\nSTLS\r\nUSER\r\n.\r\n")
        asked.append(await reader.readline())
        writer.write(b"+OK mula\r\n")
        await writer.start_tls(server_context())
        asked.append(await reader.readline())
        writer.write(b"+OK jumpa lagi\r\n")

    async with session_with(grant, Protocol.POP3) as session:
        await session.read_greeting()
        offers = await session.read_capabilities()
        assert offers_tls(Protocol.POP3, offers)
        assert (await session.start_tls(unverified_tls_context(), HOST)).is_done
        await session.log_out()
        assert len(session.certificate_chain) == 1
    assert asked == [b"CAPA\r\n", b"STLS\r\n", b"QUIT\r\n"]


async def test_preauth_imap_bye_without_tag_ends_session() -> None:
    async with session_with(b"* OK sedia\r\n* BYE jumpa lagi\r\n", Protocol.IMAP) as session:
        await session.read_greeting()
        with pytest.raises(ConnectionResetError, match="BYE"):
            await session.send_command("NOOP")


async def test_preauth_capabilities_are_read_among_other_lines() -> None:
    said = b"* OK sedia\r\n* 1 EXISTS\r\n* CAPABILITY IMAP4rev1 StartTLS LOGINDISABLED\r\np1 OK selesai\r\n"
    async with session_with(said, Protocol.IMAP) as session:
        await session.read_greeting()
        assert await session.read_capabilities() == ("IMAP4REV1", "STARTTLS", "LOGINDISABLED")


async def test_wrong_password_is_tried_with_old_auth_syntax() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sedia\r\n")
        for said in (
            b"250-mel\r\n250 AUTH=LOGIN\r\n",
            b"334 VXNlcm5hbWU6\r\n",
            b"334 UGFzc3dvcmQ6\r\n",
            b"535 tidak\r\n",
        ):
            await reader.readline()
            writer.write(said)
        await hang(reader, writer)

    async with listening(old, server_context()) as port, asyncio.timeout(HANG_TIMEOUT):
        reply = await try_wrong_password(Protocol.SMTP, server(port), "siti")
    assert reply is not None
    assert reply.kind is ReplyKind.PERMANENT
