"""The words of a dossier, in Malay (`phrase.yaml`).

A dossier is the office's own record and no notice: its words are the same everywhere, and are no wording that a site
edits. An event of the journal that is not listed is told as it stands there.
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

#: Of each section by what it stands for: members of the sets that it is called after.
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
#: Details that are words of ours.
_KINDS: Mapping[str, Mapping[str, str]] = {
    "channel": CHANNELS,
    "purpose": PURPOSES,
    "brake": BRAKES,
    "declared": MATTERS,
    "printing": _WORDS["printing"],
    "despite": _WORDS["despite"],
}
#: Events that a table of their own tells of.
TOLD_ELSEWHERE = frozenset({"sites say"})
#: Parts of the program that act of themselves.
_OURS = frozenset({"engine", "auditor", "automatic"})


def event(text: str) -> str:
    """Return what an event of the journal is called: "Penghantaran: diterima"."""
    if text in EVENTS:
        return EVENTS[text]
    deed, _, state = text.partition(": ")
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
    """Whether an event of the journal is a step of the program on the way to what a person was sent.

    Who was told, when and with what result stands in a table of its own; the steps are in the data.
    """
    if text == "attempt written" or text.endswith(" notice decided") or text.partition(": ")[0] in DEEDS:
        return True
    first, _, rest = text.partition(" ")
    return first == "notice" and rest in STATES


def result(channel: Channel, attempt: Attempt) -> str:
    """Return what an attempt came to: "sampai ke telefon"."""
    if attempt.code == NO_KEY:
        return "dijawab, tetapi tiada kekunci ditekan"
    return RESULTS[channel].get(attempt.state) or COMMON_RESULTS[attempt.state]


def person(name: str) -> str:
    """Return who did something: the program by its name."""
    return "Pantau" if name in _OURS else name


def detail(key: str, value: str) -> str:
    """Return what an entry's detail is called, where it is a word of ours or a moment."""
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
    """Return the second, in Malaysian time: "24/11/2026 14:15:09"."""
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
