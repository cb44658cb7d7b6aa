"""What an operator of the fault lab orders, a line each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pantau_lab.mail.faults.fault import Fault

#: A word for each order, and how it is written.
USAGE = {
    "break": "break FAULT [SYSTEM]",
    "repair": "repair [FAULT] [SYSTEM]",
    "faults": "faults",
    "systems": "systems",
    "help": "help",
    "quit": "quit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Break a system."""

    fault: Fault
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Take away a fault, or all of them, from one system or from all."""

    fault: Fault | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class ShowFaults:
    """List what can be broken."""


@dataclass(frozen=True, slots=True)
class ShowSystems:
    """Tell what is where, and what is broken."""


@dataclass(frozen=True, slots=True)
class Help:
    """Tell what can be ordered."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the lab."""


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """Tell what was wrong with the line."""

    why: str


Order = Break | Repair | ShowFaults | ShowSystems | Help | Quit | Misunderstood

_FAULTS = {fault.value: fault for fault in Fault}
_PLAIN: dict[str, Order] = {
    "faults": ShowFaults(),
    "systems": ShowSystems(),
    "help": Help(),
    "quit": Quit(),
    "exit": Quit(),
}


def read(line: str, systems: Collection[str]) -> Order | None:
    """Return what *line* orders; `None` for an empty one. The first of *systems* is meant when none is named."""
    words = line.split()
    if not words:
        return None
    verb, rest = words[0].lower(), words[1:]
    if verb in {"break", "repair"}:
        return _about_fault(verb, rest, systems)
    if verb not in _PLAIN:
        return Misunderstood(_unknown("order", verb, USAGE))
    return _PLAIN[verb] if not rest else Misunderstood(f"`{verb}` stands alone")


def _about_fault(verb: str, words: list[str], systems: Collection[str]) -> Order:
    by_name: dict[str, str] = {name.lower(): name for name in systems}
    found: set[Fault] = set()
    named: set[str] = set()
    for word in map(str.lower, words):
        if word in by_name:
            named.add(by_name[word])
        elif word in _FAULTS:
            found.add(_FAULTS[word])
        else:
            return Misunderstood(_unknown("fault or system", word, [*Fault, *by_name]))
    fault, system = next(iter(found), None), next(iter(named), None)
    if len(found) > 1 or len(named) > 1 or len(words) > 2 or (verb == "break" and fault is None):
        return Misunderstood(f"write: {USAGE[verb]}")
    if verb == "repair" or fault is None:
        return Repair(fault=fault, system=system)
    return Break(fault=fault, system=system or next(iter(systems)))


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "`help` and `faults` list what there is"
    return f"there is no {what} {word}; {hint}"
