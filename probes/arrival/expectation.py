"""Expectation of a run (one execution of a probe) in a mailbox: the futures for the run's message, or for its bounce.

The final search looks for a missing message in all folders of the mailbox before the message counts as lost.
"""

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
    """Kind of the folder in which a message was found."""

    INBOX = "inbox"
    JUNK = "junk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Arrival of the message in the inbox or a junk folder; its content is not fetched yet."""

    folder: FolderKind
    #: Time at which the message was found.
    arrived_at: datetime
    #: Arrival time by the server's clock (INTERNALDATE). Only the final search requests it; otherwise `None`.
    server_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedElsewhere:
    """Arrival of the message in a folder that the watcher does not read."""

    #: The display name of the folder.
    folder_name: str
    #: The whole message.
    content: bytes
    arrived_at: datetime
    server_time: datetime | None = None


class Expectation:
    """Registration of a run for mail with its token, as a context manager. Mail that arrives after the exit is late.

    A failure is the result of a future, not its exception, because a run may end without awaiting its futures (asyncio
    logs exceptions that nobody retrieves).
    """

    def __init__(
        self, token: Token, party: Party, *, wake: Callable[[], None], on_end: Callable[[Expectation], None]
    ) -> None:
        """*wake*: makes the watcher of the mailbox poll. *on_end*: called at the exit."""
        loop = asyncio.get_running_loop()
        self.token = token
        #: The end of the route that waits: the recipient for the message or a bounce, the sender only for a bounce.
        self.party = party
        #: Result: `None` when the mailbox can be read, or the failure.
        self.ready: asyncio.Future[ProbeFailedError | None] = loop.create_future()
        #: Result: the arrival of the message, a bounce of it, or the failure to read the mailbox.
        self.arrival: asyncio.Future[Arrived | DsnReport | ProbeFailedError] = loop.create_future()
        #: Result: the whole message (empty if another client has deleted it), or the failure.
        self.content: asyncio.Future[bytes | ProbeFailedError] = loop.create_future()
        #: Message that the final search found in an unwatched folder. It counts only at the deadline, because the
        #: message may still arrive in the inbox.
        self.found_elsewhere: ArrivedElsewhere | None = None
        #: Time from which the watcher polls often, in seconds of the loop's clock; `None`: not requested yet.
        self.fast_polling_since: float | None = None
        self._wake = wake
        self._on_end = on_end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._on_end(self)

    def request_fast_polling(self) -> None:
        """Request frequent polling from now on, because the server has accepted the message."""
        self.fast_polling_since = asyncio.get_running_loop().time()
        self._wake()

    def set_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def set_arrival(self, arrival: Arrived | DsnReport) -> None:
        if not self.arrival.done():
            self.arrival.set_result(arrival)

    def set_content(self, content: bytes) -> None:
        if not self.content.done():
            self.content.set_result(content)

    def fail(self, failure: ProbeFailedError) -> None:
        """Report to the run that the mailbox cannot be read. An expectation of the sender ignores the failure."""
        if self.party is Party.SENDER:
            return
        for future in (self.ready, self.arrival, self.content):
            if not future.done():
                future.set_result(failure)
