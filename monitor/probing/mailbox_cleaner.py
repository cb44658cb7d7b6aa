"""Cleans pool mailboxes that no process uses any more.

A process that is gone leaves the messages of its last runs. Every live process visits such a mailbox now and then, and
deletes what any prober has evidently abandoned.
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

#: Interval per mailbox. Messages are deleted a day after their run at the earliest, and disturb nobody.
_EVERY: Final = timedelta(hours=1)
_WITHIN: Final = timedelta(minutes=5)


class MailboxCleaner:
    """Cleans one mailbox at a time, in turn."""

    def __init__(self, at_rest: Callable[[], Sequence[Mailbox]], signer: TokenSigner) -> None:
        """*at_rest*: returns the mailboxes that this process does not use."""
        self._at_rest = at_rest
        self._signer = signer
        self._turn = 0

    async def keep_sweeping(self) -> NoReturn:
        """Clean until cancelled."""
        await asyncio.sleep(_EVERY.total_seconds())
        await run_periodically("pool mailbox cleaning", self.sweep_next, _EVERY)

    async def sweep_next(self) -> None:
        """Visit the next mailbox once, and delete abandoned messages."""
        # A POP3 server would refuse other users of the mailbox meanwhile.
        mailboxes = [each for each in self._at_rest() if each.imap is not None]
        if not mailboxes:
            return
        mailbox = mailboxes[self._turn % len(mailboxes)]
        self._turn += 1
        watcher = MailboxWatcher(mailbox, self._signer, on_arrival=lambda *_: None)
        try:
            async with asyncio.timeout(_WITHIN.total_seconds()):
                await watcher.look_once()
        except (ProbeFailedError, TimeoutError) as failure:
            # The process that uses it reports the failure.
            _log.debug("pool mailbox could not be cleaned", mailbox=mailbox.name, reason=str(failure))
