"""Shell commands of a document, as an operator would copy them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(document: str, heading: str) -> list[str]:
    """Return the shell blocks in the section *heading* of a document. Raise `LookupError` if it has none."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,6}} |\Z)", _without_comments(text), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise LookupError(f"{document} has no section {heading!r}")
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", found[2], re.MULTILINE | re.DOTALL)
    if not blocks:
        raise LookupError(f"{document}, {heading!r}, has no commands")
    return [textwrap.dedent(block) for _, block in blocks]


def _without_comments(text: str) -> str:
    # In a block of shell "# ..." is no heading.
    return re.sub(
        r"^ *```sh\n.*?^ *```$",
        lambda block: re.sub(r"^( *)#.*\n", "", block[0], flags=re.MULTILINE),
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
