"""Mail reader over POP3.

A POP3 session locks the mailbox and shows only the messages that were present at its start, so each poll opens a
session. Leftovers are messages of earlier runs that were not deleted. A sweep is the periodic search for them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog

from probes.arrival.expectation import FolderKind
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.arrival.reader import SearchResult, WaitForPoll
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.model.mailbox import MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import CommandRejectedError, ProbeFailedError, Timeouts, Trace
from probes.model.reply import Reason
from probes.model.result import Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.pop3 import Pop3Session, open_session
from probes.run.runner import loop_time
from probes.run.trace import TraceRecorder

_log = structlog.get_logger(__name__)

#: Number of the newest messages that the first poll and each sweep examine. Each message costs a round trip.
_MAX_LEFTOVERS = 50
#: Timeout of each line, as a share of the session timeout. So a missing line is reported before that timeout.
_RESPONSE_TIMEOUT_SHARE = 0.9
#: Attempts to read a message that breaks the session. Then the message is skipped, so that later mail can be read.
_MAX_TRIES = 3
#: POP3 has one folder, without a name.
_FOLDER = ""
#: Attempts to sign in while another session locks the mailbox. If that session is a check of ours, it ends in seconds.
_MAX_LOCK_TRIES = 3


class Pop3Reader:
    """POP3 implementation of `probes.arrival.reader.MailReader`. POP3 shows only the inbox, no junk folder."""

    def __init__(self, handler: MessageHandler, *, timeouts: Timeouts, polling: PollingPolicy) -> None:
        self._handler = handler
        self._mailbox = handler.mailbox
        self.timeouts = timeouts
        self._polling = polling
        self._trace: Trace = TraceRecorder()
        #: The session of the first poll (opened by `open`) or of the present poll; `None` between two polls.
        self._session: Pop3Session | None = None
        #: UIDs (UIDL) of messages that are not examined before the next sweep; `None` before the first poll.
        self._skipped_uids: set[str] | None = None
        #: UIDs of our messages that are to be deleted.
        self._to_delete: set[str] = set()
        #: Number of attempts to read each message that has not been read yet, by UID.
        self._tries: dict[str, int] = {}
        #: Times of the last sweep and of the last poll, in seconds of the loop's clock.
        self._swept_at = 0.0
        self._polled_at = float("-inf")
        #: Interval that the server requires between two sign-ins (LOGIN-DELAY, RFC 2449).
        self._login_delay = timedelta(0)
        #: Cost of closed sessions.
        self._cost = 0
        # The public attributes are described in `MailReader`.
        self.deleted_all = asyncio.Event()
        self.deleted_all.set()
        self.undeleted_messages = UndeletedMessages(self._mailbox.name)
        self.lock_error: ProbeFailedError | None = None
        #: POP3 has no quota command.
        self.quota: MailboxQuota | None = None

    @property
    def has_more(self) -> bool:
        """Return `False`, because each poll processes all messages."""
        return False

    @property
    def cost(self) -> int:
        """Cost of the server's responses over all sessions (see `MailReader`)."""
        return self._cost + (self._session.cost if self._session is not None else 0)

    async def open(self, trace: Trace) -> None:
        """Sign in for the first poll."""
        self._trace = trace
        self._session = await self._connect()

    async def poll(self, *, junk_interval: timedelta, sweep_interval: timedelta) -> None:  # noqa: ARG002 - POP3 has no junk folder
        """Process all mail that has arrived since the last poll."""
        self._session = session = self._session or await self._connect()
        try:
            with timed_phase(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
                try:
                    async with asyncio.timeout(self.timeouts.session.total_seconds()):
                        await self._process_new(session, sweep_interval)
                        await self._quit(session)
                except TimeoutError as error:
                    raise TimeoutError(session.incomplete_response_text) from error
        finally:
            self.close()
        self._login_delay = session.login_delay
        self._polled_at = loop_time()

    async def wait_for_mail(self, wake_event: asyncio.Event, within: timedelta) -> None:
        """Wait until *wake_event* is set or *within* has passed since the last poll.

        The wait is at least as long as the server and the polling policy require between two sign-ins.
        """
        interval = max(self._polling.pop3_interval, self._login_delay).total_seconds()
        await asyncio.sleep(max(0.0, self._polled_at + interval - loop_time()))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._polled_at + within.total_seconds()):
                await wake_event.wait()

    def quiet_interval(self, polling: PollingPolicy) -> timedelta:
        """Return the long interval of IMAP servers that announce new mail, because each POP3 poll needs a sign-in."""
        return polling.announced_interval

    async def final_search(self, trace: Trace, within: timedelta, wait_for_poll: WaitForPoll) -> SearchResult:
        """Wait for the next poll, which replaces the search: it opens a session and reads the only folder of POP3."""
        with trace.phase(Phase.RETRIEVE, Party.RECIPIENT):
            if not await wait_for_poll(within):
                raise self.lock_error or TimeoutError
        return SearchResult(searched_folders=1, total_folders=1)

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._cost += self._session.cost
            self._session = None

    async def _connect(self) -> Pop3Session:
        within = self.timeouts.session
        attempt = 1
        self.lock_error = None
        while True:
            try:
                session = await open_session(
                    self._mailbox,
                    self._trace,
                    Party.RECIPIENT,
                    response_timeout=within * _RESPONSE_TIMEOUT_SHARE,
                    within=within,
                )
            except ProbeFailedError as error:
                if error.failure.reason != Reason.MAILBOX_IN_USE or attempt == _MAX_LOCK_TRIES:
                    raise
                # Dovecot reports a lock only after ten seconds, so a run may time out before the last attempt. It then
                # fails with `lock_error`.
                self.lock_error = error
            else:
                self.lock_error = None
                return session
            attempt += 1
            await asyncio.sleep(self._polling.pop3_interval.total_seconds())

    async def _quit(self, session: Pop3Session) -> None:
        try:
            await session.quit()
        except CommandRejectedError as refusal:
            self.undeleted_messages.record_refusal(refusal.text)
        self.undeleted_messages.record_deletion(_FOLDER, self._to_delete)
        # If the server still lists these messages, they are not examined before the next sweep.
        self._skipped_uids = (self._skipped_uids or set()) | self._to_delete
        self._to_delete = set()
        self.deleted_all.set()

    async def _process_new(self, session: Pop3Session, sweep_interval: timedelta) -> None:
        # An entry is a message's number in this session, and its UID.
        entries = await session.list_uids()
        present = {uid for _, uid in entries}
        # UIDs of messages that no longer exist are dropped, so that these collections do not grow.
        skipped = present & (self._skipped_uids or set())
        self._to_delete &= present
        self._tries = {uid: count for uid, count in self._tries.items() if uid in present}
        # Skipped messages that a sweep examines again; they were counted before.
        swept: set[str] = set()
        if self._skipped_uids is None:
            skipped, self._swept_at = {uid for _, uid in entries[:-_MAX_LEFTOVERS]}, loop_time()
        elif loop_time() - self._swept_at >= sweep_interval.total_seconds():
            swept, self._swept_at = skipped & {uid for _, uid in entries[-_MAX_LEFTOVERS:]}, loop_time()
            skipped -= swept
            self.undeleted_messages.compare(_FOLDER, present)
        self._skipped_uids = skipped
        await self._process_all(session, entries, swept)

    async def _process_all(self, session: Pop3Session, entries: list[tuple[int, str]], swept: set[str]) -> None:
        skipped = self._skipped_uids = self._skipped_uids or set()
        unread = [(number, uid) for number, uid in entries if uid not in skipped and uid not in self._to_delete]
        sizes = await session.list_sizes() if unread else {}
        # Some servers violate RFC 1939 7 and give several messages the same UID. Such a UID may belong to a message that
        # was not examined, which must not be deleted.
        uid_counts = Counter(uid for _, uid in entries)
        deletable = [(number, uid) for number, uid in entries if uid in self._to_delete and uid_counts[uid] == 1]
        for number, uid in unread:
            if await self._process_message(session, number, uid, sizes.get(number, 0), may_count=uid not in swept):
                deletable.append((number, uid))
                self._to_delete.add(uid)
                self.deleted_all.clear()
            else:
                skipped.add(uid)
        for number, _ in deletable:
            try:
                await session.delete(number)
            except CommandRejectedError as refusal:
                self.undeleted_messages.record_refusal(refusal.text)

    async def _process_message(
        self, session: Pop3Session, number: int, uid: str, size: int, *, may_count: bool
    ) -> bool:
        self._tries[uid] = self._tries.get(uid, 0) + 1
        if self._tries[uid] > _MAX_TRIES:
            _log.warning("message cannot be read", mailbox=self._mailbox.name, uid=uid)
            return False
        message = MailboxMessage(
            uid=uid,
            header=await session.fetch_header(number),
            size=size,
            fetch_content=partial(session.fetch_message, number, size),
        )
        is_to_delete = await self._handler.process(message, FolderKind.INBOX, may_count=may_count)
        self._tries.pop(uid, None)
        return is_to_delete
