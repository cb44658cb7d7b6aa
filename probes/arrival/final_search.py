"""Final search for missing messages, before they count as lost: by a new sign-in, in all folders of the mailbox.

The search finds two kinds of messages that the watcher, which polls the mailbox, misses. A server's session may be
stale: it answers, but shows no new mail. A filter may move mail to a folder that the watcher does not poll. The search
has its own connection, so it does not delay the watcher.
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
from probes.arrival.message_handler import MAX_OWN_SIZE, MailboxMessage, MessageHandler
from probes.arrival.reader import SearchResult, WaitForPoll
from probes.mail.token import Token
from probes.model.mailbox import MailboxQuota
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.result import Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.folder import unwatched_folders
from probes.protocol.imap import ImapSession, open_session
from probes.protocol.imap_response import decode_folder_name, encode_folder_name

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: Number of the newest mails of each folder whose size is fetched, and number of the small ones whose header is read.
_MAX_SIZES = 400
_MAX_READ = 50
#: Number of headers read in a watched folder. A session that has been stale for long leaves much mail unread.
_MAX_READ_WATCHED = 400
#: Mails requested at once; small, so that new mail is processed in between.
CHUNK = 25
#: Limit of listed folders, and of folders opened in addition to the watched ones.
_MAX_LISTED = 10_000
_MAX_OPENED = 40
#: Octets of headers read in all folders together.
_MAX_OCTETS = 8 * 1024 * 1024


@dataclass(slots=True)
class _Progress:
    """Progress of one search."""

    #: Maximum wait for the watcher's next poll.
    watcher_wait: timedelta
    searched_folders: int = 0
    octets: int = 0
    is_stale: bool = False
    #: Whether the watcher has polled since the first message was found in a watched folder; `None` before that.
    caught_up: bool | None = None
    #: Number of folders that mail may be filed in; `None` without a list.
    total_folders: int | None = None
    quota: MailboxQuota | None = None

    @property
    def has_room(self) -> bool:
        return self.octets < _MAX_OCTETS


class FinalSearch:
    """Final search of one mailbox over IMAP."""

    def __init__(self, handler: MessageHandler, *, junk: Iterable[str], wait_for_poll: WaitForPoll) -> None:
        """*junk*: names of the watched folders besides the inbox, as the server writes them."""
        self._handler = handler
        self._mailbox = handler.mailbox
        self._junk = tuple(junk)
        self._wait_for_poll = wait_for_poll

    async def run(self, trace: Trace, within: timedelta) -> SearchResult:
        """Sign in anew and search for awaited messages: deliver them to their runs, or report in which folder they are.

        In unwatched folders, reported messages and our messages of earlier runs are deleted. Raise `ProbeFailedError`
        or `TimeoutError` when inbox and junk folders could not be searched. An error in other folders only ends the
        search.
        """
        until = asyncio.get_running_loop().time() + within.total_seconds()
        progress = _Progress(watcher_wait=within / 4)
        async with asyncio.timeout_at(until):
            session = await open_session(self._mailbox, trace, Party.RECIPIENT, response_timeout=within, within=within)
            try:
                with timed_phase(trace, Phase.RETRIEVE, Party.RECIPIENT):
                    await self._search_watched(session, progress)
            except BaseException:
                session.close()
                raise
        try:
            async with asyncio.timeout_at(until):
                progress.quota = await session.fetch_quota(encode_folder_name(self._mailbox.inbox))
                await self._search_unwatched(session, progress)
        except (OSError, EOFError, CommandRejectedError, ProtocolError) as error:
            _log.info("search in other folders interrupted", mailbox=self._mailbox.name, error=type(error).__name__)
        finally:
            session.close()
        return SearchResult(
            folders=progress.searched_folders,
            total_folders=progress.total_folders,
            is_stale=progress.is_stale,
            quota=progress.quota,
        )

    async def _search_watched(self, session: ImapSession, progress: _Progress) -> None:
        await self._search_folder(session, encode_folder_name(self._mailbox.inbox), FolderKind.INBOX, progress)
        for name in self._junk:
            try:
                await self._search_folder(session, name, FolderKind.JUNK, progress)
            except CommandRejectedError:
                # The folder is missing or temporarily unavailable. The watcher skips such a folder, too.
                continue

    async def _search_unwatched(self, session: ImapSession, progress: _Progress) -> None:
        inbox = encode_folder_name(self._mailbox.inbox)
        rest = list(
            unwatched_folders(
                inbox, await session.list_folders(_MAX_LISTED), await session.fetch_namespaces(), self._junk
            )
        )
        progress.total_folders = progress.searched_folders + len(rest)
        for name in rest[:_MAX_OPENED]:
            if not progress.has_room:
                return
            try:
                await self._search_folder(session, name, None, progress)
            except CommandRejectedError:
                # A folder may be listed but not selectable, or its mail not deletable.
                continue

    async def _search_folder(
        self, session: ImapSession, name: str, watched: FolderKind | None, progress: _Progress
    ) -> None:
        """Search the folder *name*. *watched*: kind of a folder that the watcher polls, `None` for other folders."""
        position = await session.examine(name)
        progress.searched_folders += 1
        sized = await session.fetch_newest(_MAX_SIZES, position.exists)
        small = [mail for mail in sized if mail.size is None or mail.size <= MAX_OWN_SIZE]
        ours: list[int] = []
        for chunk in chunked(small[: _MAX_READ_WATCHED if watched else _MAX_READ], CHUNK):
            server_time = {mail.uid: mail.server_time for mail in chunk}
            for mail in await session.fetch_headers(server_time):
                progress.octets += len(mail.content or b"")
                message = MailboxMessage(
                    uid=mail.uid,
                    header=mail.content or b"",
                    size=mail.size,
                    fetch_content=partial(session.fetch_message, mail.uid),
                )
                if (token := await self._handler.find_awaited_token(message)) is None:
                    if watched is None and self._handler.count_leftover(message):
                        ours.append(mail.uid)
                elif watched is not None:
                    await self._deliver_missed(message, token, watched, server_time.get(mail.uid), progress)
                elif await self._handler.report_elsewhere(
                    message, token, decode_folder_name(name), server_time.get(mail.uid)
                ):
                    ours.append(mail.uid)
            if not progress.has_room:
                break
        if ours and (await session.select(name)).uid_validity == position.uid_validity:
            await session.delete(ours)

    async def _deliver_missed(
        self,
        message: MailboxMessage,
        token: Token,
        folder: FolderKind,
        server_time: datetime | None,
        progress: _Progress,
    ) -> None:
        if progress.caught_up is None:
            # The watcher may still find the message at its next poll: then its session is not stale.
            progress.caught_up = await self._wait_for_poll(progress.watcher_wait)
        # A watcher that has not polled is not stale. The run's failure is then the reason why the watcher cannot poll.
        if progress.caught_up and await self._handler.deliver_missed(message, token, folder, server_time):
            progress.is_stale = True


def chunked(mails: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield *mails* in chunks of *size*."""
    for start in range(0, len(mails), size):
        yield mails[start : start + size]
