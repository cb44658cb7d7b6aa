"""Fuzz targets of IMAP: the response parser, and a watch of a mailbox."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from probes.arrival.imap_reader import ImapReader
from probes.arrival.message_handler import MessageHandler
from probes.mail.disposition import TokenRegistry
from probes.model.mailbox import Mailbox, Password
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError, ProtocolError, Timeouts
from probes.model.result import Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.folder import own_folders, parse_namespaces, unwatched_folders
from probes.protocol.imap import ImapSession
from probes.protocol.imap_connection import ImapConnection
from probes.protocol.imap_response import (
    Framer,
    ImapResponse,
    decode_folder_name,
    encode_folder_name,
    find_junk_folders,
    parse_announced_capabilities,
    parse_capabilities,
    parse_fetch,
    parse_folder_status,
    parse_list,
    parse_search,
    quote_if_needed,
)
from probes.protocol.imap_wire import ImapWire
from probes.run.trace import TraceRecorder
from tests.fuzz.mail import LATE, NOW, SIGNER, TOKEN, message, report
from tests.fuzz.peer import Peer
from tests.fuzz.target import TAG, TURN, Target

SECRET = "kata-laluan-contoh"
_BOX = Mailbox(
    name="m",
    address="semakan@jabatan-contoh.gov.my",
    login=Password(username="u", secret=SECRET),
    junk_folders=("Sarap", "Entwürfe"),
)
_HOUR = timedelta(hours=1)


def _answer(octets: bytes) -> None:
    """Each response is parsed or raises ProtocolError, and a quoted folder name has one line."""
    try:
        answers = list(Framer().feed(octets))
    except ProtocolError:
        answers = []
    for answer in answers:
        untagged = ImapResponse(text=answer.text.removeprefix("* "), literals=answer.literals)
        with suppress(ProtocolError):
            if (found := parse_fetch(untagged)) is not None:
                assert 0 <= found.uid < 10**19
                assert found.size is None or 0 <= found.size < 10**19
        with suppress(ProtocolError):
            parse_folder_status([untagged])
        with suppress(ProtocolError):
            parse_search([untagged])
        parse_capabilities([untagged])
        parse_announced_capabilities(untagged.text)
        known = parse_namespaces([untagged])
        own_folders("INBOX", find_junk_folders([untagged]), known)
        unwatched_folders("INBOX", parse_list([untagged]), known, ())
        for folder in parse_list([untagged]):
            assert not set(quote_if_needed(folder.name)) & set("\r\n\0")
            assert decode_folder_name(folder.name).isprintable()
            assert len(decode_folder_name(folder.name).encode()) <= 4 * len(folder.name) + 4
    assert encode_folder_name(octets.decode("utf-8", "replace")).isascii()


def _watch(octets: bytes) -> None:
    """A watch ends normally or in a probe failure, shows no password, and flags no foreign mail."""

    async def watch() -> Peer:
        wire = ImapWire(lambda: None, 1.0)
        peer = Peer(wire, octets)
        trace = TraceRecorder()
        reader = ImapReader(
            MessageHandler(
                mailbox=_BOX,
                signer=SIGNER,
                registry=TokenRegistry(ended=[TOKEN.id]),
                waiting={},
                on_arrival=lambda _, token, at: None,
                clock=lambda: NOW,
            ),
            timeouts=Timeouts(session=timedelta(seconds=1)),
            polling=PollingPolicy(),
            wake=lambda: None,
        )
        connection = ImapConnection(wire, peer, Party.RECIPIENT)
        try:
            with timed_phase(trace, Phase.CONNECT, Party.RECIPIENT):
                await connection.read_greeting()
                await connection.sign_in(Password(username="u", secret=SECRET))
                reader._session = session = ImapSession(connection)
                await reader._find_folders(session)
                await session.idle(asyncio.Event(), timedelta())
            for _ in range(3):
                await reader.poll(junk_interval=timedelta(), sweep_interval=_HOUR)
        except ProbeFailedError as failure:
            assert b" LOGIN " not in peer.received or SECRET not in failure.failure.summary
            assert failure.failure.summary.isprintable()
        finally:
            connection.close()
        return peer

    sent = bytes(asyncio.run(watch()).received)
    # A command has one line: a folder name cannot inject another command.
    assert b"\0" not in sent
    assert all(b" " in line or line in {b"DONE", b""} for line in sent.split(b"\r\n"))
    if not any(token.text.encode() in octets.lower() for token in (TOKEN, LATE)):
        assert b"\\Deleted" not in sent
        assert b"EXPUNGE" not in sent


def _literal(octets: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(octets), octets)


def _session(*after: bytes) -> bytes:
    """Return valid responses up to the folders, followed by *after*."""
    done = TAG + b" OK selesai\r\n"
    turns = (
        b"* OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS NAMESPACE SPECIAL-USE] sedia\r\n",
        TAG + b" OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS NAMESPACE SPECIAL-USE] masuk\r\n",
        b'* LIST (\\Junk) "/" "shared/Sarap"\r\n' + done,
        b'* NAMESPACE (("" "/")) (("shared/" "/")) NIL\r\n' + done,
        b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n" + done,
        b"* 1 FETCH (UID 1)\r\n" + done,
        b"+ idling\r\n",
        done,
        *after,
    )
    return TURN.join(turns)


def _mail(octets: bytes) -> bytes:
    header, blank, _ = octets.partition(b"\r\n\r\n")
    size = b"RFC822.SIZE %d " % len(octets)
    return TURN.join(
        (
            b"* 1 FETCH (UID 1 "
            + size
            + b"FLAGS () BODY[HEADER]<0> "
            + _literal(header + blank)
            + b")\r\n"
            + TAG
            + b" OK x\r\n",
            b"* 1 FETCH (UID 1 BODY[]<0> " + _literal(octets) + b")\r\n" + TAG + b" OK x\r\n",
            *[TAG + b" OK x\r\n"] * 8,
        )
    )


_DONE = TAG + b" OK x\r\n"

TARGETS = (
    Target(
        name="imap_response",
        run=_answer,
        seeds={
            "a header in a literal": b"* 1 FETCH (UID 7 RFC822.SIZE 12 BODY[HEADER]<0> {7}\r\nA: (b)\n FLAGS (\\Seen))\r\n",
            "a header in quotes": b'* 1 FETCH (BODY[HEADER]<0> "UID 6 \\"q\\"" UID 9 FLAGS (\\Deleted))\r\n',
            "a folder in a literal": b'* LIST (\\Junk) "/" {5}\r\nSarap\r\n',
            "a folder in quotes": b'* LIST (\\HasNoChildren \\Junk) NIL "E-mel \\"Sarap\\""\r\n',
            "a folder in UTF-7": b'* LIST (\\Junk) "." &U,BTFw-&AGE-\r\n',
            "a folder of two lines": b'* LIST (\\Junk) "/" ' + _literal(b"x\r\nA1 LOGOUT") + b"\r\n",
            "status": b"* STATUS Junk (MESSAGES 2 UIDNEXT 5 UIDVALIDITY 9)\r\n* 3 EXISTS\r\n",
            "found": b"* SEARCH 1 3 \xb2\r\n* SEARCH \r\n",
            "name spaces": b'* NAMESPACE (("" "/")) (("shared/" "/")("a\\"b" NIL)) NIL\r\n',
            "capabilities": b"* OK [CAPABILITY IMAP4rev1 IDLE] x\r\n* CAPABILITY IMAP4rev1\r\n",
            "a literal without end": b"* 1 FETCH (BODY[] {999999999}\r\n",
            "a literal of 5,000 digits": b"* 1 FETCH (BODY[] {" + b"9" * 5000 + b"}\r\n",
            "a number of 5,000 digits": b"* " + b"9" * 5000 + b" EXISTS\r\n* 1 FETCH (UID " + b"9" * 5000 + b")\r\n",
        },
        growing={
            "bodies without end": lambda size: (
                b"* 1 FETCH (" + (b"BODY[" * 12_000 + b"{0}\r\n") * (size // 60_000) + b"\r\n"
            ),
            "flags without end": lambda size: (
                b"* 1 FETCH (UID 1 " + (b"FLAGS (" * 9_000 + b"{0}\r\n") * (size // 63_000) + b"\r\n"
            ),
            "capabilities without end": lambda size: (
                b"* 1 FETCH (UID 1 " + (b"[CAPABILITY " * 5_000 + b"{0}\r\n") * (size // 60_000) + b"\r\n"
            ),
            "quotes without end": lambda size: (
                b"* 1 FETCH (UID 1 " + (b'BODY[] "\\' * 7_000 + b"{0}\r\n") * (size // 63_000) + b"\r\n"
            ),
        },
        largest=2 * 1024 * 1024,
    ),
    Target(
        name="imap_session",
        run=_watch,
        seeds={
            "an empty mailbox": _session(*[_DONE] * 12),
            "our own mail": _session(b"* 1 EXISTS\r\n" + _DONE, b"* 1 FETCH (UID 1)\r\n" + _DONE, _mail(message(LATE))),
            "undeleted message": _session(_DONE, b"* 1 FETCH (UID 1)\r\n" + _DONE, _mail(message(TOKEN))),
            "a report": _session(_DONE, b"* 1 FETCH (UID 1)\r\n" + _DONE, _mail(report(message(TOKEN)))),
            "foreign mail": _session(
                _DONE, b"* 1 FETCH (UID 1)\r\n" + _DONE, _mail(b"Subject: mesyuarat\r\n\r\nPukul 9.\r\n")
            ),
            "a folder of two lines": TURN.join(
                (
                    b"* OK [CAPABILITY IMAP4rev1] sedia\r\n",
                    TAG + b" OK [CAPABILITY IMAP4rev1] masuk\r\n",
                    b'* LIST (\\Junk) "/" ' + _literal(b'x"\r\nA1 DELETE INBOX') + b"\r\n" + _DONE,
                    b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n" + _DONE,
                    b"+ idling\r\n",
                    *[_DONE] * 8,
                )
            ),
            "password in response": TURN.join(
                (b"* OK sedia\r\n", b"* CAPABILITY IMAP4rev1\r\n" + _DONE, TAG + b" NO u " + SECRET.encode() + b"\r\n")
            ),
            "password in BYE": TURN.join((b"* OK [CAPABILITY IMAP4rev1] x\r\n", b"* BYE " + SECRET.encode() + b"\r\n")),
            "password in folder response": TURN.join(
                (
                    b"* OK [CAPABILITY IMAP4rev1] x\r\n",
                    TAG + b" OK [CAPABILITY IMAP4rev1] x\r\n",
                    _DONE,
                    TAG + b" NO " + SECRET.encode() + b"\r\n",
                )
            ),
            "BYE at once": b"* BYE penuh\r\n",
            "not IMAP": b"220 mel.jabatan-contoh.gov.my ESMTP\r\n",
        },
    ),
)
