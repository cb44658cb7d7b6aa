"""High-water mark in files outside the store: in the state directory, and in the tray of letters."""

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

from alerts.persistence.restoration import HighWaterMark, highest, latest, mark_of

log = structlog.get_logger()

#: Hidden: clerks do not need it.
FILE = ".pantau-mark.json"
#: In seconds: an unresponsive network share must not delay notifications.
_PATIENCE = 5.0


class HighWaterMarkFiles:
    """One file in each directory. An unreadable one is ignored; an unwritable one is logged once."""

    def __init__(self, directories: Callable[[], Sequence[Path]]) -> None:
        """*directories* returns the current ones; a reload may add a tray."""
        self._directories = directories
        self._written: dict[Path, HighWaterMark] = {}
        self._hanging: set[Path] = set()

    @property
    def _files(self) -> Sequence[Path]:
        return [directory / FILE for directory in dict.fromkeys(self._directories())]

    async def read(self) -> Sequence[HighWaterMark]:
        """Return the readable marks."""
        found = [await self._in_time(file, _read, file) for file in self._files]
        return [mark for mark in found if mark is not None]

    async def write(self, mark: HighWaterMark) -> None:
        """Write *mark* where it is missing. Marks of other processes on the same store are kept."""
        for file in self._files:
            if self._written.get(file) != mark and await self._in_time(file, _write, file, mark) is not None:
                self._written[file] = mark

    async def _in_time(self, file: Path, do: object, *arguments: object) -> HighWaterMark | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                done: HighWaterMark | None = await asyncio.to_thread(do, *arguments)  # type: ignore[arg-type]
        except (OSError, TimeoutError) as error:
            if file not in self._hanging:
                why = getattr(error, "strerror", None) or "it does not answer in time"
                log.warning("high-water mark cannot be written", file=str(file), reason=why)
            self._hanging.add(file)
            return None
        self._hanging.discard(file)
        return done


def _read(file: Path) -> HighWaterMark | None:
    try:
        return mark_of(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError):
        log.warning("not a high-water mark file; ignored", file=str(file))
        return None


def _write(file: Path, mark: HighWaterMark) -> HighWaterMark | None:
    before = _read(file)
    noted = mark
    if before is not None and before.chain == mark.chain:
        pages = latest(highest([before.pages, mark.pages]))
        noted = replace(mark, numbers=highest([before.numbers, mark.numbers]), pages=pages)
    if noted == before:
        return mark
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=f"{file.name}-", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as written:
            json.dump(noted.as_json(), written, indent=1)
            written.flush()
            os.fsync(written.fileno())
        Path(part).rename(file)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
    return mark
