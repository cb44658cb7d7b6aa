"""Alerts of the NOC's Alertmanager, and their effects. Pure.

Alertmanager posts alerts of the NOC's other monitoring to Pantau. Pantau opens incidents for them and notifies staff as
it does for mail. Alertmanager repeats whole groups, loses its state in a restart, and guarantees only that the final
state arrives. A repeated, late or unordered webhook therefore notifies nobody, and an alert does not end when webhooks
stop.

Usually an alert has an incident of its own. Alerts of a large group share one incident, and so do alerts beyond
`MAX_OPEN_INCIDENTS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE

#: Name of the alerts that Pantau itself sends to Alertmanager. They are ignored when they come back.
OWN_ALERT = "PantauIncident"

#: If "firing" arrives within this time after "resolved" for the same occurrence, it is late and not a new occurrence:
#: Alertmanager retries a failed webhook until the next flush of its group (`group_interval`, five minutes).
LATE_WINDOW = timedelta(minutes=5)

#: Minimum interval between writes to the database that only record that an alert still fires.
RECORD_INTERVAL = timedelta(days=1)

#: Maximum number of open incidents of alerts. Further alerts share one incident per policy.
MAX_OPEN_INCIDENTS = 500

#: Prefix of the dedup keys of alerts. It cannot be an agency's key, which has no slash.
_KEY_PREFIX = "alert/"

#: Maximum lengths of texts in SMS and calls.
_MAX_NAME, _MAX_INSTANCE = 30, 24
#: Maximum lengths of texts in the audit log.
_MAX_LABELS, _MAX_SUMMARY = 1000, 300
#: Maximum number of alerts of a shared incident that are named in the audit log.
_MAX_NAMED = 20
#: Maximum length of the label `agency`, longer than any agency's code.
_MAX_AGENCY = 64


class AlertEffect(StrEnum):
    """What an alert from Alertmanager changed."""

    #: The alert fires, and did not fire before.
    FIRES = "fires"
    #: The alert still fires.
    GOES_ON = "goes_on"
    #: The alert fired and has ended.
    IS_OVER = "is_over"
    #: The alert had ended already, or its firing was never received.
    WAS_OVER = "was_over"
    #: The webhook was late: a newer state of the alert is stored.
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedAlert:
    """One alert in a webhook of Alertmanager."""

    #: Alertmanager's hash of the labels: 16 hexadecimal digits.
    fingerprint: str
    starts_at: datetime
    #: `None`: firing.
    ended_at: datetime | None
    labels: Mapping[str, str]
    #: The annotation `summary`, or `description`; "" without either.
    summary: str = ""

    @property
    def dedup_key(self) -> str:
        """Dedup key of the alert's own incident. Alerts with equal labels are the same problem, whenever they start."""
        return f"{_KEY_PREFIX}{self.fingerprint}"

    @property
    def subject(self) -> str:
        """Name of the alert for people: "CakeraPenuh (web01 9100)"; "" if no character is usable.

        It has only letters, digits and few other characters, because it is used in SMS, calls and print.
        """
        name = _plain(self.labels.get("alertname", ""), _MAX_NAME)
        instance = _plain(self.labels.get("instance", ""), _MAX_INSTANCE)
        return f"{name} ({instance})" if name and instance else name or instance

    @property
    def agency(self) -> str:
        """The agency's code in the label `agency`; "" without a usable label."""
        return _plain(self.labels.get("agency", ""), _MAX_AGENCY)

    def audit_details(self) -> Mapping[str, str]:
        """Return the details for the audit log, on one line and bounded."""
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        details = {"labels": _one_line(labels, _MAX_LABELS), "summary": _one_line(self.summary, _MAX_SUMMARY)}
        return {name: text for name, text in details.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAlert:
    """Latest known state of an alert."""

    fingerprint: str
    #: Start of the last occurrence. Fingerprint and start together identify an occurrence.
    starts_at: datetime
    #: `None`: firing.
    ended_at: datetime | None
    #: When the state was received.
    received_at: datetime
    #: Dedup key of the shared incident; `None`: the alert has an incident of its own.
    merged_into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGroup:
    """A group of alerts in Alertmanager."""

    #: Alertmanager's `groupKey`. It changes when the routing configuration changes.
    name: str = ""
    #: Whether so many alerts of the group fire that further alerts share an incident.
    shares_incident: bool = False

    def key(self, policy_name: str) -> str:
        """Return the dedup key of the incident that the group's alerts with one notification policy share."""
        digest = hashlib.sha256(f"{self.name}\0{policy_name}".encode()).hexdigest()
        return f"{_KEY_PREFIX}group/{digest[:16]}"


#: Group of alerts that have no group, or whose group is small.
UNGROUPED = AlertGroup()


def overflow_key(policy_name: str) -> str:
    """Return the dedup key of the incident that a policy's alerts beyond `MAX_OPEN_INCIDENTS` share."""
    return f"{_KEY_PREFIX}rest/{policy_name}"


def incident_key(
    alert: ReceivedAlert,
    known: KnownAlert | None,
    group: AlertGroup,
    policy_name: str,
    *,
    open_keys: Collection[str],
    may_open: bool,
) -> str:
    """Return the dedup key of the incident that *alert* belongs to: its own, its group's, or `overflow_key`.

    The key stays the same while the alert fires, even if its group changes. *known*: stored state of the alert.
    *open_keys*: dedup keys of open incidents; *may_open*: `MAX_OPEN_INCIDENTS` allows another incident.
    """
    if known is not None and known.ended_at is None:
        return known.merged_into or alert.dedup_key
    if alert.ended_at is not None or alert.dedup_key in open_keys:
        return alert.dedup_key
    group_key = group.key(policy_name)
    if group_key in open_keys or (group.shares_incident and may_open):
        return group_key
    return alert.dedup_key if may_open else overflow_key(policy_name)


def shared_subject(alerts: Iterable[ReceivedAlert], count: int) -> tuple[str, str]:
    """Return the subject of a shared incident of *count* alerts in Malay and English. *alerts*: some of them.

    The subject is "CakeraPenuh (40 amaran)", or "40 amaran" if the alerts have different names.
    """
    names = {_plain(each.labels.get("alertname", ""), _MAX_NAME) for each in alerts}
    name = names.pop() if len(names) == 1 else ""
    texts = f"{count} amaran", f"{count} alerts"
    return (f"{name} ({texts[0]})", f"{name} ({texts[1]})") if name else texts


def shared_agency(alerts: Iterable[ReceivedAlert]) -> str:
    """Return the agency of all *alerts*; "" if they have none or several, so that no agency's silence applies."""
    agencies = {each.agency for each in alerts}
    return agencies.pop() if len(agencies) == 1 else ""


def shared_audit_details(alerts: Collection[ReceivedAlert], firing: int) -> Mapping[str, str]:
    """Return the details of a shared incident for the audit log; *firing*: number of firing alerts."""
    subjects = ", ".join(filter(None, [each.subject for each in alerts][:_MAX_NAMED]))
    return {"alerts": str(len(alerts)), "firing": str(firing), "named": _one_line(subjects, _MAX_LABELS)}


def apply_alert(alert: ReceivedAlert, known: KnownAlert | None, now: datetime) -> tuple[AlertEffect, KnownAlert]:
    """Return the effect of a received alert, and its known state afterwards: *known* itself if nothing has changed.

    A later start without a received end counts as still firing, so that nobody is notified again: the end was lost, or
    the Prometheus server that evaluates the alert has restarted.
    """
    received = KnownAlert(
        fingerprint=alert.fingerprint, starts_at=alert.starts_at, ended_at=alert.ended_at, received_at=now
    )
    if known is None:
        return (AlertEffect.FIRES if alert.ended_at is None else AlertEffect.WAS_OVER), received
    if known.ended_at is not None:
        return _apply_after_end(alert, known, received)
    if alert.ended_at is None:
        is_same = alert.starts_at <= known.starts_at and timedelta(0) <= now - known.received_at < RECORD_INTERVAL
        if is_same:
            return AlertEffect.GOES_ON, known
        return AlertEffect.GOES_ON, replace(received, starts_at=max(alert.starts_at, known.starts_at))
    if max(alert.starts_at, alert.ended_at) < known.starts_at <= now + TOLERANCE:
        # This is the end of an earlier occurrence. It does not count as late if the known start is in the future,
        # because the clock was set back since.
        return AlertEffect.LATE, known
    return AlertEffect.IS_OVER, replace(received, starts_at=max(alert.starts_at, known.starts_at))


def _apply_after_end(alert: ReceivedAlert, known: KnownAlert, received: KnownAlert) -> tuple[AlertEffect, KnownAlert]:
    is_new_occurrence = alert.starts_at > known.starts_at
    if alert.ended_at is not None:
        return AlertEffect.WAS_OVER, received if is_new_occurrence else known
    if not is_new_occurrence and timedelta(0) <= received.received_at - known.received_at < LATE_WINDOW:
        return AlertEffect.LATE, known
    # The alert fires again, even with the same start: Alertmanager also resolves an alert that it no longer receives
    # although it fires.
    return AlertEffect.FIRES, received


def _plain(text: str, max_length: int) -> str:
    """Return *text* with blanks instead of all characters but ASCII letters, digits, dots, hyphens and underscores."""
    return " ".join(re.sub(r"[^A-Za-z0-9._-]+", " ", text[: 4 * max_length], flags=re.ASCII).split())[
        :max_length
    ].strip()


def _one_line(text: str, max_length: int) -> str:
    """Return the beginning of *text* on one line, without control characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: max_length + 1])
    return line[: max_length - 3] + "..." if len(line) > max_length else line.strip()
