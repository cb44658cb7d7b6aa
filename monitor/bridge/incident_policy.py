"""Policies, causes and keys of incidents that the incident reporter submits.

The reporter has one status per dedup key: the short code of an agency, or the key of a monitoring fault (a fault of
Pantau itself) such as `ours/network`. Only the NOC (network operations centre) is notified of a monitoring fault.
"""

from __future__ import annotations

from collections.abc import Iterable

from alerts.model.incident import OUTAGES
from alerts.model.notification import Cause, IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.model.settings import Settings
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.incident_type import TYPE_DIRECTIONS, most_frequent_cause
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.model.route import Direction
from probes.model.reply import Reason

#: Name of the faulty part, in Malay and English. `{name}` is filled with `FaultSource.name`.
FAULT_NAMES: dict[FaultDomain, tuple[str, str]] = {
    FaultDomain.NETWORK: ("rangkaian Pantau", "our own network"),
    FaultDomain.REFERENCE: ("peti mel {name}", "mailbox {name}"),
    FaultDomain.PANTAU: ("ujian e-mel", "our own probes"),
    FaultDomain.SITE: ("tapak {name}", "site {name}"),
    FaultDomain.QUORUM: ("bilangan tapak tidak cukup", "too few sites connected"),
    FaultDomain.CREDENTIALS: ("log masuk akaun ujian {name}", "sign-in of probe account {name}"),
    FaultDomain.MAILBOX: ("peti mel ujian {name}", "probe mailbox {name}"),
}

#: Separator between a dedup key and the name of the process that reports it.
_PROCESS_SEPARATOR = "@"

#: Cause that staff are notified of, by the reason of failed runs. Other reasons prove nothing about the agency's mail.
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
    Reason.TLS_INJECTION: Cause.TLS,
    Reason.CERTIFICATE_EXPIRED: Cause.CERTIFICATE,
    Reason.CERTIFICATE_NAME_MISMATCH: Cause.CERTIFICATE,
    Reason.CERTIFICATE_UNTRUSTED: Cause.CERTIFICATE,
    Reason.CREDENTIALS_REFUSED: Cause.AUTH,
    Reason.SIGN_IN_UNAVAILABLE: Cause.AUTH,
    Reason.SIGN_IN_NOT_OFFERED: Cause.AUTH,
    Reason.SENDER_REFUSED: Cause.REJECTED,
    Reason.RECIPIENT_REFUSED: Cause.REJECTED,
    Reason.MESSAGE_REFUSED: Cause.REJECTED,
    Reason.MAILBOX_REFUSED: Cause.REJECTED,
    Reason.TRY_LATER: Cause.REJECTED,
    Reason.RETURNED: Cause.BOUNCED,
    Reason.NOT_ARRIVED: Cause.LOST,
    Reason.CONTENT_CHANGED: Cause.CORRUPTED,
}


def find_cause(incident_type: IncidentType, reasons: Iterable[tuple[Direction, str]]) -> Cause | None:
    """Return the most frequent cause of failed routes in the directions that an incident of this type affects.

    *reasons*: direction and reason of each route's last run. Return `None` if no cause is known, or two causes are
    equally frequent.
    """
    if incident_type not in OUTAGES:
        return None
    # An internal route uses both directions, so its failures count for every type.
    directions = {*TYPE_DIRECTIONS[incident_type], Direction.INTERNAL}
    return most_frequent_cause(
        CAUSES[reason] for direction, reason in reasons if direction in directions and reason in CAUSES
    )


def agency_of(key: str) -> str | None:
    """Return the agency of a dedup key; `None` for a key that belongs to no agency.

    A fault of an agency's probe account ("ours/credentials/JCONTOH/utama") belongs to the agency, because only the
    process that probes the agency can detect that a sign-in succeeds again.
    """
    if "/" not in key:
        return key
    match key.split("/"):
        case ["ours", FaultDomain.CREDENTIALS | FaultDomain.MAILBOX, agency, _]:
            return agency
        case _:
            return None


def stored_key(key: str, process: str) -> str:
    """Return the key under which *process* stores a status.

    The key of a monitoring fault that belongs to no agency contains the process, because each process has its own
    machine and network.
    """
    return key if agency_of(key) is not None or not process else f"{key}{_PROCESS_SEPARATOR}{process}"


def dedup_key_of(stored_key: str) -> str:
    """Return the dedup key of a stored key."""
    return stored_key.partition(_PROCESS_SEPARATOR)[0]


def process_of(stored_key: str) -> str | None:
    """Return the process in a stored key; `None` for a key of an agency; "" if an older version stored the key."""
    return stored_key.partition(_PROCESS_SEPARATOR)[2] if agency_of(stored_key) is None else None


def monitoring_fault_policy(settings: Settings, source: FaultSource) -> PolicySnapshot:
    """Return the policy of an incident about the monitoring fault of *source*."""
    malay, english = FAULT_NAMES.get(source.domain, (str(source), str(source)))
    return settings.build_noc_policy(
        subject=malay.format(name=source.name), subject_en=english.format(name=source.name)
    )
