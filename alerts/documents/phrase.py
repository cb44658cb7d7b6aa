"""Malay words of an incident record (`phrase.yaml`).

An incident record is the office's own document and no notification: its words are the same everywhere, and no site
edits them. An event of the audit log without a translation is printed as it is.
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

#: By section and value: members of the enumerations that the sections are named after.
_WORDS = sections(Path(__file__).with_suffix(".yaml"))
MATTERS: Mapping[str, str] = _WORDS["matters"]
CHANNELS: Mapping[str, str] = _WORDS["channels"]
PURPOSES: Mapping[str, str] = _WORDS["purposes"]
STATES: Mapping[str, str] = _WORDS["states"]
INCIDENT_STATES: Mapping[str, str] = _WORDS["incident_states"]
RESULTS: Mapping[str, Mapping[str, str]] = {channel: _WORDS[f"results.{channel}"] for channel in Channel}
COMMON_RESULTS: Mapping[str, str] = _WORDS["common_results"]
DEEDS: Mapping[str, str] = _WORDS["deeds"]
EVENTS: Mapping[str, str] = _WORDS["events"]
LAPSES: Mapping[str, str] = _WORDS["lapses"]
BRAKES: Mapping[str, str] = _WORDS["brakes"]
_OVERDUE: Mapping[str, str] = _WORDS["overdue"]
_MOMENTS: Mapping[str, str] = _WORDS["moments"]
#: Details whose values are our own terms.
_KINDS: Mapping[str, Mapping[str, str]] = {
    "channel": CHANNELS,
    "purpose": PURPOSES,
    "brake": BRAKES,
    "declared": MATTERS,
    "printing": _WORDS["printing"],
    "despite": _WORDS["despite"],
}
#: Events that have a table of their own.
TOLD_ELSEWHERE = frozenset({"sites say"})
#: Present events by those in entries from before schema 0055.
_FORMER_EVENTS = {"ask: no_trace": "ask: not_found"}
#: Components of the program that act without a person.
_OURS = frozenset({"engine", "auditor", "automatic"})


def event(text: str) -> str:
    """Return the name of an audit event: "Penghantaran: diterima"."""
    if text in EVENTS:
        return EVENTS[text]
    deed, _, state = _FORMER_EVENTS.get(text, text).partition(": ")
    if deed in DEEDS and state in STATES:
        return f"{DEEDS[deed]}: {STATES[state]}"
    first, _, rest = text.partition(" ")
    if first == "notice" and rest in STATES:
        return f"Notis: {STATES[rest]}"
    if first in LAPSES and rest in _OVERDUE:
        return f"{LAPSES[first]}: {_OVERDUE[rest]}"
    if rest == "notice decided" and first in PURPOSES:
        return f"Notis {PURPOSES[first]} diputuskan"
    return text


def is_machinery(text: str) -> bool:
    """Whether an audit event is an internal step of a delivery.

    Recipients, times and results are in a table of their own; the steps are in the data.
    """
    if text == "attempt written" or text.endswith(" notice decided") or text.partition(": ")[0] in DEEDS:
        return True
    first, _, rest = text.partition(" ")
    return first == "notice" and rest in STATES


def result(channel: Channel, attempt: Attempt) -> str:
    """Return the result of an attempt: "sampai ke telefon"."""
    if attempt.code == NO_KEY:
        return "dijawab, tetapi tiada kekunci ditekan"
    return RESULTS[channel].get(attempt.state) or COMMON_RESULTS[attempt.state]


def person(name: str) -> str:
    """Return the name of an actor; the program has a name too."""
    return "Pantau" if name in _OURS else name


def detail(key: str, value: str) -> str:
    """Return the value of a detail, if it is a term of ours or a time."""
    match key:
        case "day" if (day := _date(value)) is not None:
            return f"{_MOMENTS[key]} {day:%d/%m/%Y}"
        case _ if key in _KINDS:
            return _KINDS[key].get(value, value)
        case _ if key in _MOMENTS and (at := _moment(value)) is not None:
            return f"{_MOMENTS[key]} {stamp(at)}"
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


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
