"""Final search for missing messages: by a new sign-in, in all folders of the mailbox, before they count as lost.

A server's session may be stale: it answers and shows no new mail. A filter may file mail in a folder that is not
configured. The search has its own connection, so it does not delay the watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from probes.arrival.expectation import FolderKind
from probes.arrival.message_handler import OURS_AT_MOST, MailboxMessage, MessageHandler
from probes.arrival.reader import CaughtUp, SearchResult
from probes.mail.token import Token
from probes.model.mailbox import MailboxQuota
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.result import Party, Phase
from probes.protocol.cause import stage
from probes.protocol.folder import elsewhere
from probes.protocol.imap import ImapSession, open_session
from probes.protocol.imap_response import folder_name, legible_name

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: The sizes of this many newest mails of each folder are fetched, and this many of those with a matching size are read.
_SIZED = 400
_READ = 50
#: More for a watched folder: a session that showed no new mail for long leaves much unread.
_READ_WATCHED = 400
#: Mails requested at once; small, so that new mail is processed in between.
CHUNK = 25
#: Limit of listed folders, and of folders opened in addition to the watched ones.
_LISTED = 10_000
_OPENED = 40
#: Octets of headers read in all folders together.
_OCTETS = 8 * 1024 * 1024


@dataclass(slots=True)
class _Sweep:
    """Progress of one search."""

    #: The maximum wait for the watch.
    patience: timedelta
    looked: int = 0
    octets: int = 0
    blind: bool = False
    #: Whether the watcher has polled since something was found; `None`: nothing was found.
    caught_up: bool | None = None
    #: Number of folders that mail may be filed in; `None` without a list.
    of: int | None = None
    quota: MailboxQuota | None = None

    @property
    def has_room(self) -> bool:
        return self.octets < _OCTETS


class FinalSearch:
    """Search of one mailbox over IMAP, once per call."""

    def __init__(self, reception: MessageHandler, *, junk: Iterable[str], caught_up: CaughtUp) -> None:
        """*junk*: names of the watched folders besides the inbox, as the server writes them."""
        self._reception = reception
        self._mailbox = reception.mailbox
        self._junk = tuple(junk)
        self._caught_up = caught_up

    async def look(self, trace: Trace, within: timedelta) -> SearchResult:
        """Sign in anew and search for awaited messages: deliver them to their runs, or report in which folder they are.

        Messages in unwatched folders are deleted, as are those of earlier runs. Raise `ProbeFailedError` or
        `TimeoutError` when inbox and junk could not be searched; any error in other folders only ends the search.
        """
        until = asyncio.get_running_loop().time() + within.total_seconds()
        sweep = _Sweep(patience=within / 4)
        async with asyncio.timeout_at(until):
            session = await open_session(self._mailbox, trace, Party.RECIPIENT, leg=within, within=within)
            try:
                with stage(trace, Phase.RETRIEVE, Party.RECIPIENT):
                    await self._watched(session, sweep)
            except BaseException:
                session.close()
                raise
        try:
            async with asyncio.timeout_at(until):
                sweep.quota = await session.quota(folder_name(self._mailbox.inbox))
                await self._unwatched(session, sweep)
        except (OSError, EOFError, CommandRejectedError, ProtocolError) as error:
            _log.info("search in other folders interrupted", mailbox=self._mailbox.name, error=type(error).__name__)
        finally:
            session.close()
        return SearchResult(folders=sweep.looked, of=sweep.of, blind=sweep.blind, quota=sweep.quota)

    async def _watched(self, session: ImapSession, sweep: _Sweep) -> None:
        await self._through(session, folder_name(self._mailbox.inbox), FolderKind.INBOX, sweep)
        for name in self._junk:
            try:
                await self._through(session, name, FolderKind.JUNK, sweep)
            except CommandRejectedError:
                # As in the watch: the folder is missing or temporarily unavailable.
                continue

    async def _unwatched(self, session: ImapSession, sweep: _Sweep) -> None:
        inbox = folder_name(self._mailbox.inbox)
        rest = list(elsewhere(inbox, await session.folders(_LISTED), await session.namespaces(), self._junk))
        sweep.of = sweep.looked + len(rest)
        for name in rest[:_OPENED]:
            if not sweep.has_room:
                return
            try:
                await self._through(session, name, None, sweep)
            except CommandRejectedError:
                # A folder may be listed but not selectable, or its mail not deletable.
                continue

    async def _through(self, session: ImapSession, name: str, watched: FolderKind | None, sweep: _Sweep) -> None:
        """Search one folder; *watched* is its kind in the watch, `None` when it is not watched."""
        position = await session.examine(name)
        sweep.looked += 1
        sized = await session.newest(_SIZED, position.exists)
        small = [mail for mail in sized if mail.size is None or mail.size <= OURS_AT_MOST]
        ours: list[int] = []
        for chunk in chunks(small[: _READ_WATCHED if watched else _READ], CHUNK):
            since = {mail.uid: mail.since for mail in chunk}
            for mail in await session.headers(since):
                sweep.octets += len(mail.content or b"")
                letter = MailboxMessage(
                    uid=mail.uid, header=mail.content or b"", size=mail.size, whole=partial(session.message, mail.uid)
                )
                if (token := await self._reception.awaited(letter)) is None:
                    if watched is None and self._reception.take_left_over(letter):
                        ours.append(mail.uid)
                elif watched is not None:
                    await self._make_up_for(letter, token, watched, since.get(mail.uid), sweep)
                elif await self._reception.note_elsewhere(letter, token, legible_name(name), since.get(mail.uid)):
                    ours.append(mail.uid)
            if not sweep.has_room:
                break
        if ours and (await session.select(name)).validity == position.validity:
            await session.delete(ours)

    async def _make_up_for(
        self, letter: MailboxMessage, token: Token, folder: FolderKind, since: datetime | None, sweep: _Sweep
    ) -> None:
        if sweep.caught_up is None:
            # Mail that has arrived this moment does not show that the session is stale.
            sweep.caught_up = await self._caught_up(sweep.patience)
        # A watcher that hangs is not stale: the reported failure is then the reason why it cannot poll.
        if sweep.caught_up and await self._reception.make_up_for(letter, token, folder, since):
            sweep.blind = True


def chunks(mails: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield *mails* in chunks of *size*."""
    for start in range(0, len(mails), size):
        yield mails[start : start + size]
