"""What a watcher reads a mailbox through: one connection that stays (IMAP), or one for each look (POP3)."""

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

#: Waits until the watch has looked once more, no longer than a span; says whether it has.
CaughtUp = Callable[[timedelta], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """How far a mailbox was looked through by a new sign-in."""

    #: Folders that were opened, of so many that mail may be put in; `None` where no list of them could be had.
    folders: int
    of: int | None
    #: It showed mail that the watch had not, though that had looked since.
    blind: bool = False
    quota: MailboxQuota | None = None

    @property
    def is_full(self) -> bool:
        """Whether the mailbox has no room for what is looked for."""
        return self.quota is not None and self.quota.is_full

    @property
    def words(self) -> str:
        """For people: what a message that is not there is not in."""
        of = "an unknown number of" if self.of is None else self.of
        full = f"; the mailbox is full: {self.quota.words}" if self.quota is not None and self.quota.is_full else ""
        return f"a new sign-in did not show it; looked into {self.folders} of {of} folders{full}"


class MailReader(Protocol):
    """Reads a mailbox, each mail once, over as many connections as it takes. Not for two tasks at once.

    Its methods raise `ProbeFailedError` when the mailbox cannot be read. Nothing can be said on what is open then: `close` it
    and `open` it again.
    """

    #: With how much of it servers are met; it may change.
    patience: Timeouts
    #: Whatever has been dealt with has been deleted, too.
    tidy: asyncio.Event
    #: What the server keeps of it all the same.
    remainder: UndeletedMessages
    #: How full the mailbox was when it was last opened; `None` where the server does not tell.
    quota: MailboxQuota | None
    #: What was said of another session that holds the mailbox, while the reader tries again.
    in_use: ProbeFailedError | None

    @property
    def has_more(self) -> bool:
        """Whether there is mail still to be looked at that was left behind earlier."""

    @property
    def cost(self) -> int:
        """What it has cost so far to read what the server said, by `probes.model.polling.cost`."""

    async def open(self, trace: Trace) -> None:
        """Connect and sign in; the mailbox can be read then. What follows is told to *trace*, too."""

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:
        """Deal with what is new, with a piece of what was left behind, and with the junk when it is its turn."""

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait until *stirred* is set, by the server's news or by somebody else, or the time is over."""

    def unwatched(self, pace: PollingPolicy) -> timedelta:
        """Return how long it may go without a look while nobody waits for mail."""

    async def look_anew(self, trace: Trace, within: timedelta, caught_up: CaughtUp) -> SearchResult:
        """Look by a new sign-in, beside whatever is open, for what runs still wait for.

        It is handed over, once the watch has had its chance by *caught_up*. Raise `ProbeFailedError`, or
        `TimeoutError` when that is not done *within* a span; the trace knows where.
        """

    def close(self) -> None:
        """Let go of what is open, without waiting."""
