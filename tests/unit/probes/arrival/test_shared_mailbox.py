"""A mailbox that another account shares with ours, on servers with and without namespaces."""

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
from tests.integration.probes.round_trips import SIGNER, TIMEOUTS
from tests.unit.probes.standin import ImapStandIn, listening, mailbox, server, server_context, until

CAPABILITIES = "IMAP4rev1 IDLE UIDPLUS SPECIAL-USE NAMESPACE"
TWO_JUNK_FOLDERS = '* LIST (\\Junk) "/" "Junk"\r\n* LIST (\\Junk) "/" "shared/pro/Junk"\r\n{tag} OK\r\n'
EMPTY_FOLDER_STATUS = "* STATUS x (MESSAGES 0 UIDNEXT 4 UIDVALIDITY 9)\r\n{tag} OK\r\n"
DOVECOT_NAMESPACE = '* NAMESPACE (("" "/")) (("shared/" "/")) NIL\r\n{tag} OK\r\n'


@asynccontextmanager
async def watching(standin: ImapStandIn, inbox: str) -> AsyncIterator[MailboxWatcher]:
    async with listening(standin, server_context()) as port, asyncio.TaskGroup() as tasks:
        box = replace(mailbox(imap=server(port)), inbox=inbox)
        polling = PollingPolicy(retry_min=timedelta(seconds=0.05), stable_after=timedelta(0))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=lambda *_: None, timeouts=TIMEOUTS, polling=polling)
        running = tasks.create_task(watcher.run())
        yield watcher
        running.cancel()


@pytest.mark.parametrize(
    ("inbox", "namespace", "read_folders"),
    [
        ("INBOX", DOVECOT_NAMESPACE, ["Junk"]),
        ("shared/pro", DOVECOT_NAMESPACE, ["shared/pro/Junk"]),
        # A server that offers NAMESPACE and refuses it adds no information.
        ("INBOX", "{tag} NO tiada\r\n", ["Junk", "shared/pro/Junk"]),
        ("shared/pro", "{tag} BAD apa\r\n", ["shared/pro/Junk"]),
    ],
)
async def test_shared_mailbox_junk_folder_of_other_mailbox_is_not_read(
    inbox: str,
    namespace: str,
    read_folders: list[str],
) -> None:
    standin = ImapStandIn(
        capabilities=CAPABILITIES,
        tricks={"LIST": TWO_JUNK_FOLDERS, "NAMESPACE": namespace, "STATUS": EMPTY_FOLDER_STATUS},
    )
    async with watching(standin, inbox) as watcher:
        await until(lambda: watcher.polled_at is not None)
    assert [line.split()[2] for line in standin.asked if " STATUS " in line] == read_folders


@pytest.mark.parametrize(
    ("inbox", "response", "refused"),
    [
        ("shared/pro", "[NOPERM] tidak dibenarkan", True),
        ("shared/pro", "[NONEXISTENT] tiada", True),
        ("shared/pro", "[UNAVAILABLE] sebentar", False),
        ("INBOX", "[NONEXISTENT] tiada", False),
    ],
)
async def test_shared_mailbox_revoked_permission_is_auth_failure(inbox: str, response: str, *, refused: bool) -> None:
    standin = ImapStandIn(capabilities=CAPABILITIES, tricks={"SELECT": f"{{tag}} NO {response}\r\n"})
    async with watching(standin, inbox) as watcher:
        with watcher.expect(SIGNER.issue("ujian", datetime.now(UTC))) as expectation:
            error = await expectation.ready
    assert isinstance(error, ProbeFailedError)
    failure = error.failure
    assert (failure.phase, failure.reason) == (Phase.RETRIEVE, Reason.MAILBOX_REFUSED)
    assert response in failure.detail
    assert failure.credentials_refused is refused
    assert error.outcome is (Outcome.AUTH if refused else Outcome.CONNECT)
