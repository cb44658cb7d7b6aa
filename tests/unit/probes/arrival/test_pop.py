"""A mailbox that is read over POP3 is watched with the same promises as one that is read over IMAP."""

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
from tests.unit.probes import watch
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Trick, hang, mailbox, server, until
from tests.unit.probes.watch import FOREIGN, PATIENCE, SIGNER, Counted, issue, mail

PACE = PollingPolicy(
    min_interval=timedelta(seconds=0.01),
    pop3_interval=timedelta(seconds=0.02),
    retry_min=timedelta(seconds=0.05),
    stable_after=timedelta(0),
    announced_interval=timedelta(seconds=0.05),
)


def box(port: int) -> Mailbox:
    return replace(mailbox(), imap=None, pop3=server(port))


watching = partial(watch.watching, box=box, polling=PACE)


async def test_the_run_that_waits_gets_its_message_and_it_is_deleted() -> None:
    standin, counted, token = Pop3StandIn(), Counted(), issue()
    kept = standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            assert await letter.ready is None
            uid = standin.put(mail(token))
            letter.request_fast_polling()
            seen = await letter.arrival
            assert isinstance(seen, Arrived)
            assert seen.folder is FolderKind.INBOX
            assert await letter.content == mail(token)
        await watcher.wait_until_deleted()
        assert uid not in standin.mails
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


async def test_foreign_mail_survives_many_rounds() -> None:
    standin, counted = Pop3StandIn(), Counted()
    kept = [standin.put(FOREIGN) for _ in range(60)]
    async with watching(standin, counted) as watcher:
        for _ in range(20):
            token = issue()
            with watcher.expect(token) as letter:
                standin.put(mail(token))
                letter.request_fast_polling()
                await letter.content
            kept.append(standin.put(FOREIGN))
            await watcher.wait_until_deleted()
    assert list(standin.mails) == kept
    # Each was looked at once, and what lay there before the latest fifty not at all.
    assert sum(line.startswith("TOP") for line in standin.asked) <= 50 + 20 + 20


async def test_what_nobody_waits_for_is_counted_once() -> None:
    late, crashed, running_ = issue(), issue(), issue()
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    standin, counted = Pop3StandIn(), Counted()
    forged = standin.put(mail(issue(signer=forger)))
    for token in (late, crashed):
        standin.put(mail(token))
    async with watching(standin, counted, ended=(late.id,), arrived=(crashed.id,)) as watcher:
        found = await counted.until(3)
        with watcher.expect(running_) as letter:
            standin.put(mail(running_))
            standin.put(mail(running_))
            letter.request_fast_polling()
            await letter.content
            await counted.until(4)
        await until(lambda: list(standin.mails) == [forged])
        sessions = standin.sessions
        await until(lambda: standin.sessions > sessions + 2)
    assert set(found[:3]) == {(Arrival.FORGED, None), (Arrival.LATE, late.id), (Arrival.DUPLICATE, crashed.id)}
    assert counted.arrivals[3:] == [(Arrival.DUPLICATE, running_.id)]


async def test_mail_left_alone_is_looked_at_again_at_times_and_not_counted_again() -> None:
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    standin, counted = Pop3StandIn(), Counted()
    standin.put(mail(issue(signer=forger)))
    async with watching(standin, counted, polling=replace(PACE, sweep_interval=timedelta(0))):
        await until(lambda: sum(line.startswith("TOP") for line in standin.asked) > 3)
    assert counted.arrivals == [(Arrival.FORGED, None)]


@pytest.mark.parametrize(
    ("word", "trick", "outcome", "phase", "reason"),
    [
        ("PASS", "-ERR salah\r\n", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        ("PASS", "-ERR [IN-USE] ada orang\r\n", Outcome.INCONCLUSIVE, Phase.AUTH, Reason.MAILBOX_IN_USE),
        ("UIDL", "-ERR tidak\r\n", Outcome.CONNECT, Phase.RETRIEVE, Reason.MAILBOX_REFUSED),
        ("UIDL", hang, Outcome.TIMEOUT, Phase.RETRIEVE, Reason.NO_ANSWER),
    ],
)
async def test_a_mailbox_that_cannot_be_read_fails_its_run_with_the_cause(
    word: str, trick: Trick, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    standin = Pop3StandIn(tricks={word: trick})
    # Nothing is settled before a look is through.
    async with watching(standin, Counted(), polling=replace(PACE, stable_after=timedelta(minutes=1))) as watcher:
        with watcher.expect(issue()) as letter:
            trouble = await letter.arrival
    assert isinstance(trouble, ProbeFailedError)
    assert (trouble.outcome, trouble.failure.phase, trouble.failure.reason) == (outcome, phase, reason)
    assert trouble.failure.party is Party.RECIPIENT


async def test_another_session_is_waited_for() -> None:
    standin, token = Pop3StandIn(), issue()

    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del standin.tricks["PASS"]
        writer.write(b"-ERR [IN-USE] ada orang\r\n")

    async with watching(standin, Counted()) as watcher:
        await until(lambda: standin.sessions > 0)
        standin.tricks["PASS"] = once
        with watcher.expect(token) as letter:
            assert await letter.ready is None
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)
        assert watcher.failure is None


async def test_a_server_that_comes_back_is_read_again() -> None:
    standin, token = Pop3StandIn(tricks={"PASS": "-ERR [SYS/TEMP] nanti\r\n"}), issue()
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as letter:
            assert isinstance(await letter.arrival, ProbeFailedError)
        standin.tricks.clear()
        await until(lambda: watcher.failure is None)
        with watcher.expect(token) as letter:
            assert await letter.ready is None
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)


async def test_one_session_at_a_time_and_none_is_left() -> None:
    standin = Pop3StandIn()
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as letter:
            letter.request_fast_polling()
            await until(lambda: standin.sessions > 5)
        assert standin.inside <= 1
    assert standin.inside == 0
    # Each ended with a goodbye, except perhaps the one that was cut off.
    assert standin.asked.count("QUIT") >= standin.sessions - 1


async def test_a_look_costs_a_sign_in_so_there_are_few() -> None:
    standin = Pop3StandIn()
    async with watching(standin, Counted(), polling=replace(PACE, pop3_interval=timedelta(seconds=60))) as watcher:
        with watcher.expect(issue()) as letter:
            assert await letter.ready is None
            letter.request_fast_polling()
            await until(lambda: "QUIT" in standin.asked)
            await asyncio.sleep(0.05)
    assert standin.sessions == 1


def break_before_the_goodbye(standin: Pop3StandIn, then: Callable[[], None] = lambda: None) -> None:
    """Let the next session that deletes something end without a goodbye, so that nothing is deleted, and *then* go on."""

    async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks.clear()
        then()
        writer.transport.abort()

    async def mark(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks["QUIT"] = abort
        writer.write(b"+OK\r\n")

    standin.tricks["DELE"] = mark


async def test_what_was_handed_over_and_not_deleted_yet_is_deleted_later() -> None:
    standin, counted, token = Pop3StandIn(), Counted(), issue()
    break_before_the_goodbye(standin)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            uid = standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)
        await until(lambda: uid not in standin.mails)
    assert standin.asked.count("DELE 1") == 2
    # It is known, and not looked at again.
    assert standin.asked.count("TOP 1 0") == 1
    assert counted.arrivals == []


async def test_what_is_deleted_later_is_not_mistaken_for_a_mail_that_shares_its_uid() -> None:
    standin, token = Pop3StandIn(), issue()

    def share() -> None:
        standin.mails = {"asing": FOREIGN, **standin.mails}
        standin.tricks["UIDL"] = "+OK\r\n1 u1\r\n2 u1\r\n.\r\n"

    break_before_the_goodbye(standin, share)
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)
        await until(lambda: "UIDL" in standin.tricks)
        sessions = standin.sessions
        await until(lambda: standin.sessions > sessions + 2)
    assert "asing" in standin.mails


@pytest.mark.parametrize("word", ["DELE", "QUIT"])
async def test_a_server_that_does_not_delete_is_no_fault_of_delivery(word: str) -> None:
    standin, counted, token = Pop3StandIn(tricks={word: "-ERR kekal\r\n"}), Counted(), issue()
    with capture_logs() as logs:
        async with watching(standin, counted, polling=replace(PACE, sweep_interval=timedelta(0))) as watcher:
            with watcher.expect(token) as letter:
                uid = standin.put(mail(token))
                letter.request_fast_polling()
                assert await letter.content == mail(token)
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


async def test_a_server_that_keeps_what_it_says_is_deleted_is_seen_to() -> None:
    standin, token = Pop3StandIn(tricks={"DELE": "+OK\r\n"}), issue()
    async with watching(standin, Counted(), polling=replace(PACE, sweep_interval=timedelta(0))) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)
        assert watcher.undeleted_count == 0
        await until(lambda: watcher.undeleted_count == 1)


async def test_only_what_was_looked_at_is_deleted_when_two_mails_share_a_uid() -> None:
    standin, token = Pop3StandIn(), issue()
    both = "+OK\r\n1 sama\r\n2 sama\r\n.\r\n"
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as letter:
            assert await letter.ready is None
            standin.tricks["UIDL"] = both
            standin.put(FOREIGN)
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)
        await watcher.wait_until_deleted()
    assert list(standin.mails.values()) == [FOREIGN]
    assert "DELE 1" not in standin.asked


async def test_a_mail_that_breaks_every_session_does_not_keep_us_from_the_rest() -> None:
    standin, token = Pop3StandIn(tricks={"TOP 1 0": "+OK\r\n" + "x" * 1_100_000}), issue()
    standin.put(FOREIGN)
    async with watching(standin, Counted(), polling=replace(PACE, stable_after=timedelta(minutes=1))) as watcher:
        await until(lambda: watcher.failure is not None)
        await until(lambda: watcher.failure is None and "QUIT" in standin.asked)
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.request_fast_polling()
            assert await letter.content == mail(token)


async def test_a_mailbox_that_is_sent_from_only_cannot_be_watched() -> None:
    with pytest.raises(ValueError, match="no server that it is read at"):
        MailboxWatcher(replace(mailbox(), imap=None), SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=PACE)


@pytest.mark.blind
@pytest.mark.parametrize("held", ["before", "after"])
async def test_maildrop_session_held_for_long_is_never_silence(held: str) -> None:
    """Defect: Another POP3 session, reported by Dovecot after ten seconds, is an outage.

    Pantau: It is waited for and reported as that.
    """
    # Dovecot waits for ten seconds before it says so: three attempts last longer than a run waits for its mailbox.
    standin, token = Pop3StandIn(), issue()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4 * PATIENCE.session.total_seconds())
        writer.write(b"-ERR [IN-USE] Mailbox is locked by another POP3 session\r\n")

    if held == "before":
        standin.tricks["PASS"] = late
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(token) as letter:
            if held == "before":
                await asyncio.wait({letter.ready}, timeout=PATIENCE.session.total_seconds())
                trouble = letter.ready.result() if letter.ready.done() else watcher.not_ready_failure()
            else:
                assert await letter.ready is None
                standin.tricks["PASS"] = late
                await until(lambda: watcher._reader.lock_error is not None)
                # The last look of a run: a quarter of its time, or less than three attempts take.
                found = await watcher.final_search(0.6 * PATIENCE.session)
                trouble = found if isinstance(found, ProbeFailedError) else None
    assert trouble is not None
    assert (trouble.outcome, trouble.failure.reason) == (Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE)
