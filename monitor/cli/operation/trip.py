"""One round trip on a route (a pair of mailboxes): send a message, and wait for its arrival.

The process of the command sends and reads the message itself, so no running service is needed.
"""

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

#: Time limit for deleting the message after the result is known, in seconds.
_CLEAN_UP_SECONDS = 5


def new_signer(key: bytes) -> TokenSigner:
    """Return a signer of message tokens with a unique prober name. Raise `ValueError` for an invalid key.

    The service and other commands that use the same mailboxes have other prober names, so they ignore the messages of this
    command, and it ignores theirs. After a day, each prober also deletes the leftover messages of others.
    """
    return TokenSigner(key, f"pantau-probe@{socket.gethostname()}/{token_hex(8)}")


async def run_round_trip(route: MonitoredRoute, signer: TokenSigner, recorder: TraceRecorder) -> ProbeResult:
    """Send a message on *route*, wait for its arrival, delete it, and return the result."""
    timeouts = route.probing.timeouts
    token = signer.issue(route.name, datetime.now(UTC), timeouts.total)
    watchers = {
        mailbox.name: MailboxWatcher(
            mailbox,
            signer,
            on_arrival=lambda *_: None,
            timeouts=timeouts,
            on_line=partial(recorder.add_line, party) if recorder.records_dialogue else None,
        )
        for party, mailbox in ((Party.SENDER, route.route.sender), (Party.RECIPIENT, route.route.recipient))
        if mailbox.is_readable
    }
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(watcher.run()) for watcher in watchers.values()]
        round_trip = probe_kinds()[ROUND_TRIP].build(
            route=route.route,
            token=token,
            timeouts=timeouts,
            sender=watchers.get(route.route.sender.name),
            recipient=watchers[route.route.recipient.name],
        )
        result = await run_probe(round_trip, route=route.name, token_id=token.id, timeouts=timeouts, recorder=recorder)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                for watcher in watchers.values():
                    await watcher.wait_until_deleted()
        for task in watching:
            task.cancel()
    return result
