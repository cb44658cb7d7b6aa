"""How an order of a person may contradict what is measured."""

from __future__ import annotations

from enum import StrEnum


class Contradiction(StrEnum):
    """How the notices of a person's order contradict what is measured (`alerts.decide.contradiction`)."""

    #: The text says that a direction fails, and its newest message arrived.
    WORKS_AGAIN = "works-again"
    #: The text says that mail works, and the probes find a fault.
    STILL_FAILS = "still-fails"
