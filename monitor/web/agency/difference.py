"""Line-by-line difference between two texts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from typing import Final

#: Lines. A comparison of longer texts may take seconds and is unreadable.
_LONGEST: Final = 1_500


def differing_lines(before: str, after: str) -> Sequence[tuple[str, str]] | None:
    """Return the changed lines with context, each with "+", "-" or " "; `None` if the texts are too long to compare.

    A line with "@" marks omitted lines and gives the position after them.
    """
    one, other = before.splitlines(), after.splitlines()
    if max(len(one), len(other)) > _LONGEST:
        return None
    found = list(unified_diff(one, other, lineterm="", n=3))[2:]
    return [(line[:1], line if line[:1] == "@" else line[1:]) for line in found]
