"""A thousand round trips through a mailbox that also holds other people's mail."""

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
from tests.ends import imap_of, smtp_of
from tests.hanging import HANGS
from tests.integration.probes.foreign import Mails, contents, foreign_mail, put
from tests.integration.probes.trip import Trips, between
from tests.real.mailserver import REFERENCE, MailServer
from tests.real.othermail import Door, OtherMail

pytestmark = [pytest.mark.real, pytest.mark.falsegreen]

AT_ONCE = 8
PATIENCE = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=20))
_ESTABLISHED, _CLOSE_WAIT = "01", "08"


async def test_13_foreign_mail_survives_a_thousand_rounds_and_nothing_is_left_over(mail_server: MailServer) -> None:
    """Defect: Cleaning up deletes foreign mail.

    Pantau: Only mail with a valid token is deleted, in a thousand runs.
    """
    sender, box = mail_server.mailbox("semakan-seribu", domain=REFERENCE), mail_server.mailbox("peti-ramai")
    for each in (sender, box):
        await asyncio.to_thread(put, each, foreign_mail(each))
    before = await _everything_in(sender, box)
    # We have signed in to fill it, and to look into each of two folders; the server writes that down a little later.
    await _until(lambda: _sessions(mail_server, box) == 3)
    # What others have left is not counted: it may go meanwhile.
    gc.collect()
    tasks, handles = asyncio.all_tasks(), _handles()

    def somebody_writes(number: int) -> None:
        if number % 50 == 0:
            mail_server.deliver(box.address, f"Subject: baru\r\n\r\nSurat {number}\r\n".encode())

    async with between(sender, box, PATIENCE) as trips:
        assert await _rounds(trips, 1000, somebody_writes) == {Outcome.DELIVERED: 1000}

    assert asyncio.all_tasks() == tasks
    await _until(lambda: _handles() <= handles)
    await _until(lambda: not _is_connected(box))
    assert _sessions(mail_server, box) == 3 + 1
    after = await _everything_in(sender, box)
    assert before - after == {}
    arrived = [raw.partition(b"\r\n\r\n")[2] for _, raw, _ in (after - before).elements()]
    assert sorted(arrived) == sorted(f"Surat {number}\r\n".encode() for number in range(0, 1000, 50))
    assert {arrival for arrival, _ in trips.arrivals} == {Arrival.FORGED}


async def test_without_uidplus_foreign_mail_survives_that_somebody_has_marked_as_deleted() -> None:
    """Defect: Without UIDPLUS, EXPUNGE deletes what others have marked.

    Pantau: EXPUNGE is used only when nothing but our own mail is marked.
    """
    with without_uidplus() as server:
        box = server.mailbox("pantau")
        await asyncio.to_thread(put, box, [mail for mail in foreign_mail(box) if mail.folder == "INBOX"])
        before = await asyncio.to_thread(contents, box, "INBOX")
        async with between(box, box, PATIENCE) as trips:
            assert await _rounds(trips, 10) == {Outcome.DELIVERED: 10}
        after = await asyncio.to_thread(contents, box, "INBOX")

    assert before - after == {}
    # Whoever expunges them expunges ours as well.
    assert {flags for _, _, flags in after - before} == {rb"\Deleted"}
    assert (after - before).total() == 10


async def test_without_uidplus_nothing_of_ours_is_left_where_nobody_has_marked_anything() -> None:
    """Defect: Without UIDPLUS, our own mail fills the mailbox.

    Pantau: Marked mail is removed once nothing else is marked.
    """
    with without_uidplus() as server:
        box = server.mailbox("pantau")
        mails = [mail for mail in foreign_mail(box) if mail.folder == "INBOX" and "Deleted" not in mail.flags]
        await asyncio.to_thread(put, box, mails)
        before = await asyncio.to_thread(contents, box, "INBOX")
        async with between(box, box, PATIENCE) as trips:
            assert await _rounds(trips, 10) == {Outcome.DELIVERED: 10}

        assert await asyncio.to_thread(contents, box, "INBOX") == before


@contextmanager
def without_uidplus() -> Iterator[OtherMail]:
    with (
        claimed(len(Door)) as ports,
        OtherMail(
            domain="rujukan-b.example",
            names=["pantau"],
            capabilities="IMAP4rev1 CHILDREN IDLE",
            ports=dict(zip(Door, ports, strict=True)),
        ) as server,
    ):
        yield server


async def _rounds(trips: Trips, count: int, meanwhile: Callable[[int], None] | None = None) -> Counter[Outcome]:
    """Run so many round trips, some at a time; do something else before each."""
    numbers, outcomes = iter(range(count)), Counter[Outcome]()

    async def one_after_another() -> None:
        for number in numbers:
            if meanwhile is not None:
                await asyncio.to_thread(meanwhile, number)
            outcomes[(await trips.run()).outcome] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())
    return outcomes


async def _everything_in(sender: Mailbox, box: Mailbox) -> Mails:
    folders = ((sender, "INBOX"), (box, "INBOX"), (box, "Junk"))
    return sum([await asyncio.to_thread(contents, *folder) for folder in folders], Mails())


def _handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _sessions(mail_server: MailServer, box: Mailbox) -> int:
    """Return how often somebody has signed in to read *box*."""
    return mail_server.log().count(f"imap-login: Info: Logged in: user=<{box.address}>")


def _is_connected(box: Mailbox) -> bool:
    """Whether the servers hold a connection to us, as they see it."""
    return not {f"{server.port:04X}" for server in (smtp_of(box), imap_of(box))}.isdisjoint(_ports_in_use())


def _ports_in_use() -> list[str]:
    """Return the near ports of this machine's connections, as hex digits (proc_net_tcp(5))."""
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [words[1].rpartition(":")[2] for words in lines if words[3] in {_ESTABLISHED, _CLOSE_WAIT}]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANGS):
        while not true():  # noqa: ASYNC110 - the kernel can only be asked
            await asyncio.sleep(0.05)
