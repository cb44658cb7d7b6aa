"""Scriptable mail servers on loopback, with a certificate of their own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import trustme

from pantau_lab.serving import claimed
from probes.model.mailbox import Mailbox, Password, Security, Server
from tests.timeouts import HANG_TIMEOUT

HOST = "mel.jabatan-contoh.gov.my"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@cache
def server_context(name: str = HOST) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


def server(port: int, security: Security = Security.IMPLICIT, tls: ssl.SSLContext | None = None) -> Server:
    return Server(host="127.0.0.1", port=port, security=security, tls=tls or trust(), tls_name=HOST)


def mailbox(smtp: Server | None = None, imap: Server | None = None, secret: str = "rahsia") -> Mailbox:
    nowhere = server(1)
    address = "semakan@jabatan-contoh.gov.my"
    return Mailbox(
        name="jabatan-contoh",
        address=address,
        smtp=smtp or nowhere,
        imap=imap or nowhere,
        login=Password(username=address, secret=secret),
    )


@asynccontextmanager
async def listening(
    handler: Handler, tls: ssl.SSLContext | None = None, *, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Run *handler* for each connection to *address*; yield the port, a free one unless *port* says which."""
    tasks: set[asyncio.Task[None]] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            # The end of the test; a cancelled handler would be reported as an error of the server.
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(on_connect, address, port, ssl=tls, limit=2**20)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await until(lambda: not tasks)


@asynccontextmanager
async def hosts(handlers: dict[str, Handler], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run each handler at its address ("127.0.0.2", "::1"); yield the port that all share, as MX hosts share port 25.

    A port that is free at one address may be taken at another: by a client of another test, up to a minute after its end.
    """
    async with AsyncExitStack() as stack:
        (port,) = stack.enter_context(claimed(1))
        for address, handler in handlers.items():
            await stack.enter_async_context(listening(handler, tls, address=address, port=port))
        yield port


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition by polling it."""
    async with asyncio.timeout(HANG_TIMEOUT):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.002)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\x80\r\n" * 50)
    await asyncio.Event().wait()


async def endless_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 4096)
        await writer.drain()


#: Scripted response to one command: a text ("{tag}" stands for the tag), or a handler.
Trick = str | Handler


@dataclass(slots=True)
class ImapStandIn:
    """An IMAP server with one inbox and, if named, one junk folder."""

    greeting: str = "* OK sedia\r\n"
    capabilities: str = "IMAP4rev1 IDLE UIDPLUS"
    tricks: dict[str, Trick] = field(default_factory=dict)
    mails: dict[int, bytes] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    next_uid: int = 1
    validity: int = 7
    #: Every command, as it came.
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    idling: set[asyncio.StreamWriter] = field(default_factory=set)
    #: New mail without a notification.
    untold: bool = False

    def put(self, raw: bytes) -> int:
        uid = self.next_uid
        self.mails[uid] = raw
        self.next_uid += 1
        self.untold = not self.idling
        for writer in self.idling:
            writer.write(f"* {len(self.mails)} EXISTS\r\n".encode())
        return uid

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.greeting.encode())
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.asked.append(line)
            tag, _, command = line.partition(" ")
            for word, trick in self.tricks.items():
                if command.upper().startswith(word):
                    await self._trick(trick, tag, reader, writer)
                    break
            else:
                await self._answer(tag, command, reader, writer)

    async def _trick(self, trick: Trick, tag: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(trick, str):
            writer.write(trick.replace("{tag}", tag).encode())
        else:
            await trick(reader, writer)

    async def _answer(self, tag: str, command: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word, _, rest = command.upper().partition(" ")
        done = f"{tag} OK selesai\r\n"
        match word:
            case "CAPABILITY":
                writer.write(f"* CAPABILITY {self.capabilities}\r\n{done}".encode())
            case "SELECT" | "EXAMINE" | "NOOP":
                self.untold = False
                about = f"* {len(self.mails)} EXISTS\r\n"
                if word != "NOOP":
                    about += f"* OK [UIDVALIDITY {self.validity}] x\r\n* OK [UIDNEXT {self.next_uid}] x\r\n"
                writer.write(f"{about}{done}".encode())
            case "FETCH":
                first, last = map(int, rest.partition(" ")[0].split(":"))
                self._uids(writer, sorted(self.mails)[first - 1 : last])
                writer.write(done.encode())
            case "EXPUNGE":
                for uid in self.deleted:
                    self.mails.pop(uid, None)
                self.deleted = set()
                writer.write(done.encode())
            case "UID":
                self._uid(writer, rest)
                writer.write(done.encode())
            case "IDLE":
                writer.write(b"+ dengar\r\n")
                if self.untold:
                    writer.write(f"* {len(self.mails)} EXISTS\r\n".encode())
                self.untold = False
                self.idling.add(writer)
                try:
                    await reader.readline()
                finally:
                    self.idling.discard(writer)
                writer.write(done.encode())
            case _:
                writer.write(done.encode())

    def _uid(self, writer: asyncio.StreamWriter, rest: str) -> None:
        word, _, rest = rest.partition(" ")
        which, _, what = rest.partition(" ")
        match word:
            case "SEARCH":
                writer.write(f"* SEARCH {' '.join(map(str, sorted(self.deleted)))}\r\n".encode())
            case "STORE":
                self.deleted |= {uid for uid in map(int, which.split(",")) if uid in self.mails}
            case "EXPUNGE":
                for uid in map(int, which.split(",")):
                    self.mails.pop(uid, None)
                    self.deleted.discard(uid)
            case "FETCH" if what == "(UID)":
                first = int(which.partition(":")[0])
                uids = sorted(self.mails)
                self._uids(writer, [uid for uid in uids if uid >= first] or uids[-1:])
            case "FETCH":
                for uid in map(int, which.split(",")):
                    if uid in self.mails:
                        self._fetch(writer, uid, what)

    def _uids(self, writer: asyncio.StreamWriter, uids: list[int]) -> None:
        for uid in uids:
            writer.write(f"* {sorted(self.mails).index(uid) + 1} FETCH (UID {uid})\r\n".encode())

    def _fetch(self, writer: asyncio.StreamWriter, uid: int, what: str) -> None:
        raw = self.mails[uid]
        size = f"RFC822.SIZE {len(raw)} " if "SIZE" in what else ""
        if "FLAGS" in what:
            size += "FLAGS (\\Seen \\Deleted) " if uid in self.deleted else "FLAGS ($Other) "
        header = "HEADER" in what
        content = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if header else raw
        section = "BODY[HEADER]<0>" if header else "BODY[]<0>"
        writer.write(f"* 1 FETCH ({size}{section} {{{len(content)}}}\r\n".encode() + content)
        writer.write(f" UID {uid})\r\n".encode())


@dataclass(slots=True)
class SmtpStandIn:
    """A submission server that accepts messages and delivers none."""

    greeting: str = "220 mel.jabatan-contoh.gov.my ESMTP\r\n"
    extensions: tuple[str, ...] = ("AUTH PLAIN LOGIN",)
    #: By command; "." is the end of the message.
    tricks: dict[str, Trick] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting.encode())
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.asked.append(line)
            word = line.upper().partition(" ")[0]
            if word in self.tricks and word != "DATA":
                await self._trick(word, reader, writer)
            elif word == "DATA":
                await self._data(reader, writer)
            elif word == "STARTTLS" and self.tls is not None:
                writer.write(b"220 mula\r\n")
                await writer.start_tls(self.tls)
                self.extensions = tuple(one for one in self.extensions if one != "STARTTLS")
            else:
                writer.write(self._usual(word).encode())

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "DATA" in self.tricks:
            await self._trick("DATA", reader, writer)
            return
        writer.write(b"354 teruskan\r\n")
        content = await reader.readuntil(b"\r\n.\r\n")
        self.taken.append(content[:-3])
        if "." in self.tricks:
            await self._trick(".", reader, writer)
        else:
            writer.write(b"250 2.0.0 diterima\r\n")

    async def _trick(self, word: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trick = self.tricks[word]
        if isinstance(trick, str):
            writer.write(trick.encode())
        else:
            await trick(reader, writer)

    def _usual(self, word: str) -> str:
        match word:
            case "EHLO":
                return "".join(f"250-{line}\r\n" for line in ("mel", *self.extensions)) + "250 8BITMIME\r\n"
            case "AUTH":
                return "235 2.7.0 selamat datang\r\n"
            case "QUIT":
                return "221 jumpa lagi\r\n"
            case _:
                return "250 2.1.0 baik\r\n"
