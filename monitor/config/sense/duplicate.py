"""What may exist only once in the whole configuration, across files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A name that a file takes for itself."""

    #: What it is: "mailbox address".
    kind: str
    name: str
    path: Path
    #: What to write instead where it is taken.
    instead: str
    #: Goes without saying when this claim, of the same file, is refused.
    behind: Claim | None = None


class Uniques:
    """Remembers where each name was first written."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[Findings, Path]] = {}

    def settle(self, claims: Sequence[Claim], findings: Findings) -> None:
        """Remember the names that a file claims, or note in its *findings* that another place has them."""
        refused: set[Claim] = set()
        for claim in claims:
            if findings.is_blank(claim.path) or claim.behind in refused:
                continue
            first, place = self._first.setdefault((claim.kind, claim.name.casefold()), (findings, claim.path))
            if first is not findings or place != claim.path:
                refused.add(claim)
                where = f"is also at {first.where(place)}"
                findings.error(claim.path, f"the {claim.kind} '{claim.name}' {where}", claim.instead)
