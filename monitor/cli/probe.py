"""`pantau probe`: run one probe now, and show what happened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import configuration, fail
from monitor.key import token_key
from monitor.kinds import ROUND_TRIP, probe_kinds
from monitor.route import WatchedRoute
from probes.result import Outcome, Phase, ProbeResult
from probes.runner import run_probe
from probes.token import TokenSigner
from probes.trace import Recorder
from probes.watcher import MailboxWatcher

#: 0 is a delivered message. 2 is kept for a bad configuration, as in every command.
EXIT_CODES: dict[Outcome, int] = {
    Outcome.DELIVERED: 0,
    Outcome.JUNK: 10,
    Outcome.BOUNCED: 11,
    Outcome.REJECTED: 12,
    Outcome.DEFERRED: 13,
    Outcome.CORRUPTED: 14,
    Outcome.LOST: 15,
    Outcome.AUTH: 16,
    Outcome.TLS: 17,
    Outcome.DNS: 18,
    Outcome.CONNECT: 19,
    Outcome.TIMEOUT: 20,
    Outcome.INCONCLUSIVE: 21,
}


#: What deleting the message is allowed, after its result is known.
_TIDY_SECONDS = 5


def probe(
    agency: Annotated[str, typer.Argument(help="Short code, such as JKR.")],
    route: Annotated[
        str | None, typer.Argument(help="All of its routes whose name holds this; default: the internal one.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the dialogue, secrets masked.")] = False,
) -> None:
    """Send one real message now and show each phase with its time.

    It changes nothing that the service knows. Exit code: 0 delivered, 10 junk, 11 bounced, 12 rejected, 13 deferred,
    14 corrupted, 15 lost, 16 auth, 17 tls, 18 dns, 19 connect, 20 timeout, 21 inconclusive; of several, the highest.
    """
    loaded = configuration(config)
    routes = _chosen(loaded.registry.routes_of(agency.upper()), agency, route)
    try:
        # Another prober's name: the service beside it leaves this mail alone, and this command the service's.
        signer = TokenSigner(token_key(loaded.settings.state), f"pantau-probe@{socket.gethostname()}")
    except (OSError, ValueError) as error:
        fail(f"the key that signs probe messages cannot be used: {error}")
    codes = [asyncio.run(_run(each, signer, verbose=verbose)) for each in routes]
    raise typer.Exit(max(codes))


def _chosen(routes: Sequence[WatchedRoute], agency: str, wanted: str | None) -> Sequence[WatchedRoute]:
    if not routes:
        fail(f"there is no agency {agency} in the configuration", 2)
    if wanted is None:
        return routes[:1]
    chosen = [each for each in routes if wanted.lower() in each.name.lower()]
    if not chosen:
        fail(f"{agency} has no route {wanted}; it has {', '.join(each.name for each in routes)}", 2)
    return chosen


async def _run(route: WatchedRoute, signer: TokenSigner, *, verbose: bool) -> int:
    token = signer.issue(route.name, datetime.now(UTC))
    recorder = Recorder(keep_dialogue=verbose)
    patience = route.probing.patience
    watchers = {
        mailbox.name: MailboxWatcher(mailbox, signer, on_arrival=lambda *_: None, patience=patience)
        for mailbox in (route.route.sender, route.route.recipient)
    }
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(watcher.run()) for watcher in watchers.values()]
        round_trip = probe_kinds()[ROUND_TRIP].build(
            route=route.route,
            token=token,
            patience=patience,
            sender=watchers[route.route.sender.name],
            recipient=watchers[route.route.recipient.name],
        )
        result = await run_probe(round_trip, route=route.name, token_id=token.id, patience=patience, recorder=recorder)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIDY_SECONDS):
                for watcher in watchers.values():
                    await watcher.tidy()
        for task in watching:
            task.cancel()
    _show(route, result, recorder)
    return EXIT_CODES[result.outcome]


def _show(route: WatchedRoute, result: ProbeResult, recorder: Recorder) -> None:
    typer.echo(f"{route.name}: {route.route.sender.address} -> {route.route.recipient.address}")
    for line in recorder.dialogue:
        typer.echo(f"    {line}")
    for phase in Phase:
        if (span := result.phases.get(phase)) is not None:
            typer.echo(f"  {phase:9} {span.total_seconds() * 1000:9.1f} ms")
    typer.echo(f"  {'whole':9} {result.duration.total_seconds() * 1000:9.1f} ms")
    typer.echo(
        f"  {result.outcome.upper()}" + (" (the submission broke after the message)" if result.uncertain else "")
    )
    failure = result.failure
    if failure is not None:
        where = route.route.sender if failure.party == "sender" else route.route.recipient
        code = " ".join(filter(None, (str(failure.code or ""), failure.status)))
        typer.echo(f"  in phase {failure.phase}, at {where.address}: {failure.reason}")
        if failure.detail or code:
            typer.echo(f"  the server said: {' '.join(filter(None, (code, failure.detail)))}")
