"""Simulated fax machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FaxBehaviour(StrEnum):
    """Behaviour of a machine when it is dialled."""

    ANSWERS = "answers"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    #: A person or a voicemail answers.
    NOT_A_FAX = "not_a_fax"
    #: The paper ends after the first page.
    OUT_OF_PAPER = "out_of_paper"
    #: The number is not in operation.
    DEAD = "dead"


#: errorType, errorCode and errorMessage of a failed fax, by behaviour.
FAILURES = {
    FaxBehaviour.BUSY: ("CALL_ERROR", 17, "User busy"),
    FaxBehaviour.NO_ANSWER: ("CALL_ERROR", 16, "Ring timeout"),
    FaxBehaviour.NOT_A_FAX: ("CALL_ERROR", 30, "No fax machine answered"),
    FaxBehaviour.OUT_OF_PAPER: ("FAX_ERROR", 48, "Out of paper"),
    FaxBehaviour.DEAD: ("CALL_ERROR", 49, "Number not active"),
}


@dataclass(slots=True, kw_only=True)
class Machine:
    """Simulated fax machine."""

    number: str
    owner: str = ""
    behaviour: FaxBehaviour = FaxBehaviour.ANSWERS
    #: PDFs that were received completely.
    received: list[bytes] = field(default_factory=list)
