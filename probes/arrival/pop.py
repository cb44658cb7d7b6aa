"""Mailbox reader over POP3.

A session shows the mail present at its start and locks the mailbox, so each poll is one session.
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
from probes.arrival.reader import CaughtUp, SearchResult
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.model.mailbox import MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import CommandRejectedError, ProbeFailedError, Timeouts, Trace
from probes.model.reply import Reason
from probes.model.result import Party, Phase
from probes.protocol.cause import stage
from probes.protocol.pop3 import Pop3Session, open_session
from probes.run.runner import loop_time
from probes.run.trace import TraceRecorder

_log = structlog.get_logger(__name__)

#: This many newest mails are searched for undeleted messages at the start and at each sweep. Each costs a round trip.
_LEFTOVERS = 50
#: No line is awaited for longer than this part of the session timeout, so that the reason can be reported in time.
_LEG = 0.9
#: A mail that breaks the session this many times is skipped; otherwise it would block all later mail.
_TRIES = 3
#: The only folder, which has no name.
_DROP = ""
#: Another reader of the mailbox, such as one of our checks, is done in seconds.
_IN_USE_TRIES = 3


class Pop3Reader:
    """Implementation of `probes.arrival.reader.MailReader` over POP3. It sees the inbox only, no junk folder."""

    def __init__(self, reception: MessageHandler, *, patience: Timeouts, pace: PollingPolicy) -> None:
        self._reception = reception
        self._mailbox = reception.mailbox
        self.patience = patience
        self._pace = pace
        self._trace: Trace = TraceRecorder()
        #: Open, and not polled yet.
        self._session: Pop3Session | None = None
        #: UIDs of mail that stays, `None` before the first poll; of our mail to be deleted; of mail that broke a
        #: session.
        self._known: set[str] | None = None
        self._done: set[str] = set()
        self._tries: dict[str, int] = {}
        self._swept_at = 0.0
        self._looked_at = float("-inf")
        self._delay = timedelta(0)
        self._cost = 0
        self.tidy = asyncio.Event()
        self.tidy.set()
        self.remainder = UndeletedMessages(self._mailbox.name)
        self.in_use: ProbeFailedError | None = None
        #: POP3 has no quota command.
        self.quota: MailboxQuota | None = None

    @property
    def has_more(self) -> bool:
        """Always `False`: a poll processes all mail."""
        return False

    @property
    def cost(self) -> int:
        """Cost of the servers' responses in all sessions."""
        return self._cost + (self._session.cost if self._session is not None else 0)

    async def open(self, trace: Trace) -> None:
        """Sign in for the first poll."""
        self._trace = trace
        self._session = await self._enter()

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:  # noqa: ARG002 - there is no junk to be seen
        """Process all mail that has arrived since the last poll."""
        self._session = session = self._session or await self._enter()
        try:
            with stage(self._trace, Phase.RETRIEVE, Party.RECIPIENT):
                try:
                    async with asyncio.timeout(self.patience.session.total_seconds()):
                        await self._read(session, sweep)
                        await self._leave(session)
                except TimeoutError as late:
                    raise TimeoutError(session.unfinished) from late
        finally:
            self.close()
        self._delay = session.login_delay
        self._looked_at = loop_time()

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait for the next poll. It is not earlier than the server, or the polling policy, allows."""
        between = max(self._pace.revisit, self._delay).total_seconds()
        await asyncio.sleep(max(0.0, self._looked_at + between - loop_time()))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._looked_at + at_most.total_seconds()):
                await stirred.wait()

    def unwatched(self, pace: PollingPolicy) -> timedelta:
        """Return the idle interval: each poll is a sign-in."""
        return pace.listening

    async def look_anew(self, trace: Trace, within: timedelta, caught_up: CaughtUp) -> SearchResult:
        """Wait for the next poll: each has a new sign-in, and POP3 has no other folder."""
        with trace.phase(Phase.RETRIEVE, Party.RECIPIENT):
            if not await caught_up(within):
                raise self.in_use or TimeoutError
        return SearchResult(folders=1, of=1)

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._cost += self._session.cost
            self._session = None

    async def _enter(self) -> Pop3Session:
        within = self.patience.session
        tried = 1
        self.in_use = None
        while True:
            try:
                session = await open_session(
                    self._mailbox, self._trace, Party.RECIPIENT, leg=within * _LEG, within=within
                )
            except ProbeFailedError as failure:
                if failure.failure.reason != Reason.MAILBOX_IN_USE or tried == _IN_USE_TRIES:
                    raise
                # Dovecot reports it after ten seconds: a run may time out before the last attempt.
                self.in_use = failure
            else:
                self.in_use = None
                return session
            tried += 1
            await asyncio.sleep(self._pace.revisit.total_seconds())

    async def _leave(self, session: Pop3Session) -> None:
        try:
            await session.quit()
        except CommandRejectedError as refusal:
            self.remainder.refused(refusal.text)
        self.remainder.tried(_DROP, self._done)
        # Messages that are still present are left alone until the next sweep.
        self._known = (self._known or set()) | self._done
        self._done = set()
        self.tidy.set()

    async def _read(self, session: Pop3Session, sweep: timedelta) -> None:
        listed = await session.uids()
        present = {uid for _, uid in listed}
        # UIDs that are gone are removed, so that the sets do not grow.
        known = present & (self._known or set())
        self._done &= present
        self._tries = {uid: tried for uid, tried in self._tries.items() if uid in present}
        again: set[str] = set()
        if self._known is None:
            known, self._swept_at = {uid for _, uid in listed[:-_LEFTOVERS]}, loop_time()
        elif loop_time() - self._swept_at >= sweep.total_seconds():
            again, self._swept_at = known & {uid for _, uid in listed[-_LEFTOVERS:]}, loop_time()
            known -= again
            self.remainder.look(_DROP, present)
        self._known = known
        await self._receive(session, listed, again)

    async def _receive(self, session: Pop3Session, listed: list[tuple[int, str]], again: set[str]) -> None:
        known = self._known = self._known or set()
        fresh = [(number, uid) for number, uid in listed if uid not in known and uid not in self._done]
        sizes = await session.sizes() if fresh else {}
        # Two mails may share a UID, against the RFC: only mail that was examined is deleted.
        times = Counter(uid for _, uid in listed)
        ours = [(number, uid) for number, uid in listed if uid in self._done and times[uid] == 1]
        for number, uid in fresh:
            if await self._is_done(session, number, uid, sizes.get(number, 0), count=uid not in again):
                ours.append((number, uid))
                self._done.add(uid)
                self.tidy.clear()
            else:
                known.add(uid)
        for number, _ in ours:
            try:
                await session.delete(number)
            except CommandRejectedError as refusal:
                self.remainder.refused(refusal.text)

    async def _is_done(self, session: Pop3Session, number: int, uid: str, size: int, *, count: bool) -> bool:
        self._tries[uid] = self._tries.get(uid, 0) + 1
        if self._tries[uid] > _TRIES:
            _log.warning("message cannot be read", mailbox=self._mailbox.name, uid=uid)
            return False
        letter = MailboxMessage(
            uid=uid, header=await session.header(number), size=size, whole=partial(session.message, number, size)
        )
        done = await self._reception.receive(letter, FolderKind.INBOX, count=count)
        self._tries.pop(uid, None)
        return done
