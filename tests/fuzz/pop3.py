"""Fuzz target of a POP3 session."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from probes.arrival.message_handler import MessageHandler
from probes.arrival.pop import Pop3Reader
from probes.mail.disposition import TokenRegistry
from probes.model.mailbox import Mailbox, Password
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError, Timeouts
from probes.model.result import Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.line_wire import LineWire
from probes.protocol.pop3 import Pop3Session
from probes.run.trace import TraceRecorder
from tests.fuzz.mail import LATE, NOW, SIGNER, TOKEN, message, report
from tests.fuzz.peer import Peer
from tests.fuzz.target import TURN, Target

SECRET = "kata-laluan-contoh"
_BOX = Mailbox(name="m", address="semakan@jabatan-contoh.gov.my", login=Password(username="u", secret=SECRET))
_HOUR = timedelta(hours=1)


def _poll_mailbox(octets: bytes) -> None:
    """A session ends normally or in a probe failure, and deletes only messages with an issued token."""

    async def poll_mailbox() -> Peer:
        wire = LineWire()
        peer = Peer(wire, octets)
        session = Pop3Session(wire, Party.RECIPIENT, timedelta(seconds=1))
        reader = Pop3Reader(
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
        )
        try:
            with timed_phase(TraceRecorder(), Phase.CONNECT, Party.RECIPIENT):
                await session.read_greeting()
                await session.sign_in(Password(username="u", secret=SECRET))
            reader._session = session
            await reader.poll(junk_interval=_HOUR, sweep_interval=_HOUR)
            assert timedelta() <= session.login_delay <= timedelta(minutes=10)
        except ProbeFailedError as failure:
            assert b"PASS " not in peer.received or SECRET not in failure.failure.summary
            assert failure.failure.summary.isprintable()
        finally:
            session.close()
        return peer

    sent = bytes(asyncio.run(poll_mailbox()).received)
    if not any(token.text.encode() in octets.lower() for token in (TOKEN, LATE)):
        assert b"DELE" not in sent


def _stuffed(octets: bytes) -> bytes:
    lines = octets.removesuffix(b"\r\n").split(b"\r\n")
    return b"+OK\r\n" + b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def _session(*after: bytes) -> bytes:
    turns = (b"+OK sedia\r\n", b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\nLOGIN-DELAY 3\r\n.\r\n", b"+OK\r\n", b"+OK\r\n", *after)
    return TURN.join(turns)


def _mail(octets: bytes) -> bytes:
    header, blank, _ = octets.partition(b"\r\n\r\n")
    listed = b"+OK\r\n1 a\r\n.\r\n", b"+OK\r\n1 %d\r\n.\r\n" % len(octets)
    return _session(*listed, _stuffed(header + blank), _stuffed(octets), b"+OK\r\n", b"+OK\r\n", b"+OK\r\n")


TARGETS = (
    Target(
        name="pop3_session",
        run=_poll_mailbox,
        seeds={
            "an empty mailbox": _session(b"+OK\r\n.\r\n", b"+OK\r\n"),
            "our own mail": _mail(message(LATE)),
            "a report": _mail(report(message(TOKEN))),
            "foreign mail": _mail(b"Subject: mesyuarat\r\n\r\nPukul 9.\r\n"),
            "no numbers": _session(b"+OK\r\n\xb2 a\r\n" + b"9" * 5000 + b" b\r\n.\r\n"),
            "two mails of one UID": _session(b"+OK\r\n1 a\r\n2 a\r\n.\r\n", b"+OK\r\n1 -1\r\n2\r\n.\r\n"),
            "long delay": TURN.join(
                (b"+OK x\r\n", b"+OK\r\nLOGIN-DELAY " + b"9" * 5000 + b"\r\n.\r\n", b"-ERR [IN-USE] x\r\n")
            ),
            "password in response": TURN.join(
                (b"+OK x\r\n", b"-ERR\r\n", b"+OK\r\n", b"-ERR " + SECRET.encode() + b"\r\n")
            ),
            "password in invalid response": TURN.join(
                (b"+OK x\r\n", b"-ERR\r\n", b"+OK\r\n", b"R " + SECRET.encode() + b"\r\n")
            ),
            "not POP3": b"* OK IMAP4rev1\r\n",
        },
    ),
)
