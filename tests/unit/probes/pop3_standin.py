"""A scriptable POP3 server with one mailbox."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from tests.unit.probes.standin import Trick


@dataclass(slots=True)
class Pop3StandIn:
    """POP3 server with one mailbox. A session shows the mail present at its start."""

    greeting: str = "+OK sedia\r\n"
    capabilities: tuple[str, ...] = ("USER", "UIDL", "TOP")
    tricks: dict[str, Trick] = field(default_factory=dict)
    #: By UID, oldest first.
    mails: dict[str, bytes] = field(default_factory=dict)
    #: For STLS.
    tls: ssl.SSLContext | None = None
    #: Every command, as it came.
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    sessions: int = 0
    #: Open sessions.
    inside: int = 0
    last_uid: int = 0

    def put(self, raw: bytes) -> str:
        self.last_uid += 1
        uid = f"u{self.last_uid}"
        self.mails[uid] = raw
        return uid

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.greeting.encode())
        visit = _Visit(self, reader, writer)
        try:
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                self.asked.append(line)
                word, _, rest = line.partition(" ")
                await visit.answer(word.upper(), rest)
        finally:
            self.inside -= visit.entered

    def begin(self) -> list[tuple[str, bytes]]:
        self.sessions += 1
        self.inside += 1
        return list(self.mails.items())


@dataclass(slots=True)
class _Visit:
    server: Pop3StandIn
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    shown: list[tuple[str, bytes]] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)
    entered: bool = False

    async def answer(self, word: str, rest: str) -> None:
        trick = self.server.tricks.get(f"{word} {rest}", self.server.tricks.get(word))
        if isinstance(trick, str):
            self.writer.write(trick.encode())
        elif trick is not None:
            await trick(self.reader, self.writer)
        elif word == "STLS" and self.server.tls is not None:
            self.writer.write(b"+OK mula\r\n")
            await self.writer.start_tls(self.server.tls)
        else:
            self.writer.write(self._usual(word, rest))

    def _usual(self, word: str, rest: str) -> bytes:
        match word:
            case "CAPA":
                return _listing([line.encode() for line in self.server.capabilities])
            case "PASS" | "AUTH":
                self.shown, self.entered = self.server.begin(), True
                return b"+OK masuk\r\n"
            case "STAT":
                return f"+OK {len(self.shown)} {sum(len(raw) for _, raw in self.shown)}\r\n".encode()
            case "UIDL":
                return _listing([f"{number} {uid}".encode() for number, (uid, _) in enumerate(self.shown, 1)])
            case "LIST":
                return _listing([f"{number} {len(raw)}".encode() for number, (_, raw) in enumerate(self.shown, 1)])
            case "TOP":
                header = self.shown[int(rest.split(maxsplit=1)[0]) - 1][1].partition(b"\r\n\r\n")[0]
                return _listing([*header.split(b"\r\n"), b""])
            case "RETR":
                return _listing(self.shown[int(rest) - 1][1].removesuffix(b"\r\n").split(b"\r\n"))
            case "DELE":
                self.marked.add(int(rest))
                return b"+OK\r\n"
            case "QUIT":
                for number in self.marked:
                    self.server.mails.pop(self.shown[number - 1][0], None)
                self.marked.clear()
                return b"+OK jumpa lagi\r\n"
            case _:
                return b"+OK\r\n"


def _listing(lines: list[bytes]) -> bytes:
    stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in stuffed) + b".\r\n"
