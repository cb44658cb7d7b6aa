"""Memory of an idle route and a watched mailbox."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import aioimaplib

from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Mailbox, Password
from tests.bench.fleet import controls, fill, routes
from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.service import RecordingMetrics, service
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.trip import SIGNER, TIMEOUTS, without_name_check

_FEW, _MANY = 100, 1100
_MAILBOXES = 100


def measure(rounds: int) -> Measured:
    """Measure 1,000 and 11,000 idle routes, and mailboxes opened by the product and by aioimaplib in turn."""
    with run_mail_stub() as server:
        small, large = (run_in_subprocess(lambda n=n: asyncio.run(_routes(server, n))) for n in (_FEW, _MANY))  # type: ignore[misc]
        ours, library = [], []
        for _ in range(rounds):
            ours.append(run_in_subprocess(lambda: asyncio.run(_mailboxes(server, _watch))))
            library.append(run_in_subprocess(lambda: asyncio.run(_mailboxes(server, _open))))
    return Measured(
        rounds={
            "idle_route_kib": [(large - small) / 10 / (_MANY - _FEW) / 1024],
            "mailbox_kib_vs_stock": [one / other for one, other in zip(ours, library, strict=True)],
        },
        notes={
            "memory: a watched mailbox, KiB": median(ours) / 1024,
            "memory: an open aioimaplib connection, KiB": median(library) / 1024,
        },
    )


def profiled() -> None:
    """Build a runtime under a profiler."""
    with run_mail_stub() as server:
        asyncio.run(_routes(server, _FEW))


async def _routes(server: MailStub, agencies: int) -> int:
    """Return the octets of a runtime in which every route has run once and is idle."""
    gc.collect()
    tracemalloc.start()
    watched = {**routes(server, agencies), **controls(server)}
    metrics = RecordingMetrics()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as state:
        async with service(watched, Path(state), metrics) as it:
            fill(metrics, watched)
            metrics.outcomes.clear()
            await it.prober.plan()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]


async def _mailboxes(server: MailStub, open_one: Callable[[Mailbox], asyncio.Task[None]]) -> float:
    """Return the resident octets of each of many idle mailboxes."""
    # Loads and allocates what is shared by all mailboxes.
    tasks = [open_one(server.mailbox("pertama"))]
    await asyncio.sleep(0.5)
    gc.collect()
    before = _resident()
    tasks += [open_one(server.mailbox(f"kotak{number}")) for number in range(_MAILBOXES)]
    await asyncio.sleep(2.5)
    gc.collect()
    grown = _resident() - before
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return grown / _MAILBOXES


def _watch(mailbox: Mailbox) -> asyncio.Task[None]:
    watcher = MailboxWatcher(mailbox, SIGNER, on_arrival=lambda *_: None, timeouts=TIMEOUTS)
    return asyncio.create_task(watcher.run())


def _open(mailbox: Mailbox) -> asyncio.Task[None]:
    return asyncio.create_task(_idle(mailbox))


async def _idle(mailbox: Mailbox) -> None:
    assert mailbox.imap is not None
    assert isinstance(mailbox.login, Password)
    reader = aioimaplib.IMAP4_SSL(
        mailbox.imap.host, mailbox.imap.port, ssl_context=without_name_check(mailbox.imap.tls)
    )
    await reader.wait_hello_from_server()
    await reader.login(mailbox.login.username, mailbox.login.secret)
    await reader.select("INBOX")
    await reader.idle_start(timeout=600)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
