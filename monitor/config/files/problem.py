"""Problems of a configuration: what is wrong, where it is, and what to write instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from monitor.model.translatable import translatable

#: Path of a value from the top of its file: keys and list positions.
Path = tuple[str | int, ...]


#: Maximum number of listed problems per document and severity. Text pasted by mistake may cause thousands.
MAX_LISTED: Final = 50


class Severity(StrEnum):
    """Severity of a problem: whether the configuration can be used in spite of it."""

    #: The configuration cannot be used.
    ERROR = "error"
    #: A value is unavailable, such as a secret. The configuration can be used, except what depends on this value.
    LOSS = "loss"
    #: The configuration can be used, and should be reviewed.
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem. It contains no secret."""

    #: Name of the file or of another source, such as "environment".
    file: str
    #: Counted from 1; 0 if no line applies (a file that cannot be read, an environment variable).
    line: int = 0
    column: int = 0
    #: The key as `format_path` returns it: "contacts.siti.sms"; "" if the problem concerns the whole file.
    key: str = ""
    message: str
    #: What to write instead, the *remedy*; "" if the message says it.
    instead: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return one stable line: `file:line: key.path: what is wrong; write instead: ...`."""
        location = f"{self.file}:{self.line}" if self.line else self.file
        prefix = "warning: " if self.severity is Severity.WARNING else ""
        key = f"{self.key}: " if self.key else ""
        instead = f"; write instead: {self.instead}" if self.instead else ""
        return _printable(f"{location}: {prefix}{key}{self.message}{instead}")


@dataclass(slots=True)
class ProblemList:
    """Problems of one document: the first `MAX_LISTED` of each severity, and the number of the others."""

    #: An ordered set.
    _listed: dict[Problem, None] = field(default_factory=dict)
    #: Number of all problems, including those beyond the limit.
    _counts: Counter[Severity] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Add a problem, unless it is a duplicate. Beyond the limit it is only counted."""
        if problem in self._listed:
            return
        self._counts[problem.severity] += 1
        if self._counts[problem.severity] <= MAX_LISTED:
            self._listed[problem] = None

    def has_room(self, severity: Severity) -> bool:
        """Whether another problem would be listed. If not, callers need not compose its message."""
        return self._counts[severity] < MAX_LISTED

    def sorted_problems(self) -> tuple[Problem, ...]:
        """Return the listed problems by line, then one problem per severity that states how many are not listed."""
        listed = sorted(self._listed, key=lambda each: (each.line, each.column))
        file = listed[0].file if listed else ""
        more = (
            Problem(
                file=file,
                message=translatable("{count} more are not listed; correct these first", count=count),
                severity=each,
            )
            for each, total in self._counts.items()
            if (count := total - MAX_LISTED) > 0
        )
        return (*listed, *more)

    def copy(self) -> ProblemList:
        """Return a copy, to which other problems may be added."""
        return ProblemList({**self._listed}, Counter(self._counts))


def limit_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the *problems* of one document as `ProblemList.sorted_problems` does."""
    problem_list = ProblemList()
    for each in problems:
        problem_list.add(each)
    return problem_list.sorted_problems()


def format_path(path: Path) -> str:
    """Return *path* in dotted notation: "contacts.siti.sms", "escalation.steps[0]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def closest_match(word: str, candidates: Iterable[str]) -> str | None:
    """Return the most similar of *candidates* to a misspelled *word*; `None` if none is similar."""
    matches = get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return matches[0] if matches else None


def split_remedy(text: str) -> tuple[str, str]:
    """Return message and remedy from a text in the form of `Problem.__str__`: "is empty; write instead: a path"."""
    message, _, instead = text.partition("; write instead: ")
    return message, instead


def suggest(word: str, candidates: Collection[str], default: str = "") -> str:
    """Return what to write instead of *word*: the closest match, or all *candidates*; without any, *default*."""
    return closest_match(word, candidates) or (
        translatable("one of {known}", known=", ".join(candidates)) if candidates else default
    )


def _printable(text: str) -> str:
    # Escape line ends, because a problem is one line, and control characters, which a terminal would interpret.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
