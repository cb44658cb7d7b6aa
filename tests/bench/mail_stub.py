"""Mail server with minimal cost: TLS, one process, mail in memory, no delays.

With a real server the server is the bottleneck, and with this one the client is. It implements what the product and
the bare libraries use, with the responses of Postfix and Dovecot.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import trustme

from probes.model.mailbox import Mailbox, Password, Security, Server
from tests.bench.subprocesses import background_process

HOST = "mel.contoh.example"
SECRET = "rahsia-ujian"

_FETCH = re.compile(rb"(?i)([\d,:*]+) \((.*)\)$")
_RECEIVED = b"Received: from [127.0.0.1] by mel.contoh.example with ESMTPSA; Tue, 24 Nov 2026 01:00:00 +0000\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailStub:
    """Address of a running mail stub."""

    smtp: int
    imap: int
    #: Context that trusts its certificate.
    trust: ssl.SSLContext = field(repr=False)
    #: Its certificate authority, as PEM.
    authority: bytes = field(repr=False, default=b"")

    def mailbox(self, name: str) -> Mailbox:
        """Return a mailbox, which exists from the first sign-in or mail."""
        address = f"{name.lower().replace('/', '-')}@contoh.example"
        return Mailbox(
            name=name,
            address=address,
            login=Password(username=address, secret=SECRET),
            smtp=self._server(self.smtp),
            imap=self._server(self.imap),
        )

    def write_files(self, directory: Path) -> None:
        """Write the files of `configured` into *directory*: certificate authority and password."""
        (directory / "ringan.pem").write_bytes(self.authority)
        (directory / "secrets").mkdir(exist_ok=True, mode=0o700)
        secret = directory / "secrets" / "ringan"
        secret.touch(mode=0o600)
        secret.write_text(f"{SECRET}\n")

    def configured(self, address: str) -> Mapping[str, Any]:
        """Return a mailbox as in the configuration."""
        there = {"host": "127.0.0.1", "security": "implicit"}
        return {
            "address": address,
            "smtp": there | {"port": self.smtp},
            "imap": there | {"port": self.imap},
            "ca_file": "ringan.pem",
            "login": {"username": address, "password_file": "secrets/ringan"},
        }

    def lose_mail_to(self, name: str) -> None:
        """Accept and lose all mail to a mailbox from now on."""
        with (
            socket.create_connection(("127.0.0.1", self.smtp), 10) as plain,
            self.trust.wrap_socket(plain, server_hostname=HOST) as listener,
        ):
            listener.recv(100)
            listener.sendall(b"LOSE %b\r\n" % self.mailbox(name).address.encode())
            listener.recv(100)

    def _server(self, port: int) -> Server:
        return Server(host="127.0.0.1", port=port, security=Security.IMPLICIT, tls=self.trust, tls_name=HOST)


@contextmanager
def run_mail_stub() -> Iterator[MailStub]:
    """Run a mail stub in a process of its own."""
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    listeners = [_open_listener(), _open_listener()]
    try:
        with background_process(lambda: asyncio.run(_serve(listeners[0], listeners[1], context))):
            ports = [listener.getsockname()[1] for listener in listeners]
            yield MailStub(smtp=ports[0], imap=ports[1], trust=trust, authority=authority.cert_pem.bytes())
    finally:
        for listener in listeners:
            listener.close()


def _open_listener() -> socket.socket:
    # asyncio disables Nagle's algorithm only if the protocol is given; with it, responses are 40 ms late.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


async def _serve(smtp: socket.socket, imap: socket.socket, context: ssl.SSLContext) -> None:
    # The stub holds thousands of connections open.
    SSLProtocol.max_size = 16 * 1024
    boxes = _Boxes()
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: _Smtp(boxes), sock=smtp, ssl=context)
    await loop.create_server(lambda: _Imap(boxes), sock=imap, ssl=context)
    await asyncio.Event().wait()


@dataclass(slots=True)
class _Box:
    mails: dict[int, bytes] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    next_uid: int = 1
    readers: set[_Imap] = field(default_factory=set)


class _Boxes(dict[bytes, _Box]):
    def __init__(self) -> None:
        super().__init__()
        self.lost: set[bytes] = set()

    def __missing__(self, address: bytes) -> _Box:
        return self.setdefault(address, _Box())

    def deliver(self, address: bytes, raw: bytes) -> None:
        if address in self.lost:
            return
        box = self[address]
        box.mails[box.next_uid] = raw
        box.next_uid += 1
        for reader in box.readers:
            reader.announce()


class _Lines(asyncio.Protocol):
    def __init__(self, boxes: _Boxes) -> None:
        self.boxes = boxes
        self.transport: asyncio.Transport
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.greeting)

    greeting = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self.handle_line(line)

    def handle_line(self, line: bytes) -> None:
        raise NotImplementedError


class _Smtp(_Lines):
    greeting = b"220 mel.contoh.example ESMTP\r\n"

    def __init__(self, boxes: _Boxes) -> None:
        super().__init__(boxes)
        self._to: list[bytes] = []
        self._message: list[bytes] | None = None

    def handle_line(self, line: bytes) -> None:
        if self._message is not None:
            self._append_line(line)
            return
        word = line[:4].upper()
        if word == b"EHLO":
            answer = b"250-mel.contoh.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n"
        elif word == b"AUTH":
            answer = b"235 2.7.0 ok\r\n"
        elif word == b"RCPT":
            self._to.append(line.partition(b"<")[2].partition(b">")[0].lower())
            answer = b"250 2.1.5 ok\r\n"
        elif word == b"LOSE":
            self.boxes.lost.add(line[5:].lower())
            answer = b"250 2.0.0 ok\r\n"
        elif word == b"DATA":
            self._message = [_RECEIVED[:-2]]
            answer = b"354 go on\r\n"
        elif word == b"QUIT":
            self.transport.write(b"221 2.0.0 bye\r\n")
            self.transport.close()
            return
        else:
            answer = b"250 2.0.0 ok\r\n"
        self.transport.write(answer)

    def _append_line(self, line: bytes) -> None:
        assert self._message is not None
        if line != b".":
            self._message.append(line.removeprefix(b"."))
            return
        raw, self._message = b"\r\n".join(self._message) + b"\r\n", None
        self.transport.write(b"250 2.0.0 taken\r\n")
        for address in self._to:
            self.boxes.deliver(address, raw)
        self._to = []


class _Imap(_Lines):
    greeting = b"* OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS SPECIAL-USE] ready\r\n"

    def __init__(self, boxes: _Boxes) -> None:
        super().__init__(boxes)
        self._box = self._inbox = _Box()
        self._announced = 0
        self._idle: bytes | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._inbox.readers.discard(self)

    def announce(self) -> None:
        if self._idle is not None:
            self.transport.write(self._exists_line())

    def _exists_line(self) -> bytes:
        if self._announced == len(self._box.mails):
            return b""
        self._announced = len(self._box.mails)
        return b"* %d EXISTS\r\n" % self._announced

    def handle_line(self, line: bytes) -> None:
        if self._idle is not None:
            tag, self._idle = self._idle, None
            self.transport.write(tag + b" OK idle done\r\n")
            return
        tag, _, command = line.partition(b" ")
        word, _, rest = command.partition(b" ")
        word = word.upper()
        if word == b"IDLE":
            self._idle = tag
            self.transport.write(self._exists_line() + b"+ idling\r\n")
            return
        # Like Dovecot: a client that has signed in need not ask.
        offered = b"[CAPABILITY IMAP4rev1 IDLE UIDPLUS SPECIAL-USE] " if word == b"LOGIN" else b""
        self.transport.write(self._answer(word, rest) + tag + b" OK " + offered + b"done\r\n")
        if word == b"LOGOUT":
            self.transport.close()

    def _answer(self, word: bytes, rest: bytes) -> bytes:
        box = self._box
        if word == b"UID":
            word, _, rest = rest.partition(b" ")
            return self._by_uid(word.upper(), rest)
        if word == b"CAPABILITY":
            return b"* CAPABILITY IMAP4rev1 IDLE UIDPLUS SPECIAL-USE\r\n"
        if word == b"LOGIN":
            self._box = self._inbox = self.boxes[rest.split(b" ")[0].strip(b'"').lower()]
            self._inbox.readers.add(self)
        if word == b"SELECT":
            box = self._box = self._inbox if rest.strip(b'"').upper() == b"INBOX" else _Box()
            self._announced = len(box.mails)
            return b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT %d] x\r\n" % (self._announced, box.next_uid)
        if word == b"LIST":
            return b'* LIST (\\Junk) "/" "Junk"\r\n'
        if word == b"STATUS":
            return b"* STATUS Junk (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 8)\r\n"
        if word == b"FETCH":
            return self._fetch(b"1:* (UID)")
        if word == b"LOGOUT":
            return b"* BYE bye\r\n"
        return self._exists_line()

    def _by_uid(self, word: bytes, rest: bytes) -> bytes:
        box = self._box
        if word == b"FETCH":
            return self._fetch(rest)
        if word == b"STORE":
            box.deleted |= {int(uid) for uid in rest.partition(b" ")[0].split(b",")}
        if word == b"EXPUNGE":
            for uid in {int(uid) for uid in rest.split(b",")} & box.deleted:
                box.mails.pop(uid, None)
                box.deleted.discard(uid)
                self._announced = len(box.mails)
        if word == b"SEARCH":
            sought = rest.split()[-1].strip(b'"')
            found = [uid for uid, raw in box.mails.items() if sought in raw]
            return b"* SEARCH" + b"".join(b" %d" % uid for uid in found) + b"\r\n"
        return b""

    def _fetch(self, rest: bytes) -> bytes:
        asked = _FETCH.match(rest)
        assert asked is not None, rest
        ranges = [_range(part) for part in asked[1].split(b",")]
        return b"".join(
            self._one(place, uid, raw, asked[2].upper())
            for place, (uid, raw) in enumerate(self._box.mails.items(), 1)
            if any(first <= uid <= last for first, last in ranges)
        )

    def _one(self, place: int, uid: int, raw: bytes, what: bytes) -> bytes:
        head = b"* %d FETCH (UID %d" % (place, uid)
        if b"HEADER" in what:
            part = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            return head + b" RFC822.SIZE %d FLAGS () BODY[HEADER]<0> {%d}\r\n%b)\r\n" % (len(raw), len(part), part)
        if b"BODY" in what or b"RFC822" in what:
            return head + b" BODY[]<0> {%d}\r\n%b)\r\n" % (len(raw), raw)
        return head + b")\r\n"


def _range(text: bytes) -> tuple[int, int]:
    first, _, last = text.partition(b":")
    return int(first), 2**32 if last == b"*" else int(last or first)
