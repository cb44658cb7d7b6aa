"""Files that git keeps: a secret among them stays in every clone, whatever becomes of the file."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from monitor.config.files.regular import FileStamp, NotRegularFileError, read_regular

#: The index of some hundred thousand files.
_INDEX_AT_MOST: Final = 16 * 1024 * 1024


def is_tracked(file: Path) -> bool:
    """Whether *file* is in the index of the git work tree around it.

    Git is not run: it obeys the configuration of whoever owns the tree. An index of version 4, which shortens paths, or of a
    linked work tree is not read.
    """
    try:
        place = file.parent.resolve(strict=True) / file.name
    except OSError:
        return False
    tree = next((each for each in place.parents if (each / ".git" / "index").is_file()), None)
    if tree is None:
        return False
    name = os.fsencode(place.relative_to(tree))
    # gitformat-index(5): the lower octet of the path's length, the path, NUL.
    return bytes([min(len(name), 0xFFF) & 0xFF]) + name + b"\0" in _read(tree / ".git" / "index")


def _read(index: Path) -> bytes:
    stamp = FileStamp.of(index)
    return _octets(index) if stamp is None else _kept(index, stamp)


@lru_cache(maxsize=1)
def _kept(index: Path, _stamp: FileStamp) -> bytes:
    """Return what *index* holds while it stands as it does: hundreds of secrets lie in one tree."""
    return _octets(index)


def _octets(index: Path) -> bytes:
    try:
        return read_regular(index, _INDEX_AT_MOST)
    except (OSError, NotRegularFileError):
        return b""
