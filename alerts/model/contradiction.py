"""Contradictions between a person's operation and the newest runs (probe messages)."""

from __future__ import annotations

from enum import StrEnum


class Contradiction(StrEnum):
    """Contradiction of an operation's notifications to the newest runs (`alerts.decide.contradiction`)."""

    #: The text says that a direction fails, and its newest message arrived.
    WORKS_AGAIN = "works-again"
    #: The text says that mail works, and the probes find a fault.
    STILL_FAILS = "still-fails"
