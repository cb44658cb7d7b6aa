"""What a watcher reads a mailbox through: one connection that stays (IMAP), or one for each look (POP3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

from probes.pace import Pace
from probes.probe import Trace


class MailReader(Protocol):
    """Reads a mailbox, each mail once, over as many connections as it takes. Not for two tasks at once.

    Its methods raise `ProbeFailure` when the mailbox cannot be read. Nothing can be said on what is open then: `close` it
    and `open` it again.
    """

    #: Whatever has been dealt with has been deleted, too.
    tidy: asyncio.Event

    @property
    def has_more(self) -> bool:
        """Whether there is mail still to be looked at that was left behind earlier."""

    async def open(self, trace: Trace) -> None:
        """Connect and sign in; the mailbox can be read then. What follows is told to *trace*, too."""

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:
        """Deal with what is new, with a piece of what was left behind, and with the junk when it is its turn."""

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait until *stirred* is set, by the server's news or by somebody else, or the time is over."""

    def unwatched(self, pace: Pace) -> timedelta:
        """Return how long it may go without a look while nobody waits for mail."""

    def close(self) -> None:
        """Let go of what is open, without waiting."""
