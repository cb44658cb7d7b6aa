"""What was found wrong in one document while it was read and checked."""

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
    #: The values around those that are broken.
    around: set[Path]
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
        if found is None:
            found = _Found(problems=ProblemList(), broken=set(), around=set())
            for each in document.problems:
                found.problems.add(each)
            for broken in document.broken:
                _mark(found, broken)
        self._found = found

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
        found = _Found(
            problems=known.problems.copy(), broken={*known.broken}, around={*known.around}, in_order=known.in_order
        )
        return Findings(self.document, self.path, found)

    def add(self, problems: Sequence[Problem]) -> None:
        """Take up what was found earlier, in the same document."""
        for each in problems:
            self._found.problems.add(each)
            self._found.in_order = None

    def broken(self, message: str, instead: str = "") -> None:
        """Note that the value has the wrong shape (once: the first message is the one that helps)."""
        self._note(message, instead, Severity.ERROR)
        _mark(self._found, self.path)

    def mark_broken(self) -> None:
        """Mark the value as broken without a message: another finding explains it."""
        _mark(self._found, self.path)

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
        return self.is_blank or self.path in self._found.around

    @property
    def has_room(self) -> bool:
        """Whether another error would be listed, so that it needs a message."""
        return self._found.problems.has_room(Severity.ERROR)

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
        """What was found so far in the document, by line, each thing once; of thousands the first, and how many more."""
        if self._found.in_order is None:
            self._found.in_order = self._found.problems.in_order()
        return self._found.in_order

    def _note(self, message: str, instead: str, severity: Severity) -> None:
        if not self.is_blank:
            self.add([self.document.problem(self.path, message, instead, severity)])


def _mark(found: _Found, broken: Path) -> None:
    found.broken.add(broken)
    found.around.update(broken[:length] for length in range(len(broken)))
