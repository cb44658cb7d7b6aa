"""Watcher of one mailbox, shared by all runs that wait for mail in it.

Hundreds of routes share a reference mailbox, and servers limit connections and sign-ins. So each mailbox has one
connection; it delivers every message to the run that waits for its token, deletes what has been delivered, and counts
what no run waits for.
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
from probes.model.probe import ProbeFailedError, Timeouts, let_go
from probes.model.reply import Reason, expired, failed
from probes.model.result import Arrival, Outcome, Party, Phase
from probes.run.runner import loop_time, utc_now
from probes.run.trace import TraceRecorder


class WakeEvent:
    """Event with many setters and one waiter.

    An `asyncio.Event` has a queue of waiters of 600 octets: too much for each mailbox.
    """

    __slots__ = ("_hearing", "_is_rung")

    def __init__(self) -> None:
        self._is_rung = False
        self._hearing: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the present or next waiter: once, however often it is set."""
        self._is_rung = True
        if self._hearing is not None and not self._hearing.done():
            self._hearing.set_result(None)

    async def heard(self) -> None:
        """Wait until it is set; return at once when it has been set since the last return."""
        while not self._is_rung:
            self._hearing = asyncio.get_running_loop().create_future()
            try:
                await self._hearing
            finally:
                self._hearing = None
        self._is_rung = False


_log = structlog.get_logger(__name__)

OnArrival = Callable[[Arrival, str | None, datetime], None]


class MailboxWatcher:
    """Watcher of one mailbox. Start `run()` in a task group; `expect()` also works before the connection is open.

    *on_arrival* receives mail that no run waits for: its kind, the token's id (`None` when forged), and when it was
    seen. *ended* and *arrived* are ids of earlier runs from the store. *said* receives the dialogue with the server,
    secrets masked.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        signer: TokenSigner,
        *,
        on_arrival: OnArrival,
        patience: Timeouts | None = None,
        pace: PollingPolicy | None = None,
        ended: Iterable[str] = (),
        arrived: Iterable[str] = (),
        said: Callable[[str], None] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.mailbox = mailbox
        #: Why the mailbox cannot be read; `None` while it can, or before the first attempt.
        self.trouble: ProbeFailedError | None = None
        #: Time of the last complete poll of inbox and junk, on the loop's clock.
        self.looked_at: float | None = None
        self._said = said
        patience = patience or Timeouts()
        self._pace = pace or PollingPolicy()
        self._waiting: dict[str, list[Expectation]] = {}
        self._ledger = TokenRegistry(ended=ended, arrived=arrived)
        #: Set when something may have changed: an announcement of the server, a waiting run, a lost connection.
        self._stirred = asyncio.Event()
        reception = MessageHandler(
            mailbox=mailbox,
            signer=signer,
            ledger=self._ledger,
            waiting=self._waiting,
            on_arrival=on_arrival,
            clock=clock,
        )
        self._reader = _reader_of(reception, patience, self._pace, self._stirred.set)
        self._allowance = ReadRateLimit(at_once=self._pace.at_once, a_second=self._pace.a_second, clock=loop_time)
        self._recorder: TraceRecorder | None = None
        self._up = False
        #: The part of the reader's cost that has been waited for.
        self._paid = 0
        #: Lifetime of a connection, and whether the present one is known to be stale.
        self._renewal = self._pace.renewal_of(mailbox.name)
        self._blind = False
        #: Start of the last completed poll, on the loop's clock, and the event of the next.
        self._looked_from = float("-inf")
        self._looked = WakeEvent()
        #: Runs that are about to report their message as lost, with the time that each has for a search.
        self._doubtful: list[tuple[asyncio.Future[SearchResult | ProbeFailedError], timedelta]] = []
        self._doubted = WakeEvent()
        self._failures = 0
        #: Why it cannot be read, as last logged.
        self._told: str | None = None
        self._hold_until = 0.0

    def be_patient(self, patience: Timeouts) -> None:
        """Use these timeouts from now on: the routes of the mailbox, or their timeouts, have changed."""
        self._reader.patience = patience

    def know(self, tokens: Mapping[str, bool]) -> None:
        """Add earlier runs, by the ids of their tokens, and whether their mail has arrived."""
        for token_id, came in tokens.items():
            if self._ledger.token_state(token_id) is None:
                self._ledger.over(token_id, Party.RECIPIENT)
                if came:
                    self._ledger.arrived(token_id)

    def expect(self, token: Token, party: Party = Party.RECIPIENT) -> Expectation:
        """Register for the mail with *token*, before it is sent.

        `Party.RECIPIENT` awaits the message itself, and a bounce if it arrives here; `Party.SENDER` only a bounce.
        """
        expectation = Expectation(token, party, stir=self._stirred.set, over=self._over)
        self._waiting.setdefault(token.id, []).append(expectation)
        if self._up:
            expectation.be_ready()
        elif self.trouble is not None and loop_time() < self._hold_until:
            expectation.fail(self.trouble)
        self._stirred.set()
        return expectation

    def look_anew(self, within: timedelta) -> asyncio.Future[SearchResult | ProbeFailedError]:
        """Request a search by a new sign-in, for a message that is lost unless it is found *within* that time.

        Requests during a search wait for the next: hundreds of runs cause one sign-in in half that time. Messages found
        are delivered first. The result has the coverage of the search, or why it failed.
        """
        future: asyncio.Future[SearchResult | ProbeFailedError] = asyncio.get_running_loop().create_future()
        self._doubtful.append((future, within / 2))
        self._doubted.ring()
        return future

    def overdue(self) -> ProbeFailedError:
        """Return why the mailbox is not being read yet, for a run that has waited long enough.

        It is not the last failure: the run would have received that one, unless it is older than the run. Since then an
        attempt has not ended, or several have failed and the last has not ended.
        """
        if self._reader.in_use is not None:
            return self._reader.in_use
        if self._recorder is not None:
            return expired(self._recorder.where[0], Party.RECIPIENT)
        return _our_fault("nobody watches this mailbox")

    @property
    def undeleted(self) -> int:
        """Number of our messages that stay in the mailbox after deletion, as last seen."""
        return self._reader.remainder.count

    @property
    def quota(self) -> MailboxQuota | None:
        """The mailbox's quota when it was last opened; `None`: the server does not report it."""
        return self._reader.quota

    async def tidy(self) -> None:
        """Wait until delivered mail is deleted, for a process that exits right after a run.

        The caller sets the deadline.
        """
        await self._reader.tidy.wait()

    async def look_once(self) -> None:
        """Process the mailbox once and delete our mail, without watching it.

        The caller sets the deadline. Raise `ProbeFailedError` when it cannot be read.
        """
        try:
            await self._reader.open(TraceRecorder(said=self._said))
            has_more = True
            while has_more:
                await self._reader.look(junk_every=self._pace.sweep, sweep=self._pace.sweep)
                await self._pay()
                has_more = self._reader.has_more
        finally:
            self._reader.close()

    async def run(self) -> None:
        """Watch until cancelled; reconnect after every failure."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_watching())
            tasks.create_task(self._keep_looking_anew())

    async def _keep_watching(self) -> None:
        while True:
            began = loop_time()
            served, failure = await self._connection()
            self._up = False
            lived = timedelta(seconds=loop_time() - began)
            garbled = failure is not None and failure.failure.reason == Reason.UNEXPECTED_ANSWER
            if failure is None or (served and lived >= self._pace.settled and not garbled):
                # Servers restart and drop idle connections: this is reported only if the next attempt fails.
                self._failures = 0
                continue
            self._fall_into(failure, garbled=garbled)
            await self._rest()

    async def _connection(self) -> tuple[bool, ProbeFailedError | None]:
        """Open a connection and watch until it fails or expires. Return whether it ever worked, and its failure."""
        recorder = self._recorder = TraceRecorder(said=self._said)
        try:
            await self._serve(recorder)
        except ProbeFailedError as failure:
            let_go(failure)
            return self._up, failure
        except TimeoutError as late:
            let_go(late)
            return self._up, expired(*recorder.where)
        except Exception as error:  # noqa: BLE001 - our bug must not end the watch, and is no fault of the server
            _log.exception("mailbox watcher failed", mailbox=self.mailbox.name)
            return False, _our_fault(f"{type(error).__name__}: {error}")
        return self._up, None

    async def _serve(self, recorder: TraceRecorder) -> None:
        try:
            await self._reader.open(recorder)
            self._recover()
            await self._watch()
        finally:
            self._reader.close()

    async def _watch(self) -> None:
        reader = self._reader
        began = loop_time()
        old = began + self._renewal.total_seconds()
        settled = began + self._pace.settled.total_seconds()
        self._blind = False
        while loop_time() < old and not self._blind:
            # Cleared before the poll: a change during the poll causes the next.
            self._stirred.clear()
            waits = any(one.party is Party.RECIPIENT for each in self._waiting.values() for one in each)
            pause, looked_from = self._pause(), loop_time()
            await reader.look(junk_every=pause if waits else self._pace.sweep, sweep=self._pace.sweep)
            self.looked_at, self._looked_from = loop_time(), looked_from
            self._looked.ring()
            if self._told is not None and self.looked_at >= settled:
                _log.info("mailbox can be read again", mailbox=self.mailbox.name)
                self._told = None
            await self._pay()
            if not reader.has_more:
                left = timedelta(seconds=max(0.0, old - loop_time()))
                await reader.listen(self._stirred, min(self._pause(), left))

    async def _pay(self) -> None:
        """Wait until the cost of the server's responses is within the limit."""
        spent, self._paid = self._reader.cost - self._paid, self._reader.cost
        await asyncio.sleep(self._allowance.spend(spent))

    async def _keep_looking_anew(self) -> None:
        while True:
            await self._doubted.heard()
            asked, self._doubtful = self._doubtful, []
            within = min(within for _, within in asked)
            next_at = loop_time() + within.total_seconds()
            found = await self._look_anew(within)
            for future, _ in asked:
                if not future.done():
                    future.set_result(found)
            await asyncio.sleep(max(0.0, next_at - loop_time()))

    async def _look_anew(self, within: timedelta) -> SearchResult | ProbeFailedError:
        recorder, watched = TraceRecorder(said=self._said), self._recorder
        try:
            looked = await self._reader.look_anew(recorder, within, self._caught_up)
        except ProbeFailedError as failure:
            let_go(failure)
            return failure
        except TimeoutError as late:
            let_go(late)
            return expired(*recorder.where)
        except Exception as error:  # noqa: BLE001 - our bug must not end the watch, and is no fault of the server
            _log.exception("mailbox rescan failed", mailbox=self.mailbox.name)
            return _our_fault(f"{type(error).__name__}: {error}")
        if looked.blind and watched is self._recorder:
            self._replace()
        return looked

    async def _caught_up(self, within: timedelta) -> bool:
        began = loop_time()
        self._stirred.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                while self._looked_from < began:
                    await self._looked.heard()
        return self._looked_from >= began

    def _replace(self) -> None:
        """Replace the connection, which did not show present mail, and renew later ones sooner."""
        self._renewal = max(self._pace.renewal_at_least, self._renewal / 2)
        self._blind = True
        self._stirred.set()
        _log.warning(
            "connection did not report new mail; replacing it and shortening its lifetime",
            mailbox=self.mailbox.name,
            renewal=self._renewal.total_seconds(),
        )

    def _pause(self) -> timedelta:
        now = loop_time()
        hurried = (one.hurried_at for each in self._waiting.values() for one in each)
        ages = (timedelta(seconds=now - at) for at in hurried if at is not None)
        return self._pace.pause(ages, waiting=bool(self._waiting), unwatched=self._reader.unwatched(self._pace))

    def _recover(self) -> None:
        # A server that accepts the sign-in and disconnects has not recovered: the backoff grows until it is stable.
        self.trouble = None
        self._up = True
        for expectations in self._waiting.values():
            for expectation in expectations:
                expectation.be_ready()

    def _fall_into(self, trouble: ProbeFailedError, *, garbled: bool) -> None:
        if self._told != trouble.failure.reason:
            self._told = trouble.failure.reason
            _log.warning(
                "mailbox cannot be read",
                mailbox=self.mailbox.name,
                outcome=str(trouble.outcome),
                reason=str(trouble.failure.reason),
                detail=trouble.failure.detail,
            )
        self.trouble = trouble
        self._failures += 1
        hold = self._pace.after_refusal if trouble.failure.credentials_refused else self._pace.retry
        if garbled:
            # The server's responses cost too much; a new run does not change that.
            hold = self._pace.backoff(self._failures)
        self._hold_until = loop_time() + hold.total_seconds()
        for expectations in self._waiting.values():
            for expectation in expectations:
                expectation.fail(trouble)

    async def _rest(self) -> None:
        """Wait before the next attempt; a new run shortens the wait."""
        until = max(self._hold_until, loop_time() + self._pace.backoff(self._failures).total_seconds())
        while True:
            self._stirred.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._stirred.wait()
            except TimeoutError:
                return
            if loop_time() >= self._hold_until:
                return

    def _over(self, expectation: Expectation) -> None:
        if expectation.elsewhere is not None and not expectation.seen.done():
            self._ledger.arrived(expectation.token.id)
        self._ledger.over(expectation.token.id, expectation.party)
        rest = [one for one in self._waiting.pop(expectation.token.id, []) if one is not expectation]
        if rest:
            self._waiting[expectation.token.id] = rest


def _reader_of(
    reception: MessageHandler, patience: Timeouts, pace: PollingPolicy, stir: Callable[[], None]
) -> MailReader:
    if reception.mailbox.imap is not None:
        return ImapReader(reception, patience=patience, pace=pace, stir=stir)
    if reception.mailbox.pop3 is not None:
        return Pop3Reader(reception, patience=patience, pace=pace)
    raise ValueError(f"{reception.mailbox.name} has no server that it is read at")


def _our_fault(detail: str) -> ProbeFailedError:
    return failed(Outcome.INCONCLUSIVE, Reason.OUR_OWN, Phase.RETRIEVE, Party.RECIPIENT, detail)
