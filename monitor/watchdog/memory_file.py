"""What the lifeline remembers from one life of the process to the next: a small file beside the store.

It is made once, at its full size, and then written over in place: on a disk that is full, which is what it is for, a new
file could not be written. A file that cannot be read is as good as none.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from monitor.judging.ringing import Memory, Spell, Trouble

_MEMORY = TypeAdapter(dict[Trouble, Spell])

#: One block of any disk: it is written whole or not at all, as far as disks promise anything.
_SIZE = 512


class MemoryFile:
    """The file. Small enough that reading and writing it blocks for no time worth a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Memory:
        """Return what is remembered; nothing when there is no file, or none that makes sense."""
        try:
            return _MEMORY.validate_json(self._path.read_bytes().rstrip(b" \0"))
        except (OSError, ValidationError):
            return {}

    def write(self, memory: Memory) -> bool:
        """Remember; return whether it could be written."""
        octets = _MEMORY.dump_json(dict(memory))
        if len(octets) > _SIZE:
            # Names are short; but a name that is not must cost the name and not the memory.
            octets = _MEMORY.dump_json({trouble: _nameless(spell) for trouble, spell in memory.items()})
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.pwrite(descriptor, octets.ljust(_SIZE), 0)
            os.fsync(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def _nameless(spell: Spell) -> Spell:
    return Spell(since=spell.since, told_at=spell.told_at, failed_at=spell.failed_at)
