"""Outcome that `pantau probe` reports for each fault on the three routes of an agency. A test verifies every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pantau_lab.mail.faults.fault import Fault
from probes.model.result import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """Outcomes of runs while the agency's mail system has one fault, and the reference has none."""

    #: From the agency to itself: the default route of `pantau probe`.
    internal: Outcome
    #: From the agency to a reference mailbox.
    outbound: Outcome
    #: From a reference mailbox to the agency.
    inbound: Outcome


def _each(internal: Outcome, outbound: Outcome, inbound: Outcome) -> Symptom:
    return Symptom(internal=internal, outbound=outbound, inbound=inbound)


def _all(outcome: Outcome) -> Symptom:
    return _each(outcome, outcome, outcome)


_DELIVERED, _AUTH, _TLS = Outcome.DELIVERED, Outcome.AUTH, Outcome.TLS
_CONNECT, _TIMEOUT, _LOST = Outcome.CONNECT, Outcome.TIMEOUT, Outcome.LOST
_REJECTED, _DEFERRED, _BOUNCED = Outcome.REJECTED, Outcome.DEFERRED, Outcome.BOUNCED

SYMPTOMS: Mapping[Fault, Symptom] = {
    Fault.DOWN: _all(_CONNECT),
    Fault.SMTP: _each(_CONNECT, _CONNECT, _LOST),
    Fault.IMAP: _each(_CONNECT, _DELIVERED, _CONNECT),
    Fault.REFUSE: _each(_REJECTED, _REJECTED, _BOUNCED),
    Fault.BUSY: _each(_DEFERRED, _DEFERRED, _LOST),
    Fault.FULL: _each(_DEFERRED, _DEFERRED, _LOST),
    Fault.QUOTA: _each(_REJECTED, _DELIVERED, _BOUNCED),
    Fault.UNKNOWN: _each(_REJECTED, _DELIVERED, _BOUNCED),
    # Outcomes of the first attempt to send; a later attempt delivers the message.
    Fault.GREYLIST: _each(_DEFERRED, _DEFERRED, _LOST),
    Fault.AUTH: _all(_AUTH),
    Fault.PASSWORD: _all(_AUTH),
    Fault.POLICY: _each(_AUTH, _AUTH, _DELIVERED),
    Fault.LOSE: _all(_LOST),
    Fault.SLOW: _all(_DELIVERED),
    Fault.WARN: _all(_DELIVERED),
    Fault.BOUNCE: _all(_BOUNCED),
    Fault.BOUNCE_LATE: _all(_BOUNCED),
    Fault.DUPLICATE: _all(_DELIVERED),
    Fault.JUNK: _each(Outcome.JUNK, _DELIVERED, Outcome.JUNK),
    Fault.CUT_TAKEN: _all(_DELIVERED),
    Fault.CUT_LOST: _each(_CONNECT, _CONNECT, _LOST),
    Fault.CORRUPT: _all(Outcome.CORRUPTED),
    Fault.STRIP: _all(_DELIVERED),
    Fault.REWRITE: _all(_DELIVERED),
    Fault.FOOTER: _all(_DELIVERED),
    Fault.EXPIRED: _all(_TLS),
    Fault.OTHER_NAME: _all(_TLS),
    Fault.UNTRUSTED: _all(_TLS),
    Fault.NO_STARTTLS: _each(_TLS, _TLS, _DELIVERED),
    Fault.PLAIN: _all(_TLS),
    Fault.OLD_TLS: _all(_TLS),
    Fault.HANDSHAKE: _all(_TIMEOUT),
    Fault.BYE: _each(_CONNECT, _DELIVERED, _CONNECT),
    Fault.BYE_MIDDLE: _each(_CONNECT, _DELIVERED, _CONNECT),
    Fault.BYE_IDLE: _all(_DELIVERED),
    Fault.SILENT_IDLE: _all(_DELIVERED),
    Fault.NO_UIDPLUS: _all(_DELIVERED),
    Fault.BURST: _all(_DELIVERED),
    Fault.ENDLESS: _each(_CONNECT, _DELIVERED, _CONNECT),
    Fault.GARBAGE: _all(_CONNECT),
    Fault.HALF_CLOSE: _all(_CONNECT),
    Fault.MUTE: _all(_TIMEOUT),
    Fault.FLOOD: _all(_CONNECT),
    Fault.TARPIT: _all(_TIMEOUT),
}
