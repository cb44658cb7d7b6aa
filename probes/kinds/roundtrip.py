"""Round trip: send a message, await its arrival, check what arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from probes.arrival.expectation import Arrived, ArrivedElsewhere, Expectation, FolderKind
from probes.arrival.reader import SearchResult
from probes.arrival.watcher import MailboxWatcher
from probes.mail.bounce import DsnReport
from probes.mail.message import changes_in, compose, rewrites_in
from probes.mail.token import Token
from probes.model.probe import ProbeFailedError, ProbeKind, Route, Timeouts, Trace
from probes.model.refusal import refusal_cause
from probes.model.reply import Reason, expired, failed
from probes.model.result import Outcome, Party, Phase, RefusalCause
from probes.protocol.smtp import Submitted, submit
from probes.run.runner import loop_time, utc_now

#: Seconds: a mailbox whose last poll before the deadline is older gives no evidence about its content.
_STALE = 15.0
#: The server refuses an additional session, for example when we have one too many: that is no evidence.
_ONE_TOO_MANY = frozenset({Reason.SIGN_IN_UNAVAILABLE, Reason.MAILBOX_IN_USE})
#: A server's timestamp has whole seconds: a message that arrived right after it was made may have the second before.
_RESOLUTION = timedelta(seconds=1)
#: The runner's deadline reports only the phase; ending this much earlier, the probe reports the reason.
_HEADROOM = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One run of the round trip on *route*, with the watchers of its two mailboxes."""

    route: Route
    token: Token
    patience: Timeouts
    #: Watches the sender's mailbox: a bounce arrives there, and ends the run in seconds. `None`: it is not read.
    sender: MailboxWatcher | None
    recipient: MailboxWatcher
    clock: Callable[[], datetime] = utc_now

    async def run(self, trace: Trace) -> Outcome:
        with (
            self.recipient.expect(self.token, Party.RECIPIENT) as letter,
            self.sender.expect(self.token, Party.SENDER) if self.sender else nullcontext() as answer,
        ):
            began = loop_time()
            await self._readable(letter)
            made = self.clock()
            submitted = await self._submit(trace, made)
            letter.hurry()
            if answer is not None:
                answer.hurry()
            with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
                latest = began + self.patience.whole.total_seconds() - _HEADROOM
                seen = await self._arrival(letter, answer, submitted, latest)
            if seen.since is not None and made - _RESOLUTION <= seen.since <= seen.at:
                # The message was there, and was not shown. A contradicting clock is no evidence.
                trace.took(Phase.TRANSIT, max(timedelta(), seen.since - made))
            with trace.phase(Phase.RETRIEVE, Party.RECIPIENT):
                content = seen.content if isinstance(seen, ArrivedElsewhere) else await self._content(letter)
            trace.arrived(content, rewrites_in(content, self.token))
            if changes := changes_in(content, self.token):
                what = ", ".join([*changes, *([f"in {seen.name}"] if isinstance(seen, ArrivedElsewhere) else ())])
                raise failed(Outcome.CORRUPTED, Reason.CHANGED, Phase.RETRIEVE, Party.RECIPIENT, what)
            if isinstance(seen, ArrivedElsewhere):
                raise failed(Outcome.JUNK, Reason.FOLDER_NOT_WATCHED, Phase.RETRIEVE, Party.RECIPIENT, seen.name)
            return Outcome.JUNK if seen.folder is FolderKind.JUNK else Outcome.DELIVERED

    async def _readable(self, letter: Expectation) -> None:
        """Raise at once when the recipient's mailbox cannot be read: the message's arrival could not be seen."""
        await asyncio.wait({letter.ready}, timeout=self.patience.session.total_seconds())
        trouble = letter.ready.result() if letter.ready.done() else self.recipient.overdue()
        if trouble is not None:
            raise trouble

    async def _submit(self, trace: Trace, now: datetime) -> Submitted:
        message = compose(
            self.token,
            sender=self.route.sender.address,
            recipient=self.route.address,
            now=now,
        )
        address, within = self.route.address, self.patience.session
        return await submit(self.route.sender, address, message, trace, within)

    async def _arrival(
        self, letter: Expectation, answer: Expectation | None, submitted: Submitted, latest: float
    ) -> Arrived | ArrivedElsewhere:
        """Wait for the message or for its bounce, whichever is first.

        Shortly before the deadline a new sign-in searches for it, while the wait continues.
        """
        accepted = loop_time()
        deadline = min(latest, accepted + self.patience.arrival.total_seconds())
        until = deadline - self.patience.last_look.total_seconds()
        anew: asyncio.Future[SearchResult | ProbeFailedError] | None = None
        bounce: DsnReport | None = None
        watched = [letter.seen] if answer is None else [letter.seen, answer.seen]
        waiting = set(watched)
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=max(0.0, until - loop_time()), return_when=asyncio.FIRST_COMPLETED
            )
            # The message is examined first: it has arrived, whatever was reported.
            for future in (one for one in watched if one in done):
                match future.result():
                    case Arrived() as seen:
                        return seen
                    case ProbeFailedError() as trouble:
                        raise trouble
                    case DsnReport() as report:
                        self._end_by(report)
                        # The bounce is about another recipient, such as the target of another forward.
                        bounce = report
            if not done:
                if anew is not None or loop_time() >= deadline:
                    break
                anew, until = self.recipient.look_anew(self.patience.last_look), deadline
        if letter.elsewhere is not None:
            return letter.elsewhere
        if bounce is not None:
            raise _bounced(bounce)
        raise submitted.doubt or self._absent(accepted, anew)

    def _end_by(self, report: DsnReport) -> None:
        """Raise the failure that *report* shows; return when the message may arrive nevertheless."""
        to, recipient = self.route.address, self.route.recipient.address
        if (refused := report.on(to)) is not None:
            raise _bounced(refused)
        if (refused := report.on(recipient)) is not None:
            # Mail systems that follow an alias also name the original recipient.
            raise _bounced(refused, Reason.COPY_RETURNED)
        if self.route.to is None and report.is_for(to):
            raise _bounced(report)
        # A public address has several members: one whose mailbox is gone returns a copy that is not ours.

    def _absent(
        self, accepted: float, anew: asyncio.Future[SearchResult | ProbeFailedError] | None
    ) -> ProbeFailedError:
        """Return the failure for a missing message, by the result of the new sign-in."""
        looked_at = self.recipient.looked_at
        found = anew.result() if anew is not None and anew.done() else None
        match found:
            case ProbeFailedError() if found.failure.reason in _ONE_TOO_MANY:
                return ProbeFailedError(Outcome.INCONCLUSIVE, found.failure)
            case ProbeFailedError():
                return found
            case SearchResult() if looked_at is not None and looked_at >= max(accepted, loop_time() - _STALE):
                # A sending server may retry for days while the mailbox is full, without a bounce.
                cause = RefusalCause.RECEIVING_LIMIT if found.is_full else None
                place = Reason.NOT_ARRIVED, Phase.TRANSIT, Party.RECIPIENT
                return failed(Outcome.LOST, *place, found.words, cause=cause)
            case _:
                return expired(Phase.RETRIEVE, Party.RECIPIENT, "the mailbox has not been read since")

    async def _content(self, letter: Expectation) -> bytes:
        async with asyncio.timeout(self.patience.session.total_seconds()):
            content = await letter.content
        if isinstance(content, ProbeFailedError):
            raise content
        if not content:
            told = "another client took the message away"
            raise failed(Outcome.INCONCLUSIVE, Reason.OUR_OWN, Phase.RETRIEVE, Party.RECIPIENT, told)
        return content


def _bounced(report: DsnReport, reason: Reason = Reason.RETURNED) -> ProbeFailedError:
    cause = refusal_cause(report.code, report.status, report.text)
    ending = Outcome.BOUNCED, reason, Phase.TRANSIT, Party.RECIPIENT, report.text
    return failed(*ending, code=report.code, status=report.status, cause=cause)


KIND = ProbeKind(name="roundtrip", build=RoundTrip)
