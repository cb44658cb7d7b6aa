"""What an operator may type into the fault lab."""

from __future__ import annotations

import pytest

from pantau_lab.faultlab.order import (
    USAGE,
    Break,
    Help,
    Misunderstood,
    Order,
    Quit,
    Repair,
    ShowFaults,
    ShowSystems,
    read,
)
from pantau_lab.mail import Fault

SYSTEMS = ("JCM", "rujukan-a")


@pytest.mark.parametrize(
    ("line", "order"),
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
def test_an_order_is_understood(line: str, order: Order | None) -> None:
    assert read(line, SYSTEMS) == order


@pytest.mark.parametrize(
    ("line", "told"),
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
def test_what_is_not_understood_is_told_with_what_is_meant(line: str, told: str) -> None:
    answer = read(line, SYSTEMS)
    assert isinstance(answer, Misunderstood)
    assert answer.why.endswith(told)


def test_every_word_that_is_offered_is_understood() -> None:
    assert not any(
        isinstance(read(f"{word} slow" if word == "break" else word, SYSTEMS), Misunderstood) for word in USAGE
    )
