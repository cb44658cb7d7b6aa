"""Contradictions between the newest runs (probe messages) and an operation of a person on an incident."""

from __future__ import annotations

from enum import StrEnum


class Contradiction(StrEnum):
    """Contradiction between the newest runs and the notifications of an operation, which a person must confirm."""

    #: The notifications state that sending or receiving fails, and a newer probe message has arrived.
    WORKS_AGAIN = "works-again"
    #: The notifications state that mail works, and the probes still detect a failure.
    STILL_FAILS = "still-fails"
