"""One real message on a route, sent and received by this command alone."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from monitor.model.route import MonitoredRoute
from monitor.runtime.plugins import ROUND_TRIP, probe_kinds
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.result import Party, ProbeResult
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

#: In seconds, for deleting the message after the result is known.
_TIDY_SECONDS = 5


def own_signer(key: bytes) -> TokenSigner:
    """Return a signer with a name of its own.

    Other probers of the same mailboxes, the service or another command, ignore this mail, and this one ignores theirs.
    Leftovers are deleted a day later, as any prober's are. Raise `ValueError` for a bad key.
    """
    return TokenSigner(key, f"pantau-probe@{socket.gethostname()}/{token_hex(8)}")


async def trip(route: MonitoredRoute, signer: TokenSigner, recorder: TraceRecorder) -> ProbeResult:
    """Send a message on *route*, detect its arrival, and delete it."""
    patience = route.probing.patience
    token = signer.issue(route.name, datetime.now(UTC), patience.whole)
    watchers = {
        mailbox.name: MailboxWatcher(
            mailbox,
            signer,
            on_arrival=lambda *_: None,
            patience=patience,
            said=partial(recorder.said, party) if recorder.listens else None,
        )
        for party, mailbox in ((Party.SENDER, route.route.sender), (Party.RECIPIENT, route.route.recipient))
        if mailbox.is_read
    }
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(watcher.run()) for watcher in watchers.values()]
        round_trip = probe_kinds()[ROUND_TRIP].build(
            route=route.route,
            token=token,
            patience=patience,
            sender=watchers.get(route.route.sender.name),
            recipient=watchers[route.route.recipient.name],
        )
        result = await run_probe(round_trip, route=route.name, token_id=token.id, patience=patience, recorder=recorder)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIDY_SECONDS):
                for watcher in watchers.values():
                    await watcher.tidy()
        for task in watching:
            task.cancel()
    return result
