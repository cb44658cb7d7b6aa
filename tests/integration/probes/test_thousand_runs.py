"""A thousand round trips through a mailbox with foreign mail."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from pantau_lab.serving import claimed
from probes.model.mailbox import Mailbox
from probes.model.probe import Timeouts
from probes.model.result import Arrival, Outcome
from tests.integration.probes.foreign_mail import Mails, contents, foreign_mail, put
from tests.integration.probes.round_trips import RoundTrips, between
from tests.mailbox_parts import imap_of, smtp_of
from tests.real.exim_courier import EximCourier, Listener
from tests.real.mailserver import REFERENCE, MailServer
from tests.timeouts import HANG_TIMEOUT

pytestmark = [pytest.mark.real, pytest.mark.falsegreen]

CONCURRENCY = 8
TIMEOUTS = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=20))
_ESTABLISHED, _CLOSE_WAIT = "01", "08"


async def test_roundtrip_thousand_runs_keep_foreign_mail_and_leave_nothing(mail_server: MailServer) -> None:
    """Defect: Cleaning up deletes foreign mail.

    Pantau: Only mail with a valid token is deleted, in a thousand runs.
    """
    sender, box = mail_server.mailbox("semakan-seribu", domain=REFERENCE), mail_server.mailbox("peti-ramai")
    for each in (sender, box):
        await asyncio.to_thread(put, each, foreign_mail(each))
    before = await _all_mails(sender, box)
    # Three sign-ins: to fill the mailbox, and to read two folders. The server logs them later.
    await _until(lambda: _sessions(mail_server, box) == 3)
    # Leftovers of other tests are not counted: they may be freed meanwhile.
    gc.collect()
    tasks, open_files = asyncio.all_tasks(), _open_files()

    def deliver_foreign_mail(number: int) -> None:
        if number % 50 == 0:
            mail_server.deliver(box.address, f"Subject: baru\r\n\r\nSurat {number}\r\n".encode())

    async with between(sender, box, TIMEOUTS) as round_trips:
        assert await _run_round_trips(round_trips, 1000, deliver_foreign_mail) == {Outcome.DELIVERED: 1000}

    assert asyncio.all_tasks() == tasks
    await _until(lambda: _open_files() <= open_files)
    await _until(lambda: not _is_connected(box))
    assert _sessions(mail_server, box) == 3 + 1
    after = await _all_mails(sender, box)
    assert before - after == {}
    arrived = [raw.partition(b"\r\n\r\n")[2] for _, raw, _ in (after - before).elements()]
    assert sorted(arrived) == sorted(f"Surat {number}\r\n".encode() for number in range(0, 1000, 50))
    assert {arrival for arrival, _ in round_trips.arrivals} == {Arrival.FORGED}


async def test_roundtrip_without_uidplus_keeps_foreign_mail_marked_deleted() -> None:
    """Defect: Without UIDPLUS, EXPUNGE deletes what others have marked.

    Pantau: EXPUNGE is used only when nothing but our own mail is marked.
    """
    with without_uidplus() as server:
        box = server.mailbox("pantau")
        await asyncio.to_thread(put, box, [mail for mail in foreign_mail(box) if mail.folder == "INBOX"])
        before = await asyncio.to_thread(contents, box, "INBOX")
        async with between(box, box, TIMEOUTS) as round_trips:
            assert await _run_round_trips(round_trips, 10) == {Outcome.DELIVERED: 10}
        after = await asyncio.to_thread(contents, box, "INBOX")

    assert before - after == {}
    # An expunge of those removes ours as well.
    assert {flags for _, _, flags in after - before} == {rb"\Deleted"}
    assert (after - before).total() == 10


async def test_roundtrip_without_uidplus_leaves_nothing_if_no_mail_is_marked() -> None:
    """Defect: Without UIDPLUS, our own mail fills the mailbox.

    Pantau: Marked mail is removed once nothing else is marked.
    """
    with without_uidplus() as server:
        box = server.mailbox("pantau")
        mails = [mail for mail in foreign_mail(box) if mail.folder == "INBOX" and "Deleted" not in mail.flags]
        await asyncio.to_thread(put, box, mails)
        before = await asyncio.to_thread(contents, box, "INBOX")
        async with between(box, box, TIMEOUTS) as round_trips:
            assert await _run_round_trips(round_trips, 10) == {Outcome.DELIVERED: 10}

        assert await asyncio.to_thread(contents, box, "INBOX") == before


@contextmanager
def without_uidplus() -> Iterator[EximCourier]:
    with (
        claimed(len(Listener)) as ports,
        EximCourier(
            domain="rujukan-b.example",
            names=["pantau"],
            capabilities="IMAP4rev1 CHILDREN IDLE",
            ports=dict(zip(Listener, ports, strict=True)),
        ) as server,
    ):
        yield server


async def _run_round_trips(
    round_trips: RoundTrips, count: int, meanwhile: Callable[[int], None] | None = None
) -> Counter[Outcome]:
    """Run *count* round trips, some concurrently; call *meanwhile* before each."""
    numbers, outcomes = iter(range(count)), Counter[Outcome]()

    async def run_in_sequence() -> None:
        for number in numbers:
            if meanwhile is not None:
                await asyncio.to_thread(meanwhile, number)
            outcomes[(await round_trips.run()).outcome] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(run_in_sequence())
    return outcomes


async def _all_mails(sender: Mailbox, box: Mailbox) -> Mails:
    folders = ((sender, "INBOX"), (box, "INBOX"), (box, "Junk"))
    return sum([await asyncio.to_thread(contents, *folder) for folder in folders], Mails())


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _sessions(mail_server: MailServer, box: Mailbox) -> int:
    """Return the number of IMAP sign-ins to *box*."""
    return mail_server.log().count(f"imap-login: Info: Logged in: user=<{box.address}>")


def _is_connected(box: Mailbox) -> bool:
    """Whether the servers have a connection to us."""
    return not {f"{server.port:04X}" for server in (smtp_of(box), imap_of(box))}.isdisjoint(_ports_in_use())


def _ports_in_use() -> list[str]:
    """Return the local ports of this machine's connections, as hex digits (proc_net_tcp(5))."""
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [words[1].rpartition(":")[2] for words in lines if words[3] in {_ESTABLISHED, _CLOSE_WAIT}]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_TIMEOUT):
        while not condition():  # noqa: ASYNC110 - the kernel can only be asked
            await asyncio.sleep(0.05)
