"""Mail reader over IMAP: folders, read positions, and the processing of each mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from probes.arrival.expectation import FolderKind
from probes.arrival.final_search import CHUNK, FinalSearch, chunks
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.arrival.reader import CaughtUp, SearchResult
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.model.mailbox import NEARLY_FULL, MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import CommandRejectedError, ProbeFailedError, ProtocolError, Timeouts, Trace
from probes.model.reply import not_opened
from probes.model.result import Party, Phase
from probes.protocol.cause import stage
from probes.protocol.folder import is_anothers, may_be_others, own_of
from probes.protocol.imap import ImapSession, open_session
from probes.protocol.imap_response import Fetched, FolderStatus, folder_name
from probes.run.runner import loop_time
from probes.run.trace import TraceRecorder

_log = structlog.get_logger(__name__)

#: Number of the newest mails searched for leftovers, at the start and periodically.
_LEFTOVERS = 200
#: Seconds between polls with a server that announces new mail.
_LIST_ANYWAY = 2.0
#: No response is awaited for longer than this part of the session timeout, so that the reason can be reported in time.
_LEG = 0.9
#: A mail that the server cannot show is skipped after this many attempts; otherwise it would block all later mail.
_TRIES = 3
#: Seconds for which a refused folder is skipped.
_AFTER_REFUSAL = 60.0
#: For a shorter pause IDLE is not started: it takes one command to start and one to end.
_WORTH_LISTENING = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class _Place:
    """A folder and its read position."""

    name: str
    folder: FolderKind
    validity: int | None = None
    next_uid: int = 1
    #: UIDs below `next_uid` that are still to be searched for leftovers, oldest first.
    backlog: list[int] = field(default_factory=list)
    #: UIDs whose mail has been processed and is to be deleted.
    done: set[int] = field(default_factory=set)
    #: UIDs of our mail that is marked as deleted but not expunged, because other mail is marked, too (no UIDPLUS).
    marked: set[int] = field(default_factory=set)
    #: Number of consecutive failures of the server to show the next mail.
    broke: int = 0
    #: Messages found in the backlog have not been counted before.
    first_time: bool = True
    #: The server has refused to show the folder; logged once.
    refused: bool = False
    looked_at: float = float("-inf")
    swept_at: float = float("-inf")


class ImapReader:
    """IMAP implementation of `probes.arrival.reader.MailReader`: one connection for its lifetime."""

    def __init__(
        self, reception: MessageHandler, *, patience: Timeouts, pace: PollingPolicy, stir: Callable[[], None]
    ) -> None:
        self._reception = reception
        self._mailbox = reception.mailbox
        self.patience = patience
        self._pace = pace
        self._stir = stir
        self._session: ImapSession | None = None
        self._trace: Trace = TraceRecorder()
        self._inbox = _Place(name=folder_name(self._mailbox.inbox), folder=FolderKind.INBOX)
        self._junk: dict[str, _Place] = {}
        self._cost = 0
        #: Number of consecutive announcements of mail that was not there.
        self._false_alarms = 0
        self.tidy = asyncio.Event()
        self.tidy.set()
        self.remainder = UndeletedMessages(self._mailbox.name)
        self.in_use: ProbeFailedError | None = None
        self.quota: MailboxQuota | None = None

    @property
    def has_more(self) -> bool:
        """Whether leftovers remain to be searched for."""
        return bool(self._inbox.backlog)

    @property
    def cost(self) -> int:
        """Return the cost of parsing the server's responses, over all connections."""
        return self._cost + (self._session.cost if self._session is not None else 0)

    async def open(self, trace: Trace) -> None:
        """Connect, sign in, find the folders and open the inbox."""
        self._trace = trace
        session = await open_session(
            self._mailbox,
            trace,
            Party.RECIPIENT,
            leg=self.patience.session * _LEG,
            within=self.patience.session,
            stir=self._stir,
        )
        self._session = session
        with stage(trace, Phase.RETRIEVE, Party.RECIPIENT):
            async with asyncio.timeout(self.patience.session.total_seconds()):
                await self._enter(session)
        session.hasten(min(self._pace.answer, self.patience.session))

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:
        """Read new mail in the inbox, a part of the backlog, and the junk folders when due."""
        with stage(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
            await self._look(self._opened(), junk_every=junk_every, sweep=sweep)

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait for news in IDLE, or for the next poll when that is soon."""
        session = self._opened()
        # Otherwise the mailbox would be polled at every message of the server.
        await asyncio.sleep(self._pace.after_false_alarms(self._false_alarms).total_seconds())
        if session.news:
            return
        if session.can_idle and at_most >= _WORTH_LISTENING:
            with stage(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
                await session.idle(stirred, at_most)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(at_most.total_seconds()):
                    await stirred.wait()

    def unwatched(self, pace: PollingPolicy) -> timedelta:
        """Return the longest interval between polls: longer when the server announces new mail."""
        return pace.listening if self._opened().can_idle else pace.unheard

    async def look_anew(self, trace: Trace, within: timedelta, caught_up: CaughtUp) -> SearchResult:
        """Search all folders over a connection that is opened for it."""
        return await FinalSearch(self._reception, junk=self._junk, caught_up=caught_up).look(trace, within)

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._cost += self._session.cost
            self._session = None

    def _opened(self) -> ImapSession:
        if self._session is None:
            raise RuntimeError("not open")
        return self._session

    async def _enter(self, session: ImapSession) -> None:
        try:
            marked = await session.junk()
            known = await session.namespaces() if may_be_others(self._inbox.name, marked) else {}
        except CommandRejectedError as refusal:
            # The inbox can be read without a list; the configured folders are used.
            _log.warning("folder list not available", mailbox=self._mailbox.name, detail=refusal.text)
            marked, known = (), {}
        names = (*own_of(self._inbox.name, marked, known), *map(folder_name, self._mailbox.junk_folders))
        self._junk = {name: self._junk.get(name) or _Place(name=name, folder=FolderKind.JUNK) for name in names}
        try:
            await self._open(session, self._inbox)
        except CommandRejectedError as refusal:
            raise (not_opened(refusal.text, anothers=is_anothers(self._mailbox.inbox)) or refusal) from refusal
        was_nearly_full = _is_nearly_full(self.quota)
        self.quota = await session.quota(self._inbox.name)
        if _is_nearly_full(self.quota) and not was_nearly_full:
            used = self.quota.words if self.quota is not None else ""
            _log.warning("mailbox is nearly full", mailbox=self._mailbox.name, used=used)

    async def _look(self, session: ImapSession, *, junk_every: timedelta, sweep: timedelta) -> None:
        if loop_time() - self._inbox.swept_at >= sweep.total_seconds():
            await self._open(session, self._inbox, sweep=True)
        announced, before = session.news, self._inbox.next_uid
        news = await session.noop()
        if news or loop_time() - self._inbox.looked_at >= _LIST_ANYWAY:
            await self._read_new(session, self._inbox)
        if self._inbox.next_uid != before:
            self._false_alarms = 0
        elif announced:
            self._false_alarms += 1
        await self._read_backlog(session, self._inbox)
        await self._delete(session, self._inbox)
        moved = [
            await self._look_into(session, place, sweep=loop_time() - place.swept_at >= sweep.total_seconds())
            for place in list(self._junk.values())
            if loop_time() - place.looked_at >= junk_every.total_seconds()
        ]
        if any(moved):
            await self._open(session, self._inbox)

    async def _look_into(self, session: ImapSession, place: _Place, *, sweep: bool) -> bool:
        """Poll a junk folder; return whether the inbox must be selected again."""
        try:
            return await self._read_junk(session, place, sweep=sweep)
        except CommandRejectedError as refusal:
            # The folder is missing or unavailable; the inbox can be read. A failed SELECT leaves no folder selected.
            if not place.refused:
                _log.warning(
                    "folder does not exist", mailbox=self._mailbox.name, folder=place.name, detail=refusal.text
                )
            place.refused, place.looked_at = True, loop_time() + _AFTER_REFUSAL
            return True

    async def _read_junk(self, session: ImapSession, place: _Place, *, sweep: bool) -> bool:
        standing = await session.standing(place.name)
        same = standing.validity == place.validity and standing.next_uid is not None
        if not sweep and same and standing.next_uid == place.next_uid and not place.done:
            place.looked_at = loop_time()
            return False
        if standing.is_empty and standing.next_uid is not None and not place.done:
            # The folder has no new mail and no undeleted mail: selecting it would cost three round trips.
            place.validity, place.next_uid, place.backlog = standing.validity, standing.next_uid, []
            place.looked_at = place.swept_at = loop_time()
            return False
        await self._open(session, place, sweep=sweep)
        await self._read_new(session, place)
        while place.backlog:
            await self._read_backlog(session, place)
        await self._delete(session, place)
        return True

    async def _open(self, session: ImapSession, place: _Place, *, sweep: bool = False) -> None:
        position = await session.select(place.name)
        if position.validity != place.validity:
            # UIDs are void after a change of UIDVALIDITY (RFC 3501 2.3.1.1).
            place.validity, place.first_time, sweep = position.validity, True, True
            place.done, place.marked = set(), set()
            self.remainder.forget(place.name)
            place.next_uid = await self._end_of(session, position)
            self._tidied()
        elif sweep:
            place.first_time = False
        # Whether all of it has been read is known without another poll.
        place.looked_at = loop_time() if position.next_uid == place.next_uid else float("-inf")
        if sweep:
            uids = await session.last_uids(_LEFTOVERS, position.exists)
            place.backlog = [uid for uid in uids if uid < place.next_uid]
            place.swept_at = loop_time()
            self.remainder.look(place.name, uids)

    async def _end_of(self, session: ImapSession, position: FolderStatus) -> int:
        if position.next_uid is not None:
            return position.next_uid
        last = await session.last_uids(1, position.exists)
        return last[-1] + 1 if last else 1

    async def _read_new(self, session: ImapSession, place: _Place) -> None:
        uids = await session.uids_from(place.next_uid)
        for chunk in chunks(uids, CHUNK if not place.broke else 1):
            for mail in sorted(await self._headers(session, place, chunk), key=lambda mail: mail.uid):
                await self._deal_with(session, place, mail, count=True)
                # At once, so that no message is delivered twice when the connection breaks now.
                place.next_uid = mail.uid + 1
            place.next_uid = chunk[-1] + 1
            await self._delete(session, place)
        place.looked_at = loop_time()

    async def _read_backlog(self, session: ImapSession, place: _Place) -> None:
        if not place.backlog:
            return
        chunk = place.backlog[-CHUNK if not place.broke else -1 :]
        for mail in await self._headers(session, place, chunk):
            if mail.uid in place.backlog:
                await self._deal_with(session, place, mail, count=place.first_time)
                place.backlog.remove(mail.uid)
        place.backlog = [uid for uid in place.backlog if uid < chunk[0]]
        await self._delete(session, place)

    async def _headers(self, session: ImapSession, place: _Place, chunk: Sequence[int]) -> list[Fetched]:
        """Return the headers of *chunk*, without a message that the server has failed to send several times."""
        if place.broke >= _TRIES and len(chunk) == 1:
            _log.warning("message cannot be read", mailbox=self._mailbox.name, uid=chunk[0])
            place.broke = 0
            return []
        try:
            found = await session.headers(chunk)
        except (CommandRejectedError, ProtocolError):
            place.broke += 1
            raise
        place.broke = 0
        return found

    async def _deal_with(self, session: ImapSession, place: _Place, mail: Fetched, *, count: bool) -> None:
        letter = MailboxMessage(
            uid=mail.uid,
            header=mail.content or b"",
            size=mail.size,
            marked=mail.deleted,
            whole=partial(session.message, mail.uid),
        )
        # Without UIDPLUS our mail may stay marked for long; it has been processed and counted before.
        if not await self._reception.receive(letter, place.folder, count=count and not mail.deleted):
            return
        if mail.deleted and "UIDPLUS" not in session.capabilities:
            place.marked.add(mail.uid)
        else:
            place.done.add(mail.uid)
            self.tidy.clear()

    async def _delete(self, session: ImapSession, place: _Place) -> None:
        if not place.done:
            return
        try:
            gone = await session.delete(place.done, marked=place.marked)
            place.marked = set() if gone else place.marked | place.done
        except CommandRejectedError as refusal:
            self.remainder.refused(refusal.text)
        self.remainder.tried(place.name, place.done)
        place.done = set()
        self._tidied()

    def _tidied(self) -> None:
        if not any(place.done for place in (self._inbox, *self._junk.values())):
            self.tidy.set()


def _is_nearly_full(quota: MailboxQuota | None) -> bool:
    return quota is not None and quota.share >= NEARLY_FULL
