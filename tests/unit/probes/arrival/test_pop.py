"""Mailbox watcher over POP3, with the same guarantees as over IMAP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from probes.arrival.expectation import Arrived, FolderKind
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Phase
from tests.unit.probes import watchers
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Trick, hang, mailbox, server, until
from tests.unit.probes.watchers import FOREIGN, SIGNER, TIMEOUTS, Counted, issue, mail

POLLING = PollingPolicy(
    min_interval=timedelta(seconds=0.01),
    pop3_interval=timedelta(seconds=0.02),
    retry_min=timedelta(seconds=0.05),
    stable_after=timedelta(0),
    announced_interval=timedelta(seconds=0.05),
)


def box(port: int) -> Mailbox:
    return replace(mailbox(), imap=None, pop3=server(port))


watching = partial(watchers.watching, box=box, polling=POLLING)


async def test_pop3_watcher_delivers_message_to_run_and_deletes_it() -> None:
    standin, counted, token = Pop3StandIn(), Counted(), issue()
    kept = standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            assert await expectation.ready is None
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            seen = await expectation.arrival
            assert isinstance(seen, Arrived)
            assert seen.folder is FolderKind.INBOX
            assert await expectation.content == mail(token)
        await watcher.wait_until_deleted()
        assert uid not in standin.mails
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


async def test_pop3_foreign_mail_is_kept_and_examined_once() -> None:
    standin, counted = Pop3StandIn(), Counted()
    kept = [standin.put(FOREIGN) for _ in range(60)]
    async with watching(standin, counted) as watcher:
        for _ in range(20):
            token = issue()
            with watcher.expect(token) as expectation:
                standin.put(mail(token))
                expectation.request_fast_polling()
                await expectation.content
            kept.append(standin.put(FOREIGN))
            await watcher.wait_until_deleted()
    assert list(standin.mails) == kept
    # Each was examined once, and those before the latest fifty never.
    assert sum(line.startswith("TOP") for line in standin.asked) <= 50 + 20 + 20


async def test_pop3_unexpected_message_is_counted_once() -> None:
    respond_in_use_late, crashed, running_ = issue(), issue(), issue()
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    standin, counted = Pop3StandIn(), Counted()
    forged = standin.put(mail(issue(signer=forger)))
    for token in (respond_in_use_late, crashed):
        standin.put(mail(token))
    async with watching(standin, counted, ended=(respond_in_use_late.id,), arrived=(crashed.id,)) as watcher:
        found = await counted.until(3)
        with watcher.expect(running_) as expectation:
            standin.put(mail(running_))
            standin.put(mail(running_))
            expectation.request_fast_polling()
            await expectation.content
            await counted.until(4)
        await until(lambda: list(standin.mails) == [forged])
        sessions = standin.sessions
        await until(lambda: standin.sessions > sessions + 2)
    assert set(found[:3]) == {
        (Arrival.FORGED, None),
        (Arrival.LATE, respond_in_use_late.id),
        (Arrival.DUPLICATE, crashed.id),
    }
    assert counted.arrivals[3:] == [(Arrival.DUPLICATE, running_.id)]


async def test_pop3_kept_mail_is_examined_again_and_not_counted_again() -> None:
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    standin, counted = Pop3StandIn(), Counted()
    standin.put(mail(issue(signer=forger)))
    async with watching(standin, counted, polling=replace(POLLING, sweep_interval=timedelta(0))):
        await until(lambda: sum(line.startswith("TOP") for line in standin.asked) > 3)
    assert counted.arrivals == [(Arrival.FORGED, None)]


@pytest.mark.parametrize(
    ("command", "trick", "outcome", "phase", "reason"),
    [
        ("PASS", "-ERR salah\r\n", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        ("PASS", "-ERR [IN-USE] ada orang\r\n", Outcome.INCONCLUSIVE, Phase.AUTH, Reason.MAILBOX_IN_USE),
        ("UIDL", "-ERR tidak\r\n", Outcome.CONNECT, Phase.RETRIEVE, Reason.MAILBOX_REFUSED),
        ("UIDL", hang, Outcome.TIMEOUT, Phase.RETRIEVE, Reason.NO_ANSWER),
    ],
)
async def test_pop3_unreadable_mailbox_fails_run_with_cause(
    command: str, trick: Trick, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    standin = Pop3StandIn(tricks={command: trick})
    # The failure stays until a poll succeeds.
    async with watching(standin, Counted(), polling=replace(POLLING, stable_after=timedelta(minutes=1))) as watcher:
        with watcher.expect(issue()) as expectation:
            error = await expectation.arrival
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.phase, error.failure.reason) == (outcome, phase, reason)
    assert error.failure.party is Party.RECIPIENT


async def test_pop3_mailbox_in_use_once_is_retried() -> None:
    standin, token = Pop3StandIn(), issue()

    async def respond_in_use_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del standin.tricks["PASS"]
        writer.write(b"-ERR [IN-USE] ada orang\r\n")

    async with watching(standin, Counted()) as watcher:
        await until(lambda: standin.sessions > 0)
        standin.tricks["PASS"] = respond_in_use_once
        with watcher.expect(token) as expectation:
            assert await expectation.ready is None
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        assert watcher.failure is None


async def test_pop3_recovered_server_is_read_again() -> None:
    standin, token = Pop3StandIn(tricks={"PASS": "-ERR [SYS/TEMP] nanti\r\n"}), issue()
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as expectation:
            assert isinstance(await expectation.arrival, ProbeFailedError)
        standin.tricks.clear()
        await until(lambda: watcher.failure is None)
        with watcher.expect(token) as expectation:
            assert await expectation.ready is None
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


async def test_pop3_sessions_are_sequential_and_all_closed() -> None:
    standin = Pop3StandIn()
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as expectation:
            expectation.request_fast_polling()
            await until(lambda: standin.sessions > 5)
        assert standin.inside <= 1
    assert standin.inside == 0
    # Each session ended with QUIT, except perhaps the last, which was cancelled.
    assert standin.asked.count("QUIT") >= standin.sessions - 1


async def test_pop3_polls_respect_pop3_interval() -> None:
    standin = Pop3StandIn()
    async with watching(standin, Counted(), polling=replace(POLLING, pop3_interval=timedelta(seconds=60))) as watcher:
        with watcher.expect(issue()) as expectation:
            assert await expectation.ready is None
            expectation.request_fast_polling()
            await until(lambda: "QUIT" in standin.asked)
            await asyncio.sleep(0.05)
    assert standin.sessions == 1


def break_before_quit(standin: Pop3StandIn, then: Callable[[], None] = lambda: None) -> None:
    """Abort the next session that deletes before QUIT, so that nothing is deleted; call *then* before that."""

    async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks.clear()
        then()
        writer.transport.abort()

    async def mark(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks["QUIT"] = abort
        writer.write(b"+OK\r\n")

    standin.tricks["DELE"] = mark


async def test_pop3_broken_session_message_is_deleted_in_later_session() -> None:
    standin, counted, token = Pop3StandIn(), Counted(), issue()
    break_before_quit(standin)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await until(lambda: uid not in standin.mails)
    assert standin.asked.count("DELE 1") == 2
    # Its UID is known, so it is not examined again.
    assert standin.asked.count("TOP 1 0") == 1
    assert counted.arrivals == []


async def test_pop3_deferred_deletion_spares_mail_with_same_uid() -> None:
    standin, token = Pop3StandIn(), issue()

    def share() -> None:
        standin.mails = {"asing": FOREIGN, **standin.mails}
        standin.tricks["UIDL"] = "+OK\r\n1 u1\r\n2 u1\r\n.\r\n"

    break_before_quit(standin, share)
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await until(lambda: "UIDL" in standin.tricks)
        sessions = standin.sessions
        await until(lambda: standin.sessions > sessions + 2)
    assert "asing" in standin.mails


@pytest.mark.parametrize("command", ["DELE", "QUIT"])
async def test_pop3_deletion_refused_is_no_delivery_failure(command: str) -> None:
    standin, counted, token = Pop3StandIn(tricks={command: "-ERR kekal\r\n"}), Counted(), issue()
    with capture_logs() as logs:
        async with watching(standin, counted, polling=replace(POLLING, sweep_interval=timedelta(0))) as watcher:
            with watcher.expect(token) as expectation:
                uid = standin.put(mail(token))
                expectation.request_fast_polling()
                assert await expectation.content == mail(token)
            await watcher.wait_until_deleted()
            sessions = standin.sessions
            await until(lambda: standin.sessions > sessions + 2)
            assert watcher.failure is None
            assert list(standin.mails) == [uid]
            assert watcher.undeleted_count == 1
            assert [line["event"] for line in logs] == ["probe messages cannot be deleted"]
            standin.tricks.clear()
            await until(lambda: watcher.undeleted_count == 0)
            assert not standin.mails
    assert counted.arrivals == []


async def test_pop3_deletion_acknowledged_but_not_done_is_counted_as_undeleted() -> None:
    standin, token = Pop3StandIn(tricks={"DELE": "+OK\r\n"}), issue()
    async with watching(standin, Counted(), polling=replace(POLLING, sweep_interval=timedelta(0))) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        assert watcher.undeleted_count == 0
        await until(lambda: watcher.undeleted_count == 1)


async def test_pop3_two_mails_with_same_uid_deletes_only_examined_mail() -> None:
    standin, token = Pop3StandIn(), issue()
    listing = "+OK\r\n1 sama\r\n2 sama\r\n.\r\n"
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as expectation:
            assert await expectation.ready is None
            standin.tricks["UIDL"] = listing
            standin.put(FOREIGN)
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await watcher.wait_until_deleted()
    assert list(standin.mails.values()) == [FOREIGN]
    assert "DELE 1" not in standin.asked


async def test_pop3_mail_that_breaks_each_session_does_not_block_others() -> None:
    standin, token = Pop3StandIn(tricks={"TOP 1 0": "+OK\r\n" + "x" * 1_100_000}), issue()
    standin.put(FOREIGN)
    async with watching(standin, Counted(), polling=replace(POLLING, stable_after=timedelta(minutes=1))) as watcher:
        await until(lambda: watcher.failure is not None)
        await until(lambda: watcher.failure is None and "QUIT" in standin.asked)
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


async def test_watcher_mailbox_without_imap_or_pop3_is_refused() -> None:
    with pytest.raises(ValueError, match="no IMAP or POP3 server"):
        MailboxWatcher(replace(mailbox(), imap=None), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)


@pytest.mark.blind
@pytest.mark.parametrize("in_use_at", ["before", "after"])
async def test_pop3_mailbox_in_use_for_long_is_reported_as_in_use(in_use_at: str) -> None:
    """Defect: Another POP3 session, reported by Dovecot after ten seconds, is an outage.

    Pantau: It is waited for and reported as that.
    """
    # Dovecot waits for ten seconds before it says so: three attempts last longer than a run waits for its mailbox.
    standin, token = Pop3StandIn(), issue()

    async def respond_in_use_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4 * TIMEOUTS.session.total_seconds())
        writer.write(b"-ERR [IN-USE] Mailbox is locked by another POP3 session\r\n")

    if in_use_at == "before":
        standin.tricks["PASS"] = respond_in_use_late
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as expectation:
            if in_use_at == "before":
                await asyncio.wait({expectation.ready}, timeout=TIMEOUTS.session.total_seconds())
                error = expectation.ready.result() if expectation.ready.done() else watcher.not_ready_failure()
            else:
                assert await expectation.ready is None
                standin.tricks["PASS"] = respond_in_use_late
                await until(lambda: watcher._reader.lock_error is not None)
                # The last look of a run: a quarter of its time, or less than three attempts take.
                found = await watcher.final_search(0.6 * TIMEOUTS.session)
                error = found if isinstance(found, ProbeFailedError) else None
    assert error is not None
    assert (error.outcome, error.failure.reason) == (Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE)
