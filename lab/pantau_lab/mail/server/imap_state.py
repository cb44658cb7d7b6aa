"""IMAP commands of a signed-in client, and the faults that change or disable them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pymap.concurrent import Event
from pymap.config import IMAPConfig
from pymap.imap.state import ConnectionState
from pymap.interfaces.login import LoginInterface
from pymap.parsing.command.select import ExpungeCommand, FetchCommand, IdleCommand
from pymap.parsing.response import CommandResponse, ResponseBad, ResponseBye, UntaggedResponse
from pymap.parsing.response.code import Capability
from pymap.selected import SelectedMailbox

from pantau_lab.mail.faults.condition import Condition

_UIDPLUS = b"UIDPLUS"


class ImapState(ConnectionState):
    """State of one connection of pymap, changed by the server's present faults (*condition*)."""

    def __init__(self, login: LoginInterface, config: IMAPConfig, condition: Condition) -> None:
        super().__init__(login, config)
        self._condition = condition

    @property
    def capability(self) -> Capability:
        """Present capabilities of the server."""
        offered = super().capability
        if self._condition.uidplus:
            return offered
        return Capability([name for name in offered.capabilities if name != _UIDPLUS])

    async def do_fetch(self, cmd: FetchCommand) -> tuple[CommandResponse, SelectedMailbox | None]:
        """Fetch messages. Report expunges by other sessions only with the next command, even for UID FETCH.

        pymap would merge two responses with the same sequence number: that of the fetched message, and that of the message
        that gets this number when an earlier message is expunged.
        """
        self.selected.hide_expunged = True
        return await super().do_fetch(cmd)

    async def do_expunge(self, cmd: ExpungeCommand) -> tuple[CommandResponse, SelectedMailbox | None]:
        """Expunge messages with the flag Deleted. Answer UID EXPUNGE (RFC 4315) with BAD if a fault removes UIDPLUS."""
        if cmd.uid_set is not None and not self._condition.uidplus:
            return ResponseBad(cmd.tag, b"Unknown command UID EXPUNGE"), None
        return await super().do_expunge(cmd)

    async def receive_updates(self, cmd: IdleCommand, done: Event) -> Iterable[UntaggedResponse]:
        """Wait in IDLE for updates. Answer BYE after the time limit of a fault."""
        limit = self._condition.idle_limit
        try:
            async with asyncio.timeout(limit.total_seconds() if limit else None):
                return await self._wait_for_updates(cmd, done)
        except TimeoutError:
            return (ResponseBye(b"Idle for too long"),)

    async def _wait_for_updates(self, cmd: IdleCommand, done: Event) -> Iterable[UntaggedResponse]:
        if not self._condition.notifies_in_idle:
            await done.wait()
            return ()
        return await super().receive_updates(cmd, done)
