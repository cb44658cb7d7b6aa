"""Take away what nobody else does from the mailboxes of pools that other processes use.

A process that is gone for good leaves the mail of the runs that were under way. Whoever lives looks through its mailbox
now and then, and deletes there what any prober has plainly forgotten.
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

#: One mailbox in so long. What is there is deleted a day after its run at the earliest, and in nobody's way.
_EVERY: Final = timedelta(hours=1)
_WITHIN: Final = timedelta(minutes=5)


class MailboxCleaner:
    """Looks through one mailbox at a time, in turn."""

    def __init__(self, at_rest: Callable[[], Sequence[Mailbox]], signer: TokenSigner) -> None:
        """*at_rest*: the mailboxes that this process does not use."""
        self._at_rest = at_rest
        self._signer = signer
        self._turn = 0

    async def keep_sweeping(self) -> NoReturn:
        """Sweep until cancelled."""
        await asyncio.sleep(_EVERY.total_seconds())
        await run_periodically("sweep the mailboxes of pools", self.sweep_next, _EVERY)

    async def sweep_next(self) -> None:
        """Look once through the mailbox whose turn it is, and delete what is forgotten there."""
        # A POP3 server would refuse whoever uses the mailbox for as long as we are there.
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
            # Whoever uses it tells of that.
            _log.debug("a mailbox of a pool was not swept", mailbox=mailbox.name, why=str(failure))
