"""Alerts of the NOC's Alertmanager and their effects. Pure.

Alertmanager repeats a whole group, loses its state in a restart, and guarantees only the final state: repeated, late or
unordered notifications must not notify anybody, and missing ones never mean that an alert is over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE

#: Name of the alerts that we send to Alertmanager: they are ignored when they come back.
OWN_ALERT = "PantauIncident"

#: A failed notification is retried until the next flush of its group, after five minutes (`group_interval`): so long a
#: "firing" may arrive after the "resolved".
LATE_FOR = timedelta(minutes=5)

#: Interval of recording that an alert still fires.
HEARD_EVERY = timedelta(days=1)

#: Maximum of open incidents of alerts; further alerts share one incident per policy.
MOST_OPEN = 500

#: Prefix of dedup keys of alerts. An agency's key has no slash.
_KEY = "alert/"

#: Characters of foreign names that are quoted in SMS and calls.
_NAME_ROOM, _INSTANCE_ROOM = 30, 24
_LABELS_ROOM, _SUMMARY_ROOM = 1000, 300
#: Alerts of a shared incident named in the audit log.
_NAMED = 20
#: More than the longest code.
_AGENCY_ROOM = 64


class AlertEffect(StrEnum):
    """What an alert from Alertmanager changed."""

    #: It fires, and did not before.
    FIRES = "fires"
    #: The alert still fires.
    GOES_ON = "goes_on"
    #: The alert ended.
    IS_OVER = "is_over"
    #: It had ended already, or never fired.
    WAS_OVER = "was_over"
    #: A newer state of the alert is stored.
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedAlert:
    """One alert in a notification of Alertmanager."""

    #: 16 hexadecimal digits, computed from the labels.
    fingerprint: str
    starts_at: datetime
    #: `None`: firing.
    ended_at: datetime | None
    labels: Mapping[str, str]
    #: The annotation `summary`, or `description`; "" without either.
    summary: str = ""

    @property
    def dedup_key(self) -> str:
        """The key of its incident: equal labels are the same problem, whenever it began."""
        return f"{_KEY}{self.fingerprint}"

    @property
    def subject(self) -> str:
        """The name for people: "CakeraPenuh (web01 9100)"; "" if no character is usable.

        Letters, digits and few others: it is used in SMS, calls and print.
        """
        name = _plain(self.labels.get("alertname", ""), _NAME_ROOM)
        instance = _plain(self.labels.get("instance", ""), _INSTANCE_ROOM)
        return f"{name} ({instance})" if name and instance else name or instance

    @property
    def agency(self) -> str:
        """The code in the label `agency`; "" without a valid one."""
        return _plain(self.labels.get("agency", ""), _AGENCY_ROOM)

    def told(self) -> Mapping[str, str]:
        """Return the details for the audit log, on one line and bounded."""
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        found = {"labels": _line(labels, _LABELS_ROOM), "summary": _line(self.summary, _SUMMARY_ROOM)}
        return {name: text for name, text in found.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAlert:
    """Latest known state of the alert with these labels."""

    fingerprint: str
    #: Start of the last occurrence, which with the fingerprint identifies it.
    starts_at: datetime
    #: `None`: firing.
    ended_at: datetime | None
    #: When the state was received.
    received_at: datetime
    #: Dedup key of a shared incident; `None`: it has one of its own.
    merged_into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGroup:
    """A group of alerts in Alertmanager."""

    #: Its `groupKey`, which changes with the routing configuration.
    name: str = ""
    #: So many of its alerts fire that new ones share an incident.
    is_folded: bool = False

    def key(self, told_by: str) -> str:
        """Return the dedup key of the shared incident of alerts *told_by* one policy."""
        digest = hashlib.sha256(f"{self.name}\0{told_by}".encode()).hexdigest()
        return f"{_KEY}group/{digest[:16]}"


#: For alerts without a group or in a small one.
UNGROUPED = AlertGroup()


def rest_key(told_by: str) -> str:
    """Return the dedup key of the shared incident for alerts beyond `MOST_OPEN`."""
    return f"{_KEY}rest/{told_by}"


def incident_key(
    alert: ReceivedAlert,
    known: KnownAlert | None,
    group: AlertGroup,
    told_by: str,
    *,
    open_keys: Collection[str],
    has_room: bool,
) -> str:
    """Return the dedup key of an alert's incident: its own, its group's, or that beyond the limit.

    It stays the same while the alert fires, whatever its group. *open_keys*: keys of open incidents; *has_room*:
    another incident may be opened.
    """
    if known is not None and known.ended_at is None:
        return known.merged_into or alert.dedup_key
    if alert.ended_at is not None or alert.dedup_key in open_keys:
        return alert.dedup_key
    of_group = group.key(told_by)
    if of_group in open_keys or (group.is_folded and has_room):
        return of_group
    return alert.dedup_key if has_room else rest_key(told_by)


def folded_subject(alerts: Iterable[ReceivedAlert], count: int) -> tuple[str, str]:
    """Return the name of *count* alerts with a shared incident in Malay and English; *alerts*: some of them.

    "CakeraPenuh (40 amaran)"; "40 amaran" with different names.
    """
    names = {_plain(each.labels.get("alertname", ""), _NAME_ROOM) for each in alerts}
    name = names.pop() if len(names) == 1 else ""
    words = f"{count} amaran", f"{count} alerts"
    return (f"{name} ({words[0]})", f"{name} ({words[1]})") if name else words


def folded_agency(alerts: Iterable[ReceivedAlert]) -> str:
    """Return the common agency of alerts; "" for none or several, to which no silence of one agency applies."""
    agencies = {each.agency for each in alerts}
    return agencies.pop() if len(agencies) == 1 else ""


def told_together(alerts: Collection[ReceivedAlert], firing: int) -> Mapping[str, str]:
    """Return the details of a shared incident for the audit log; *firing*: number of firing alerts."""
    named = ", ".join(filter(None, [each.subject for each in alerts][:_NAMED]))
    return {"alerts": str(len(alerts)), "firing": str(firing), "named": _line(named, _LABELS_ROOM)}


def heed(alert: ReceivedAlert, known: KnownAlert | None, now: datetime) -> tuple[AlertEffect, KnownAlert]:
    """Return the effect of *alert* and the known state after it: the same object if nothing has changed.

    An alert that starts again before its end is known still fires: the end was lost, or the evaluating server
    restarted. Nobody is notified again.
    """
    heard = KnownAlert(
        fingerprint=alert.fingerprint, starts_at=alert.starts_at, ended_at=alert.ended_at, received_at=now
    )
    if known is None:
        return (AlertEffect.FIRES if alert.ended_at is None else AlertEffect.WAS_OVER), heard
    if known.ended_at is not None:
        return _after_the_end(alert, known, heard)
    if alert.ended_at is None:
        is_same = alert.starts_at <= known.starts_at and timedelta(0) <= now - known.received_at < HEARD_EVERY
        return AlertEffect.GOES_ON, known if is_same else replace(
            heard, starts_at=max(alert.starts_at, known.starts_at)
        )
    if max(alert.starts_at, alert.ended_at) < known.starts_at <= now + TOLERANCE:
        # That was an earlier occurrence. A start in the future comes from a clock that was set back since.
        return AlertEffect.LATE, known
    return AlertEffect.IS_OVER, replace(heard, starts_at=max(alert.starts_at, known.starts_at))


def _after_the_end(alert: ReceivedAlert, known: KnownAlert, heard: KnownAlert) -> tuple[AlertEffect, KnownAlert]:
    begins_anew = alert.starts_at > known.starts_at
    if alert.ended_at is not None:
        return AlertEffect.WAS_OVER, heard if begins_anew else known
    if not begins_anew and timedelta(0) <= heard.received_at - known.received_at < LATE_FOR:
        return AlertEffect.LATE, known
    # Also for the same start: Alertmanager resolves alerts that it receives no more, and it was firing all the time.
    return AlertEffect.FIRES, heard


def _plain(text: str, room: int) -> str:
    """Return *text* with only ASCII letters, digits, dots, hyphens and underscores."""
    return " ".join(re.sub(r"[^A-Za-z0-9._-]+", " ", text[: 4 * room], flags=re.ASCII).split())[:room].strip()


def _line(text: str, room: int) -> str:
    """Return the beginning of *text* on one line, without control characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: room + 1])
    return line[: room - 3] + "..." if len(line) > room else line.strip()
