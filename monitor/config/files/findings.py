"""Problems found in one document during reading and checking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, ProblemList, Severity
from monitor.model.lazy_text import said


@dataclass(slots=True, kw_only=True)
class _Found:
    problems: ProblemList
    broken: set[Path]
    #: Paths of the values that contain broken values.
    around: set[Path]
    #: Cached result of `Findings.problems`, until another problem is added.
    in_order: tuple[Problem, ...] | None = None


class Findings:
    """Problems of one document.

    Problems of the value at "contacts.siti" are recorded by `findings["contacts", "siti"]`.

    A value of the wrong *shape* is marked as broken and replaced by a blank. Later findings about it would concern only
    the blank and are dropped.
    """

    __slots__ = ("_found", "document", "path")

    def __init__(self, document: Document, path: Path = (), found: _Found | None = None) -> None:
        self.document = document
        self.path = path
        if found is None:
            found = _Found(problems=ProblemList(), broken=set(), around=set())
            for each in document.problems:
                found.problems.add(each)
            for broken in document.broken:
                _mark(found, broken)
        self._found = found

    def __getitem__(self, below: str | int | Path) -> Findings:
        """Return the findings of the value *below*."""
        return Findings(self.document, self.path + (below if isinstance(below, tuple) else (below,)), self._found)

    @property
    def root(self) -> Findings:
        """The findings of the whole document."""
        return Findings(self.document, (), self._found)

    def copy(self) -> Findings:
        """Return a copy, to which other findings may be added."""
        known = self._found
        found = _Found(
            problems=known.problems.copy(), broken={*known.broken}, around={*known.around}, in_order=known.in_order
        )
        return Findings(self.document, self.path, found)

    def add(self, problems: Sequence[Problem]) -> None:
        """Add problems that were found earlier in the same document."""
        for each in problems:
            self._found.problems.add(each)
            self._found.in_order = None

    def broken(self, message: str, instead: str = "") -> None:
        """Record that the value has the wrong shape. Only the first message is kept, because it is the most helpful."""
        self._note(message, instead, Severity.ERROR)
        _mark(self._found, self.path)

    def mark_broken(self) -> None:
        """Mark the value as broken without a message: another finding explains it."""
        _mark(self._found, self.path)

    def error(self, message: str, instead: str = "") -> None:
        """Record an error, which makes the configuration unusable."""
        self._note(message, instead, Severity.ERROR)

    def loss(self, message: str, instead: str = "") -> None:
        """Record something unavailable, without which all else works."""
        self._note(message, instead, Severity.LOSS)

    def warning(self, message: str, instead: str = "") -> None:
        """Record a warning."""
        self._note(message, instead, Severity.WARNING)

    @property
    def is_broken(self) -> bool:
        """Whether the value, a parent of it, or a value inside it has the wrong shape."""
        return self.is_blank or self.path in self._found.around

    @property
    def has_room(self) -> bool:
        """Whether another error would be listed, so that its message is needed."""
        return self._found.problems.has_room(Severity.ERROR)

    @property
    def is_blank(self) -> bool:
        """Whether the value is a blank, because it or a parent of it is broken."""
        return any(self.path[:length] in self._found.broken for length in range(len(self.path) + 1))

    @property
    def is_written(self) -> bool:
        """Whether the value is in the file itself."""
        return self.path in self.document.places

    @property
    def where(self) -> str:
        """Location of the value as "file:line", for a message about two places."""
        return said("{file}:{line}", file=self.document.file, line=self.document.place(self.path).line)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Problems found so far, by line, without duplicates: the first ones, and the number of the others."""
        if self._found.in_order is None:
            self._found.in_order = self._found.problems.in_order()
        return self._found.in_order

    def _note(self, message: str, instead: str, severity: Severity) -> None:
        if not self.is_blank:
            self.add([self.document.problem(self.path, message, instead, severity)])


def _mark(found: _Found, broken: Path) -> None:
    found.broken.add(broken)
    found.around.update(broken[:length] for length in range(len(broken)))
