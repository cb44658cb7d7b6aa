"""Check that no file uses an old name. `make lint` runs it; tests/old_words.tsv has the pairs.

A pair is `OLD<tab>NEW`. An old name matches as a whole word, and the dotted name of a module also as a path. What is listed
must be gone from every file outside of `EXEMPT`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "tests" / "old_words.tsv"

#: Beginnings of the paths of files that name old words.
EXEMPT = (
    "CHANGELOG.md",
    "docs/adr/",
    "monitor/store/schema/migrations/versions/",
    "monitor/store/schema/renamed.py",
    "tests/contracts/released.json",
    "tests/contracts/release_0_2_0.json",
    "tests/contracts/test_store_schema.py",
    "monitor/model/renamed_keys.py",
    "tests/unit/monitor/config/test_renamed_keys.py",
    "tests/old_words.tsv",
)

_WORD = frozenset(each for each in range(256) if each >= 128 or chr(each).isalnum() or chr(each) == "_")
_SPACES = bytes(each if each in _WORD else ord(" ") for each in range(256))
_MODULE = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWord:
    """Use of an old name."""

    file: str
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old!r} is an old name; write {self.new!r}"


class Vocabulary:
    """Index of old names by one of their words: a file is searched only for names whose word it contains."""

    def __init__(self, pairs: dict[str, str]) -> None:
        self._by_word: dict[bytes, list[tuple[bytes, str, str]]] = {}
        for old, new in pairs.items():
            for written in {old, old.replace(".", "/")} if _MODULE.fullmatch(old) else {old}:
                word = max(written.encode().translate(_SPACES).split(), key=len)
                self._by_word.setdefault(word, []).append((written.encode(), old, new))

    def find(self, file: str, octets: bytes) -> Iterator[OldWord]:
        """Return the old names in a file. It takes octets, because there are fourteen million."""
        for word in self._by_word.keys() & set(octets.translate(_SPACES).split()):
            for written, old, new in self._by_word[word]:
                for at in _whole(written, octets):
                    yield OldWord(file=file, line=octets.count(b"\n", 0, at) + 1, old=old, new=new)


def _whole(written: bytes, octets: bytes) -> Iterator[int]:
    """Return where *written* stands in *octets* as a whole word."""
    at = octets.find(written)
    while at >= 0:
        before, after = octets[max(at - 1, 0) : at], octets[at + len(written) : at + len(written) + 1]
        joined = (before and _in_word(before + written[:1])) or (after and _in_word(written[-1:] + after))
        if not joined:
            yield at
        at = octets.find(written, at + 1)


def _in_word(two: bytes) -> bool:
    """Whether two octets stand within one word."""
    return all(each in _WORD or each == ord("-") for each in two)


def read(file: Path = PAIRS) -> dict[str, str]:
    """Return the pairs of the list."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if line and not line.startswith("#"))


def tracked(root: Path = ROOT) -> list[str]:
    """Return the files of the repository, also those that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name]


def find(root: Path, names: list[str], pairs: dict[str, str]) -> list[OldWord]:
    """Return the old names in the files *names* below *root*, by file and line."""
    vocabulary = Vocabulary(pairs)
    found: list[OldWord] = []
    for name in names:
        if name.startswith(EXEMPT) or not (root / name).is_file():
            continue
        found.extend(vocabulary.find(name, (root / name).read_bytes()))
    return sorted(found, key=lambda each: (each.file, each.line, each.old))


if __name__ == "__main__":
    if words := find(ROOT, tracked(), read()):
        sys.exit("\n".join(map(str, words)))
