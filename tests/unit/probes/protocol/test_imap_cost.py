"""The IMAP session sends no command whose answer is known."""

from __future__ import annotations

import asyncio
import gc
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from probes.arrival.watcher import MailboxWatcher
from probes.model.polling import PollingPolicy
from probes.model.result import Party
from probes.protocol.imap import ImapSession, open_session
from probes.run.trace import TraceRecorder
from tests.integration.probes.round_trips import SIGNER
from tests.unit.probes.standin import ImapStandIn, listening, mailbox, server, server_context, until

ABLE = "IMAP4rev1 IDLE UIDPLUS SPECIAL-USE"


@asynccontextmanager
async def session_with(standin: ImapStandIn) -> AsyncIterator[ImapSession]:
    async with listening(standin, server_context()) as port:
        box, response_timeout = mailbox(imap=server(port)), timedelta(seconds=2)
        session = await open_session(
            box,
            TraceRecorder(),
            Party.RECIPIENT,
            wake=lambda: None,
            response_timeout=response_timeout,
            within=response_timeout,
        )
        try:
            yield session
        finally:
            session.close()


def words(standin: ImapStandIn) -> list[str]:
    return [line.split()[1].upper() for line in standin.asked]


async def test_imap_announced_capabilities_are_not_requested() -> None:
    standin = ImapStandIn(
        greeting="* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] sedia\r\n",
        tricks={"LOGIN": f"{{tag}} OK [CAPABILITY {ABLE}] masuk\r\n"},
    )
    async with session_with(standin) as session:
        assert session.capabilities == frozenset(ABLE.upper().split())
    assert words(standin)[0] == "LOGIN"
    assert "CAPABILITY" not in words(standin)


async def test_imap_capabilities_before_sign_in_are_discarded() -> None:
    standin = ImapStandIn(greeting="* OK [CAPABILITY IMAP4rev1 X-SEBELUM] sedia\r\n", capabilities=ABLE)
    async with session_with(standin) as session:
        assert session.capabilities == frozenset(ABLE.upper().split())
    assert words(standin)[:2] == ["LOGIN", "CAPABILITY"]


async def test_imap_announced_mail_needs_no_noop() -> None:
    standin = ImapStandIn()
    async with session_with(standin) as session:
        await session.select("INBOX")
        wake_event = asyncio.Event()
        idling = asyncio.create_task(session.idle(wake_event, timedelta(seconds=5)))
        await until(lambda: bool(standin.idling))
        standin.put(b"Subject: baharu\r\n\r\n")
        await until(lambda: session.has_new_mail)
        wake_event.set()
        await idling
        asked = len(standin.asked)
        assert await session.noop() is True
        assert len(standin.asked) == asked
        await session.noop()
        assert words(standin)[-1] == "NOOP"


async def test_imap_empty_junk_folder_is_not_opened() -> None:
    junk = '* LIST (\\Junk) "/" "Sarap"\r\n{tag} OK\r\n'
    standing = "* STATUS Sarap (MESSAGES 0 UIDNEXT 4 UIDVALIDITY 9)\r\n{tag} OK\r\n"
    standin = ImapStandIn(tricks={"LIST": junk, "STATUS": standing})
    async with listening(standin, server_context()) as port:
        polling = PollingPolicy(retry_min=timedelta(seconds=0.1))
        watcher = MailboxWatcher(mailbox(imap=server(port)), SIGNER, on_arrival=lambda *_: None, polling=polling)
        watching = asyncio.create_task(watcher.run())
        await until(lambda: watcher.polled_at is not None)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert "STATUS" in words(standin)
    assert [line.split()[2] for line in standin.asked if " SELECT " in line] == ["INBOX"]


async def test_imap_connection_has_small_tls_buffer() -> None:
    # docs/explanation/probing.md: when this fails, Python has changed how TLS reads, and a watched mailbox costs a quarter MiB again.
    gc.collect()
    # Keep the objects: ids of freed objects are reused.
    before = [one for one in gc.get_objects() if type(one) is SSLProtocol]
    async with session_with(ImapStandIn()) as session:
        await session.select("INBOX")
        new = [one for one in gc.get_objects() if type(one) is SSLProtocol and one not in before]
        ours = [one for one in new if not one._server_side]
        assert [len(one._ssl_buffer) for one in ours] == [16 * 1024]  # type: ignore[attr-defined]
