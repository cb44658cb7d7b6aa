"""Interface of mailbox readers: one lasting connection (IMAP), or one for each poll (POP3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from probes.arrival.undeleted_messages import UndeletedMessages
from probes.model.mailbox import MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError, Timeouts, Trace

#: Waits until the watcher has polled once more, at most for a span; returns whether it has.
CaughtUp = Callable[[timedelta], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Coverage of the final search of a mailbox."""

    #: Number of selected folders, and of folders that mail may be filed in; `None` without a list.
    folders: int
    of: int | None
    #: The search found mail that the watcher's session did not show, although it had polled since.
    blind: bool = False
    quota: MailboxQuota | None = None

    @property
    def is_full(self) -> bool:
        """Whether the mailbox has no room for the missing message."""
        return self.quota is not None and self.quota.is_full

    @property
    def words(self) -> str:
        """Text for people: the folders that do not contain the missing message."""
        of = "an unknown number of" if self.of is None else self.of
        full = f"; the mailbox is full: {self.quota.words}" if self.quota is not None and self.quota.is_full else ""
        return f"a new sign-in did not show it; looked into {self.folders} of {of} folders{full}"


class MailReader(Protocol):
    """Reader of a mailbox: processes each mail once, over any number of connections. Not for concurrent use.

    Its methods raise `ProbeFailedError` when the mailbox cannot be read. The state of the connection is then undefined:
    call `close`, then `open`.
    """

    #: Timeouts of the servers; may change.
    patience: Timeouts
    #: Set while every processed mail has been deleted.
    tidy: asyncio.Event
    #: Messages that the server keeps although they were deleted.
    remainder: UndeletedMessages
    #: The mailbox's quota when it was last opened; `None`: the server does not report it.
    quota: MailboxQuota | None
    #: Error that another session locks the mailbox, while the reader retries.
    in_use: ProbeFailedError | None

    @property
    def has_more(self) -> bool:
        """Whether undeleted mail of earlier runs remains to be processed."""

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.cost`."""

    async def open(self, trace: Trace) -> None:
        """Connect and sign in. Later phases are recorded in *trace*, too."""

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:
        """Process new mail, a part of the undeleted mail, and the junk folder when it is due."""

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait until *stirred* is set, by the server's announcement or by a caller, or until the timeout."""

    def unwatched(self, pace: PollingPolicy) -> timedelta:
        """Return the longest interval between polls while no run waits for mail."""

    async def look_anew(self, trace: Trace, within: timedelta, caught_up: CaughtUp) -> SearchResult:
        """Search by a new sign-in, besides the open connection, for messages that runs still wait for.

        They are delivered after *caught_up* has given the watcher a chance. Raise `ProbeFailedError`, or `TimeoutError`
        after *within*; the trace has the phase.
        """

    def close(self) -> None:
        """Close the connection, without waiting."""
