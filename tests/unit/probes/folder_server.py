"""An IMAP server with many folders whose sessions can stop showing new mail, and runs whose mail arrives there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND
from probes.model.polling import PollingPolicy
from probes.model.probe import Route, Timeouts
from probes.model.result import ProbeResult
from probes.run.runner import run_probe
from tests.unit.probes.standin import SmtpStandIn, Trick, listening, mailbox, server, server_context
from tests.unit.probes.watchers import SIGNER, Counted

TIMEOUTS = Timeouts(session=timedelta(seconds=2), arrival=timedelta(seconds=3))
POLLING = PollingPolicy(
    min_interval=timedelta(seconds=0.01), max_interval=timedelta(seconds=0.1), retry_min=timedelta(seconds=0.05)
)

#: UID to mail and time of arrival.
Mails = dict[int, tuple[bytes, datetime]]


@dataclass(slots=True)
class FolderServer:
    """IMAP server with many folders. A blind server shows each session the mail present at its start."""

    folders: dict[str, Mails] = field(default_factory=lambda: {"INBOX": {}})
    marks: dict[str, str] = field(default_factory=dict)
    namespace: str = 'NAMESPACE (("" "/")) (("shared/" "/")) NIL'
    blind: bool = False
    #: Names that are listed and cannot be opened.
    closed: set[str] = field(default_factory=set)
    #: Scripted response by the beginning of a command, for all sessions.
    tricks: dict[str, Trick] = field(default_factory=dict)
    #: Every command, as it came, of each session.
    sessions: list[list[str]] = field(default_factory=list)
    next_uid: int = 1
    #: Age of new mail.
    age: timedelta = timedelta(0)

    @property
    def asked(self) -> list[str]:
        return [line for session in self.sessions for line in session]

    @property
    def opened(self) -> list[str]:
        """Folders opened read-only, in this order."""
        return [line.split(" ", 2)[2].strip('"') for line in self.asked if line.split()[1] == "EXAMINE"]

    def put(self, raw: bytes, folder: str = "INBOX") -> None:
        self.folders[folder][self.next_uid] = raw, datetime.now(UTC) - self.age
        self.next_uid += 1

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[str] = []
        self.sessions.append(asked)
        await _Session(self, asked, reader, writer).serve()


@dataclass(slots=True)
class _Session:
    folder_server: FolderServer
    asked: list[str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: dict[str, Mails] = field(default_factory=dict)
    folder: str = ""

    async def serve(self) -> None:
        self.seen = {name: dict(mails) for name, mails in self.folder_server.folders.items()}
        self.writer.write(b"* OK sedia\r\n")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            self.asked.append(line)
            tag, _, command = line.partition(" ")
            trick = next((one for word, one in self.folder_server.tricks.items() if command.startswith(word)), None)
            if isinstance(trick, str):
                self.writer.write(trick.replace("{tag}", tag).encode())
            elif trick is not None:
                await trick(self.reader, self.writer)
            else:
                await self._respond(tag, command)

    @property
    def mails(self) -> Mails:
        real = self.folder_server.folders[self.folder]
        if self.folder_server.blind:
            return {uid: mail for uid, mail in self.seen[self.folder].items() if uid in real}
        return real

    async def _respond(self, tag: str, command: str) -> None:
        word, _, rest = command.partition(" ")
        result = "OK selesai"
        match word:
            case "CAPABILITY":
                self._send("CAPABILITY IMAP4rev1 IDLE UIDPLUS NAMESPACE")
            case "NAMESPACE":
                self._send(self.folder_server.namespace)
            case "LIST":
                self._send("\r\n* ".join(map(self._list_line, self.folder_server.folders)))
            case "STATUS":
                name = rest.partition(" (")[0].strip('"')
                self._send(
                    f'STATUS "{name}" (MESSAGES {len(self.folder_server.folders[name])} UIDNEXT 1 UIDVALIDITY 7)'
                )
            case "SELECT" | "EXAMINE":
                result = self._open(re.sub(r"\\(.)", r"\1", rest[1:-1]) if rest.startswith('"') else rest)
            case "NOOP":
                self._send(f"{len(self.mails)} EXISTS")
            case "IDLE":
                self.writer.write(b"+ dengar\r\n")
                await self.reader.readline()
            case "FETCH":
                first, last = map(int, rest.partition(" ")[0].split(":"))
                self._fetch(sorted(self.mails)[first - 1 : last], rest)
            case "UID":
                self._uid(rest)
            case _:
                pass
        self.writer.write(f"{tag} {result}\r\n".encode())

    def _list_line(self, name: str) -> str:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'LIST ({self.folder_server.marks.get(name, "")}) "/" "{quoted}"'

    def _open(self, name: str) -> str:
        if name not in self.folder_server.folders or name in self.folder_server.closed:
            return "NO [NONEXISTENT] tiada"
        self.folder = name
        self._send(f"{len(self.mails)} EXISTS")
        self._send("OK [UIDVALIDITY 7] x")
        self._send(f"OK [UIDNEXT {max(self.mails, default=0) + 1}] x")
        return "OK terbuka"

    def _uid(self, rest: str) -> None:
        word, which, what = rest.split(" ", 2) if rest.count(" ") > 1 else (*rest.split(" "), "")
        match word:
            case "EXPUNGE":
                for uid in map(int, which.split(",")):
                    self.folder_server.folders[self.folder].pop(uid, None)
            case "FETCH" if ":" in which:
                first = int(which.partition(":")[0])
                self._fetch([uid for uid in sorted(self.mails) if uid >= first], what)
            case "FETCH":
                self._fetch([int(uid) for uid in which.split(",") if int(uid) in self.mails], what)

    def _fetch(self, uids: list[int], what: str) -> None:
        for uid in uids:
            raw, received_at = self.mails[uid]
            text = f"* {sorted(self.mails).index(uid) + 1} FETCH (UID {uid} RFC822.SIZE {len(raw)}"
            if "INTERNALDATE" in what:
                text += f' INTERNALDATE "{received_at.strftime("%d-%b-%Y %H:%M:%S")} +0000"'
            content = b""
            if "BODY" in what:
                content = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if "HEADER" in what else raw
                text += f" BODY[] {{{len(content)}}}\r\n"
            self.writer.write(text.encode() + content + b")\r\n")

    def _send(self, text: str) -> None:
        self.writer.write(f"* {text}\r\n".encode("latin-1"))


#: Delivers a message that the submission server accepted.
Deliver = Callable[[bytes], None]


@dataclass(slots=True)
class ProbeSetup:
    """Runs from a scripted sender to the mailbox at a folder server."""

    run: Callable[[], Coroutine[Any, Any, ProbeResult]]
    watcher: MailboxWatcher
    counted: Counted


@asynccontextmanager
async def probe_setup(
    folder_server: FolderServer,
    deliver: Deliver,
    *,
    timeouts: Timeouts = TIMEOUTS,
    polling: PollingPolicy = POLLING,
    junk: tuple[str, ...] = (),
    from_itself: bool = False,
) -> AsyncIterator[ProbeSetup]:
    """Watch the mailbox at *folder_server*; with *from_itself*, that mailbox also sends the messages."""
    counted = Counted()

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deliver(smtp.taken[-1].replace(b"\r\n..", b"\r\n."))
        writer.write(b"250 2.0.0 diterima\r\n")

    smtp = SmtpStandIn(tricks={".": take})
    async with listening(smtp, server_context()) as smtp_port, listening(folder_server, server_context()) as imap_port:
        sender = mailbox(smtp=server(smtp_port))
        recipient = replace(
            mailbox(smtp=server(smtp_port), imap=server(imap_port)),
            name="penerima",
            address="penerima@jabatan-contoh.gov.my",
            junk_folders=junk,
        )
        watcher = MailboxWatcher(recipient, SIGNER, on_arrival=counted, timeouts=timeouts, polling=polling)
        route = Route(name="ujian", sender=recipient if from_itself else sender, recipient=recipient)

        async def run() -> ProbeResult:
            token = SIGNER.issue("ujian", datetime.now(UTC))
            probe = KIND.build(
                route=route, token=token, timeouts=timeouts, sender=watcher if from_itself else None, recipient=watcher
            )
            return await run_probe(probe, route="ujian", token_id=token.id, timeouts=timeouts)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.run())
            yield ProbeSetup(run=run, watcher=watcher, counted=counted)
            watching.cancel()
