"""Deletion of abandoned probe messages in pool mailboxes.

A reference is a mailbox of the operator, at the other end of routes from and to agencies. A pool is a reference with
several mailboxes, of which each process uses its own. A process that ends leaves the messages of its last runs in its
mailbox. So once an hour, each process visits one pool mailbox that it does not use, and deletes old probe messages of
any process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NoReturn

import structlog

from monitor.runtime.repeat import run_periodically
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.probe import ProbeFailedError

_log = structlog.get_logger(__name__)

#: Interval between two mailboxes. It is long, because messages are deleted a day after their run at the earliest.
_INTERVAL: Final = timedelta(hours=1)
_TIMEOUT: Final = timedelta(minutes=5)


class MailboxCleaner:
    """Cleans one mailbox at a time, round robin."""

    def __init__(self, unused_mailboxes: Callable[[], Sequence[Mailbox]], signer: TokenSigner) -> None:
        """*unused_mailboxes* returns the pool mailboxes that this process does not use."""
        self._unused_mailboxes = unused_mailboxes
        self._signer = signer
        self._next_index = 0

    async def run(self) -> NoReturn:
        """Clean until cancelled."""
        await asyncio.sleep(_INTERVAL.total_seconds())
        await run_periodically("pool mailbox cleaning", self.clean_next, _INTERVAL)

    async def clean_next(self) -> None:
        """Poll the next mailbox once, and delete abandoned messages."""
        # A POP3 server locks an open mailbox, and would refuse another process that uses it. So only IMAP is used.
        mailboxes = [each for each in self._unused_mailboxes() if each.imap is not None]
        if not mailboxes:
            return
        mailbox = mailboxes[self._next_index % len(mailboxes)]
        self._next_index += 1
        watcher = MailboxWatcher(mailbox, self._signer, on_arrival=lambda *_: None)
        try:
            async with asyncio.timeout(_TIMEOUT.total_seconds()):
                await watcher.poll_once()
        except (ProbeFailedError, TimeoutError) as failure:
            # A debug message is enough, because a process that uses the mailbox reports the failure.
            _log.debug("pool mailbox could not be cleaned", mailbox=mailbox.name, reason=str(failure))
