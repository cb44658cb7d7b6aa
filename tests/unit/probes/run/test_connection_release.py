"""A failed run frees its connection without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from datetime import timedelta

import pytest

from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Mailbox
from probes.model.probe import Trace
from probes.model.result import Outcome
from probes.protocol.smtp import submit
from probes.run.runner import run_probe
from tests.unit.probes.standin import Handler, close, garbage, listening, mailbox, server, until
from tests.unit.probes.watchers import POLLING, SIGNER, TIMEOUTS, Counted, issue, running


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sessions() -> int:
    """Count asyncio's TLS objects, open or closed; each has buffers."""
    # Not `isinstance`: it evaluates `__class__` of objects left by other tests.
    return sum(issubclass(type(each), SSLProtocol) for each in gc.get_objects())


class Submission:
    def __init__(self, sender: Mailbox) -> None:
        self._sender = sender

    async def run(self, trace: Trace) -> Outcome:
        await submit(self._sender, "semakan@jabatan-contoh.gov.my", b"", trace, timedelta(seconds=5))
        return Outcome.DELIVERED


@pytest.mark.blind
@pytest.mark.parametrize("trick", [close, garbage])
async def test_failed_run_frees_connection(trick: Handler) -> None:
    """Defect: A failed run leaves its connection to the garbage collector: gigabytes in an outage of 10,000 routes.

    Pantau: It is freed with the run.
    """
    async with listening(trick) as port:
        before = sessions()
        for _ in range(3):
            result = await run_probe(Submission(mailbox(smtp=server(port))), route="a", token_id="b", timeouts=TIMEOUTS)
            assert result.outcome in {Outcome.TLS, Outcome.CONNECT}
        await until(lambda: sessions() == before)


async def test_failed_watcher_attempt_frees_connection() -> None:
    async with listening(garbage) as port:
        before = sessions()
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING
        )
        async with running(watcher):
            for _ in range(3):
                with watcher.expect(issue()) as expectation:
                    assert await expectation.ready is not None
                await asyncio.sleep(0.1)
        await until(lambda: sessions() == before)
