"""Fax machines that belong to nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FaxBehaviour(StrEnum):
    """What happens when the machine is dialled."""

    ANSWERS = "answers"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    #: A person or a voicemail answers.
    NOT_A_FAX = "not_a_fax"
    #: The paper ends after the first page.
    OUT_OF_PAPER = "out_of_paper"
    #: The number is not in operation.
    DEAD = "dead"


#: Behaviour -> (errorType, errorCode, errorMessage) of a fax that fails there.
FAILURES = {
    FaxBehaviour.BUSY: ("CALL_ERROR", 17, "User busy"),
    FaxBehaviour.NO_ANSWER: ("CALL_ERROR", 16, "Ring timeout"),
    FaxBehaviour.NOT_A_FAX: ("CALL_ERROR", 30, "No fax machine answered"),
    FaxBehaviour.OUT_OF_PAPER: ("FAX_ERROR", 48, "Out of paper"),
    FaxBehaviour.DEAD: ("CALL_ERROR", 49, "Number not active"),
}


@dataclass(slots=True, kw_only=True)
class Machine:
    number: str
    owner: str = ""
    behaviour: FaxBehaviour = FaxBehaviour.ANSWERS
    #: The PDFs received, whole.
    received: list[bytes] = field(default_factory=list)
