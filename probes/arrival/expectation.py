"""The expectation of a run in a mailbox: its message, or a report about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Self

from probes.mail.bounce import DsnReport
from probes.mail.token import Token
from probes.model.probe import ProbeFailedError
from probes.model.result import Party


class FolderKind(StrEnum):
    """Folder in which the message was found."""

    INBOX = "inbox"
    JUNK = "junk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Arrival of the message in the mailbox; its content is not fetched yet."""

    folder: FolderKind
    at: datetime
    #: Arrival time by the server's clock; `None` when it was not requested, as in normal operation.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedElsewhere:
    """Arrival of the message in a folder of the mailbox that is not watched."""

    #: The display name of the folder.
    name: str
    content: bytes
    at: datetime
    since: datetime | None = None


class Expectation:
    """Registration for the mail with one token, as a context manager: mail that arrives after its end is late.

    The futures carry a failure as a value, because a run may end without awaiting them.
    """

    def __init__(
        self, token: Token, party: Party, *, stir: Callable[[], None], over: Callable[[Expectation], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.token = token
        #: The waiting side of the run: the recipient for the message, the sender only for a report.
        self.party = party
        #: The result is `None` when the mailbox is being read, otherwise the failure.
        self.ready: asyncio.Future[ProbeFailedError | None] = loop.create_future()
        self.seen: asyncio.Future[Arrived | DsnReport | ProbeFailedError] = loop.create_future()
        self.content: asyncio.Future[bytes | ProbeFailedError] = loop.create_future()
        #: Found in another folder. The message may still arrive in the inbox, so this counts only when the wait is
        #: over.
        self.elsewhere: ArrivedElsewhere | None = None
        #: Time from which quick polling is worthwhile, on the loop's clock.
        self.hurried_at: float | None = None
        self._stir = stir
        self._over = over

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over(self)

    def hurry(self) -> None:
        """Request quick polling from now on: the server has accepted the message."""
        self.hurried_at = asyncio.get_running_loop().time()
        self._stir()

    def be_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def see(self, what: Arrived | DsnReport) -> None:
        if not self.seen.done():
            self.seen.set_result(what)

    def hand(self, content: bytes) -> None:
        if not self.content.done():
            self.content.set_result(content)

    def fail(self, failure: ProbeFailedError) -> None:
        """Report to the run that the mailbox cannot be read; a report is still awaited."""
        if self.party is Party.SENDER:
            return
        for future in (self.ready, self.seen, self.content):
            if not future.done():
                future.set_result(failure)
