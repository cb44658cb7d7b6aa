"""What is wrong with a configuration, where, and what to write instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from monitor.model.lazy_text import said

#: The way to a value from the top of its file: keys and list positions.
Path = tuple[str | int, ...]


#: Of one document and severity. Nobody reads more, and a wrong paste has thousands.
MOST_LISTED: Final = 50


class Severity(StrEnum):
    """Whether the configuration can be used in spite of it."""

    #: It cannot be used.
    ERROR = "error"
    #: It can, without what rests on something that is lost.
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


@dataclass(slots=True)
class ProblemList:
    """The problems of one document: the first `MOST_LISTED` of each severity, and how many more there are."""

    _listed: dict[Problem, None] = field(default_factory=dict)
    _counts: Counter[Severity] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Add a problem, once; beyond the limit it is only counted."""
        if problem in self._listed:
            return
        self._counts[problem.severity] += 1
        if self._counts[problem.severity] <= MOST_LISTED:
            self._listed[problem] = None

    def has_room(self, severity: Severity) -> bool:
        """Whether another problem would be listed, so that it needs a message."""
        return self._counts[severity] < MOST_LISTED

    def in_order(self) -> tuple[Problem, ...]:
        """Return what is listed by line, and then how many more there are."""
        listed = sorted(self._listed, key=lambda each: (each.line, each.column))
        file = listed[0].file if listed else ""
        more = (
            Problem(
                file=file, message=said("{count} more are not listed; mend these first", count=count), severity=each
            )
            for each, listed_or_not in self._counts.items()
            if (count := listed_or_not - MOST_LISTED) > 0
        )
        return (*listed, *more)

    def copy(self) -> ProblemList:
        """Return the same problems, to which others may be added."""
        return ProblemList({**self._listed}, Counter(self._counts))


def listed(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return *problems* of one document as they are listed: the first, and how many more there are."""
    found = ProblemList()
    for each in problems:
        found.add(each)
    return found.in_order()


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


def split_remedy(text: str) -> tuple[str, str]:
    """Return the message and the remedy of a text that holds both, as `Problem` prints them."""
    message, _, instead = text.partition("; write instead: ")
    return message, instead


def one_of(word: str, known: Collection[str], otherwise: str = "") -> str:
    """Return what to write instead of *word*: what was probably meant, or all that is *known*; *otherwise* for nothing."""
    return nearest(word, known) or (said("one of {known}", known=", ".join(known)) if known else otherwise)


def _printable(text: str) -> str:
    # One line a problem, and nothing that a terminal would obey, whatever the file holds.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
