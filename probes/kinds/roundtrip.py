"""Round trip, the probe that decides health: send a message, wait for its arrival, check its content and folder.

A `MailboxWatcher` reads each mailbox for all runs. A run registers an `Expectation` of its message with the watcher.
"""

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
from probes.mail.message import compose, find_damage, find_rewrites
from probes.mail.token import Token
from probes.model.probe import ProbeFailedError, ProbeKind, Route, Timeouts, Trace
from probes.model.refusal import refusal_cause
from probes.model.reply import Reason, probe_failure, timeout_failure
from probes.model.result import Outcome, Party, Phase, RefusalCause
from probes.protocol.smtp import SubmissionResult, submit
from probes.run.runner import loop_time, utc_now

#: Seconds. If the last poll is older than this at the deadline, the message is not proven to be missing.
_MAX_POLL_AGE = 15.0
#: Reasons for which a server refuses the additional session of the final search, such as too many sessions. Such a
#: refusal does not prove that mail failed.
_SESSION_REFUSALS = frozenset({Reason.SIGN_IN_UNAVAILABLE, Reason.MAILBOX_IN_USE})
#: Resolution of servers' timestamps: a message may seem to arrive up to a second before it was composed.
_TIMESTAMP_RESOLUTION = timedelta(seconds=1)
#: Seconds by which the probe ends before the runner's deadline, because at that deadline the runner reports only the
#: phase and no reason.
_DEADLINE_MARGIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One run of the round trip on *route*. The watchers of its two mailboxes read the mail."""

    route: Route
    token: Token
    timeouts: Timeouts
    #: Watcher of the sender's mailbox, where a bounce arrives and ends the run early; `None`: not readable.
    sender: MailboxWatcher | None
    #: Watcher of the recipient's mailbox.
    recipient: MailboxWatcher
    clock: Callable[[], datetime] = utc_now

    async def run(self, trace: Trace) -> Outcome:
        with (
            self.recipient.expect(self.token, Party.RECIPIENT) as expectation,
            self.sender.expect(self.token, Party.SENDER) if self.sender else nullcontext() as bounce_expectation,
        ):
            started_at = loop_time()
            await self._require_readable(expectation)
            composed_at = self.clock()
            submission = await self._submit(trace, composed_at)
            expectation.request_fast_polling()
            if bounce_expectation is not None:
                bounce_expectation.request_fast_polling()
            with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
                run_deadline = started_at + self.timeouts.total.total_seconds() - _DEADLINE_MARGIN
                arrived = await self._wait_for_arrival(expectation, bounce_expectation, submission, run_deadline)
            if (
                arrived.server_time is not None
                and composed_at - _TIMESTAMP_RESOLUTION <= arrived.server_time <= arrived.arrived_at
            ):
                # The server's time of arrival is earlier, thus more exact, than the time at which the session showed
                # the message. It is ignored if it contradicts our clock.
                trace.limit_duration(Phase.TRANSIT, max(timedelta(), arrived.server_time - composed_at))
            with trace.phase(Phase.RETRIEVE, Party.RECIPIENT):
                content = (
                    arrived.content if isinstance(arrived, ArrivedElsewhere) else await self._fetch_content(expectation)
                )
            trace.record_message(content, find_rewrites(content, self.token))
            if damage := find_damage(content, self.token):
                detail = ", ".join(
                    [*damage, *([f"in {arrived.folder_name}"] if isinstance(arrived, ArrivedElsewhere) else ())]
                )
                raise probe_failure(Outcome.CORRUPTED, Reason.CONTENT_CHANGED, Phase.RETRIEVE, Party.RECIPIENT, detail)
            if isinstance(arrived, ArrivedElsewhere):
                raise probe_failure(
                    Outcome.JUNK, Reason.FOLDER_NOT_WATCHED, Phase.RETRIEVE, Party.RECIPIENT, arrived.folder_name
                )
            return Outcome.JUNK if arrived.folder is FolderKind.JUNK else Outcome.DELIVERED

    async def _require_readable(self, expectation: Expectation) -> None:
        """Raise `ProbeFailedError` if the recipient's mailbox cannot be read: an arrival would remain unnoticed."""
        await asyncio.wait({expectation.ready}, timeout=self.timeouts.session.total_seconds())
        error = expectation.ready.result() if expectation.ready.done() else self.recipient.not_ready_failure()
        if error is not None:
            raise error

    async def _submit(self, trace: Trace, now: datetime) -> SubmissionResult:
        message = compose(
            self.token,
            sender=self.route.sender.address,
            recipient=self.route.address,
            now=now,
        )
        address, within = self.route.address, self.timeouts.session
        return await submit(self.route.sender, address, message, trace, within)

    async def _wait_for_arrival(
        self,
        expectation: Expectation,
        bounce_expectation: Expectation | None,
        submission: SubmissionResult,
        run_deadline: float,
    ) -> Arrived | ArrivedElsewhere:
        """Wait for the message or for a bounce, whichever comes first.

        Shortly before the deadline, a final search in a new session is requested, while the wait continues.
        """
        accepted_at = loop_time()
        deadline = min(run_deadline, accepted_at + self.timeouts.arrival.total_seconds())
        # The first wait ends when the final search must start, the second at the deadline.
        wake_at = deadline - self.timeouts.final_search.total_seconds()
        search: asyncio.Future[SearchResult | ProbeFailedError] | None = None
        bounce: DsnReport | None = None
        futures = (
            [expectation.arrival] if bounce_expectation is None else [expectation.arrival, bounce_expectation.arrival]
        )
        pending = set(futures)
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=max(0.0, wake_at - loop_time()), return_when=asyncio.FIRST_COMPLETED
            )
            # The message is examined before a bounce: if it has arrived, the bounce does not matter.
            for future in (candidate for candidate in futures if candidate in done):
                match future.result():
                    case Arrived() as arrived:
                        return arrived
                    case ProbeFailedError() as error:
                        raise error
                    case DsnReport() as report:
                        self._raise_if_bounced(report)
                        # The bounce concerns another recipient, such as the target of another forward. It counts only
                        # if the message does not arrive.
                        bounce = report
            if not done:
                if search is not None or loop_time() >= deadline:
                    break
                search, wake_at = self.recipient.final_search(self.timeouts.final_search), deadline
        if expectation.found_elsewhere is not None:
            return expectation.found_elsewhere
        if bounce is not None:
            raise _bounce_failure(bounce)
        # After an uncertain failure, the server may not have accepted the message.
        raise submission.uncertain_failure or self._missing_failure(accepted_at, search)

    def _raise_if_bounced(self, report: DsnReport) -> None:
        """Raise the failure that *report* proves; return if the message may still arrive."""
        to, recipient = self.route.address, self.route.recipient.address
        if (bounce := report.failure_at(to)) is not None:
            raise _bounce_failure(bounce)
        if (bounce := report.failure_at(recipient)) is not None:
            # The bounce is about the mailbox to which the address forwards, or of which the address is an alias.
            raise _bounce_failure(bounce, Reason.COPY_RETURNED)
        if self.route.to is None and report.has_failed_for(to):
            # Mail systems that resolve an alias also report the original recipient.
            raise _bounce_failure(report)
        # Any other bounce proves nothing: it may be about the copy for another recipient behind a public address.

    def _missing_failure(
        self, accepted_at: float, search: asyncio.Future[SearchResult | ProbeFailedError] | None
    ) -> ProbeFailedError:
        """Return the failure for a missing message, by the result of the final *search* and the last poll's time."""
        polled_at = self.recipient.polled_at
        result = search.result() if search is not None and search.done() else None
        match result:
            case ProbeFailedError() if result.failure.reason in _SESSION_REFUSALS:
                return ProbeFailedError(Outcome.INCONCLUSIVE, result.failure)
            case ProbeFailedError():
                return result
            case SearchResult() if polled_at is not None and polled_at >= max(accepted_at, loop_time() - _MAX_POLL_AGE):
                # While the mailbox is full, a sending server may retry for days without a bounce.
                cause = RefusalCause.RECEIVING_LIMIT if result.is_full else None
                reason_and_location = Reason.NOT_ARRIVED, Phase.TRANSIT, Party.RECIPIENT
                return probe_failure(Outcome.LOST, *reason_and_location, result.summary, cause=cause)
            case _:
                return timeout_failure(Phase.RETRIEVE, Party.RECIPIENT, "the mailbox has not been read since")

    async def _fetch_content(self, expectation: Expectation) -> bytes:
        async with asyncio.timeout(self.timeouts.session.total_seconds()):
            content = await expectation.content
        if isinstance(content, ProbeFailedError):
            raise content
        if not content:
            detail = "another client took the message away"
            raise probe_failure(Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT, Phase.RETRIEVE, Party.RECIPIENT, detail)
        return content


def _bounce_failure(report: DsnReport, reason: Reason = Reason.RETURNED) -> ProbeFailedError:
    cause = refusal_cause(report.code, report.status, report.text)
    description = Outcome.BOUNCED, reason, Phase.TRANSIT, Party.RECIPIENT, report.text
    return probe_failure(*description, code=report.code, status=report.status, cause=cause)


KIND = ProbeKind(name="roundtrip", build=RoundTrip)
