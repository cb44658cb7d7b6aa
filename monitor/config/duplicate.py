"""What may exist only once in the whole configuration, across files."""

from __future__ import annotations

from monitor.config.findings import Findings
from monitor.config.problem import Path


class Uniques:
    """Remembers where each name was first written."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[Findings, Path]] = {}

    def note(self, kind: str, value: str, findings: Findings, path: Path, instead: str) -> None:
        """Remember *value*, or note that another place has it; *kind* says what it is: "mailbox address"."""
        if findings.is_blank(path):
            return
        first, place = self._first.setdefault((kind, value.casefold()), (findings, path))
        if first is not findings or place != path:
            findings.error(path, f"the {kind} '{value}' is also at {first.where(place)}", instead)
