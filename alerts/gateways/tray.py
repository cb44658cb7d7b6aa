"""Letter tray: a directory from which a clerk prints, signs and posts.

A letter's directory is its state: the tray, `posted/` (a clerk has recorded the posting) or `withdrawn/`. So a
letter is found with certainty after a crash, and is never queued twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from alerts.model.channel import Channel
from alerts.model.gateway import (
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    GatewayContext,
    GatewayKind,
    PageContent,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
)

T = TypeVar("T")

#: The date in a file name is in the clerk's time zone. Malaysia has no daylight saving time.
_MALAYSIA = timezone(timedelta(hours=8))

#: A reference is part of a file name, and `dispatch` is called with a browser's input.
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
#: As many calls as a gateway makes at a time, besides the lists and pages of clerks.
_AT_ONCE = 6

#: Folder of posted letters in 0.2.0. They stay there, and count as posted.
_POSTED_BEFORE = "dispatched"

#: Octets: our letters, with a crest, are far smaller.
_LARGEST = 4 * 1024 * 1024


class LetterPlace(StrEnum):
    """Place of a letter: a directory below the tray."""

    TRAY = "."
    POSTED = "posted"
    WITHDRAWN = "withdrawn"


class TraySettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The tray's directory, relative to the service's.
    directory: Path


class Tray:
    """Queues letters in a directory. File operations run in threads: the directory may be on a network share that hangs.

    The tray has threads of its own: one that hangs cannot be stopped, and `asyncio.to_thread` has six for the whole
    service on two cores.
    """

    def __init__(self, settings: TraySettings, surroundings: GatewayContext) -> None:
        self.directory = Path(surroundings.directory) / settings.directory
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tray")

    async def send(self, order: SendRequest) -> DeliveryReport:
        return await self._in_thread(self._lay, order, order.carried(PageContent))

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        found = await self._in_thread(self._look, order.reference)
        return SubmissionNotFound(certain=True) if found is None else _report(order.reference, found[0])

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        found = await self._in_thread(self._look, provider_id)
        if found is None:
            raise DeliveryError(ErrorClass.UNKNOWN, "the letter is no longer in the tray", code="missing")
        return _report(order.reference, found[0])

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:  # noqa: ARG002 - both are the reference
        return await self._in_thread(self._move, order.reference, LetterPlace.WITHDRAWN)

    async def verify(self) -> None:
        await self._in_thread(self._verify)

    async def dispatch(self, reference: str, *, already_posted: bool = False) -> bool:
        found_in = (LetterPlace.TRAY, LetterPlace.WITHDRAWN) if already_posted else (LetterPlace.TRAY,)
        return await self._in_thread(self._move, reference, LetterPlace.POSTED, found_in)

    async def undispatch(self, reference: str) -> bool:
        return await self._in_thread(self._move, reference, LetterPlace.TRAY, (LetterPlace.POSTED,))

    async def lying(self) -> Sequence[tuple[str, str]]:
        """Return reference and place of each letter in the tray or posted, the oldest first."""
        return await self._in_thread(self._list)

    async def read(self, references: Collection[str]) -> Mapping[str, bytes]:
        """Return those of the letters that are in the tray, by reference.

        Letters that left it are not printed again.
        """
        return await self._in_thread(self._read, set(references))

    async def tidy(self) -> None:
        await self._in_thread(self._clear)

    async def hear(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:  # noqa: ARG002 - a directory calls nobody
        raise CallbackRejectedError(404, "a tray has no callbacks")

    async def close(self) -> None:
        pass

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _lay(self, order: SendRequest, content: PageContent) -> DeliveryReport:
        found = self._look(order.reference)
        if found is not None:
            return _report(order.reference, found[0])
        final = self.directory / _file_name(order, content)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _write_whole(final, order.reference, content.pdf)
        except OSError as error:
            raise _unusable(error) from None
        return _report(order.reference, LetterPlace.TRAY)

    def _verify(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(b" ")
        except OSError as error:
            raise _unusable(error) from None

    def _clear(self) -> None:
        try:
            leftovers = list(self.directory.glob(".*_*.part"))
        except OSError as error:
            raise _unusable(error) from None
        for leftover in leftovers:
            # The file is gone, locked by another process, or on a share without locks: it stays, and nobody prints it.
            with contextlib.suppress(OSError), leftover.open("rb") as file:
                # A process that still writes the file holds the lock; its death releases it.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()

    def _list(self) -> Sequence[tuple[str, str]]:
        try:
            found = [
                path.relative_to(self.directory)
                for place in (LetterPlace.TRAY, LetterPlace.POSTED)
                for path in self._in(place)
            ]
        except OSError as error:
            raise _unusable(error) from None
        parts = [(path.name.split("_"), path) for path in sorted(found, key=lambda path: path.name)]
        return [(name[1], str(path)) for name, path in parts if len(name) > 2]

    def _read(self, references: AbstractSet[str]) -> Mapping[str, bytes]:
        found = dict[str, bytes]()
        try:
            # The tray is listed once, for any number of references.
            for path in self.directory.iterdir():
                for reference in references & set(path.name.split("_")[1:-1]):
                    # A clerk may have moved the file just now.
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_size <= _LARGEST:
                            found[reference] = path.read_bytes()
        except OSError as error:
            raise _unusable(error) from None
        return found

    def _look(self, reference: str) -> tuple[LetterPlace, Path] | None:
        """Return place and path of a letter.

        The directories that it moves to are read last, so a moving letter is found.
        """
        if not _REFERENCE.fullmatch(reference):
            return None
        try:
            for place in LetterPlace:
                for path in self._in(place):
                    # A clerk may have added text to the name: "dipos 2026-11-24_d42-1_gangguan.PDF".
                    if f"_{reference}_" in path.name:
                        return place, path
        except OSError as error:
            raise _unusable(error) from None
        return None

    def _in(self, place: LetterPlace) -> Iterator[Path]:
        folders = [self.directory / place, *([self.directory / _POSTED_BEFORE] if place is LetterPlace.POSTED else [])]
        paths = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
        return (path for path in paths if path.suffix.lower() == ".pdf")

    def _move(
        self, reference: str, place: LetterPlace, found_in: Collection[LetterPlace] = (LetterPlace.TRAY,)
    ) -> bool:
        """Move a letter out of the tray. Return whether it is in *place* afterwards."""
        found = self._look(reference)
        if found is None or found[0] not in found_in:
            return found is not None and found[0] is place
        target = self.directory / place
        try:
            target.mkdir(exist_ok=True)
            found[1].rename(target / found[1].name)
        except FileNotFoundError:
            # A clerk and a recovery may move it at the same moment: the rename decides.
            found = self._look(reference)
            return found is not None and found[0] is place
        except OSError as error:
            raise _unusable(error) from None
        return True


def _write_whole(final: Path, reference: str, pdf: bytes) -> None:
    """Write atomically: after a crash or a power cut the letter is complete or missing."""
    # A temporary name for each attempt: one that hangs in a thread must not write into the next one's file.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{reference}_", suffix=".part", dir=final.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The clerk belongs to the service's group; mkstemp gives access to the service only.
            os.fchmod(file.fileno(), 0o640)
            file.write(pdf)
            file.flush()
            os.fsync(file.fileno())
            # Rename while the lock is held: files without a lock are removed.
            Path(temporary).rename(final)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    # The file of an older attempt that hangs is removed, so that it cannot queue a posted letter again.
    for leftover in final.parent.glob(f".{reference}_*.part"):
        leftover.unlink(missing_ok=True)
    # Sync the directory, so that the name survives a power cut. Network shares may refuse; the letter is there all the
    # same.
    with contextlib.suppress(OSError):
        directory = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _file_name(order: SendRequest, content: PageContent) -> str:
    """Return "2026-11-24_d42-1_gangguan-e-mel-jabatan-contoh.pdf": sorts by date and names the content."""
    date = order.created_at.astimezone(_MALAYSIA).date().isoformat()
    if not _REFERENCE.fullmatch(order.reference):
        raise ValueError(f"a reference that is not safe in a file name: {order.reference!r}")
    return f"{date}_{order.reference}_{_slug(content.title, order.address)}.pdf"


def _slug(*texts: str) -> str:
    plain = unicodedata.normalize("NFKD", " ".join(texts)).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain))[:100].rstrip("-") or "surat"


def _report(reference: str, place: LetterPlace) -> DeliveryReport:
    match place:
        case LetterPlace.TRAY:
            return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=reference)
        case LetterPlace.POSTED:
            return DeliveryReport(progress=SubmissionState.SENT, provider_id=reference)
        case LetterPlace.WITHDRAWN:
            return DeliveryReport(
                progress=SubmissionState.FAILED,
                provider_id=reference,
                error=ErrorClass.PERMANENT,
                code="withdrawn",
                detail="withdrawn before it was posted",
            )


def _unusable(error: OSError) -> DeliveryError:
    # Use the errno's text, not str(error): the path contains the recipient's name.
    return DeliveryError(ErrorClass.CONFIGURATION, error.strerror or type(error).__name__, code=str(error.errno or ""))


GATEWAY = GatewayKind(name="tray", channel=Channel.LETTER, config=TraySettings, build=Tray)
