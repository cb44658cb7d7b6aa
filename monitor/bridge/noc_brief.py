"""Policy of monitoring faults: the NOC is notified, and nobody outside."""

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

#: Name of the affected part, in Malay and English.
WORDS: dict[FaultDomain, tuple[str, str]] = {
    FaultDomain.NETWORK: ("rangkaian Pantau", "our own network"),
    FaultDomain.REFERENCE: ("peti mel {name}", "mailbox {name}"),
    FaultDomain.OURS: ("ujian e-mel", "our own probes"),
    FaultDomain.SITE: ("tapak {name}", "site {name}"),
    FaultDomain.QUORUM: ("bilangan tapak tidak cukup", "too few sites heard"),
    FaultDomain.CREDENTIALS: ("log masuk akaun ujian {name}", "sign-in of probe account {name}"),
    FaultDomain.MAILBOX: ("peti mel ujian {name}", "probe mailbox {name}"),
}

#: Separates a dedup key from the process that reports it.
_BY = "@"

#: Cause of failed runs for staff. Other reasons say nothing about the agency's mail.
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
    """Return the prevailing cause of an agency's failing routes in the direction of *matter*.

    `None` without a known or a prevailing reason.
    """
    if matter not in OUTAGES:
        return None
    # Mail within the agency fails with either direction.
    ways = {*WAYS[matter], Direction.INTERNAL}
    return prevailing(CAUSES[reason] for direction, reason in reasons if direction in ways and reason in CAUSES)


def agency_of(key: str) -> str | None:
    """Return the agency of a dedup key, also for an account there; `None`: no agency.

    The process that monitors an agency monitors its accounts: no other can see a sign-in succeed.
    """
    if "/" not in key:
        return key
    match key.split("/"):
        case ["ours", FaultDomain.CREDENTIALS | FaultDomain.MAILBOX, agency, _]:
            return agency
        case _:
            return None


def subject_of(key: str, process: str) -> str:
    """Return the key under which a process reports a status.

    Each process reports its own machine and network separately.
    """
    return key if agency_of(key) is not None or not process else f"{key}{_BY}{process}"


def key_of(subject: str) -> str:
    """Return the dedup key of a reported key, of whichever process."""
    return subject.partition(_BY)[0]


def speaker_of(subject: str) -> str | None:
    """Return the reporting process; `None`: the process that has the agency. Older versions named none: ""."""
    return subject.partition(_BY)[2] if agency_of(subject) is None else None


def own_brief(settings: Settings, suspect: FaultSource) -> PolicySnapshot:
    """Return the policy of an incident about *suspect*."""
    malay, english = WORDS.get(suspect.blame, (str(suspect), str(suspect)))
    return settings.noc_brief(subject=malay.format(name=suspect.name), subject_en=english.format(name=suspect.name))
