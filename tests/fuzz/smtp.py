"""Fuzz targets of SMTP submission and of sessions before sign-in."""

from __future__ import annotations

import asyncio
import ssl

from probes.credentials.sign_in import mask_secrets
from probes.mail.bounce import DsnAction, DsnReport
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import (
    SubmissionStep,
    find_status,
    imap_sign_in_failure,
    pop3_sign_in_failure,
    read_challenge,
    response_code,
    shared_mailbox_failure,
    shorten,
    smtp_failure,
)
from probes.model.result import Party, Phase
from probes.preauth.session import PreAuthSession, Protocol
from probes.protocol.cause import timed_phase
from probes.protocol.line_wire import LineWire
from probes.protocol.smtp import SmtpWire, _Session
from probes.run.trace import TraceRecorder
from tests.fuzz.mail import message
from tests.fuzz.peer import Peer
from tests.fuzz.target import TAG, TURN, Target

SECRET = "kata-laluan-contoh"
_KEY = Password(username="u", secret=SECRET)
_BOX = Mailbox(
    name="m",
    address="semakan@jabatan-contoh.gov.my",
    login=_KEY,
    smtp=Server(
        host="mel.rujukan.example", port=465, security=Security.IMPLICIT, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ),
)


def _submit(octets: bytes) -> None:
    """A submission ends normally or in a probe failure, and its dialogue is printable."""

    async def submit() -> TraceRecorder:
        trace = TraceRecorder(keep_dialogue=True)
        session = _Session(_BOX, trace, asyncio.get_running_loop().time() + 1)
        wire = SmtpWire(trace)
        peer = Peer(wire, octets)
        session._client.transport, session._client.protocol = peer, wire
        session._client.local_hostname = "[192.0.2.1]"
        try:
            with timed_phase(trace, Phase.CONNECT, Party.SENDER):
                await session._read_greeting()
            await session.sign_in(_KEY)
            await session.send_envelope("semakan@jabatan-contoh.gov.my")
            await session.send_message(message())
            await session.quit()
        except ProbeFailedError as failure:
            assert b"AUTH " not in peer.received or SECRET not in failure.failure.summary
            assert failure.failure.summary.isprintable()
        finally:
            session.close()
        return trace

    trace = asyncio.run(submit())
    assert all(line.isprintable() for line in trace.dialogue)
    # A server cannot repeat a password that was not sent.
    sent_at = next((at for at, line in enumerate(trace.dialogue) if " C: AUTH" in line), len(trace.dialogue))
    assert not any(SECRET in line for line in trace.dialogue[sent_at:])


def _callout(octets: bytes) -> None:
    """A session of each protocol ends normally or in OSError or ProtocolError."""
    for protocol in Protocol:
        asyncio.run(_run_callout(protocol, octets))


async def _run_callout(protocol: Protocol, octets: bytes) -> None:
    wire = LineWire()
    Peer(wire, octets)
    session = PreAuthSession(protocol, wire)
    try:
        greeting = await session.read_greeting()
        assert greeting.text.isprintable()
        await session.read_capabilities()
        reply = await session.send_command("NOOP")
        assert reply.code is None or 200 <= reply.code < 600
    except (OSError, ProtocolError):
        pass
    finally:
        session.close()


def _response_text(octets: bytes) -> None:
    """A response text becomes a printable line, a code and a status, without secrets."""
    text = octets.decode("utf-8", "surrogateescape")
    assert len(shorten(text)) <= 300
    assert shorten(text).isprintable()
    shorten(text).encode()
    assert read_challenge(text).isprintable()
    read_challenge(text).encode()
    if (status := find_status(text)) is not None:
        assert status.isascii()
    code = response_code(text)
    assert code is None or code.isascii()
    assert SECRET not in mask_secrets(text, _KEY)
    failures = [smtp_failure(step, number, text) for step in SubmissionStep for number in (-1, 199, 421, 535, 999)]
    failures += [
        imap_sign_in_failure("NO", text, Party.SENDER),
        pop3_sign_in_failure(text, Party.SENDER),
        shared_mailbox_failure(text),
    ]
    assert all(failure.failure.summary.isprintable() for failure in failures)
    assert DsnReport(action=DsnAction.FAILED, recipient=text).failure_at("x") is None or not text


_SUBMITTED = TURN.join(
    (
        b"220 mel ESMTP\r\n",
        b"250-mel\r\n250-AUTH PLAIN LOGIN\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n",
        b"235 2.7.0 masuk\r\n",
        b"250 2.1.0 ok\r\n",
        b"250 2.1.5 ok\r\n",
        b"354 teruskan\r\n",
        b"250 2.0.0 diterima\r\n",
        b"221 selamat jalan\r\n",
    )
)

TARGETS = (
    Target(
        name="smtp_session",
        run=_submit,
        seeds={
            "a submission": _SUBMITTED,
            "invalid challenge": TURN.join(
                (b"220 x\r\n", b"250-x\r\n250 AUTH CRAM-MD5\r\n", b"334 !!!\r\n", b"535 5.7.8 x\r\n")
            ),
            "a challenge twice": TURN.join(
                (
                    b"220 x\r\n",
                    b"250-x\r\n250 AUTH LOGIN\r\n",
                    b"334 VXNlcm5hbWU6\r\n",
                    b"334 UGFzc3dvcmQ6\r\n",
                    b"535 " + SECRET.encode() + b"\r\n",
                )
            ),
            "the password in other words": TURN.join(
                (b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"535-5.7.8 \x1b[2J\xff\r\n535 x\r\n")
            ),
            "password in invalid reply": TURN.join(
                (b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"R " + SECRET.encode() + b"\r\n")
            ),
            "invalid codes": TURN.join((b"+22 x\r\n", b"-99 x\r\n", b"1_0 x\r\n", b"2\xd9\xa1\xd9\xa1 x\r\n")),
            "temporary failure": TURN.join((b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"454 4.7.0 x\r\n")),
            "not SMTP": b"* OK IMAP4rev1\r\n",
        },
    ),
    Target(
        name="callout",
        run=_callout,
        seeds={
            "SMTP": TURN.join((b"220-x\r\n220 y\r\n", b"250-x\r\n250 STARTTLS\r\n", b"250 ok\r\n")),
            "IMAP": TURN.join(
                (
                    b"* OK sedia\r\n",
                    b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + TAG + b" OK x\r\n",
                    TAG + b" NO [LIMIT] x\r\n",
                )
            ),
            "POP3": TURN.join((b"+OK sedia\r\n", b"+OK\r\nSTLS\r\n.\r\n", b"-ERR [SYS/TEMP] x\r\n")),
            "non-ASCII digits": "2\u0661\u0661 x\r\n".encode(),
        },
    ),
    Target(
        name="words",
        run=_response_text,
        seeds={
            "a status": b"550-5.7.1 [192.0.2.1] ditolak; 5.1.1\r\n",
            "status in non-ASCII digits": "550 5.\u0661.\u0662 x".encode(),
            "a code": b"[AUTHENTICATIONFAILED] " + SECRET.encode(),
            "a challenge": b"eyJzdGF0dXMiOiI0MDEiLCJzY29wZSI6IngifQ==",
            "a challenge of 5,000 digits": b"eyJzdGF0dXMiOjk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5fQ==",
            "a challenge of half a character": b"eyJzdGF0dXMiOiJcdWQ4MDAifQ==",
            "octets that are no text": b"\xff\xfe\x00\x1b[2J",
        },
    ),
)
