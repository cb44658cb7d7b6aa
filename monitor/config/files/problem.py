"""What is wrong with a configuration, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from monitor.model.said import said

#: The way to a value from the top of its file: keys and list positions.
Path = tuple[str | int, ...]


class Severity(StrEnum):
    """Whether the configuration can be used in spite of it."""

    #: It cannot be used.
    ERROR = "error"
    #: It can, without what rests on something that is lost: a service starts, and a check fails.
    LOSS = "loss"
    #: It can, and somebody should look.
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. Holds no secret."""

    file: str
    #: From 1; 0 when it is about no line (a file that cannot be read, an environment variable).
    line: int = 0
    column: int = 0
    #: "contacts.siti.sms", "escalation.steps[0].channels"; empty for the file as a whole.
    key: str = ""
    message: str
    #: What to write instead, or empty when the message says it.
    instead: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return one stable line: `file:line: key.path: what is wrong; write instead: ...`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        marked = "warning: " if self.severity is Severity.WARNING else ""
        key = f"{self.key}: " if self.key else ""
        instead = f"; write instead: {self.instead}" if self.instead else ""
        return _printable(f"{place}: {marked}{key}{self.message}{instead}")


def dotted(path: Path) -> str:
    """Return *path* as people write it: "contacts.siti.sms", "escalation.steps[0]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that *word* was probably meant to be."""
    matches = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def one_of(word: str, known: Collection[str], otherwise: str = "") -> str:
    """Return what to write instead of *word*: what was probably meant, or all that is *known*; *otherwise* for nothing."""
    return nearest(word, known) or (said("one of {known}", known=", ".join(known)) if known else otherwise)


def _printable(text: str) -> str:
    # One line a problem, and nothing that a terminal would obey, whatever the file holds.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
