"""What is different between two texts, line by line, as pages show it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from typing import Final

#: In lines. To compare longer ones may take seconds, and nobody reads it.
_LONGEST: Final = 1_500


def differing_lines(before: str, after: str) -> Sequence[tuple[str, str]] | None:
    """Return the lines that differ, and some around them, each with "+", "-" or " "; `None`: too long to compare.

    Where lines are left out, one with "@" tells where it goes on.
    """
    one, other = before.splitlines(), after.splitlines()
    if max(len(one), len(other)) > _LONGEST:
        return None
    found = list(unified_diff(one, other, lineterm="", n=3))[2:]
    return [(line[:1], line if line[:1] == "@" else line[1:]) for line in found]
