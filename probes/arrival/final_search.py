"""Final search for missing messages before they count as lost, in a new session and in all folders of the mailbox.

The watcher, which polls the mailbox, misses messages for two reasons. Its session may be stale: the server answers in
it, but shows no new mail. Or a filter has moved a message to a folder that the watcher does not poll ("unwatched"). The
search has its own connection, so it does not delay the watcher.
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

#: Limit in each folder: newest messages whose size is fetched. The headers of the small ones are read.
_MAX_FETCHED_SIZES = 400
#: Limit of headers in an unwatched folder.
_MAX_HEADERS_UNWATCHED = 50
#: The same in a watched folder. It is higher, because a session that was stale for long may have missed much mail.
_MAX_HEADERS_WATCHED = 400
#: Number of messages that one command requests. It is small, so that new mail is processed between two commands.
CHUNK_SIZE = 25
#: Limits of the folders that the server lists, and of the unwatched folders that are opened.
_MAX_LISTED_FOLDERS = 10_000
_MAX_OPENED_FOLDERS = 40
#: Limit of octets of headers that are read in all folders together.
_MAX_OCTETS = 8 * 1024 * 1024


@dataclass(slots=True)
class _Progress:
    """Progress of one search."""

    #: Maximum wait for the watcher's next poll.
    max_poll_wait: timedelta
    searched_folders: int = 0
    #: Octets of headers read so far.
    octets: int = 0
    #: The watcher's session is stale: the watcher has polled in it without seeing a message that the search found.
    is_stale: bool = False
    #: Whether the watcher has polled since the first message was found in a watched folder; `None` before that.
    has_watcher_polled: bool | None = None
    #: Number of folders that may have the message; `None` if the server did not list them.
    total_folders: int | None = None
    quota: MailboxQuota | None = None

    @property
    def has_octets_left(self) -> bool:
        return self.octets < _MAX_OCTETS


class FinalSearch:
    """Final search of one mailbox over IMAP."""

    def __init__(self, handler: MessageHandler, *, junk: Iterable[str], wait_for_poll: WaitForPoll) -> None:
        """*junk*: names of the watched folders besides the inbox, as the server writes them."""
        self._handler = handler
        self._mailbox = handler.mailbox
        self._junk_folders = tuple(junk)
        self._wait_for_poll = wait_for_poll

    async def run(self, trace: Trace, within: timedelta) -> SearchResult:
        """Open a session and search for awaited messages. *within*: timeout.

        A message in a watched folder is delivered to its run. For a message in an unwatched folder, the run is told the
        folder; the message, and messages of earlier runs in the folder, are deleted. Raise `ProbeFailedError` or
        `TimeoutError` if the watched folders could not be searched. An error or a timeout in unwatched folders only
        ends the search.
        """
        deadline = asyncio.get_running_loop().time() + within.total_seconds()
        progress = _Progress(max_poll_wait=within / 4)
        async with asyncio.timeout_at(deadline):
            session = await open_session(self._mailbox, trace, Party.RECIPIENT, response_timeout=within, within=within)
            try:
                with timed_phase(trace, Phase.RETRIEVE, Party.RECIPIENT):
                    await self._search_watched(session, progress)
            except BaseException:
                session.close()
                raise
        try:
            async with asyncio.timeout_at(deadline):
                progress.quota = await session.fetch_quota(encode_folder_name(self._mailbox.inbox))
                await self._search_unwatched(session, progress)
        except (OSError, EOFError, CommandRejectedError, ProtocolError) as error:
            _log.info("search in other folders interrupted", mailbox=self._mailbox.name, error=type(error).__name__)
        finally:
            session.close()
        return SearchResult(
            searched_folders=progress.searched_folders,
            total_folders=progress.total_folders,
            is_stale=progress.is_stale,
            quota=progress.quota,
        )

    async def _search_watched(self, session: ImapSession, progress: _Progress) -> None:
        await self._search_folder(session, encode_folder_name(self._mailbox.inbox), FolderKind.INBOX, progress)
        for name in self._junk_folders:
            try:
                await self._search_folder(session, name, FolderKind.JUNK, progress)
            except CommandRejectedError:
                # The folder is missing or temporarily unavailable. The watcher skips such a folder, too.
                continue

    async def _search_unwatched(self, session: ImapSession, progress: _Progress) -> None:
        inbox = encode_folder_name(self._mailbox.inbox)
        listed, namespaces = await session.list_folders(_MAX_LISTED_FOLDERS), await session.fetch_namespaces()
        folders = list(unwatched_folders(inbox, listed, namespaces, self._junk_folders))
        progress.total_folders = progress.searched_folders + len(folders)
        for name in folders[:_MAX_OPENED_FOLDERS]:
            if not progress.has_octets_left:
                return
            try:
                await self._search_folder(session, name, None, progress)
            except CommandRejectedError:
                # The server may list a folder that cannot be selected, or whose mail cannot be deleted.
                continue

    async def _search_folder(
        self, session: ImapSession, name: str, watched_kind: FolderKind | None, progress: _Progress
    ) -> None:
        """Search the folder *name*. *watched_kind*: its kind if the watcher polls it, otherwise `None`."""
        status = await session.examine(name)
        progress.searched_folders += 1
        sized = await session.fetch_newest(_MAX_FETCHED_SIZES, status.exists)
        small = [mail for mail in sized if mail.size is None or mail.size <= MAX_OWN_SIZE]
        to_delete: list[int] = []
        for chunk in chunked(small[: _MAX_HEADERS_WATCHED if watched_kind else _MAX_HEADERS_UNWATCHED], CHUNK_SIZE):
            server_times = {mail.uid: mail.server_time for mail in chunk}
            for mail in await session.fetch_headers(server_times):
                progress.octets += len(mail.content or b"")
                message = MailboxMessage(
                    uid=mail.uid,
                    header=mail.content or b"",
                    size=mail.size,
                    fetch_content=partial(session.fetch_message, mail.uid),
                )
                if (token := await self._handler.find_awaited_token(message)) is None:
                    if watched_kind is None and self._handler.count_leftover(message):
                        to_delete.append(mail.uid)
                elif watched_kind is not None:
                    await self._deliver_missed(message, token, watched_kind, server_times.get(mail.uid), progress)
                elif await self._handler.report_elsewhere(
                    message, token, decode_folder_name(name), server_times.get(mail.uid)
                ):
                    to_delete.append(mail.uid)
            if not progress.has_octets_left:
                break
        if to_delete and (await session.select(name)).uid_validity == status.uid_validity:
            await session.delete(to_delete)

    async def _deliver_missed(
        self,
        message: MailboxMessage,
        token: Token,
        folder: FolderKind,
        server_time: datetime | None,
        progress: _Progress,
    ) -> None:
        if progress.has_watcher_polled is None:
            # If the watcher itself finds the message at its next poll, its session is not stale.
            progress.has_watcher_polled = await self._wait_for_poll(progress.max_poll_wait)
        # Without a poll, nothing is delivered: the run fails with the reason why the watcher cannot poll.
        if progress.has_watcher_polled and await self._handler.deliver_missed(message, token, folder, server_time):
            progress.is_stale = True


def chunked(mails: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield *mails* in chunks of *size*."""
    for start in range(0, len(mails), size):
        yield mails[start : start + size]
