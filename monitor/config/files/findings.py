"""Problems found in one configuration document during reading and checking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, ProblemList, Severity
from monitor.model.translatable import translatable


@dataclass(slots=True, kw_only=True)
class _FindingsState:
    """Problems of one document, shared by the `Findings` of all its values."""

    problems: ProblemList
    #: Paths of values of the wrong shape.
    broken: set[Path]
    #: Paths of all values that contain a broken value.
    broken_parents: set[Path]
    #: Cached result of `Findings.problems`, until another problem is added.
    sorted_problems: tuple[Problem, ...] | None = None


class Findings:
    """Recorder of the problems of one value and the values inside it.

    `Findings(document)` records problems of the whole document, `findings["contacts", "siti"].error(...)` a problem of
    the value at "contacts.siti". All `Findings` of a document share one list of problems.

    A value of the wrong *shape* (a list instead of a text) is marked as broken and replaced by a *blank*, a valid
    substitute. Later problems at its path are dropped, because they would concern only the blank.
    """

    __slots__ = ("_state", "document", "path")

    def __init__(self, document: Document, path: Path = (), state: _FindingsState | None = None) -> None:
        self.document = document
        self.path = path
        if state is None:
            state = _FindingsState(problems=ProblemList(), broken=set(), broken_parents=set())
            for each in document.problems:
                state.problems.add(each)
            for broken in document.broken:
                _mark_broken(state, broken)
        self._state = state

    def __getitem__(self, key: str | int | Path) -> Findings:
        """Return the findings of the value at *key*, a key, a list position or a path below this value."""
        return Findings(self.document, self.path + (key if isinstance(key, tuple) else (key,)), self._state)

    @property
    def root(self) -> Findings:
        """The findings of the whole document."""
        return Findings(self.document, (), self._state)

    def copy(self) -> Findings:
        """Return a copy. Problems that are added to the copy do not appear in the original."""
        original = self._state
        state = _FindingsState(
            problems=original.problems.copy(),
            broken={*original.broken},
            broken_parents={*original.broken_parents},
            sorted_problems=original.sorted_problems,
        )
        return Findings(self.document, self.path, state)

    def add(self, problems: Sequence[Problem]) -> None:
        """Add *problems* of the same document that were found by another `Findings`."""
        for each in problems:
            self._state.problems.add(each)
            self._state.sorted_problems = None

    def broken(self, message: str, instead: str = "") -> None:
        """Record that the value has the wrong shape. Later messages are dropped: the first is the most helpful.

        Here and in the other methods, *instead* is what to write instead.
        """
        self._record(message, instead, Severity.ERROR)
        _mark_broken(self._state, self.path)

    def mark_broken(self) -> None:
        """Mark the value as broken without a message, because another problem explains it."""
        _mark_broken(self._state, self.path)

    def error(self, message: str, instead: str = "") -> None:
        """Record an error, which makes the configuration unusable."""
        self._record(message, instead, Severity.ERROR)

    def loss(self, message: str, instead: str = "") -> None:
        """Record that the value, such as a secret, is unavailable. The configuration works without this value."""
        self._record(message, instead, Severity.LOSS)

    def warning(self, message: str, instead: str = "") -> None:
        """Record a warning: the configuration is usable, and the value should be reviewed."""
        self._record(message, instead, Severity.WARNING)

    @property
    def is_broken(self) -> bool:
        """Whether the value, a parent of it, or a value inside it has the wrong shape."""
        return self.is_blank or self.path in self._state.broken_parents

    @property
    def has_room(self) -> bool:
        """Whether another error would be listed. If not, callers need not compose its message."""
        return self._state.problems.has_room(Severity.ERROR)

    @property
    def is_blank(self) -> bool:
        """Whether the value is a blank, because it or a parent of it is broken."""
        return any(self.path[:length] in self._state.broken for length in range(len(self.path) + 1))

    @property
    def is_in_file(self) -> bool:
        """Whether the file contains the value; otherwise it has a default."""
        return self.path in self.document.locations

    @property
    def location_text(self) -> str:
        """Location of the value as "file:line", for a message about two values."""
        return translatable("{file}:{line}", file=self.document.file, line=self.document.location(self.path).line)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Problems of the whole document so far, as `ProblemList.sorted_problems` returns them."""
        if self._state.sorted_problems is None:
            self._state.sorted_problems = self._state.problems.sorted_problems()
        return self._state.sorted_problems

    def _record(self, message: str, instead: str, severity: Severity) -> None:
        if not self.is_blank:
            self.add([self.document.problem(self.path, message, instead, severity)])


def _mark_broken(state: _FindingsState, broken: Path) -> None:
    state.broken.add(broken)
    state.broken_parents.update(broken[:length] for length in range(len(broken)))
