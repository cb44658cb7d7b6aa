"""How an order of a person may contradict what is measured."""

from __future__ import annotations

from enum import StrEnum


class Contradiction(StrEnum):
    """How the notices of a person's order contradict what is measured (`alerts.decide.contradiction`)."""

    #: A release, and the newest message in a direction that is said to fail has arrived.
    WORKS_AGAIN = "works-again"
    #: A recovery or a correction, and what is measured is still wrong.
    STILL_FAILS = "still-fails"
