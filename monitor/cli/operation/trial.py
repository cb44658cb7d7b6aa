"""Test of a first mailbox: its servers, both sign-ins, and a message that arrives. Shows the progress."""

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

from monitor.cli.operation.draft import ways
from monitor.cli.operation.trip import own_signer, trip
from monitor.config.agency.mailbox import ServerSettings
from monitor.model.route import MonitoredRoute
from monitor.probing.mailbox_sign_in import READING, SENDING, MailboxSignIn
from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, Timeouts
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Phase, ProbeResult
from probes.preauth.callout import blind
from probes.preauth.capabilities import look
from probes.preauth.session import Protocol
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

#: A user waits at the terminal: mail that has not arrived within a minute is a failure.
PATIENCE: Final = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=60))
#: Once a message to the other address of a mailbox has arrived, one that takes longer than this will not.
_SOON: Final = timedelta(seconds=15)
#: For the messages of earlier attempts, before the command ends.
_CLEANING_SECONDS: Final = 8
#: When a phase begins to show that it continues, and the interval of lines that cannot be overwritten.
_SLOW_SECONDS, _LINES_EVERY = 2.0, 15.0
_ENCRYPTED: Final = {Security.IMPLICIT: "TLS from the start", Security.STARTTLS: "STARTTLS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to connect to a named server."""

    #: The server with its TLS mode; `None`: nothing answers there.
    server: ServerSettings | None
    #: Another port of the host that answers.
    proposed: ServerSettings | None
    #: One line for the user.
    said: str


async def find_way(protocol: Protocol, written: ServerSettings) -> Way:
    """Determine the TLS mode of a server, and if nothing answers, another port of its host; nobody signs in.

    Certificates are not verified: the sign-in does that before it sends a secret.
    """
    candidates, key = ways(written, protocol), str(protocol)
    servers = [(protocol, _met(each, key)) for each in candidates]
    looks = await look(servers)
    usable = [each for each, seen in zip(candidates, looks, strict=True) if seen.is_usable]
    here = next((each for each in usable if written.port in {None, each.port}), None)
    elsewhere = None if here else next(iter(usable), None)
    told = next(iter(looks)).failure
    return Way(server=here, proposed=elsewhere, said=_told(key, written, here, elsewhere, told.reason if told else ""))


def _met(server: ServerSettings, key: str) -> Server:
    return Server(
        host=server.host,
        port=server.port_of(key),
        security=server.security,
        tls=blind(),
        tls_name=server.tls_name,
    )


def _told(
    key: str, written: ServerSettings, here: ServerSettings | None, elsewhere: ServerSettings | None, reason: str
) -> str:
    if here is not None:
        instead = "" if here.security is written.security else f", and not {_ENCRYPTED[written.security]}"
        return f"{here.host}:{here.port_of(key)} answers with {_ENCRYPTED[here.security]}{instead}."
    at = f"{written.host}:{written.port_of(key)}"
    other = f"; {elsewhere.host}:{elsewhere.port_of(key)} does" if elsewhere else ""
    return f"{at} does not answer as a server for {key.upper()} over TLS ({reason}){other}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Result of a test."""

    result: ProbeResult
    #: Mail to the user name's own address arrived in the mailbox, and mail to the mailbox's address did not.
    reads_another: bool = False


class Trial:
    """Tests one mailbox, as often as its answers change.

    All attempts use one signer: messages of earlier attempts are recognised and deleted, whenever they arrive.
    """

    def __init__(self, key: bytes, patience: Timeouts = PATIENCE) -> None:
        """*key*: also the signing key of the resulting service, so that it does not count these messages as forged."""
        self._signer = own_signer(key)
        self._patience = patience
        #: Number of sent messages that have not arrived.
        self._missing = 0
        #: Route by which the mailbox was last read.
        self._read: MonitoredRoute | None = None

    async def run(self, route: MonitoredRoute, other: str | None) -> Tried:
        """Sign in to send, sign in to read, send a message and detect its arrival: each once, up to the first failure.

        A wrong password is reported once, and not by both servers and the round trip. *other*: the address of the user
        name, if it differs from the mailbox's; then a message to it is sent first, for comparison.
        """
        for title, kind in (("Sign in to send (SMTP)", SENDING), ("Sign in to read (IMAP)", READING)):
            async with shown(title) as recorder:
                result = await run_probe(
                    MailboxSignIn(kind, route.route.sender),
                    route=route.name,
                    token_id="",
                    patience=self._patience,
                    recorder=recorder,
                )
            if result.failure is not None:
                return Tried(result=result)
        self._read = route
        came = other is not None and await self._arrives_at(route, other)
        within = min(_SOON, self._patience.arrival) if came else self._patience.arrival
        title = f"Send a message to {route.route.address}, and see it arrive within {within.total_seconds():.0f} s"
        result = await self._trip(title, self._within(route, within))
        lost = result.failure is not None and result.failure.reason == Reason.NOT_ARRIVED
        return Tried(result=result, reads_another=lost and came)

    async def _arrives_at(self, route: MonitoredRoute, other: str) -> bool:
        """Whether mail to the *other* address arrives in the mailbox of *route*."""
        to = replace(route, route=replace(route.route, to=other))
        title = f"Send a message to {other} first, which is the user name, and see whether it comes into this mailbox"
        within = min(_SOON, self._patience.arrival)
        return (await self._trip(title, self._within(to, within))).failure is None

    async def _trip(self, title: str, route: MonitoredRoute) -> ProbeResult:
        async with shown(title) as recorder:
            try:
                result = await trip(route, self._signer, recorder)
            except BaseException:  # Ctrl-C was pressed.
                self._missing += Phase.DATA in {*recorder.phases, recorder.current}
                raise
        was_sent = Phase.DATA in recorder.phases or recorder.uncertain
        self._missing += was_sent and recorder.content is None and result.outcome is not Outcome.BOUNCED
        return result

    def _within(self, route: MonitoredRoute, arrival: timedelta) -> MonitoredRoute:
        return replace(route, probing=replace(route.probing, patience=replace(self._patience, arrival=arrival)))

    async def clean_up(self) -> bool:
        """Delete messages that arrived after their attempt. Return whether another may still arrive."""
        if not self._missing or self._read is None:
            return bool(self._missing)
        found: list[Arrival] = []
        watcher = MailboxWatcher(
            self._read.route.recipient,
            self._signer,
            on_arrival=lambda each, *_: found.append(each),
            patience=self._patience,
        )
        with suppress(ProbeFailedError, TimeoutError):
            async with asyncio.timeout(_CLEANING_SECONDS):
                await watcher.look_once()
        self._missing -= found.count(Arrival.LATE)
        return self._missing > 0


@asynccontextmanager
async def shown(title: str) -> AsyncIterator[TraceRecorder]:
    """Show each phase of a run when it ends, and that it continues while it lasts."""
    typer.echo(f"\n{title}")
    display = Display(is_terminal=sys.stdout.isatty())
    recorder = TraceRecorder(entering=lambda phase: display.enter(phase, recorder, time.monotonic()))
    ticking = asyncio.create_task(_keep_ticking(display))
    try:
        yield recorder
    finally:
        ticking.cancel()
        display.end(recorder)


async def _keep_ticking(display: Display) -> None:
    while True:
        await asyncio.sleep(1)
        display.tick(time.monotonic())


class Display:
    """Writes the phases of one run, a line each."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._phase: Phase | None = None
        self._since = self._told = 0.0

    def enter(self, phase: Phase, recorder: TraceRecorder, now: float) -> None:
        """Begin a phase; one that is entered several times is shown once."""
        if phase is not self._phase:
            self.end(recorder)
            self._phase, self._since, self._told = phase, now, now

    def tick(self, now: float) -> None:
        """Show that the present phase continues: in its own line on a terminal, else in a further line from time to time."""
        waited = now - self._since
        if self._phase is None or waited < (_SLOW_SECONDS if self._is_terminal else _LINES_EVERY):
            return
        line = f"  {self._phase:9} {waited:10.0f} s "
        if self._is_terminal:
            typer.echo(f"\r{line}", nl=False)
        elif now - self._told >= _LINES_EVERY:
            self._told = now
            typer.echo(f"{line}...")

    def end(self, recorder: TraceRecorder) -> None:
        """End the present phase, and show its duration."""
        if self._phase is None:
            return
        span = recorder.phases.get(self._phase)
        took = "failed" if span is None else f"{span.total_seconds() * 1000:10,.1f} ms"
        typer.echo(f"{chr(13) if self._is_terminal else ''}  {self._phase:9} {took:>13}")
        self._phase = None
