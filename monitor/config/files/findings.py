"""What was found wrong in one document while it was read and checked."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, Severity, dotted


class Findings:
    """Problems of one document, placed by the path of the value they are about.

    A value whose *shape* is wrong is marked broken and replaced by a blank; what is found about it afterwards would
    only be about the blank, and is dropped.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems: list[Problem] = list(document.problems)
        self._broken: set[Path] = set(document.broken)
        #: What `problems` returns, until there is another.
        self._sorted: tuple[Problem, ...] | None = None

    def copy(self) -> Findings:
        """Return these, to which others may be added."""
        other = Findings(self.document)
        other._problems, other._broken, other._sorted = [*self._problems], {*self._broken}, self._sorted
        return other

    def add(self, problems: Sequence[Problem]) -> None:
        """Take up what was found earlier, in the same document."""
        if problems:
            self._problems += problems
            self._sorted = None

    def broken(self, path: Path, message: str, instead: str = "") -> None:
        """Note that the value at *path* has the wrong shape (once: the first message is the one that helps)."""
        if not self.is_blank(path):
            self._note(path, message, instead, Severity.ERROR)
        self._broken.add(path)

    def error(self, path: Path, message: str, instead: str = "") -> None:
        """Note what makes the configuration unusable."""
        if not self.is_blank(path):
            self._note(path, message, instead, Severity.ERROR)

    def warning(self, path: Path, message: str, instead: str = "") -> None:
        """Note what somebody should look at."""
        if not self.is_blank(path):
            self._note(path, message, instead, Severity.WARNING)

    def is_broken(self, path: Path) -> bool:
        """Return whether the value at *path*, something around it or something in it has the wrong shape."""
        return self.is_blank(path) or any(broken[: len(path)] == path for broken in self._broken)

    def is_blank(self, path: Path) -> bool:
        """Return whether a blank stands for the value at *path*, because it or something around it is broken."""
        return any(path[:length] in self._broken for length in range(len(path) + 1))

    def where(self, path: Path) -> str:
        """Return "file:line" of *path*, for a message about two places."""
        return f"{self.document.file}:{self.document.place(path).line}"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything found so far, by line, each thing once."""
        if self._sorted is None:
            each_once = dict.fromkeys(self._problems)
            self._sorted = tuple(sorted(each_once, key=lambda problem: (problem.line, problem.column)))
        return self._sorted

    def _note(self, path: Path, message: str, instead: str, severity: Severity) -> None:
        self._sorted = None
        place = self.document.place(path)
        self._problems.append(
            Problem(
                file=self.document.file,
                line=place.line,
                column=place.column,
                key=dotted(path),
                message=message,
                instead=instead,
                severity=severity,
            )
        )
