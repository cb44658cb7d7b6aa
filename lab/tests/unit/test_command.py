"""Commands of the fault lab."""

from __future__ import annotations

import pytest

from pantau_lab.faultlab.command import (
    USAGE,
    Break,
    Command,
    Help,
    InvalidCommand,
    Quit,
    Repair,
    ShowFaults,
    ShowSystems,
    read,
)
from pantau_lab.mail import Fault

SYSTEMS = ("JCM", "rujukan-a")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("break tarpit", Break(fault=Fault.TARPIT, system="JCM")),
        ("  BREAK  half-close  Rujukan-A ", Break(fault=Fault.HALF_CLOSE, system="rujukan-a")),
        ("break jcm lose", Break(fault=Fault.LOSE, system="JCM")),
        ("repair", Repair()),
        ("repair tarpit", Repair(fault=Fault.TARPIT)),
        ("repair rujukan-a", Repair(system="rujukan-a")),
        ("repair rujukan-a tarpit", Repair(fault=Fault.TARPIT, system="rujukan-a")),
        ("faults", ShowFaults()),
        ("systems", ShowSystems()),
        ("help", Help()),
        ("quit", Quit()),
        ("exit", Quit()),
        ("", None),
        (" \t", None),
    ],
)
def test_read_valid_command(line: str, command: Command | None) -> None:
    assert read(line, SYSTEMS) == command


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("brake tarpit", "did you mean break?"),
        ("break tarpitt", "did you mean tarpit?"),
        ("break tarpit rujukan", "did you mean rujukan-a?"),
        ("break", "write: break FAULT [SYSTEM]"),
        ("break JCM", "write: break FAULT [SYSTEM]"),
        ("break slow lose", "write: break FAULT [SYSTEM]"),
        ("break slow JCM JCM", "write: break FAULT [SYSTEM]"),
        ("repair JCM rujukan-a", "write: repair [FAULT] [SYSTEM]"),
        ("quit now", "`quit` stands alone"),
        ("xyzzy", "`help` and `faults` list what there is"),
    ],
)
def test_read_invalid_command_suggests_correction(line: str, hint: str) -> None:
    answer = read(line, SYSTEMS)
    assert isinstance(answer, InvalidCommand)
    assert answer.reason.endswith(hint)


def test_read_accepts_every_command_of_usage() -> None:
    assert not any(
        isinstance(read(f"{word} slow" if word == "break" else word, SYSTEMS), InvalidCommand) for word in USAGE
    )
