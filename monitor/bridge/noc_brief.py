"""Whom to tell of something of ours that is broken: the NOC, and nobody outside."""

from __future__ import annotations

from collections.abc import Iterable

from alerts.model.incident import OUTAGES
from alerts.model.notification import Cause, IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.model.settings import Settings
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.incident_type import WAYS, prevailing
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.model.route import Direction
from probes.model.reply import Reason

#: How an incident names what is affected, in Malay and English.
WORDS: dict[FaultDomain, tuple[str, str]] = {
    FaultDomain.NETWORK: ("rangkaian Pantau", "our own network"),
    FaultDomain.REFERENCE: ("peti mel {name}", "mailbox {name}"),
    FaultDomain.OURS: ("ujian e-mel", "our own probes"),
    FaultDomain.SITE: ("tapak {name}", "site {name}"),
    FaultDomain.QUORUM: ("bilangan tapak tidak cukup", "too few sites heard"),
    FaultDomain.CREDENTIALS: ("log masuk akaun ujian {name}", "sign-in of probe account {name}"),
    FaultDomain.MAILBOX: ("peti mel ujian {name}", "probe mailbox {name}"),
}

#: Stands between a dedup key and the process of a site that speaks of it.
_BY = "@"

#: What staff are told of why runs fail. What is not here says nothing of the agency's mail.
CAUSES: dict[str, Cause] = {
    Reason.NAME_UNKNOWN: Cause.DNS,
    Reason.NAME_SERVER_SILENT: Cause.DNS,
    Reason.PORT_REFUSED: Cause.CONNECT,
    Reason.UNREACHABLE: Cause.CONNECT,
    Reason.SERVICE_REFUSED: Cause.CONNECT,
    Reason.NO_ANSWER: Cause.TIMEOUT,
    Reason.CONNECTION_CLOSED: Cause.TIMEOUT,
    Reason.TLS_NOT_OFFERED: Cause.TLS,
    Reason.TLS_UNAVAILABLE: Cause.TLS,
    Reason.TLS_REFUSED: Cause.TLS,
    Reason.TLS_NOT_SPOKEN: Cause.TLS,
    Reason.TLS_TAMPERED: Cause.TLS,
    Reason.CERTIFICATE_EXPIRED: Cause.CERTIFICATE,
    Reason.CERTIFICATE_OF_ANOTHER: Cause.CERTIFICATE,
    Reason.CERTIFICATE_UNTRUSTED: Cause.CERTIFICATE,
    Reason.CREDENTIALS_REFUSED: Cause.AUTH,
    Reason.SIGN_IN_UNAVAILABLE: Cause.AUTH,
    Reason.SIGN_IN_NOT_OFFERED: Cause.AUTH,
    Reason.SENDER_REFUSED: Cause.REJECTED,
    Reason.RECIPIENT_REFUSED: Cause.REJECTED,
    Reason.MESSAGE_REFUSED: Cause.REJECTED,
    Reason.MAILBOX_REFUSED: Cause.REJECTED,
    Reason.COME_AGAIN: Cause.REJECTED,
    Reason.RETURNED: Cause.BOUNCED,
    Reason.NOT_ARRIVED: Cause.LOST,
    Reason.CHANGED: Cause.CORRUPTED,
}


def cause_of(matter: IncidentType, reasons: Iterable[tuple[Direction, str]]) -> Cause | None:
    """Return why most of an agency's routes fail: of *reasons*, those of the direction that *matter* is about.

    `None` when no reason is known, or none prevails.
    """
    if matter not in OUTAGES:
        return None
    # What goes round within the agency fails with either way.
    ways = {*WAYS[matter], Direction.INTERNAL}
    return prevailing(CAUSES[reason] for direction, reason in reasons if direction in ways and reason in CAUSES)


def agency_of(key: str) -> str | None:
    """Return the agency that an incident with this dedup key is about, or an account at which; `None`: no agency.

    Who watches the agency watches its accounts: nobody else knows when they can be signed in to again.
    """
    if "/" not in key:
        return key
    match key.split("/"):
        case ["ours", FaultDomain.CREDENTIALS | FaultDomain.MAILBOX, agency, _]:
            return agency
        case _:
            return None


def subject_of(key: str, process: str) -> str:
    """Return as what a process of a site says how the thing with this dedup key stands.

    What belongs to no agency each judges by itself, of its own machine and network: none speaks for another there.
    """
    return key if agency_of(key) is not None or not process else f"{key}{_BY}{process}"


def key_of(subject: str) -> str:
    """Return the dedup key of what a site speaks of, whichever process of it does."""
    return subject.partition(_BY)[0]


def speaker_of(subject: str) -> str | None:
    """Return the process that says it; `None`: it is said by whoever has the agency. An older one has named nobody: ""."""
    return subject.partition(_BY)[2] if agency_of(subject) is None else None


def own_brief(settings: Settings, suspect: FaultSource) -> PolicySnapshot:
    """Return the brief for an incident about *suspect*."""
    malay, english = WORDS.get(suspect.blame, (str(suspect), str(suspect)))
    return settings.noc_brief(subject=malay.format(name=suspect.name), subject_en=english.format(name=suspect.name))
