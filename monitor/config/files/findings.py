"""What was found wrong in one document while it was read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, Severity
from monitor.model.said import said


@dataclass(slots=True, kw_only=True)
class _Found:
    problems: list[Problem]
    broken: set[Path]
    #: What `Findings.problems` returns, until there is another.
    in_order: tuple[Problem, ...] | None = None


class Findings:
    """Problems of one document. Those of the value at "contacts.siti" are noted by `findings["contacts", "siti"]`.

    A value whose *shape* is wrong is marked broken and replaced by a blank; what is found about it afterwards would
    only be about the blank, and is dropped.
    """

    __slots__ = ("_found", "document", "path")

    def __init__(self, document: Document, path: Path = (), found: _Found | None = None) -> None:
        self.document = document
        self.path = path
        self._found = found or _Found(problems=[*document.problems], broken={*document.broken})

    def __getitem__(self, below: str | int | Path) -> Findings:
        """Return these, for what is found about the value *below*."""
        return Findings(self.document, self.path + (below if isinstance(below, tuple) else (below,)), self._found)

    @property
    def root(self) -> Findings:
        """These, for what is found about the whole document."""
        return Findings(self.document, (), self._found)

    def copy(self) -> Findings:
        """Return these, to which others may be added."""
        known = self._found
        found = _Found(problems=[*known.problems], broken={*known.broken}, in_order=known.in_order)
        return Findings(self.document, self.path, found)

    def add(self, problems: Sequence[Problem]) -> None:
        """Take up what was found earlier, in the same document."""
        if problems:
            self._found.problems += problems
            self._found.in_order = None

    def broken(self, message: str, instead: str = "") -> None:
        """Note that the value has the wrong shape (once: the first message is the one that helps)."""
        self._note(message, instead, Severity.ERROR)
        self._found.broken.add(self.path)

    def error(self, message: str, instead: str = "") -> None:
        """Note what makes the configuration unusable."""
        self._note(message, instead, Severity.ERROR)

    def loss(self, message: str, instead: str = "") -> None:
        """Note what cannot be had, and that all else works without."""
        self._note(message, instead, Severity.LOSS)

    def warning(self, message: str, instead: str = "") -> None:
        """Note what somebody should look at."""
        self._note(message, instead, Severity.WARNING)

    @property
    def is_broken(self) -> bool:
        """Whether the value, something around it or something in it has the wrong shape."""
        return self.is_blank or any(broken[: len(self.path)] == self.path for broken in self._found.broken)

    @property
    def is_blank(self) -> bool:
        """Whether a blank stands for the value, because it or something around it is broken."""
        return any(self.path[:length] in self._found.broken for length in range(len(self.path) + 1))

    @property
    def is_written(self) -> bool:
        """Whether the value stands in the file itself."""
        return self.path in self.document.places

    @property
    def where(self) -> str:
        """The value's "file:line", for a message about two places."""
        return said("{file}:{line}", file=self.document.file, line=self.document.place(self.path).line)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything found so far in the document, by line, each thing once."""
        if self._found.in_order is None:
            each_once = dict.fromkeys(self._found.problems)
            self._found.in_order = tuple(sorted(each_once, key=lambda problem: (problem.line, problem.column)))
        return self._found.in_order

    def _note(self, message: str, instead: str, severity: Severity) -> None:
        if not self.is_blank:
            self.add([self.document.problem(self.path, message, instead, severity)])
