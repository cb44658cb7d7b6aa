"""Mail reader over IMAP: finds a mailbox's folders, keeps the read position of each, and processes new messages.

Leftovers are messages of earlier runs that were not deleted. A sweep is the periodic search for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from probes.arrival.expectation import FolderKind
from probes.arrival.final_search import CHUNK_SIZE, FinalSearch, chunked
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.arrival.reader import SearchResult, WaitForPoll
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.model.mailbox import NEARLY_FULL, MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import CommandRejectedError, ProbeFailedError, ProtocolError, Timeouts, Trace
from probes.model.reply import inbox_failure
from probes.model.result import Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.folder import may_be_shared, needs_namespaces, own_folders
from probes.protocol.imap import ImapSession, open_session
from probes.protocol.imap_response import FetchedMessage, FolderStatus, encode_folder_name
from probes.run.runner import loop_time
from probes.run.trace import TraceRecorder

_log = structlog.get_logger(__name__)

#: Number of the newest messages of a folder that the first read and each sweep examine.
_MAX_LEFTOVERS = 200
#: Seconds after the last read of the inbox at which new mail is requested although the server has announced none.
_LIST_INTERVAL = 2.0
#: Timeout of each response, as a share of the session timeout. So a missing response is reported before that timeout.
_RESPONSE_TIMEOUT_SHARE = 0.9
#: Failed attempts to read a message, after which the message is skipped, so that it does not block later mail.
_MAX_TRIES = 3
#: Seconds for which a folder that the server refuses to select is skipped.
_REFUSAL_PAUSE_SECONDS = 60.0
#: IDLE is not used for a shorter wait, because starting and ending it takes two commands.
_MIN_IDLE = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class _FolderState:
    """A folder and its read position."""

    #: As the server writes it (modified UTF-7).
    name: str
    kind: FolderKind
    #: UIDVALIDITY at the last SELECT; `None` before the first.
    uid_validity: int | None = None
    #: Read position: messages with lower UIDs are processed, in the backlog, or too old for it (`_MAX_LEFTOVERS`).
    next_uid: int = 1
    #: UIDs below `next_uid` that the present sweep has not examined yet, oldest first.
    backlog: list[int] = field(default_factory=list)
    #: UIDs of processed messages that are to be deleted.
    to_delete: set[int] = field(default_factory=set)
    #: UIDs of our messages that are marked as deleted, but cannot be removed yet: without the extension UIDPLUS,
    #: EXPUNGE would also remove messages that other clients have marked.
    marked_uids: set[int] = field(default_factory=set)
    #: Number of consecutive failures of the server to send the next message.
    failures: int = 0
    #: Whether the backlog is from the first read of the folder, so that its messages have not been counted yet.
    is_first_read: bool = True
    #: Whether the server has refused to select the folder. Only the first refusal is logged.
    is_refused: bool = False
    #: Times of the last poll and of the start of the last sweep, in seconds of the loop's clock.
    polled_at: float = float("-inf")
    swept_at: float = float("-inf")


class ImapReader:
    """IMAP implementation of `probes.arrival.reader.MailReader`, with one connection at a time."""

    def __init__(
        self, handler: MessageHandler, *, timeouts: Timeouts, polling: PollingPolicy, wake: Callable[[], None]
    ) -> None:
        """*wake* is called when the server announces new mail and when the connection is lost."""
        self._handler = handler
        self._mailbox = handler.mailbox
        self.timeouts = timeouts
        self._polling = polling
        self._wake = wake
        self._session: ImapSession | None = None
        self._trace: Trace = TraceRecorder()
        self._inbox = _FolderState(name=encode_folder_name(self._mailbox.inbox), kind=FolderKind.INBOX)
        self._junk_folders: dict[str, _FolderState] = {}
        #: Cost of closed connections.
        self._cost = 0
        #: Number of consecutive announcements without new mail.
        self._false_alarms = 0
        # The public attributes are described in `MailReader`.
        self.deleted_all = asyncio.Event()
        self.deleted_all.set()
        self.undeleted_messages = UndeletedMessages(self._mailbox.name)
        self.lock_error: ProbeFailedError | None = None
        self.quota: MailboxQuota | None = None

    @property
    def has_more(self) -> bool:
        """Whether the present sweep has not examined the whole inbox yet."""
        return bool(self._inbox.backlog)

    @property
    def cost(self) -> int:
        """Cost of the server's responses over all connections (see `MailReader`)."""
        return self._cost + (self._session.cost if self._session is not None else 0)

    async def open(self, trace: Trace) -> None:
        """Connect, sign in, find the folders and open the inbox."""
        self._trace = trace
        session = await open_session(
            self._mailbox,
            trace,
            Party.RECIPIENT,
            response_timeout=self.timeouts.session * _RESPONSE_TIMEOUT_SHARE,
            within=self.timeouts.session,
            wake=self._wake,
        )
        self._session = session
        with timed_phase(trace, Phase.RETRIEVE, Party.RECIPIENT):
            async with asyncio.timeout(self.timeouts.session.total_seconds()):
                await self._find_folders(session)
        session.set_response_timeout(min(self._polling.response_timeout, self.timeouts.session))

    async def poll(self, *, junk_interval: timedelta, sweep_interval: timedelta) -> None:
        """Read new mail in the inbox, a part of the sweep's backlog, and the junk folders that are due."""
        with timed_phase(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
            await self._poll(self._require_session(), junk_interval=junk_interval, sweep_interval=sweep_interval)

    async def wait_for_mail(self, wake_event: asyncio.Event, within: timedelta) -> None:
        """Wait until *wake_event* is set, in IDLE unless the server lacks it or *within* is short."""
        session = self._require_session()
        # A server that announces mail without having any must not cause a poll at each announcement.
        await asyncio.sleep(self._polling.false_alarm_pause(self._false_alarms).total_seconds())
        if session.has_new_mail:
            return
        if session.can_idle and within >= _MIN_IDLE:
            with timed_phase(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
                await session.idle(wake_event, within)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(within.total_seconds()):
                    await wake_event.wait()

    def quiet_interval(self, polling: PollingPolicy) -> timedelta:
        """Return the longest interval between polls; it is longer if the server announces new mail (IDLE)."""
        return polling.announced_interval if self._require_session().can_idle else polling.unannounced_interval

    async def final_search(self, trace: Trace, within: timedelta, wait_for_poll: WaitForPoll) -> SearchResult:
        """Search all folders over a new connection."""
        return await FinalSearch(self._handler, junk=self._junk_folders, wait_for_poll=wait_for_poll).run(trace, within)

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._cost += self._session.cost
            self._session = None

    def _require_session(self) -> ImapSession:
        if self._session is None:
            raise RuntimeError("not open")
        return self._session

    async def _find_folders(self, session: ImapSession) -> None:
        try:
            listed_junk = await session.list_junk_folders()
            namespaces = await session.fetch_namespaces() if needs_namespaces(self._inbox.name, listed_junk) else {}
        except CommandRejectedError as refusal:
            # The inbox can be read without the list, but only the configured junk folders are polled.
            _log.warning("folder list not available", mailbox=self._mailbox.name, detail=refusal.text)
            listed_junk, namespaces = (), {}
        # The namespaces show which of the listed folders are other users'; those are left out.
        names = (
            *own_folders(self._inbox.name, listed_junk, namespaces),
            *map(encode_folder_name, self._mailbox.junk_folders),
        )
        self._junk_folders = {
            name: self._junk_folders.get(name) or _FolderState(name=name, kind=FolderKind.JUNK) for name in names
        }
        try:
            await self._select(session, self._inbox)
        except CommandRejectedError as refusal:
            raise (inbox_failure(refusal.text, is_shared=may_be_shared(self._mailbox.inbox)) or refusal) from refusal
        was_nearly_full = _is_nearly_full(self.quota)
        self.quota = await session.fetch_quota(self._inbox.name)
        if _is_nearly_full(self.quota) and not was_nearly_full:
            usage = self.quota.summary if self.quota is not None else ""
            _log.warning("mailbox is nearly full", mailbox=self._mailbox.name, used=usage)

    async def _poll(self, session: ImapSession, *, junk_interval: timedelta, sweep_interval: timedelta) -> None:
        if loop_time() - self._inbox.swept_at >= sweep_interval.total_seconds():
            await self._select(session, self._inbox, sweep=True)
        was_announced, next_uid_before = session.has_new_mail, self._inbox.next_uid
        has_new_mail = await session.noop()
        if has_new_mail or loop_time() - self._inbox.polled_at >= _LIST_INTERVAL:
            await self._read_new(session, self._inbox)
        if self._inbox.next_uid != next_uid_before:
            self._false_alarms = 0
        elif was_announced:
            self._false_alarms += 1
        await self._read_backlog(session, self._inbox)
        await self._delete(session, self._inbox)
        reselected = [
            await self._poll_junk(session, state, sweep=loop_time() - state.swept_at >= sweep_interval.total_seconds())
            for state in list(self._junk_folders.values())
            if loop_time() - state.polled_at >= junk_interval.total_seconds()
        ]
        if any(reselected):
            await self._select(session, self._inbox)

    async def _poll_junk(self, session: ImapSession, state: _FolderState, *, sweep: bool) -> bool:
        """Poll a junk folder; return whether the inbox must be selected again."""
        try:
            return await self._read_junk(session, state, sweep=sweep)
        except CommandRejectedError as refusal:
            # The folder is missing or unavailable, but the inbox can be read. The inbox must be selected again, because
            # a failed SELECT leaves no folder selected.
            if not state.is_refused:
                _log.warning(
                    "folder does not exist", mailbox=self._mailbox.name, folder=state.name, detail=refusal.text
                )
            # A time in the future postpones the next poll.
            state.is_refused, state.polled_at = True, loop_time() + _REFUSAL_PAUSE_SECONDS
            return True

    async def _read_junk(self, session: ImapSession, state: _FolderState, *, sweep: bool) -> bool:
        """Read a junk folder if it has changed or a sweep or deletion is due; return whether it was selected."""
        status = await session.status(state.name)
        is_comparable = status.uid_validity == state.uid_validity and status.next_uid is not None
        if not sweep and is_comparable and status.next_uid == state.next_uid and not state.to_delete:
            state.polled_at = loop_time()
            return False
        if status.is_empty and status.next_uid is not None and not state.to_delete:
            # An empty folder is not selected, because selecting it would cost three round trips.
            state.uid_validity, state.next_uid, state.backlog = status.uid_validity, status.next_uid, []
            state.polled_at = state.swept_at = loop_time()
            return False
        await self._select(session, state, sweep=sweep)
        await self._read_new(session, state)
        while state.backlog:
            await self._read_backlog(session, state)
        await self._delete(session, state)
        return True

    async def _select(self, session: ImapSession, state: _FolderState, *, sweep: bool = False) -> None:
        status = await session.select(state.name)
        if status.uid_validity != state.uid_validity:
            # UIDs are invalid after a change of UIDVALIDITY (RFC 3501 2.3.1.1).
            state.uid_validity, state.is_first_read, sweep = status.uid_validity, True, True
            state.to_delete, state.marked_uids = set(), set()
            self.undeleted_messages.forget(state.name)
            state.next_uid = await self._next_uid(session, status)
            self._update_deleted_all()
        elif sweep:
            state.is_first_read = False
        # If the read position is the end of the folder, all messages have been read, so the folder counts as polled.
        state.polled_at = loop_time() if status.next_uid == state.next_uid else float("-inf")
        if sweep:
            uids = await session.last_uids(_MAX_LEFTOVERS, status.exists)
            state.backlog = [uid for uid in uids if uid < state.next_uid]
            state.swept_at = loop_time()
            self.undeleted_messages.compare(state.name, uids)

    async def _next_uid(self, session: ImapSession, status: FolderStatus) -> int:
        if status.next_uid is not None:
            return status.next_uid
        last_uids = await session.last_uids(1, status.exists)
        return last_uids[-1] + 1 if last_uids else 1

    async def _read_new(self, session: ImapSession, state: _FolderState) -> None:
        uids = await session.uids_from(state.next_uid)
        for chunk in chunked(uids, CHUNK_SIZE if not state.failures else 1):
            for mail in sorted(await self._headers(session, state, chunk), key=lambda mail: mail.uid):
                await self._process(session, state, mail, may_count=True)
                # The position advances after each message, so that none is delivered twice if the connection breaks.
                state.next_uid = mail.uid + 1
            state.next_uid = chunk[-1] + 1
            await self._delete(session, state)
        state.polled_at = loop_time()

    async def _read_backlog(self, session: ImapSession, state: _FolderState) -> None:
        if not state.backlog:
            return
        chunk = state.backlog[-CHUNK_SIZE if not state.failures else -1 :]
        for mail in await self._headers(session, state, chunk):
            if mail.uid in state.backlog:
                await self._process(session, state, mail, may_count=state.is_first_read)
                state.backlog.remove(mail.uid)
        state.backlog = [uid for uid in state.backlog if uid < chunk[0]]
        await self._delete(session, state)

    async def _headers(self, session: ImapSession, state: _FolderState, chunk: Sequence[int]) -> list[FetchedMessage]:
        """Return the headers of the UIDs *chunk*; none for a message that the server has failed to send several times."""
        if state.failures >= _MAX_TRIES and len(chunk) == 1:
            _log.warning("message cannot be read", mailbox=self._mailbox.name, uid=chunk[0])
            state.failures = 0
            return []
        try:
            headers = await session.fetch_headers(chunk)
        except (CommandRejectedError, ProtocolError):
            state.failures += 1
            raise
        state.failures = 0
        return headers

    async def _process(
        self, session: ImapSession, state: _FolderState, mail: FetchedMessage, *, may_count: bool
    ) -> None:
        message = MailboxMessage(
            uid=mail.uid,
            header=mail.content or b"",
            size=mail.size,
            is_marked_deleted=mail.is_marked_deleted,
            fetch_content=partial(session.fetch_message, mail.uid),
        )
        # A message that is marked as deleted was counted before: without UIDPLUS, our messages may stay marked for
        # long.
        may_count = may_count and not mail.is_marked_deleted
        if not await self._handler.process(message, state.kind, may_count=may_count):
            return
        if mail.is_marked_deleted and "UIDPLUS" not in session.capabilities:
            state.marked_uids.add(mail.uid)
        else:
            state.to_delete.add(mail.uid)
            self.deleted_all.clear()

    async def _delete(self, session: ImapSession, state: _FolderState) -> None:
        if not state.to_delete:
            return
        try:
            is_deleted = await session.delete(state.to_delete, marked_before=state.marked_uids)
            state.marked_uids = set() if is_deleted else state.marked_uids | state.to_delete
        except CommandRejectedError as refusal:
            self.undeleted_messages.record_refusal(refusal.text)
        self.undeleted_messages.record_deletion(state.name, state.to_delete)
        state.to_delete = set()
        self._update_deleted_all()

    def _update_deleted_all(self) -> None:
        if not any(state.to_delete for state in (self._inbox, *self._junk_folders.values())):
            self.deleted_all.set()


def _is_nearly_full(quota: MailboxQuota | None) -> bool:
    return quota is not None and quota.share >= NEARLY_FULL
