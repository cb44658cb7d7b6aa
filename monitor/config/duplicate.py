"""What may exist only once in the whole configuration, across files."""

from __future__ import annotations

from monitor.config.findings import Findings
from monitor.config.problem import Path


class Uniques:
    """Remembers where each name was first written."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[Findings, Path]] = {}

    def note(self, kind: str, value: str, findings: Findings, path: Path, instead: str) -> bool:
        """Remember *value*, or note that another place has it; *kind* says what it is: "mailbox address".

        Return whether it is here only, as far as is known.
        """
        if findings.is_blank(path):
            return True
        first, place = self._first.setdefault((kind, value.casefold()), (findings, path))
        is_new = first is findings and place == path
        if not is_new:
            findings.error(path, f"the {kind} '{value}' is also at {first.where(place)}", instead)
        return is_new
