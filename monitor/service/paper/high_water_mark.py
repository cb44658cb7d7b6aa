"""Files outside the database with its high-water mark: its newest audit entry, and the highest assigned numbers.

These are numbers of incidents and of the pages about them, which are printed on letters and faxes. One file is in the
state directory, and one in each tray, a directory from which clerks print and post letters. A database that is behind
its mark was replaced by an older copy (see `RestoreGuard`).
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from alerts.persistence.restoration import HighWaterMark, latest_pages, merge_highest, read_mark

log = structlog.get_logger()

#: Name of the files. They are hidden, because clerks open the trays.
FILE = ".pantau-mark.json"
#: Time-out in seconds: an unresponsive network share must not delay notifications.
_TIMEOUT = 5.0


class HighWaterMarkFiles:
    """Reader and writer of one file in each directory. A file that cannot be accessed is logged once and skipped."""

    def __init__(self, directories: Callable[[], Sequence[Path]]) -> None:
        """Take *directories*, which returns the current directories: a reload may add a tray."""
        self._directories = directories
        #: By file: the mark that this process has written last.
        self._written: dict[Path, HighWaterMark] = {}
        #: Files whose last access failed.
        self._failing: set[Path] = set()

    @property
    def _files(self) -> Sequence[Path]:
        return [directory / FILE for directory in dict.fromkeys(self._directories())]

    async def read(self) -> Sequence[HighWaterMark]:
        """Return the marks of all readable files."""
        marks = [await self._within_deadline(file, _read, file) for file in self._files]
        return [mark for mark in marks if mark is not None]

    async def write(self, mark: HighWaterMark) -> None:
        """Write *mark* to each file that does not have it, merged with what other processes have written there."""
        for file in self._files:
            if self._written.get(file) != mark and await self._within_deadline(file, _write, file, mark) is not None:
                self._written[file] = mark

    async def _within_deadline(self, file: Path, operation: object, *arguments: object) -> HighWaterMark | None:
        """Call *operation* in a thread; return its result, or `None` if it fails or does not end in time."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                result: HighWaterMark | None = await asyncio.to_thread(operation, *arguments)  # type: ignore[arg-type]
        except (OSError, TimeoutError) as error:
            if file not in self._failing:
                reason = getattr(error, "strerror", None) or "it does not answer in time"
                log.warning("high-water mark cannot be written", file=str(file), reason=reason)
            self._failing.add(file)
            return None
        self._failing.discard(file)
        return result


def _read(file: Path) -> HighWaterMark | None:
    try:
        return read_mark(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError):
        log.warning("not a high-water mark file; ignored", file=str(file))
        return None


def _write(file: Path, mark: HighWaterMark) -> HighWaterMark | None:
    """Write *mark*, merged with the file's mark of the same database. Return *mark* as a sign of success.

    Raise `OSError`.
    """
    stored = _read(file)
    merged = mark
    # `chain` identifies the database: its audit log, in which each entry contains the hash of the previous one.
    if stored is not None and stored.chain == mark.chain:
        # `latest_pages` drops the oldest incidents above a maximum number.
        pages = latest_pages(merge_highest([stored.pages, mark.pages]))
        merged = replace(mark, numbers=merge_highest([stored.numbers, mark.numbers]), pages=pages)
    if merged == stored:
        return mark
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f"{file.name}-", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(merged.as_json(), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).rename(file)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    return mark
