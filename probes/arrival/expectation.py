"""What a run waits for in a mailbox: its message, or a report about it."""

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
    """Where the message was found."""

    INBOX = "inbox"
    JUNK = "junk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The message is in the mailbox. Its content is still to be fetched."""

    folder: FolderKind
    at: datetime
    #: When it came to the server, by the server's clock; `None` when it was not asked for that, as while all is well.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedElsewhere:
    """The message lies in a folder of the mailbox that is not watched."""

    #: The folder's name, as people read it.
    name: str
    content: bytes
    at: datetime
    since: datetime | None = None


class Expectation:
    """A claim on the mail with one token. Use it with `with`: when it ends, what still comes is late.

    The futures carry a failure as a value, because a run may end without ever asking for them.
    """

    def __init__(
        self, token: Token, party: Party, *, stir: Callable[[], None], over: Callable[[Expectation], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.token = token
        #: The side of the run that waits here: the recipient for the message, the sender for a report only.
        self.party = party
        #: The mailbox is being read (`None`) or cannot be.
        self.ready: asyncio.Future[ProbeFailedError | None] = loop.create_future()
        self.seen: asyncio.Future[Arrived | DsnReport | ProbeFailedError] = loop.create_future()
        self.content: asyncio.Future[bytes | ProbeFailedError] = loop.create_future()
        #: Found in another folder. It may come to the inbox all the same: this counts when nothing more is waited for.
        self.elsewhere: ArrivedElsewhere | None = None
        #: When looking became worth the while, on the loop's clock.
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
        """Ask to look quickly from now on: the server has taken the message."""
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
        """Tell the run that the mailbox cannot be read. A report is waited for in spite of it."""
        if self.party is Party.SENDER:
            return
        for future in (self.ready, self.seen, self.content):
            if not future.done():
                future.set_result(failure)
