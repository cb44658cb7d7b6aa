"""Watcher of one mailbox, shared by all runs that wait for mail in it.

Hundreds of routes share a reference mailbox (a mailbox of ours outside the agencies), and servers limit connections and
sign-ins. So each mailbox has one watcher with one connection. It delivers every message to the run (one execution of a
probe) that waits for the message's token (its signed mark), deletes delivered messages, and counts messages for which
no run waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from probes.arrival.expectation import Expectation
from probes.arrival.imap_reader import ImapReader
from probes.arrival.message_handler import MessageHandler
from probes.arrival.pop import Pop3Reader
from probes.arrival.reader import MailReader, SearchResult
from probes.mail.disposition import TokenRegistry
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox, MailboxQuota
from probes.model.polling import PollingPolicy, ReadRateLimit
from probes.model.probe import ProbeFailedError, Timeouts, clear_tracebacks
from probes.model.reply import Reason, probe_failure, timeout_failure
from probes.model.result import Arrival, Outcome, Party, Phase
from probes.run.runner import loop_time, utc_now
from probes.run.trace import TraceRecorder


class WakeEvent:
    """Event with many setters and one waiter.

    It takes less memory than `asyncio.Event`, whose queue of waiters takes 600 octets, and there are thousands of
    mailboxes.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter, or let the next `wait` return at once. Further calls before that have no effect."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until the event is set, and clear it. Return at once if it was set since the last return."""
        while not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._is_set = False


_log = structlog.get_logger(__name__)

#: Called with the kind of a message (such as late or duplicate), its token's id and the present time.
OnArrival = Callable[[Arrival, str | None, datetime], None]


class MailboxWatcher:
    """Watcher of one mailbox. Start `run()` in a task group; `expect()` also works before the connection is open.

    *on_arrival* is called for each message for which no run waits; the token's id is `None` if the token is forged.
    *ended* and *arrived* are token ids from the database: of earlier runs that have ended, and of runs whose message
    has arrived. *on_line* is called with each line of the dialogue with the server, in which secrets are masked.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        signer: TokenSigner,
        *,
        on_arrival: OnArrival,
        timeouts: Timeouts | None = None,
        polling: PollingPolicy | None = None,
        ended: Iterable[str] = (),
        arrived: Iterable[str] = (),
        on_line: Callable[[str], None] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.mailbox = mailbox
        #: Why the mailbox cannot be read; `None` if it can be read, and before the first attempt.
        self.failure: ProbeFailedError | None = None
        #: End of the last complete poll of inbox and junk folders, in seconds of the loop's clock; `None` before the
        #: first.
        self.polled_at: float | None = None
        self._on_line = on_line
        timeouts = timeouts or Timeouts()
        self._polling = polling or PollingPolicy()
        #: Expectations by token id.
        self._waiting: dict[str, list[Expectation]] = {}
        #: By token id: whether the run has ended, or its message has arrived.
        self._registry = TokenRegistry(ended=ended, arrived=arrived)
        #: Set when the server announces new mail, when a run begins to wait, and when the connection is lost.
        self._wake_event = asyncio.Event()
        handler = MessageHandler(
            mailbox=mailbox,
            signer=signer,
            registry=self._registry,
            waiting=self._waiting,
            on_arrival=on_arrival,
            clock=clock,
        )
        self._reader = _create_reader(handler, timeouts, self._polling, self._wake_event.set)
        self._rate_limit = ReadRateLimit(
            read_burst=self._polling.read_burst, read_rate=self._polling.read_rate, clock=loop_time
        )
        #: Trace of the present connection, which shows its phase; `None` before the first connection.
        self._recorder: TraceRecorder | None = None
        self._is_readable = False
        #: The part of the reader's cost that the rate limit has counted.
        self._counted_cost = 0
        #: Lifetime of a connection, after which it is replaced.
        self._lifetime = self._polling.lifetime_of(mailbox.name)
        #: Whether the server does not show new mail in the present connection.
        self._is_stale = False
        #: Start of the last complete poll, in seconds of the loop's clock, and an event that each complete poll sets.
        self._poll_started_at = float("-inf")
        self._polled = WakeEvent()
        #: Requests for a final search by runs whose message is missing, each with the timeout of the search.
        self._search_requests: list[tuple[asyncio.Future[SearchResult | ProbeFailedError], timedelta]] = []
        self._search_requested = WakeEvent()
        #: Number of consecutive failed connections, for the backoff.
        self._failures = 0
        #: Reason of the last failure that was logged; `None` after the recovery was logged.
        self._logged_reason: str | None = None
        #: Earliest time of the next connection, in seconds of the loop's clock.
        self._retry_not_before = 0.0

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Use *timeouts* from now on. Call it when the mailbox's routes, or the routes' timeouts, have changed."""
        self._reader.timeouts = timeouts

    def add_known_tokens(self, tokens: Mapping[str, bool]) -> None:
        """Add earlier runs. *tokens* maps the id of each run's token to whether the run's message has arrived."""
        for token_id, has_arrived in tokens.items():
            if self._registry.token_state(token_id) is None:
                self._registry.end_wait(token_id, Party.RECIPIENT)
                if has_arrived:
                    self._registry.mark_arrived(token_id)

    def expect(self, token: Token, party: Party = Party.RECIPIENT) -> Expectation:
        """Register for the message with *token*, before it is sent.

        `Party.RECIPIENT` waits for the message, or for a bounce that arrives in this mailbox. `Party.SENDER` waits for
        a bounce only. During the pause after a failed connection, the expectation fails at once.
        """
        expectation = Expectation(token, party, wake=self._wake_event.set, on_end=self._end_expectation)
        self._waiting.setdefault(token.id, []).append(expectation)
        if self._is_readable:
            expectation.set_ready()
        elif self.failure is not None and loop_time() < self._retry_not_before:
            expectation.fail(self.failure)
        self._wake_event.set()
        return expectation

    def final_search(self, within: timedelta) -> asyncio.Future[SearchResult | ProbeFailedError]:
        """Request a search for missing messages in a new session. *within*: time that the run waits for the result.

        One search serves all pending requests. Its timeout is half of the shortest *within*, and the next search starts
        at the earliest when this time is over, so hundreds of runs cause few sign-ins. A request during a search waits
        for the next one. The future's result is the coverage of the search, or its failure; found messages are
        delivered before.
        """
        future: asyncio.Future[SearchResult | ProbeFailedError] = asyncio.get_running_loop().create_future()
        self._search_requests.append((future, within / 2))
        self._search_requested.set()
        return future

    def not_ready_failure(self) -> ProbeFailedError:
        """Return why the mailbox is not ready, for a run that has waited for the session timeout.

        The reason is that another session locks the mailbox, or else a timeout in the phase of the present connection
        attempt. The attribute `failure` is not returned: it is older than the run, because a newer failure would have
        ended the run's wait.
        """
        if self._reader.lock_error is not None:
            return self._reader.lock_error
        if self._recorder is not None:
            return timeout_failure(self._recorder.location[0], Party.RECIPIENT)
        return _monitoring_fault("the watcher of this mailbox is not running")

    @property
    def undeleted_count(self) -> int:
        """Number of deleted probe messages that the last sweep (periodic search for leftovers) still found."""
        return self._reader.undeleted_messages.count

    @property
    def quota(self) -> MailboxQuota | None:
        """The quota when the mailbox was last opened; `None` if the server does not report a quota."""
        return self._reader.quota

    async def wait_until_deleted(self) -> None:
        """Wait until delivered messages are deleted, for a process that exits right after a run.

        The caller sets the deadline.
        """
        await self._reader.deleted_all.wait()

    async def poll_once(self) -> None:
        """Process the mailbox once and delete probe messages in it. Use it for a mailbox without a running watcher.

        The caller sets the deadline. Raise `ProbeFailedError` if the mailbox cannot be read.
        """
        try:
            await self._reader.open(TraceRecorder(on_line=self._on_line))
            has_more = True
            while has_more:
                await self._reader.poll(
                    junk_interval=self._polling.sweep_interval, sweep_interval=self._polling.sweep_interval
                )
                await self._wait_for_rate_limit()
                has_more = self._reader.has_more
        finally:
            self._reader.close()

    async def run(self) -> None:
        """Poll the mailbox until cancelled; reconnect after every failure."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_forever())
            tasks.create_task(self._run_final_searches())

    async def _watch_forever(self) -> None:
        while True:
            started_at = loop_time()
            was_readable, error = await self._run_connection()
            self._is_readable = False
            lifetime = timedelta(seconds=loop_time() - started_at)
            is_protocol_violation = error is not None and error.failure.reason == Reason.UNEXPECTED_ANSWER
            if error is None or (was_readable and lifetime >= self._polling.stable_after and not is_protocol_violation):
                # The connection expired, or was lost after a stable time. Servers restart and drop idle connections, so
                # a loss is reported only if the next attempt fails.
                self._failures = 0
                continue
            self._report_failure(error, is_protocol_violation=is_protocol_violation)
            await self._wait_before_retry()

    async def _run_connection(self) -> tuple[bool, ProbeFailedError | None]:
        """Connect and poll until the connection fails or expires.

        Return whether the mailbox was readable, and the failure; `None` if the connection expired.
        """
        recorder = self._recorder = TraceRecorder(on_line=self._on_line)
        try:
            await self._open_and_watch(recorder)
        except ProbeFailedError as error:
            clear_tracebacks(error)
            return self._is_readable, error
        except TimeoutError as error:
            clear_tracebacks(error)
            return self._is_readable, timeout_failure(*recorder.location)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the watcher, and is no fault of the server
            _log.exception("mailbox watcher failed", mailbox=self.mailbox.name)
            return False, _monitoring_fault(f"{type(error).__name__}: {error}")
        return self._is_readable, None

    async def _open_and_watch(self, recorder: TraceRecorder) -> None:
        try:
            await self._reader.open(recorder)
            self._report_ready()
            await self._poll_until_expiry()
        finally:
            self._reader.close()

    async def _poll_until_expiry(self) -> None:
        reader = self._reader
        opened_at = loop_time()
        expires_at = opened_at + self._lifetime.total_seconds()
        stable_at = opened_at + self._polling.stable_after.total_seconds()
        self._is_stale = False
        while loop_time() < expires_at and not self._is_stale:
            # The event is cleared before the poll, so that an event during the poll causes the next poll.
            self._wake_event.clear()
            run_waits = any(
                expectation.party is Party.RECIPIENT
                for expectations in self._waiting.values()
                for expectation in expectations
            )
            poll_interval, poll_started_at = self._poll_interval(), loop_time()
            await reader.poll(
                junk_interval=poll_interval if run_waits else self._polling.sweep_interval,
                sweep_interval=self._polling.sweep_interval,
            )
            self.polled_at, self._poll_started_at = loop_time(), poll_started_at
            self._polled.set()
            if self._logged_reason is not None and self.polled_at >= stable_at:
                _log.info("mailbox can be read again", mailbox=self.mailbox.name)
                self._logged_reason = None
            await self._wait_for_rate_limit()
            if not reader.has_more:
                remaining = timedelta(seconds=max(0.0, expires_at - loop_time()))
                await reader.wait_for_mail(self._wake_event, min(self._poll_interval(), remaining))

    async def _wait_for_rate_limit(self) -> None:
        """Wait until the cost of the server's responses is within the rate limit."""
        cost, self._counted_cost = self._reader.cost - self._counted_cost, self._reader.cost
        await asyncio.sleep(self._rate_limit.spend(cost))

    async def _run_final_searches(self) -> None:
        """Run a final search for each batch of requests; the next starts after the shortest timeout of the batch."""
        while True:
            await self._search_requested.wait()
            requests, self._search_requests = self._search_requests, []
            within = min(within for _, within in requests)
            next_at = loop_time() + within.total_seconds()
            result = await self._run_final_search(within)
            for future, _ in requests:
                if not future.done():
                    future.set_result(result)
            await asyncio.sleep(max(0.0, next_at - loop_time()))

    async def _run_final_search(self, within: timedelta) -> SearchResult | ProbeFailedError:
        recorder, recorder_before = TraceRecorder(on_line=self._on_line), self._recorder
        try:
            result = await self._reader.final_search(recorder, within, self._wait_for_poll)
        except ProbeFailedError as error:
            clear_tracebacks(error)
            return error
        except TimeoutError as error:
            clear_tracebacks(error)
            return timeout_failure(*recorder.location)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the watcher, and is no fault of the server
            _log.exception("final search of mailbox failed", mailbox=self.mailbox.name)
            return _monitoring_fault(f"{type(error).__name__}: {error}")
        # A connection that was opened during the search is not the stale connection.
        if result.is_stale and recorder_before is self._recorder:
            self._replace_stale_connection()
        return result

    async def _wait_for_poll(self, within: timedelta) -> bool:
        """Return whether a poll that starts from now on has completed *within* the given time."""
        requested_at = loop_time()
        self._wake_event.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                while self._poll_started_at < requested_at:
                    await self._polled.wait()
        return self._poll_started_at >= requested_at

    def _replace_stale_connection(self) -> None:
        """Replace the stale connection, and shorten the lifetime of later ones."""
        self._lifetime = max(self._polling.min_lifetime, self._lifetime / 2)
        self._is_stale = True
        self._wake_event.set()
        _log.warning(
            "connection did not report new mail; replacing it and shortening its lifetime",
            mailbox=self.mailbox.name,
            renewal=self._lifetime.total_seconds(),
        )

    def _poll_interval(self) -> timedelta:
        now = loop_time()
        fast_polling_times = (
            expectation.fast_polling_since for expectations in self._waiting.values() for expectation in expectations
        )
        ages = (timedelta(seconds=now - at) for at in fast_polling_times if at is not None)
        return self._polling.poll_interval(
            ages, run_waits=bool(self._waiting), quiet_interval=self._reader.quiet_interval(self._polling)
        )

    def _report_ready(self) -> None:
        # `_failures` is not reset yet, because a server that accepts the sign-in and then disconnects has not
        # recovered.
        self.failure = None
        self._is_readable = True
        for expectations in self._waiting.values():
            for expectation in expectations:
                expectation.set_ready()

    def _report_failure(self, error: ProbeFailedError, *, is_protocol_violation: bool) -> None:
        if self._logged_reason != error.failure.reason:
            self._logged_reason = error.failure.reason
            _log.warning(
                "mailbox cannot be read",
                mailbox=self.mailbox.name,
                outcome=str(error.outcome),
                reason=str(error.failure.reason),
                detail=error.failure.detail,
            )
        self.failure = error
        self._failures += 1
        pause = self._polling.refusal_pause if error.failure.credentials_refused else self._polling.retry_min
        if is_protocol_violation:
            # Each attempt with a server that violates the protocol takes much CPU, so a new run must not shorten the
            # backoff.
            pause = self._polling.backoff(self._failures)
        self._retry_not_before = loop_time() + pause.total_seconds()
        for expectations in self._waiting.values():
            for expectation in expectations:
                expectation.fail(error)

    async def _wait_before_retry(self) -> None:
        """Wait before the next attempt. A new run shortens the wait, but not below the minimum pause."""
        retry_at = max(self._retry_not_before, loop_time() + self._polling.backoff(self._failures).total_seconds())
        while True:
            self._wake_event.clear()
            try:
                async with asyncio.timeout_at(retry_at):
                    await self._wake_event.wait()
            except TimeoutError:
                return
            if loop_time() >= self._retry_not_before:
                return

    def _end_expectation(self, expectation: Expectation) -> None:
        if expectation.found_elsewhere is not None and not expectation.arrival.done():
            self._registry.mark_arrived(expectation.token.id)
        self._registry.end_wait(expectation.token.id, expectation.party)
        remaining = [each for each in self._waiting.pop(expectation.token.id, []) if each is not expectation]
        if remaining:
            self._waiting[expectation.token.id] = remaining


def _create_reader(
    handler: MessageHandler, timeouts: Timeouts, polling: PollingPolicy, wake: Callable[[], None]
) -> MailReader:
    if handler.mailbox.imap is not None:
        return ImapReader(handler, timeouts=timeouts, polling=polling, wake=wake)
    if handler.mailbox.pop3 is not None:
        return Pop3Reader(handler, timeouts=timeouts, polling=polling)
    raise ValueError(f"{handler.mailbox.name} has no IMAP or POP3 server")


def _monitoring_fault(detail: str) -> ProbeFailedError:
    return probe_failure(Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT, Phase.RETRIEVE, Party.RECIPIENT, detail)
