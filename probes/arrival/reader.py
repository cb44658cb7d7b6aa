"""Interface of mailbox readers, with which the watcher of a mailbox polls the mailbox.

A reader has one lasting connection (IMAP), or opens one for each poll (POP3).
"""

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

#: Waits for the watcher's next poll, at most for the given time. Returns whether the watcher has polled.
WaitForPoll = Callable[[timedelta], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Coverage of a final search, which looks for missing messages in all folders of a mailbox."""

    searched_folders: int
    #: Number of folders that may have the message; `None` if it is unknown.
    total_folders: int | None
    #: The watcher's session is stale: the search found a message that the session did not show at its last poll.
    is_stale: bool = False
    #: `None`: the server does not report it.
    quota: MailboxQuota | None = None

    @property
    def is_full(self) -> bool:
        """Whether the mailbox has no room for the missing message."""
        return self.quota is not None and self.quota.is_full

    @property
    def summary(self) -> str:
        """Text for people: in how many folders the message was not found, and whether the mailbox is full."""
        total = "an unknown number of" if self.total_folders is None else self.total_folders
        full_text = (
            f"; the mailbox is full: {self.quota.summary}" if self.quota is not None and self.quota.is_full else ""
        )
        return f"not found after a new sign-in; {self.searched_folders} of {total} folders searched{full_text}"


class MailReader(Protocol):
    """Reader of a mailbox. It processes each message once, over any number of connections. Not for concurrent use.

    Its methods raise `ProbeFailedError` if the mailbox cannot be read. Then call `close` and `open`, because the state
    of the connection is undefined.
    """

    #: Timeouts of sessions; the watcher may replace them.
    timeouts: Timeouts
    #: Set while no processed message remains to be deleted.
    deleted_all: asyncio.Event
    #: Messages that the server keeps although they were deleted.
    undeleted_messages: UndeletedMessages
    #: The mailbox's quota when the mailbox was last opened; `None`: the server does not report it.
    quota: MailboxQuota | None
    #: Error that another session locks the mailbox, while the reader retries the sign-in; otherwise `None`.
    lock_error: ProbeFailedError | None

    @property
    def has_more(self) -> bool:
        """Whether another poll is needed to finish the search for undeleted messages of earlier runs."""

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far: octets and lines, by `probes.model.polling.reading_cost`."""

    async def open(self, trace: Trace) -> None:
        """Connect and sign in. The phases of later polls are recorded in *trace*, too."""

    async def poll(self, *, junk_interval: timedelta, sweep_interval: timedelta) -> None:
        """Process new mail, and the junk folders whose last poll is at least *junk_interval* ago.

        Every *sweep_interval*, a search for undeleted messages of earlier runs begins. Each poll does a part of it.
        """

    async def wait_for_mail(self, wake_event: asyncio.Event, within: timedelta) -> None:
        """Wait until *wake_event* is set, by the server's announcement or by a caller, at most for *within*."""

    def quiet_interval(self, polling: PollingPolicy) -> timedelta:
        """Return the longest interval between polls while no run waits for mail."""

    async def final_search(self, trace: Trace, within: timedelta, wait_for_poll: WaitForPoll) -> SearchResult:
        """Search for messages that runs still wait for, in a new session; the open connection stays.

        Found messages are delivered after *wait_for_poll*, because the watcher's own poll may find them first. Raise
        `ProbeFailedError`, or `TimeoutError` after *within*; *trace* then has the phase that timed out.
        """

    def close(self) -> None:
        """Close the connection, without waiting."""
