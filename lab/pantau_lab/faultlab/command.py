"""Commands that an operator of the fault lab types, one a line, and their parser. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pantau_lab.mail.faults.fault import Fault

#: Syntax of each command, by its name.
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
    """Repair a fault (`None`: all faults) of one system (`None`: of all)."""

    fault: Fault | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class ShowFaults:
    """List the faults."""


@dataclass(frozen=True, slots=True)
class ShowSystems:
    """List the systems with their ports and faults."""


@dataclass(frozen=True, slots=True)
class Help:
    """List the commands."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the lab."""


@dataclass(frozen=True, slots=True)
class InvalidCommand:
    """Line that is no valid command."""

    reason: str


Command = Break | Repair | ShowFaults | ShowSystems | Help | Quit | InvalidCommand

_FAULTS = {fault.value: fault for fault in Fault}
_WITHOUT_ARGUMENTS: dict[str, Command] = {
    "faults": ShowFaults(),
    "systems": ShowSystems(),
    "help": Help(),
    "quit": Quit(),
    "exit": Quit(),
}


def read(line: str, systems: Collection[str]) -> Command | None:
    """Return the command in *line*; `None` for an empty line. `break` without a system means the first of *systems*."""
    words = line.split()
    if not words:
        return None
    verb, rest = words[0].lower(), words[1:]
    if verb in {"break", "repair"}:
        return _fault_command(verb, rest, systems)
    if verb not in _WITHOUT_ARGUMENTS:
        return InvalidCommand(_unknown("command", verb, USAGE))
    return _WITHOUT_ARGUMENTS[verb] if not rest else InvalidCommand(f"`{verb}` stands alone")


def _fault_command(verb: str, words: list[str], systems: Collection[str]) -> Command:
    by_name: dict[str, str] = {name.lower(): name for name in systems}
    faults: set[Fault] = set()
    system_names: set[str] = set()
    for word in map(str.lower, words):
        if word in by_name:
            system_names.add(by_name[word])
        elif word in _FAULTS:
            faults.add(_FAULTS[word])
        else:
            return InvalidCommand(_unknown("fault or system", word, [*Fault, *by_name]))
    fault, system = next(iter(faults), None), next(iter(system_names), None)
    if len(faults) > 1 or len(system_names) > 1 or len(words) > 2 or (verb == "break" and fault is None):
        return InvalidCommand(f"write: {USAGE[verb]}")
    if verb == "repair" or fault is None:
        return Repair(fault=fault, system=system)
    return Break(fault=fault, system=system or next(iter(systems)))


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    """Return the reason for an unknown *word*, with the most similar of the *known* words, if any."""
    close = get_close_matches(word, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "`help` and `faults` list what there is"
    return f"there is no {what} {word}; {hint}"
