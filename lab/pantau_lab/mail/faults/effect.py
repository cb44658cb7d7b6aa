"""What each fault does.

A mail system asks its `Condition` at the few places where it can go wrong. To add a fault, add a member to `Fault`, a
row to `effects` and one to `pantau_lab.faultlab.symptom`; a fault that strikes at a new place also needs a field of `Effect`
and one question in `Condition`.
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
from pantau_lab.mail.faults.response_script import Manner
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.parcel import QueuedMessage, Refusal, SmtpReply

_ALL = frozenset(Port)
_SENDING = frozenset({Port.SUBMISSION, Port.SUBMISSIONS})
_READING = _ALL - _SENDING - {Port.MX}
#: The exchanger speaks no TLS.
_ENCRYPTED = _ALL - {Port.MX}


class Cut(StrEnum):
    """What became of a message when the connection was cut before the answer to it."""

    TAKEN = "taken"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one fault changes. A field that is left out leaves its place as it is."""

    #: Where the fault strikes, as far as its place has a port.
    at: frozenset[Port] = _ALL
    #: Ports whose open sessions are cut when the fault strikes, and when it is repaired.
    cut: frozenset[Port] = frozenset()
    #: Ports that do not answer.
    shut: frozenset[Port] = frozenset()
    #: The answer to every SMTP transaction (MAIL), at submission and from other systems alike.
    transaction: SmtpReply | None = None
    #: The answer about every recipient (RCPT) who is one of the system's own people.
    own_recipient: SmtpReply | None = None
    #: Makes what decides, anew each time the fault strikes, whether a recipient (RCPT) is taken now.
    gate: Callable[[], Gate] | None = None
    #: The answer to every sign-in, right or wrong.
    sign_in: SmtpReply | None = None
    #: What becomes of a parcel that was just accepted: none is lost, two is a duplicate.
    handling: Callable[[QueuedMessage], tuple[QueuedMessage, ...]] | None = None
    #: The connection is cut when the message has been sent, instead of an answer.
    after_data: Cut | None = None
    #: What is met where encryption should begin.
    tls: Tls | None = None
    #: Makes, for one connection, what becomes of each write.
    manner: Callable[[], Manner] | None = None
    #: Whoever has been in IDLE for so long without news is told BYE.
    idle_for: timedelta | None = None
    #: IDLE tells what is new.
    tells_in_idle: bool = True
    #: The IMAP server has UIDPLUS (RFC 4315).
    uidplus: bool = True


def effects(tempo: FaultDelays) -> Mapping[Fault, Effect]:
    """Return the row of every fault."""
    return {
        Fault.DOWN: Effect(shut=_ALL),
        Fault.SMTP: Effect(shut=_SENDING | {Port.MX}),
        Fault.IMAP: Effect(shut=_READING),
        Fault.REFUSE: Effect(transaction=SmtpReply(code=554, status="5.3.2", text="System is not accepting messages")),
        Fault.BUSY: _spoken(response_script.busy, at=_SENDING | {Port.MX}),
        Fault.FULL: Effect(transaction=SmtpReply(code=452, status="4.3.1", text="Insufficient system storage")),
        Fault.QUOTA: Effect(own_recipient=SmtpReply(code=552, status="5.2.2", text="Mailbox full")),
        Fault.UNKNOWN: Effect(own_recipient=SmtpReply(code=550, status="5.1.1", text="User unknown")),
        Fault.GREYLIST: Effect(gate=lambda: greylist(tempo.greylisted_for)),
        Fault.AUTH: Effect(
            sign_in=SmtpReply(code=454, status="4.7.0", text="Temporary authentication failure"),
            # Whoever has signed in before would go on reading for hours, and see nothing of the fault.
            cut=_READING,
        ),
        Fault.PASSWORD: Effect(
            sign_in=SmtpReply(code=535, status="5.7.8", text="Authentication credentials invalid"), cut=_READING
        ),
        Fault.POLICY: Effect(
            sign_in=SmtpReply(code=550, status="5.7.30", text="Basic authentication is not supported"), at=_SENDING
        ),
        Fault.LOSE: Effect(handling=lambda _parcel: ()),
        Fault.SLOW: Effect(handling=lambda parcel: (_held(parcel, tempo.slow_by),)),
        Fault.WARN: Effect(handling=lambda parcel: (_delayed(parcel, tempo.slow_by),)),
        Fault.BOUNCE: Effect(handling=lambda parcel: (_bounced(parcel),)),
        Fault.BOUNCE_LATE: Effect(handling=lambda parcel: (_held(_bounced(parcel), tempo.slow_by),)),
        Fault.DUPLICATE: Effect(handling=lambda parcel: (parcel, parcel)),
        Fault.JUNK: Effect(handling=lambda parcel: (replace(parcel, junk=True),)),
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
        Fault.BYE_IDLE: Effect(idle_for=tempo.idle_for, cut=_READING),
        Fault.SILENT_IDLE: Effect(tells_in_idle=False, cut=_READING),
        # What a server can do is read once, after the sign-in.
        Fault.NO_UIDPLUS: Effect(uidplus=False, cut=_READING),
        Fault.BURST: _spoken(response_script.burst, at=_READING),
        Fault.ENDLESS: _spoken(response_script.endless, at=_READING),
        Fault.GARBAGE: _spoken(response_script.garbage),
        Fault.HALF_CLOSE: _spoken(response_script.half_closed),
        Fault.MUTE: _spoken(response_script.mute),
        Fault.FLOOD: _spoken(response_script.flood),
        Fault.TARPIT: _spoken(lambda: response_script.tarpit(tempo.drip)),
    }


def _spoken(make: Callable[[], Manner], *, at: frozenset[Port] = _ALL) -> Effect:
    # A connection keeps the manner it began with, so those there are have to go.
    return Effect(manner=make, at=at, cut=at)


def _encrypted(tls: Tls, *, at: frozenset[Port] = _ENCRYPTED) -> Effect:
    return Effect(tls=tls, at=at, cut=at)


def _changed(change: Callable[[bytes], bytes]) -> Effect:
    return Effect(handling=lambda parcel: (replace(parcel, content=change(parcel.content)),))


def _held(parcel: QueuedMessage, span: timedelta) -> QueuedMessage:
    return replace(parcel, hold=parcel.hold + span)


def _delayed(parcel: QueuedMessage, span: timedelta) -> QueuedMessage:
    reply = SmtpReply(code=451, status="4.4.1", text="No answer from host, will try again")
    return replace(_held(parcel, span), warning=Refusal(reply=reply))


def _bounced(parcel: QueuedMessage) -> QueuedMessage:
    # A report is never answered with a report (RFC 5321 section 4.5.5), or two broken systems would never stop.
    if not parcel.sender:
        return parcel
    reply = SmtpReply(code=550, status="5.7.1", text="Delivery not authorized, message refused")
    return replace(parcel, doom=Refusal(reply=reply))
