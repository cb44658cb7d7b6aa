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
        self._first: dict[tuple[str, str], Findings] = {}

    def settle(self, claims: Sequence[Claim], findings: Findings) -> None:
        """Remember the names that a file claims, or note in its *findings* that another place has them."""
        refused: set[Claim] = set()
        for claim in claims:
            here = findings[claim.path]
            if here.is_blank or claim.behind in refused:
                continue
            first = self._first.setdefault((claim.kind, claim.name.casefold()), here)
            if first is not here:
                refused.add(claim)
                here.error(f"the {claim.kind} '{claim.name}' is also at {first.where}", claim.instead)
