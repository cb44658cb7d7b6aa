"""Malay words of incident records and reports, from `phrase.yaml`.

These words are not configurable, because the documents are internal. An event of the audit log without a translation is
printed as stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

from alerts.model.channel import Channel
from alerts.model.delivery import Attempt
from alerts.model.gateway import NO_KEY
from alerts.wording import moment
from alerts.wording.source import sections

#: Words by section and enum value.
_TEXTS = sections(Path(__file__).with_suffix(".yaml"))
INCIDENT_TYPES: Mapping[str, str] = _TEXTS["incident_types"]
CHANNELS: Mapping[str, str] = _TEXTS["channels"]
PURPOSES: Mapping[str, str] = _TEXTS["purposes"]
STATES: Mapping[str, str] = _TEXTS["states"]
INCIDENT_STATES: Mapping[str, str] = _TEXTS["incident_states"]
RESULTS: Mapping[str, Mapping[str, str]] = {channel: _TEXTS[f"results.{channel}"] for channel in Channel}
COMMON_RESULTS: Mapping[str, str] = _TEXTS["common_results"]
ACTIONS: Mapping[str, str] = _TEXTS["actions"]
EVENTS: Mapping[str, str] = _TEXTS["events"]
MISSED_ACTIONS: Mapping[str, str] = _TEXTS["missed_actions"]
RATE_LIMITS: Mapping[str, str] = _TEXTS["rate_limits"]
_OVERDUE: Mapping[str, str] = _TEXTS["overdue"]
_TIME_LABELS: Mapping[str, str] = _TEXTS["time_labels"]
#: Texts for the values of details of audit entries that are enum values. The keys are the stored names of the details;
#: "brake" is a rate limit, and "despite" the probe results against which a person acted.
_DETAIL_VALUES: Mapping[str, Mapping[str, str]] = {
    "channel": CHANNELS,
    "purpose": PURPOSES,
    "brake": RATE_LIMITS,
    "declared": INCIDENT_TYPES,
    "printing": _TEXTS["printing"],
    "despite": _TEXTS["despite"],
}
#: Audit events that are left out, because another table of the record shows them.
SHOWN_ELSEWHERE = frozenset({"sites say"})
#: Events of audit entries from before schema 0055, and their present names. Stored entries are not changed, because the
#: audit log is a hash chain.
_FORMER_EVENTS = {"ask: no_trace": "ask: not_found"}
#: Actors that are components of Pantau.
_COMPONENTS = frozenset({"engine", "auditor", "automatic"})


def event(text: str) -> str:
    """Return the name of an audit event: "Penghantaran: diterima" for "send: delivered".

    Other composed events are "notice failed", "step overdue" and "outage notice decided".
    """
    if text in EVENTS:
        return EVENTS[text]
    action, _, state = _FORMER_EVENTS.get(text, text).partition(": ")
    if action in ACTIONS and state in STATES:
        return f"{ACTIONS[action]}: {STATES[state]}"
    first, _, remainder = text.partition(" ")
    if first == "notice" and remainder in STATES:
        return f"Notis: {STATES[remainder]}"
    if first in MISSED_ACTIONS and remainder in _OVERDUE:
        return f"{MISSED_ACTIONS[first]}: {_OVERDUE[remainder]}"
    if remainder == "notice decided" and first in PURPOSES:
        return f"Notis {PURPOSES[first]} diputuskan"
    return text


def is_delivery_step(text: str) -> bool:
    """Whether an audit event is an internal step of a delivery.

    Such steps are not printed, because another table shows recipients, times and results; the attached data have them.
    """
    if text == "attempt written" or text.endswith(" notice decided") or text.partition(": ")[0] in ACTIONS:
        return True
    first, _, remainder = text.partition(" ")
    return first == "notice" and remainder in STATES


def result(channel: Channel, attempt: Attempt) -> str:
    """Return the result of an attempt: "sampai ke telefon"."""
    if attempt.code == NO_KEY:
        return "dijawab, tetapi tiada kekunci ditekan"
    return RESULTS[channel].get(attempt.state) or COMMON_RESULTS[attempt.state]


def actor_name(name: str) -> str:
    """Return the name of an actor: a person's, or "Pantau" for a component."""
    return "Pantau" if name in _COMPONENTS else name


def detail(key: str, value: str) -> str:
    """Return the text of an audit entry's detail: translated if it is an enum value, formatted if it is a time."""
    match key:
        case "day" if (day := _date(value)) is not None:
            return f"{_TIME_LABELS[key]} {day:%d/%m/%Y}"
        case _ if key in _DETAIL_VALUES:
            return _DETAIL_VALUES[key].get(value, value)
        case _ if key in _TIME_LABELS and (at := _datetime(value)) is not None:
            return f"{_TIME_LABELS[key]} {stamp(at)}"
        case _:
            return value


def stamp(at: datetime) -> str:
    """Return a time to the second, in Malaysian time: "24/11/2026 14:15:09"."""
    return moment.local(at).strftime("%d/%m/%Y %H:%M:%S")


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _datetime(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
