"""Detection of files that git tracks: a tracked secret remains in every clone, even after the file is deleted."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from monitor.config.files.regular import FileStamp, NotRegularFileError, read_regular

#: Maximum size of a git index in octets: that of some hundred thousand files.
_MAX_INDEX_OCTETS: Final = 16 * 1024 * 1024


def is_tracked(file: Path) -> bool:
    """Whether *file* is in the index of the git work tree that contains it.

    The function reads the index itself, because git would execute commands from the configuration of the tree's owner.
    It returns false for an index of version 4, which abbreviates paths, and for a linked work tree.
    """
    try:
        resolved = file.parent.resolve(strict=True) / file.name
    except OSError:
        return False
    work_tree = next((each for each in resolved.parents if (each / ".git" / "index").is_file()), None)
    if work_tree is None:
        return False
    name = os.fsencode(resolved.relative_to(work_tree))
    # An entry ends with the path's length in 12 bits, the path, and NUL (gitformat-index(5)). Search for the low octet
    # of the length, so that the path does not match the end of a longer one.
    return bytes([min(len(name), 0xFFF) & 0xFF]) + name + b"\0" in _read(work_tree / ".git" / "index")


def _read(index: Path) -> bytes:
    # `None`: the index is missing, or was changed a moment ago, so that a change could remain undetected.
    stamp = FileStamp.of(index)
    return _read_uncached(index) if stamp is None else _read_cached(index, stamp)


@lru_cache(maxsize=1)
def _read_cached(index: Path, _stamp: FileStamp) -> bytes:
    """Return the content of *index*, cached by *_stamp*, because one tree may contain hundreds of secrets."""
    return _read_uncached(index)


def _read_uncached(index: Path) -> bytes:
    try:
        return read_regular(index, _MAX_INDEX_OCTETS)
    except (OSError, NotRegularFileError):
        return b""
