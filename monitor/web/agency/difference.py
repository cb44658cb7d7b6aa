"""Line-by-line difference between two texts. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from typing import Final

#: Maximum number of lines of a text. A comparison of longer texts may take seconds, and nobody could read the result.
_MAX_LINES: Final = 1_500


def diff_lines(before: str, after: str) -> Sequence[tuple[str, str]] | None:
    """Return the changed lines with context; `None` if the texts are too long to compare.

    Each line is a pair: "+" (added), "-" (removed), " " (context) or "@", and the line. A line with "@" stands for
    omitted lines, and contains the position of the next line.
    """
    lines_before, lines_after = before.splitlines(), after.splitlines()
    if max(len(lines_before), len(lines_after)) > _MAX_LINES:
        return None
    # Skip the two lines with file names.
    diff = list(unified_diff(lines_before, lines_after, lineterm="", n=3))[2:]
    return [(line[:1], line if line[:1] == "@" else line[1:]) for line in diff]
