"""Effects of each fault.

A mail system queries its `Condition` at each point that a fault can change. To add a fault, add a member to `Fault`, an
entry to `effects` and one to `pantau_lab.faultlab.symptom`. A fault at a new point also needs a field of `Effect` and a
method of `Condition`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from pantau_lab.mail.faults import response_script
from pantau_lab.mail.faults.corruption import corrupted
from pantau_lab.mail.faults.fault import Fault
from pantau_lab.mail.faults.gateway import renamed, stripped, with_footer
from pantau_lab.mail.faults.greylist import Gate, greylist
from pantau_lab.mail.faults.response_script import ResponseBehavior
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal, SmtpReply

_ALL = frozenset(Port)
_SENDING = frozenset({Port.SUBMISSION, Port.SUBMISSIONS})
_READING = _ALL - _SENDING - {Port.MX}
#: The mail exchanger does not offer TLS.
_ENCRYPTED = _ALL - {Port.MX}


class Cut(StrEnum):
    """Whether a message was accepted when the connection was cut before the reply to it."""

    TAKEN = "taken"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one fault changes. A field with its default changes nothing."""

    #: Ports to which `sign_in_refusal`, `tls` and `behavior` apply.
    at: frozenset[Port] = _ALL
    #: Ports whose open sessions are aborted when the fault begins, and when it is repaired.
    cut: frozenset[Port] = frozenset()
    #: Ports that are closed.
    shut: frozenset[Port] = frozenset()
    #: Reply to every SMTP transaction (MAIL), at submission and at the mail exchanger.
    transaction_refusal: SmtpReply | None = None
    #: Reply to every recipient (RCPT) in the system's own domain.
    local_recipient_refusal: SmtpReply | None = None
    #: Creates, each time the fault begins, the function that decides whether a recipient (RCPT) is accepted now.
    gate: Callable[[], Gate] | None = None
    #: Reply to every sign-in, whatever its credentials.
    sign_in_refusal: SmtpReply | None = None
    #: Returns the messages to queue instead of an accepted one: none if it is lost, two if it is duplicated.
    transform: Callable[[QueuedMessage], tuple[QueuedMessage, ...]] | None = None
    #: The connection is cut after the message was sent, instead of a reply.
    after_data: Cut | None = None
    #: TLS state of the ports.
    tls: Tls | None = None
    #: Creates, for each connection, the behavior that changes the server's writes.
    behavior: Callable[[], ResponseBehavior] | None = None
    #: Time after which a client in IDLE without an update gets BYE.
    idle_limit: timedelta | None = None
    #: The server sends updates in IDLE.
    notifies_in_idle: bool = True
    #: The IMAP server has UIDPLUS (RFC 4315).
    uidplus: bool = True


def effects(tempo: FaultDelays) -> Mapping[Fault, Effect]:
    """Return the effect of every fault."""
    return {
        Fault.DOWN: Effect(shut=_ALL),
        Fault.SMTP: Effect(shut=_SENDING | {Port.MX}),
        Fault.IMAP: Effect(shut=_READING),
        Fault.REFUSE: Effect(
            transaction_refusal=SmtpReply(code=554, status="5.3.2", text="System is not accepting messages")
        ),
        Fault.BUSY: _spoken(response_script.busy, at=_SENDING | {Port.MX}),
        Fault.FULL: Effect(transaction_refusal=SmtpReply(code=452, status="4.3.1", text="Insufficient system storage")),
        Fault.QUOTA: Effect(local_recipient_refusal=SmtpReply(code=552, status="5.2.2", text="Mailbox full")),
        Fault.UNKNOWN: Effect(local_recipient_refusal=SmtpReply(code=550, status="5.1.1", text="User unknown")),
        Fault.GREYLIST: Effect(gate=lambda: greylist(tempo.greylisted_for)),
        Fault.AUTH: Effect(
            sign_in_refusal=SmtpReply(code=454, status="4.7.0", text="Temporary authentication failure"),
            # Without this, a client that has signed in before could read for hours without noticing the fault.
            cut=_READING,
        ),
        Fault.PASSWORD: Effect(
            sign_in_refusal=SmtpReply(code=535, status="5.7.8", text="Authentication credentials invalid"), cut=_READING
        ),
        Fault.POLICY: Effect(
            sign_in_refusal=SmtpReply(code=550, status="5.7.30", text="Basic authentication is not supported"),
            at=_SENDING,
        ),
        Fault.LOSE: Effect(transform=lambda _parcel: ()),
        Fault.SLOW: Effect(transform=lambda queued_message: (_held(queued_message, tempo.slow_by),)),
        Fault.WARN: Effect(transform=lambda queued_message: (_delayed(queued_message, tempo.slow_by),)),
        Fault.BOUNCE: Effect(transform=lambda queued_message: (_bounced(queued_message),)),
        Fault.BOUNCE_LATE: Effect(transform=lambda queued_message: (_held(_bounced(queued_message), tempo.slow_by),)),
        Fault.DUPLICATE: Effect(transform=lambda queued_message: (queued_message, queued_message)),
        Fault.JUNK: Effect(transform=lambda queued_message: (replace(queued_message, junk=True),)),
        Fault.CUT_TAKEN: Effect(after_data=Cut.TAKEN),
        Fault.CUT_LOST: Effect(after_data=Cut.LOST),
        Fault.CORRUPT: _changed(corrupted),
        Fault.STRIP: _changed(stripped),
        Fault.REWRITE: _changed(renamed),
        Fault.FOOTER: _changed(with_footer),
        Fault.EXPIRED: _encrypted(Tls.EXPIRED),
        Fault.OTHER_NAME: _encrypted(Tls.OTHER_NAME),
        Fault.UNTRUSTED: _encrypted(Tls.UNTRUSTED),
        Fault.NO_STARTTLS: _encrypted(Tls.UNOFFERED, at=frozenset({Port.SUBMISSION})),
        Fault.PLAIN: _encrypted(Tls.PLAIN),
        Fault.OLD_TLS: _encrypted(Tls.OLD),
        Fault.HANDSHAKE: _encrypted(Tls.SILENT),
        Fault.BYE: _spoken(response_script.bye, at=_READING),
        Fault.BYE_MIDDLE: _spoken(response_script.bye_in_the_middle, at=_READING),
        Fault.BYE_IDLE: Effect(idle_limit=tempo.idle_limit, cut=_READING),
        Fault.SILENT_IDLE: Effect(notifies_in_idle=False, cut=_READING),
        # Clients read the capabilities only once, after the sign-in.
        Fault.NO_UIDPLUS: Effect(uidplus=False, cut=_READING),
        Fault.BURST: _spoken(response_script.burst, at=_READING),
        Fault.ENDLESS: _spoken(response_script.endless, at=_READING),
        Fault.GARBAGE: _spoken(response_script.garbage),
        Fault.HALF_CLOSE: _spoken(response_script.half_closed),
        Fault.MUTE: _spoken(response_script.mute),
        Fault.FLOOD: _spoken(response_script.flood),
        Fault.TARPIT: _spoken(lambda: response_script.tarpit(tempo.drip)),
    }


def _spoken(make: Callable[[], ResponseBehavior], *, at: frozenset[Port] = _ALL) -> Effect:
    # A connection keeps its initial behavior, so open ones must be aborted.
    return Effect(behavior=make, at=at, cut=at)


def _encrypted(tls: Tls, *, at: frozenset[Port] = _ENCRYPTED) -> Effect:
    return Effect(tls=tls, at=at, cut=at)


def _changed(change: Callable[[bytes], bytes]) -> Effect:
    return Effect(transform=lambda queued_message: (replace(queued_message, content=change(queued_message.content)),))


def _held(queued_message: QueuedMessage, span: timedelta) -> QueuedMessage:
    return replace(queued_message, hold=queued_message.hold + span)


def _delayed(queued_message: QueuedMessage, span: timedelta) -> QueuedMessage:
    reply = SmtpReply(code=451, status="4.4.1", text="No answer from host, will try again")
    return replace(_held(queued_message, span), warning=Refusal(reply=reply))


def _bounced(queued_message: QueuedMessage) -> QueuedMessage:
    # A bounce never causes another bounce (RFC 5321 section 4.5.5), which prevents loops between two broken systems.
    if not queued_message.sender:
        return queued_message
    reply = SmtpReply(code=550, status="5.7.1", text="Delivery not authorized, message refused")
    return replace(queued_message, bounce=Refusal(reply=reply))
