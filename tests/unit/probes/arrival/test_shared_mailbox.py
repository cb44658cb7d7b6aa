"""A mailbox that another account shares with ours, as servers show it or do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from probes.arrival.watcher import MailboxWatcher
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Outcome, Phase
from tests.integration.probes.trip import PATIENCE, SIGNER
from tests.unit.probes.standin import ImapStandIn, listening, mailbox, server, server_context, until

ABLE = "IMAP4rev1 IDLE UIDPLUS SPECIAL-USE NAMESPACE"
BOTH = '* LIST (\\Junk) "/" "Junk"\r\n* LIST (\\Junk) "/" "shared/pro/Junk"\r\n{tag} OK\r\n'
EMPTY = "* STATUS x (MESSAGES 0 UIDNEXT 4 UIDVALIDITY 9)\r\n{tag} OK\r\n"
DOVECOT = '* NAMESPACE (("" "/")) (("shared/" "/")) NIL\r\n{tag} OK\r\n'


@asynccontextmanager
async def watching(standin: ImapStandIn, inbox: str) -> AsyncIterator[MailboxWatcher]:
    async with listening(standin, server_context()) as port, asyncio.TaskGroup() as tasks:
        box = replace(mailbox(imap=server(port)), inbox=inbox)
        polling = PollingPolicy(retry_min=timedelta(seconds=0.05), stable_after=timedelta(0))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=lambda *_: None, timeouts=PATIENCE, polling=polling)
        running = tasks.create_task(watcher.run())
        yield watcher
        running.cancel()


@pytest.mark.parametrize(
    ("inbox", "namespace", "looked_into"),
    [
        ("INBOX", DOVECOT, ["Junk"]),
        ("shared/pro", DOVECOT, ["shared/pro/Junk"]),
        # A server that offers it and refuses it all the same shows no more than before.
        ("INBOX", "{tag} NO tiada\r\n", ["Junk", "shared/pro/Junk"]),
        ("shared/pro", "{tag} BAD apa\r\n", ["shared/pro/Junk"]),
    ],
)
async def test_nobody_looks_into_the_junk_of_another_mailbox(
    inbox: str,
    namespace: str,
    looked_into: list[str],
) -> None:
    standin = ImapStandIn(capabilities=ABLE, tricks={"LIST": BOTH, "NAMESPACE": namespace, "STATUS": EMPTY})
    async with watching(standin, inbox) as watcher:
        await until(lambda: watcher.polled_at is not None)
    assert [line.split()[2] for line in standin.asked if " STATUS " in line] == looked_into


@pytest.mark.parametrize(
    ("inbox", "said", "ours"),
    [
        ("shared/pro", "[NOPERM] tidak dibenarkan", True),
        ("shared/pro", "[NONEXISTENT] tiada", True),
        ("shared/pro", "[UNAVAILABLE] sebentar", False),
        ("INBOX", "[NONEXISTENT] tiada", False),
    ],
)
async def test_a_right_that_was_taken_from_us_says_nothing_about_the_mail(inbox: str, said: str, *, ours: bool) -> None:
    standin = ImapStandIn(capabilities=ABLE, tricks={"SELECT": f"{{tag}} NO {said}\r\n"})
    async with watching(standin, inbox) as watcher:
        with watcher.expect(SIGNER.issue("ujian", datetime.now(UTC))) as letter:
            trouble = await letter.ready
    assert isinstance(trouble, ProbeFailedError)
    failure = trouble.failure
    assert (failure.phase, failure.reason) == (Phase.RETRIEVE, Reason.MAILBOX_REFUSED)
    assert said in failure.detail
    assert failure.credentials_refused is ours
    assert trouble.outcome is (Outcome.AUTH if ours else Outcome.CONNECT)
