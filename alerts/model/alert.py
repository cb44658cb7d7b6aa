"""An alert of the NOC's Alertmanager, and what becomes of it. Pure.

Everything that decides whether a word of Alertmanager is news lives in this file. It repeats all that it knows of a group,
forgets what fires when it starts anew, and promises nothing but the state in the end: what comes again, late or out of
order must tell nobody, and what does not come must never mean that it is over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE

#: What our own incidents are called where they are told to an Alertmanager: if it brings them back, they are no news.
OWN_ALERT = "PantauIncident"

#: An attempt that failed is made again until the next flush of its group, which is after five minutes (`group_interval`): so
#: long what says that it fires may come behind what says that it is over.
LATE_FOR = timedelta(minutes=5)

#: How often it is written down that it fires still.
HEARD_EVERY = timedelta(days=1)

#: So many incidents of alerts are open at a time; what fires besides is one incident more for each plan by which it is told.
MOST_OPEN = 500

#: Dedup keys of alerts begin so. An agency's has no slash.
_KEY = "alert/"

#: What strangers call their alerts and machines is quoted in SMS, and spoken: so many characters of it.
_NAME_ROOM, _INSTANCE_ROOM = 30, 24
_LABELS_ROOM, _SUMMARY_ROOM = 1000, 300
#: Of alerts that are told as one, so many are named in the journal.
_NAMED = 20
#: More than the longest code has.
_AGENCY_ROOM = 64


class AlertEffect(StrEnum):
    """What an alert from Alertmanager changed."""

    #: The alert fires and did not before.
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
    """What Alertmanager says of one alert."""

    #: 16 hexadecimal digits, of the labels alone.
    fingerprint: str
    starts_at: datetime
    #: `None`: it fires.
    ended_at: datetime | None
    labels: Mapping[str, str]
    #: Its annotation of this name, or its description; "" without either.
    summary: str = ""

    @property
    def dedup_key(self) -> str:
        """What its incident is about: the same labels are the same trouble, whenever it began."""
        return f"{_KEY}{self.fingerprint}"

    @property
    def subject(self) -> str:
        """What people are told that it is called: "CakeraPenuh (web01 9100)"; "" where nothing of that is legible.

        Letters, digits and little else: it goes into SMS, is spoken, and is printed.
        """
        name = _plain(self.labels.get("alertname", ""), _NAME_ROOM)
        instance = _plain(self.labels.get("instance", ""), _INSTANCE_ROOM)
        return f"{name} ({instance})" if name and instance else name or instance

    @property
    def agency(self) -> str:
        """The code of the agency that its label of this name is about; "" where that is none's."""
        return _plain(self.labels.get("agency", ""), _AGENCY_ROOM)

    def told(self) -> Mapping[str, str]:
        """Return what the journal keeps of it, on one line and within bounds."""
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        found = {"labels": _line(labels, _LABELS_ROOM), "summary": _line(self.summary, _SUMMARY_ROOM)}
        return {name: text for name, text in found.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAlert:
    """The latest that is known of the alert with these labels."""

    fingerprint: str
    #: When it last began. With the fingerprint this is which alert it is.
    starts_at: datetime
    #: `None`: it fires.
    ended_at: datetime | None
    #: When that was heard.
    heard_at: datetime
    #: The dedup key of the incident that it shares with others; `None`: it has one of its own.
    folded_into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGroup:
    """The group in which Alertmanager brings alerts."""

    #: As Alertmanager calls it (`groupKey`); another one when routing is edited.
    name: str = ""
    #: So many of its alerts fire that those that begin now share an incident.
    is_folded: bool = False

    def key(self, told_by: str) -> str:
        """Return the dedup key of its incident, of those alerts that are *told_by* the same plan."""
        digest = hashlib.sha256(f"{self.name}\0{told_by}".encode()).hexdigest()
        return f"{_KEY}group/{digest[:16]}"


#: Of alerts that come in none, or in a small one.
UNGROUPED = AlertGroup()


def rest_key(told_by: str) -> str:
    """Return the dedup key of the incident of what fires while `MOST_OPEN` others are open."""
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
    """Return the dedup key of the incident that an alert belongs to: its own, its group's or that of the rest.

    It belongs to that one for as long as it fires, whatever group brings it. *open_keys*: of incidents that are open;
    *has_room*: one more may be opened.
    """
    if known is not None and known.ended_at is None:
        return known.folded_into or alert.dedup_key
    if alert.ended_at is not None or alert.dedup_key in open_keys:
        return alert.dedup_key
    of_group = group.key(told_by)
    if of_group in open_keys or (group.is_folded and has_room):
        return of_group
    return alert.dedup_key if has_room else rest_key(told_by)


def folded_subject(alerts: Iterable[ReceivedAlert], count: int) -> tuple[str, str]:
    """Return what *count* alerts that share an incident are called in Malay and English, where *alerts* are of them.

    "CakeraPenuh (40 amaran)"; "40 amaran" where they are not all called the same.
    """
    names = {_plain(each.labels.get("alertname", ""), _NAME_ROOM) for each in alerts}
    name = names.pop() if len(names) == 1 else ""
    words = f"{count} amaran", f"{count} alerts"
    return (f"{name} ({words[0]})", f"{name} ({words[1]})") if name else words


def folded_agency(alerts: Iterable[ReceivedAlert]) -> str:
    """Return the agency that all of some alerts are about; "": none, or several, whose incident no silence of one holds for."""
    agencies = {each.agency for each in alerts}
    return agencies.pop() if len(agencies) == 1 else ""


def told_together(alerts: Collection[ReceivedAlert], firing: int) -> Mapping[str, str]:
    """Return what the journal keeps of alerts that share an incident, of which *firing* fire by now."""
    named = ", ".join(filter(None, [each.subject for each in alerts][:_NAMED]))
    return {"alerts": str(len(alerts)), "firing": str(firing), "named": _line(named, _LABELS_ROOM)}


def heed(alert: ReceivedAlert, known: KnownAlert | None, now: datetime) -> tuple[AlertEffect, KnownAlert]:
    """Return what *alert* says that is new, and what is known after it: the same object if nothing is.

    An alert that begins anew before the last is known to be over goes on: its end was lost, or who evaluates it has started
    anew. Whoever was told of it is not told again.
    """
    heard = KnownAlert(fingerprint=alert.fingerprint, starts_at=alert.starts_at, ended_at=alert.ended_at, heard_at=now)
    if known is None:
        return (AlertEffect.FIRES if alert.ended_at is None else AlertEffect.WAS_OVER), heard
    if known.ended_at is not None:
        return _after_the_end(alert, known, heard)
    if alert.ended_at is None:
        is_same = alert.starts_at <= known.starts_at and timedelta(0) <= now - known.heard_at < HEARD_EVERY
        return AlertEffect.GOES_ON, known if is_same else replace(
            heard, starts_at=max(alert.starts_at, known.starts_at)
        )
    if max(alert.starts_at, alert.ended_at) < known.starts_at <= now + TOLERANCE:
        # That was the time before. A beginning that lies ahead was written by a clock that has been set back since.
        return AlertEffect.LATE, known
    return AlertEffect.IS_OVER, replace(heard, starts_at=max(alert.starts_at, known.starts_at))


def _after_the_end(alert: ReceivedAlert, known: KnownAlert, heard: KnownAlert) -> tuple[AlertEffect, KnownAlert]:
    begins_anew = alert.starts_at > known.starts_at
    if alert.ended_at is not None:
        return AlertEffect.WAS_OVER, heard if begins_anew else known
    if not begins_anew and timedelta(0) <= heard.heard_at - known.heard_at < LATE_FOR:
        return AlertEffect.LATE, known
    # Also the same one: Alertmanager calls over what it hears no more of, and it fired all the time.
    return AlertEffect.FIRES, heard


def _plain(text: str, room: int) -> str:
    """Return *text* without all that is no letter, digit, dot, hyphen or underscore of ASCII."""
    return " ".join(re.sub(r"[^A-Za-z0-9._-]+", " ", text[: 4 * room], flags=re.ASCII).split())[:room].strip()


def _line(text: str, room: int) -> str:
    """Return the beginning of *text* on one line, with nothing that a terminal would obey."""
    line = "".join(character if character.isprintable() else " " for character in text[: room + 1])
    return line[: room - 3] + "..." if len(line) > room else line.strip()
