"""Letter tray: a directory of PDF files from which a clerk prints, signs and posts letters.

A letter is a file, and its directory is its state: the tray itself (to be posted), `posted/` (a clerk has recorded the
posting) or `withdrawn/`. After a crash the directories show whether a letter was written, so no letter is written
twice.
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
from typing import NamedTuple, TypeVar

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

#: Valid reference of an attempt (one request to send). It becomes part of a file name, and may come from a browser.
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
#: Number of threads for file operations. The engine, which writes letters, and the web pages for clerks share them.
_MAX_THREADS = 6

#: Folder of posted letters in version 0.2.0. Letters in it count as posted.
_OLD_POSTED_FOLDER = "dispatched"

#: Maximum size of a letter that is read. Letters with a crest are far smaller.
_MAX_OCTETS = 4 * 1024 * 1024


class LetterPlace(StrEnum):
    """Place of a letter: a directory below the tray."""

    TRAY = "."
    POSTED = "posted"
    WITHDRAWN = "withdrawn"


class _FoundLetter(NamedTuple):
    place: LetterPlace
    path: Path


class TraySettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The tray's directory; a relative path starts at the directory of the configuration.
    directory: Path


class Tray:
    """Gateway that writes letters to a directory. `alerts.model.gateway` documents its methods.

    File operations run in threads, because the directory may be on a network share that hangs. The tray has its own
    threads: a hanging thread cannot be stopped, and on two cores `asyncio.to_thread` has only six threads for the whole
    service.
    """

    def __init__(self, settings: TraySettings, context: GatewayContext) -> None:
        self.directory = Path(context.directory) / settings.directory
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="tray")

    async def send(self, request: SendRequest) -> DeliveryReport:
        return await self._in_thread(self._write, request, request.content_as(PageContent))

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        letter = await self._in_thread(self._find, request.reference)
        return SubmissionNotFound(certain=True) if letter is None else _report(request.reference, letter.place)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        letter = await self._in_thread(self._find, provider_id)
        if letter is None:
            raise DeliveryError(ErrorClass.UNKNOWN, "the letter is no longer in the tray", code="missing")
        return _report(request.reference, letter.place)

    async def withdraw(self, request: SendRequest, provider_id: str) -> bool:  # noqa: ARG002 - both are the reference
        return await self._in_thread(self._move, request.reference, LetterPlace.WITHDRAWN)

    async def verify(self) -> None:
        await self._in_thread(self._verify)

    async def record_posting(self, reference: str, *, already_posted: bool = False) -> bool:
        """Move a letter to `posted/`; with *already_posted*, also a letter that was withdrawn after its posting.

        Return whether the letter is there afterwards.
        """
        from_places = (LetterPlace.TRAY, LetterPlace.WITHDRAWN) if already_posted else (LetterPlace.TRAY,)
        return await self._in_thread(self._move, reference, LetterPlace.POSTED, from_places)

    async def undo_posting(self, reference: str) -> bool:
        return await self._in_thread(self._move, reference, LetterPlace.TRAY, (LetterPlace.POSTED,))

    async def list_letters(self) -> Sequence[tuple[str, str]]:
        """Return reference and path of each letter that is in the tray or posted, the oldest first.

        The path is relative to the tray's directory.
        """
        return await self._in_thread(self._list)

    async def read(self, references: Collection[str]) -> Mapping[str, bytes]:
        """Return the PDF files of those letters of *references* that are in the tray, by reference.

        Posted and withdrawn letters are left out, so that nobody prints them again.
        """
        return await self._in_thread(self._read, set(references))

    async def remove_incomplete(self) -> None:
        """Remove temporary files that a killed process has left."""
        await self._in_thread(self._remove_incomplete)

    async def handle_callback(self, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:  # noqa: ARG002 - a directory has no callbacks
        raise CallbackRejectedError(404, "a tray has no callbacks")

    async def close(self) -> None:
        pass

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _write(self, request: SendRequest, content: PageContent) -> DeliveryReport:
        letter = self._find(request.reference)
        if letter is not None:
            return _report(request.reference, letter.place)
        final = self.directory / _file_name(request, content)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _write_atomically(final, request.reference, content.pdf)
        except OSError as error:
            raise _directory_error(error) from None
        return _report(request.reference, LetterPlace.TRAY)

    def _verify(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(b" ")
        except OSError as error:
            raise _directory_error(error) from None

    def _remove_incomplete(self) -> None:
        try:
            leftovers = list(self.directory.glob(".*_*.part"))
        except OSError as error:
            raise _directory_error(error) from None
        for leftover in leftovers:
            # An error means that the file no longer exists, is locked by another process, or is on a share without
            # locks. The file may stay, because it is hidden and nobody prints it.
            with contextlib.suppress(OSError), leftover.open("rb") as file:
                # A process holds the lock while it writes the file.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()

    def _list(self) -> Sequence[tuple[str, str]]:
        try:
            paths = [
                path.relative_to(self.directory)
                for place in (LetterPlace.TRAY, LetterPlace.POSTED)
                for path in self._letters_in(place)
            ]
        except OSError as error:
            raise _directory_error(error) from None
        # A file name is "<date>_<reference>_<title>.pdf".
        split_names = [(path.name.split("_"), path) for path in sorted(paths, key=lambda path: path.name)]
        return [(parts[1], str(path)) for parts, path in split_names if len(parts) > 2]

    def _read(self, references: AbstractSet[str]) -> Mapping[str, bytes]:
        pdfs = dict[str, bytes]()
        try:
            # One listing finds the letters of all references.
            for path in self.directory.iterdir():
                for reference in references & set(path.name.split("_")[1:-1]):
                    # A clerk may move the file at this moment.
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_size <= _MAX_OCTETS:
                            pdfs[reference] = path.read_bytes()
        except OSError as error:
            raise _directory_error(error) from None
        return pdfs

    def _find(self, reference: str) -> _FoundLetter | None:
        """Return a letter's place and path; `None` if no directory has the letter.

        The tray is read before the directories that letters move to, so that a letter is found even while it moves.
        """
        if not _REFERENCE.fullmatch(reference):
            return None
        try:
            for place in LetterPlace:
                for path in self._letters_in(place):
                    # A clerk may have added text to the name: "dipos 2026-11-24_d42-1_gangguan.PDF".
                    if f"_{reference}_" in path.name:
                        return _FoundLetter(place, path)
        except OSError as error:
            raise _directory_error(error) from None
        return None

    def _letters_in(self, place: LetterPlace) -> Iterator[Path]:
        folders = [
            self.directory / place,
            *([self.directory / _OLD_POSTED_FOLDER] if place is LetterPlace.POSTED else []),
        ]
        paths = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
        return (path for path in paths if path.suffix.lower() == ".pdf")

    def _move(
        self, reference: str, place: LetterPlace, from_places: Collection[LetterPlace] = (LetterPlace.TRAY,)
    ) -> bool:
        """Move a letter to *place* if it is in one of *from_places*. Return whether it is in *place* afterwards."""
        letter = self._find(reference)
        if letter is None or letter.place not in from_places:
            return letter is not None and letter.place is place
        target = self.directory / place
        try:
            target.mkdir(exist_ok=True)
            letter.path.rename(target / letter.path.name)
        except FileNotFoundError:
            # A clerk and the engine, which withdraws letters, may move a letter at the same time. The first rename
            # decides.
            letter = self._find(reference)
            return letter is not None and letter.place is place
        except OSError as error:
            raise _directory_error(error) from None
        return True


def _write_atomically(final: Path, reference: str, pdf: bytes) -> None:
    """Write a letter atomically: after a crash or a power cut the file is complete or missing."""
    # Each call has its own temporary file, because an earlier call may still hang in a thread.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{reference}_", suffix=".part", dir=final.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The clerk belongs to the group of the service. mkstemp gives access to the service's user only.
            os.fchmod(file.fileno(), 0o640)
            file.write(pdf)
            file.flush()
            os.fsync(file.fileno())
            # The lock is held during the rename, because temporary files without a lock are removed.
            Path(temporary).rename(final)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    # The temporary files of earlier calls are removed. Otherwise an earlier call that still hangs could create the
    # letter a second time, after a clerk has posted the first copy.
    for leftover in final.parent.glob(f".{reference}_*.part"):
        leftover.unlink(missing_ok=True)
    # The directory is synced, so that the file name survives a power cut. The error of a share that cannot sync is
    # ignored.
    with contextlib.suppress(OSError):
        directory = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _file_name(request: SendRequest, content: PageContent) -> str:
    """Return a file name that sorts by date: "2026-11-24_d42-1_gangguan-e-mel-jabatan-contoh.pdf"."""
    date = request.created_at.astimezone(_MALAYSIA).date().isoformat()
    if not _REFERENCE.fullmatch(request.reference):
        raise ValueError(f"the reference is not safe in a file name: {request.reference!r}")
    return f"{date}_{request.reference}_{_slug(content.title, request.address)}.pdf"


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


def _directory_error(error: OSError) -> DeliveryError:
    # The detail is the text of the error number: str(error) contains the path with the recipient's name.
    return DeliveryError(ErrorClass.CONFIGURATION, error.strerror or type(error).__name__, code=str(error.errno or ""))


GATEWAY = GatewayKind(name="tray", channel=Channel.LETTER, config=TraySettings, build=Tray)
