"""What an IMAP server does for a signed-in client, and what it has forgotten how to do."""

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


class Reading(ConnectionState):
    """The state of one connection, with what is wrong with the server."""

    def __init__(self, login: LoginInterface, config: IMAPConfig, condition: Condition) -> None:
        super().__init__(login, config)
        self._condition = condition

    @property
    def capability(self) -> Capability:
        """What the server can do now."""
        offered = super().capability
        if self._condition.uidplus:
            return offered
        return Capability([name for name in offered.capabilities if name != _UIDPLUS])

    async def do_fetch(self, cmd: FetchCommand) -> tuple[CommandResponse, SelectedMailbox | None]:
        """Show messages; that others have deleted some is told with the next command, also to one who goes by UID.

        pymap makes one answer of two with the same number: of the message that is shown, and of the one that gets its number
        when another before it goes.
        """
        self.selected.hide_expunged = True
        return await super().do_fetch(cmd)

    async def do_expunge(self, cmd: ExpungeCommand) -> tuple[CommandResponse, SelectedMailbox | None]:
        """Delete for good what is marked; with UIDs (RFC 4315) only as far as it can."""
        if cmd.uid_set is not None and not self._condition.uidplus:
            return ResponseBad(cmd.tag, b"Unknown command UID EXPUNGE"), None
        return await super().do_expunge(cmd)

    async def receive_updates(self, cmd: IdleCommand, done: Event) -> Iterable[UntaggedResponse]:
        """Wait in IDLE for something to tell."""
        patience = self._condition.idle_for
        try:
            async with asyncio.timeout(patience.total_seconds() if patience else None):
                return await self._news(cmd, done)
        except TimeoutError:
            return (ResponseBye(b"Idle for too long"),)

    async def _news(self, cmd: IdleCommand, done: Event) -> Iterable[UntaggedResponse]:
        if not self._condition.tells_in_idle:
            await done.wait()
            return ()
        return await super().receive_updates(cmd, done)
