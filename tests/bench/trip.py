"""Round trips with the product, and with its two libraries alone."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import aioimaplib
import aiosmtplib

from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import Route, Timeouts
from probes.model.result import Outcome
from probes.run.runner import run_probe

SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "bangku-ujian")
TIMEOUTS = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=20))
#: Polling interval of the bare libraries, which is that of the product for a young message.
_POLL_INTERVAL = 0.1

Trip = Callable[[], Awaitable[None]]
#: Opens a mailbox for round trips.
TripMaker = Callable[[Mailbox], AbstractAsyncContextManager[Trip]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of round trips in one process."""

    trips: int
    #: User and system time, in seconds.
    cpu: float
    seconds: float

    @property
    def cpu_a_trip(self) -> float:
        """CPU seconds of one round trip."""
        return self.cpu / self.trips

    @property
    def rate(self) -> float:
        """Round trips a second."""
        return self.trips / self.seconds


@asynccontextmanager
async def product_trips(mailbox: Mailbox) -> AsyncIterator[Trip]:
    """Watch *mailbox*, and yield a function for a round trip to itself, as in `pantau probe`."""
    watcher = MailboxWatcher(mailbox, SIGNER, on_arrival=lambda *_: None, timeouts=TIMEOUTS)

    async def trip() -> None:
        token = SIGNER.issue("bangku", datetime.now(UTC))
        probe = KIND.build(
            route=Route(name="bangku", sender=mailbox, recipient=mailbox),
            token=token,
            timeouts=TIMEOUTS,
            sender=watcher,
            recipient=watcher,
        )
        result = await run_probe(probe, route="bangku", token_id=token.id, timeouts=TIMEOUTS)
        if result.outcome is not Outcome.DELIVERED:
            raise RuntimeError(f"{result.outcome}: {result.failure}")
        await watcher.wait_until_deleted()

    watching = asyncio.create_task(watcher.run())
    try:
        yield trip
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


@asynccontextmanager
async def library_trips(mailbox: Mailbox) -> AsyncIterator[Trip]:
    """Do the same with aiosmtplib and aioimaplib only, without junk folder, bounces and check of the content.

    As in their documentation, the message is an `EmailMessage`, which aiosmtplib serializes.
    """
    async with _libraries(mailbox, lambda sender, mark: sender.send_message(_message(mailbox.address, mark))) as trip:
        yield trip


@asynccontextmanager
async def prepared_library_trips(mailbox: Mailbox) -> AsyncIterator[Trip]:
    """Do the same with a serialized message, in which only the mark is replaced."""
    address, template = mailbox.address, _message(mailbox.address, "TANDA").as_string()
    make_trip = _libraries(
        mailbox, lambda sender, mark: sender.sendmail(address, [address], template.replace("TANDA", mark))
    )
    async with make_trip as trip:
        yield trip


@asynccontextmanager
async def _libraries(
    mailbox: Mailbox, send: Callable[[aiosmtplib.SMTP, str], Awaitable[object]]
) -> AsyncIterator[Trip]:
    smtp, imap, login = _server(mailbox.smtp), _server(mailbox.imap), mailbox.login
    assert isinstance(login, Password)
    reader = aioimaplib.IMAP4_SSL(imap.host, imap.port, ssl_context=without_name_check(imap.tls))
    await reader.wait_hello_from_server()
    await reader.login(login.username, login.secret)
    await reader.select("INBOX")
    implicit = smtp.security is Security.IMPLICIT

    async def trip() -> None:
        mark = secrets.token_hex(16)
        async with aiosmtplib.SMTP(
            hostname=smtp.host,
            port=smtp.port,
            username=login.username,
            password=login.secret,
            use_tls=implicit,
            start_tls=not implicit,
            tls_context=without_name_check(smtp.tls),
            local_hostname="[127.0.0.1]",
        ) as sender:
            await send(sender, mark)
        while not (uids := await _search(reader, mark)):  # noqa: ASYNC110 - the library has no event
            await asyncio.sleep(_POLL_INTERVAL)
        response = await reader.uid("fetch", uids, "(UID BODY.PEEK[])")
        if not any(mark.encode() in line for line in response.lines):
            raise RuntimeError("another message has arrived")
        await reader.uid("store", uids, r"+FLAGS.SILENT (\Deleted)")
        await reader.uid("expunge", uids)

    yield trip
    await reader.logout()


async def _search(reader: aioimaplib.IMAP4_SSL, mark: str) -> str:
    await reader.noop()
    response = await reader.uid_search(f'HEADER X-Pantau-Token "{mark}"', charset=None)
    words = bytes(response.lines[0]).decode().removeprefix("SEARCH").split()
    return ",".join(words)


def _message(address: str, mark: str) -> EmailMessage:
    """Return a message of the size of Pantau's."""
    message = EmailMessage()
    message["From"] = message["To"] = address
    message["Subject"] = f"Semakan e-mel {mark}"
    message["X-Pantau-Token"] = mark
    message["Message-ID"] = f"<{mark}@contoh.example>"
    message.set_content("Salam sejahtera.\n" * 140)
    return message


@cache
def without_name_check(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context with the same trust that checks no name: the bare libraries connect to an address."""
    other = ssl.create_default_context()
    for certificate in context.get_ca_certs(binary_form=True):
        with suppress(ssl.SSLError):
            other.load_verify_locations(cadata=certificate)
    other.check_hostname = False
    return other


def run(make_trip: TripMaker, mailboxes: Sequence[Mailbox], trips: int, *, kept: bool = False) -> Cost:
    """Make round trips, one at a time in each mailbox, and return their cost.

    Each message has an SMTP connection of its own. The mailbox is opened for each message, or *kept* open.
    """
    return asyncio.run(_run(make_trip, mailboxes, trips, kept=kept))


async def _run(make_trip: TripMaker, mailboxes: Sequence[Mailbox], trips: int, *, kept: bool) -> Cost:
    each = max(1, trips // len(mailboxes))
    # Contexts, codecs and server processes are made before the measurement.
    ready, begun = asyncio.Barrier(len(mailboxes) + 1), asyncio.Barrier(len(mailboxes) + 1)

    async def some(mailbox: Mailbox) -> None:
        async with make_trip(mailbox) as trip:
            await trip()
            await ready.wait()
            await begun.wait()
            if kept:
                await _times(each, trip)
        if not kept:
            await _times(each, lambda: _single_trip(make_trip, mailbox))

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(some(mailbox)) for mailbox in mailboxes]
        await ready.wait()
        before, began = cpu(), time.perf_counter()
        await begun.wait()
        await asyncio.wait(running)
    return Cost(trips=each * len(mailboxes), cpu=cpu() - before, seconds=time.perf_counter() - began)


async def _times(count: int, trip: Trip) -> None:
    for _ in range(count):
        await trip()


async def _single_trip(make_trip: TripMaker, mailbox: Mailbox) -> None:
    async with make_trip(mailbox) as trip:
        await trip()


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    """Return the user and system time of this process, or of its children, in seconds."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    """Return the user and system time of another process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _server(server: Server | None) -> Server:
    assert server is not None
    return server
