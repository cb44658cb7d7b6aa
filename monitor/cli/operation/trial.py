"""Test of a mailbox for `pantau init`, with progress on the terminal.

It finds the TLS mode of the servers, signs in to send and to read, and sends a message from the mailbox to itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import typer

from monitor.cli.operation.draft import connection_candidates
from monitor.cli.operation.trip import new_signer, run_round_trip
from monitor.config.agency.mailbox import ServerSettings
from monitor.model.route import MonitoredRoute
from monitor.probing.mailbox_sign_in import READING, SENDING, MailboxSignIn
from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, Timeouts
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Phase, ProbeResult
from probes.preauth.callout import unverified_tls_context
from probes.preauth.capabilities import query_servers
from probes.preauth.session import Protocol
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

#: Shorter than in the service, because a user waits at the terminal.
TIMEOUTS: Final = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=60))
#: Arrival timeout of the second message: if the first one has arrived, mail to this mailbox is fast.
_SECOND_ARRIVAL_TIMEOUT: Final = timedelta(seconds=15)
#: Time limit for deleting the messages of earlier attempts, before the command ends.
_CLEAN_UP_SECONDS: Final = 8
#: Duration in seconds after which a phase shows its progress on a terminal.
_SLOW_SECONDS = 2.0
#: Interval of progress lines without a terminal, in seconds.
_LINE_INTERVAL = 15.0
_TLS_MODES: Final = {Security.IMPLICIT: "TLS from the start", Security.STARTTLS: "STARTTLS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionResult:
    """Answer of a server that a user has named."""

    #: The server with the TLS mode that it supports; `None`: it does not answer.
    server: ServerSettings | None
    #: The same host with another port that answers, if the requested one does not.
    alternative: ServerSettings | None
    #: One line for the user.
    message: str


async def find_connection(protocol: Protocol, requested: ServerSettings) -> ConnectionResult:
    """Determine the TLS mode of a server or, if it does not answer, another port of its host, without signing in.

    Certificates are not verified here: the sign-in verifies them before it sends a secret.
    """
    candidates, protocol_name = connection_candidates(requested, protocol), str(protocol)
    servers = [(protocol, _unverified_server(each, protocol_name)) for each in candidates]
    answers = await query_servers(servers)
    usable = [each for each, answer in zip(candidates, answers, strict=True) if answer.is_usable]
    match = next((each for each in usable if requested.port in {None, each.port}), None)
    alternative = None if match else next(iter(usable), None)
    first_failure = next(iter(answers)).failure
    return ConnectionResult(
        server=match,
        alternative=alternative,
        message=_connection_message(
            protocol_name, requested, match, alternative, first_failure.reason if first_failure else ""
        ),
    )


def _unverified_server(server: ServerSettings, protocol_name: str) -> Server:
    return Server(
        host=server.host,
        port=server.port_of(protocol_name),
        security=server.security,
        tls=unverified_tls_context(),
        tls_name=server.tls_name,
    )


def _connection_message(
    protocol_name: str,
    requested: ServerSettings,
    match: ServerSettings | None,
    alternative: ServerSettings | None,
    reason: str,
) -> str:
    if match is not None:
        correction = "" if match.security is requested.security else f", and not {_TLS_MODES[requested.security]}"
        return f"{match.host}:{match.port_of(protocol_name)} answers with {_TLS_MODES[match.security]}{correction}."
    address = f"{requested.host}:{requested.port_of(protocol_name)}"
    other = f"; {alternative.host}:{alternative.port_of(protocol_name)} does" if alternative else ""
    return f"{address} does not answer as a server for {protocol_name.upper()} over TLS ({reason}){other}."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """Result of one attempt."""

    result: ProbeResult
    #: Whether mail to the user name's own address arrived in the mailbox, and mail to the mailbox's address did not.
    reads_other_mailbox: bool = False


class Trial:
    """Test of one mailbox, which is repeated with corrected settings until it succeeds.

    All attempts use one signer, so that a later one recognises and deletes late messages of an earlier one.
    """

    def __init__(self, key: bytes, timeouts: Timeouts = TIMEOUTS) -> None:
        """Take *key*, which signs the messages.

        The future service has the same key, so that it does not report late messages of the test as forged.
        """
        self._signer = new_signer(key)
        self._timeouts = timeouts
        #: Number of messages that were sent and have not arrived.
        self._outstanding = 0
        #: Route of the last attempt that could sign in to read.
        self._last_route: MonitoredRoute | None = None

    async def run(self, route: MonitoredRoute, other_address: str | None) -> TrialResult:
        """Sign in to send, sign in to read, send a message and wait for its arrival.

        Stop at the first failure, because later steps would repeat a wrong password. *other_address*: the user name as an
        address, if it is not the mailbox's. A message to it is sent first: if only that arrives, the user name belongs to
        another mailbox.
        """
        for title, kind in (("Sign in to send (SMTP)", SENDING), ("Sign in to read (IMAP)", READING)):
            async with show_progress(title) as recorder:
                result = await run_probe(
                    MailboxSignIn(kind, route.route.sender),
                    route=route.name,
                    token_id="",
                    timeouts=self._timeouts,
                    recorder=recorder,
                )
            if result.failure is not None:
                return TrialResult(result=result)
        self._last_route = route
        other_arrived = other_address is not None and await self._arrives_at(route, other_address)
        arrival_timeout = (
            min(_SECOND_ARRIVAL_TIMEOUT, self._timeouts.arrival) if other_arrived else self._timeouts.arrival
        )
        title = (
            f"Send a message to {route.route.address}, and see it arrive within {arrival_timeout.total_seconds():.0f} s"
        )
        result = await self._send_message(title, self._with_arrival_timeout(route, arrival_timeout))
        is_lost = result.failure is not None and result.failure.reason == Reason.NOT_ARRIVED
        return TrialResult(result=result, reads_other_mailbox=is_lost and other_arrived)

    async def _arrives_at(self, route: MonitoredRoute, other_address: str) -> bool:
        """Whether mail to *other_address* arrives in the mailbox of *route*."""
        other_route = replace(route, route=replace(route.route, to=other_address))
        title = f"Send a message to {other_address} first, which is the user name, and see whether it comes into this mailbox"
        arrival_timeout = min(_SECOND_ARRIVAL_TIMEOUT, self._timeouts.arrival)
        return (
            await self._send_message(title, self._with_arrival_timeout(other_route, arrival_timeout))
        ).failure is None

    async def _send_message(self, title: str, route: MonitoredRoute) -> ProbeResult:
        async with show_progress(title) as recorder:
            try:
                result = await run_round_trip(route, self._signer, recorder)
            except BaseException:  # Ctrl-C was pressed.
                if Phase.DATA in {*recorder.phases, recorder.current}:
                    self._outstanding += 1
                raise
        # `uncertain`: the server did not acknowledge the message. `content`: the message as it arrived.
        was_sent = Phase.DATA in recorder.phases or recorder.uncertain
        if was_sent and recorder.content is None and result.outcome is not Outcome.BOUNCED:
            self._outstanding += 1
        return result

    def _with_arrival_timeout(self, route: MonitoredRoute, arrival: timedelta) -> MonitoredRoute:
        return replace(route, probing=replace(route.probing, timeouts=replace(self._timeouts, arrival=arrival)))

    async def clean_up(self) -> bool:
        """Delete messages that arrived after their attempt. Return whether more may still arrive."""
        if not self._outstanding or self._last_route is None:
            return bool(self._outstanding)
        arrivals: list[Arrival] = []
        watcher = MailboxWatcher(
            self._last_route.route.recipient,
            self._signer,
            on_arrival=lambda each, *_: arrivals.append(each),
            timeouts=self._timeouts,
        )
        with suppress(ProbeFailedError, TimeoutError):
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await watcher.poll_once()
        self._outstanding -= arrivals.count(Arrival.LATE)
        return self._outstanding > 0


@asynccontextmanager
async def show_progress(title: str) -> AsyncIterator[TraceRecorder]:
    """Print *title*, and the phases of the run that records into the yielded recorder."""
    typer.echo(f"\n{title}")
    display = Display(is_terminal=sys.stdout.isatty())
    recorder = TraceRecorder(on_phase=lambda phase: display.enter(phase, recorder, time.monotonic()))
    ticking = asyncio.create_task(_tick(display))
    try:
        yield recorder
    finally:
        ticking.cancel()
        display.end(recorder)


async def _tick(display: Display) -> None:
    while True:
        await asyncio.sleep(1)
        display.tick(time.monotonic())


class Display:
    """Display of the phases of one run, one line each."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._phase: Phase | None = None
        self._started_at = self._printed_at = 0.0

    def enter(self, phase: Phase, recorder: TraceRecorder, now: float) -> None:
        """Begin a phase. Entering the present phase again changes nothing."""
        if phase is not self._phase:
            self.end(recorder)
            self._phase, self._started_at, self._printed_at = phase, now, now

    def tick(self, now: float) -> None:
        """Print the elapsed time of the present phase: by overwriting its line on a terminal, else in a new line."""
        elapsed = now - self._started_at
        if self._phase is None or elapsed < (_SLOW_SECONDS if self._is_terminal else _LINE_INTERVAL):
            return
        line = f"  {self._phase:9} {elapsed:10.0f} s "
        if self._is_terminal:
            typer.echo(f"\r{line}", nl=False)
        elif now - self._printed_at >= _LINE_INTERVAL:
            self._printed_at = now
            typer.echo(f"{line}...")

    def end(self, recorder: TraceRecorder) -> None:
        """End the present phase, and print its duration."""
        if self._phase is None:
            return
        duration = recorder.phases.get(self._phase)
        text = "failed" if duration is None else f"{duration.total_seconds() * 1000:10,.1f} ms"
        typer.echo(f"{chr(13) if self._is_terminal else ''}  {self._phase:9} {text:>13}")
        self._phase = None
