"""The trial of a first mailbox: how its servers are met, both sign-ins, and a message that arrives. Shows how it goes."""

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

#: Somebody waits at the terminal: mail that has not come within a minute is no first success.
PATIENCE: Final = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=60))
#: Once a message to the other address of a mailbox has come, one that takes longer than this does not come.
_SOON: Final = timedelta(seconds=15)
#: For the messages of earlier attempts, before the command ends.
_CLEANING_SECONDS: Final = 8
#: From when on a phase shows that it goes on, and how often where no line can be written over.
_SLOW_SECONDS, _LINES_EVERY = 2.0, 15.0
_ENCRYPTED: Final = {Security.IMPLICIT: "TLS from the start", Security.STARTTLS: "STARTTLS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a server that somebody has named can be met."""

    #: As it was written, with the TLS that it speaks; `None`: nobody answers there.
    server: ServerSettings | None
    #: Another port of the host that answers.
    proposed: ServerSettings | None
    #: In a line, for whoever has named it.
    said: str


async def find_way(protocol: Protocol, written: ServerSettings) -> Way:
    """Look which TLS a server speaks, and where nothing answers, at which other port of its host; nobody signs in.

    No certificate is examined: that is for the sign-in, before anything secret is said.
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
    """How a trial ended."""

    result: ProbeResult
    #: Mail to the user name's own address came into the mailbox, and mail to the mailbox's address did not.
    reads_another: bool = False


class Trial:
    """Tries one mailbox, as often as its answers change.

    With one signer throughout: what an earlier attempt sent is recognised, and taken away, whenever it arrives.
    """

    def __init__(self, key: bytes, patience: Timeouts = PATIENCE) -> None:
        """*key*: by which the service that comes of it signs, too, so that nothing of this counts as forged there."""
        self._signer = own_signer(key)
        self._patience = patience
        #: Messages that were sent and have not come.
        self._missing = 0
        #: By which the mailbox was last read.
        self._read: MonitoredRoute | None = None

    async def run(self, route: MonitoredRoute, other: str | None) -> Tried:
        """Sign in to send, sign in to read, send a message and see it arrive: each once, no further than the first failure.

        A password that is wrong is so said once, not by both servers and again by the round trip. *other*: the address that
        the user name is, where that is not the mailbox's; then a message to it comes first, for comparison.
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
        """Whether mail to the *other* address comes into the mailbox that *route* reads."""
        to = replace(route, route=replace(route.route, to=other))
        title = f"Send a message to {other} first, which is the user name, and see whether it comes into this mailbox"
        within = min(_SOON, self._patience.arrival)
        return (await self._trip(title, self._within(to, within))).failure is None

    async def _trip(self, title: str, route: MonitoredRoute) -> ProbeResult:
        async with shown(title) as recorder:
            try:
                result = await trip(route, self._signer, recorder)
            except BaseException:  # Somebody has pressed Ctrl-C.
                self._missing += Phase.DATA in {*recorder.phases, recorder.current}
                raise
        was_sent = Phase.DATA in recorder.phases or recorder.uncertain
        self._missing += was_sent and recorder.content is None and result.outcome is not Outcome.BOUNCED
        return result

    def _within(self, route: MonitoredRoute, arrival: timedelta) -> MonitoredRoute:
        return replace(route, probing=replace(route.probing, patience=replace(self._patience, arrival=arrival)))

    async def clean_up(self) -> bool:
        """Delete what has come too late for its attempt. Return whether something may still come."""
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
    """Show each phase of a run when it is over, and that it goes on while it lasts."""
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
        """Begin a phase; some are entered several times, and are shown once."""
        if phase is not self._phase:
            self.end(recorder)
            self._phase, self._since, self._told = phase, now, now

    def tick(self, now: float) -> None:
        """Show that the present phase goes on: over its own line on a terminal, else in a further line now and then."""
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
        """End the present phase, and show how long it took."""
        if self._phase is None:
            return
        span = recorder.phases.get(self._phase)
        took = "failed" if span is None else f"{span.total_seconds() * 1000:10,.1f} ms"
        typer.echo(f"{chr(13) if self._is_terminal else ''}  {self._phase:9} {took:>13}")
        self._phase = None
