"""Mailbox watcher over IMAP: it delivers, counts and deletes mail, and reports why a mailbox cannot be read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from probes.arrival.expectation import Arrived, FolderKind
from probes.arrival.watcher import MailboxWatcher
from probes.credentials.oauth import AccessTokenError
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Phase
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.fake_tokens import FakeTokens, fake_tokens, login, token_of_response
from tests.unit.probes.standin import ImapStandIn, Trick, close, hang, listening, mailbox, server, server_context, until
from tests.unit.probes.watchers import (
    FOREIGN,
    KEY,
    POLLING,
    SIGNER,
    TIMEOUTS,
    Counted,
    issue,
    mail,
    running,
    until_deleted,
    watching,
)


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 IDLE UIDPLUS", "IMAP4rev1 UIDPLUS"])
async def test_imap_watcher_delivers_message_to_run_and_deletes_it(capabilities: str) -> None:
    standin, counted, token = ImapStandIn(capabilities=capabilities), Counted(), issue()
    kept = standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            assert await expectation.ready is None
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            arrived_message = await expectation.arrival
            assert isinstance(arrived_message, Arrived)
            assert arrived_message.folder is FolderKind.INBOX
            assert await expectation.content == mail(token)
        await until_deleted(standin, uid)
        await watcher.wait_until_deleted()
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


@pytest.mark.pitfall
async def test_imap_forty_runs_share_one_connection() -> None:
    """Trap: Microsoft 365 allows some twenty connections to a mailbox.

    Pantau: One connection serves all runs.
    """
    standin, counted = ImapStandIn(), Counted()
    tokens = [issue() for _ in range(40)]
    async with watching(standin, counted) as watcher:
        expectations = [watcher.expect(token) for token in tokens]
        for token in reversed(tokens):
            standin.put(mail(token))
        for expectation, token in zip(expectations, tokens, strict=True):
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        assert standin.connections == 1


async def test_imap_foreign_mail_is_kept_over_many_rounds() -> None:
    standin, counted = ImapStandIn(capabilities="IMAP4rev1 IDLE"), Counted()
    kept = [standin.put(FOREIGN) for _ in range(30)]
    async with watching(standin, counted) as watcher:
        for _ in range(50):
            token = issue()
            with watcher.expect(token) as expectation:
                uid = standin.put(mail(token))
                expectation.request_fast_polling()
                await expectation.content
            kept.append(standin.put(FOREIGN))
            await watcher.wait_until_deleted()
            assert uid not in standin.mails
    assert set(kept) <= set(standin.mails)
    assert not set(kept) & standin.deleted


async def test_imap_mail_left_marked_deleted_is_not_found_again() -> None:
    late, token = issue(), issue()
    standin, counted = ImapStandIn(capabilities="IMAP4rev1 IDLE"), Counted()
    marked = {standin.put(FOREIGN), standin.put(mail(late))}
    standin.deleted = set(marked)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
        await watcher.wait_until_deleted()
    assert counted.arrivals == []
    assert marked <= set(standin.mails)


async def test_imap_own_marked_mail_is_expunged_when_nothing_else_is_marked() -> None:
    earlier = issue()
    standin = ImapStandIn(capabilities="IMAP4rev1 IDLE")
    foreign, left_over = standin.put(FOREIGN), standin.put(mail(earlier))
    standin.deleted = {foreign, left_over}
    own_uids = {left_over}
    async with watching(standin, Counted()) as watcher:

        async def run_once() -> None:
            token = issue()
            with watcher.expect(token) as expectation:
                own_uids.add(standin.put(mail(token)))
                expectation.request_fast_polling()
                await expectation.content
            await watcher.wait_until_deleted()

        await run_once()
        assert own_uids <= set(standin.mails)
        standin.deleted.discard(foreign)
        await run_once()
        assert not own_uids & set(standin.mails)
    assert foreign in standin.mails


async def test_imap_second_copy_is_duplicate() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
            assert await counted.until(1) == [(Arrival.DUPLICATE, token.id)]
        await until_deleted(standin, uid)
        standin.put(mail(token))
        assert await counted.until(2) == [(Arrival.DUPLICATE, token.id)] * 2


async def test_imap_message_after_run_is_late_once() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
        uid = standin.put(mail(token))
        assert await counted.until(1) == [(Arrival.LATE, token.id)]
        standin.put(mail(token))
        assert await counted.until(2) == [(Arrival.LATE, token.id), (Arrival.DUPLICATE, token.id)]
        await until_deleted(standin, uid)


async def test_imap_leftovers_of_earlier_process_are_counted_and_deleted() -> None:
    late, crashed, unknown = issue(), issue(), issue()
    standin, counted = ImapStandIn(), Counted()
    kept = [standin.put(FOREIGN) for _ in range(60)]
    for token in (late, crashed, unknown):
        standin.put(mail(token))
        kept += [standin.put(FOREIGN) for _ in range(30)]
    async with watching(standin, counted, ended=(late.id,), arrived=(crashed.id,)):
        found = await counted.until(3)
        await until_deleted(standin, 123)
        await until(lambda: len(standin.mails) <= len(kept))
    assert set(found) == {
        (Arrival.LATE, late.id),
        (Arrival.DUPLICATE, crashed.id),
        (Arrival.LATE, unknown.id),
    }
    assert sorted(standin.mails) == kept


async def test_imap_mail_present_before_watcher_reaches_run() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    standin.put(mail(token))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
    assert counted.arrivals == []


@pytest.mark.pitfall
async def test_imap_message_with_invalid_token_is_counted_and_kept() -> None:
    """Trap: Anybody can write a token.

    Pantau: It is signed (HMAC); an invalid one is counted and kept.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            uid = standin.put(mail(issue(signer=forger)))
            expectation.request_fast_polling()
            assert await counted.until(1) == [(Arrival.FORGED, None)]
            assert not expectation.arrival.done()
    assert uid in standin.mails


@pytest.mark.parametrize(("age", "kept"), [(timedelta(hours=1), True), (timedelta(hours=25), False)])
async def test_imap_mail_of_other_prober_is_kept_for_one_day(*, age: timedelta, kept: bool) -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    other = TokenSigner(KEY, "kuching-1")
    uid = standin.put(mail(issue(datetime.now(UTC) - age, signer=other)))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
        await until(lambda: len(standin.mails) <= kept)
    assert (uid in standin.mails) is kept
    assert counted.arrivals == []


@pytest.mark.blind
async def test_imap_mail_of_prober_with_same_name_is_counted_once_and_kept() -> None:
    """Defect: Two machines with one name delete each other's mail.

    Pantau: A process knows its own tokens; a conflicting prober's mail stays, is counted and alerted on.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    same_name_signer = TokenSigner(KEY, "putrajaya-1")
    async with watching(standin, counted) as watcher:
        uid = standin.put(mail(issue(datetime.now(UTC) + timedelta(seconds=1), signer=same_name_signer)))
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
        await watcher.wait_until_deleted()
    assert list(standin.mails) == [uid]
    assert [arrival for arrival, _ in counted.arrivals] == [Arrival.PROBER_CONFLICT]


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 IDLE UIDPLUS", "IMAP4rev1 IDLE"])
async def test_imap_old_mail_marked_by_other_probers_is_expunged_with_ours(
    capabilities: str,
) -> None:
    standin, counted, token = ImapStandIn(capabilities=capabilities), Counted(), issue()
    left = standin.put(mail(issue(signer=TokenSigner(KEY, "kuching-1"))))
    own_uids = standin.put(mail(issue(datetime.now(UTC) - timedelta(hours=1))))
    standin.deleted |= {left, own_uids}
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
        await until(lambda: not standin.mails)


@pytest.mark.pitfall
async def test_imap_localised_junk_folder_is_found_by_special_use() -> None:
    """Trap: The junk folder has another name in each language.

    Pantau: It is found by SPECIAL-USE.
    """
    token, counted = issue(), Counted()
    junk = ImapStandIn()
    standin = ImapStandIn(capabilities="IMAP4rev1 IDLE UIDPLUS SPECIAL-USE")
    inbox: dict[int, bytes] = standin.mails

    async def list_folders(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(f'* LIST (\\Junk) "/" "E-mel Sarap"\r\n{tag} OK\r\n'.encode())

    async def status(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(f'* STATUS "E-mel Sarap" (UIDNEXT {junk.next_uid} UIDVALIDITY 9)\r\n{tag} OK\r\n'.encode())

    async def select_junk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        standin.mails = junk.mails
        writer.write(
            f"* {len(junk.mails)} EXISTS\r\n* OK [UIDVALIDITY 9] x\r\n* OK [UIDNEXT {junk.next_uid}] x\r\n{tag} OK\r\n".encode()
        )

    async def select_inbox(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        standin.mails = inbox
        writer.write(f"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 1] x\r\n{tag} OK\r\n".encode())

    standin.tricks = {
        "LIST": list_folders,
        "STATUS": status,
        'SELECT "E-MEL SARAP"': select_junk,
        "SELECT INBOX": select_inbox,
    }
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            uid = junk.put(mail(token))
            expectation.request_fast_polling()
            arrived_message = await expectation.arrival
            assert isinstance(arrived_message, Arrived)
            assert arrived_message.folder is FolderKind.JUNK
            assert await expectation.content == mail(token)
        await until(lambda: uid not in junk.mails)
    assert '(SPECIAL-USE) "" "*"' in " ".join(standin.asked)


@pytest.mark.parametrize(
    ("tricks", "outcome", "phase", "reason"),
    [
        ({"LOGIN": "{tag} NO [AUTHENTICATIONFAILED] x\r\n"}, Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        ({"LOGIN": hang}, Outcome.TIMEOUT, Phase.AUTH, Reason.NO_ANSWER),
        ({"LIST": hang}, Outcome.TIMEOUT, Phase.RETRIEVE, Reason.NO_ANSWER),
        ({"SELECT": hang}, Outcome.TIMEOUT, Phase.RETRIEVE, Reason.NO_ANSWER),
        ({"SELECT": "{tag} NO [UNAVAILABLE] x\r\n"}, Outcome.CONNECT, Phase.RETRIEVE, Reason.MAILBOX_REFUSED),
        ({"SELECT": close}, Outcome.CONNECT, Phase.RETRIEVE, Reason.CONNECTION_CLOSED),
    ],
)
async def test_imap_unreadable_mailbox_fails_run_at_once_with_cause(
    tricks: dict[str, Trick], outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    async with watching(ImapStandIn(tricks=tricks), Counted()) as watcher:
        with watcher.expect(issue()) as expectation:
            error = await expectation.ready
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.phase, error.failure.reason) == (outcome, phase, reason)
    assert error.failure.party is Party.RECIPIENT
    assert watcher.failure is not None


async def test_imap_refused_credentials_are_not_retried_per_run() -> None:
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [AUTHENTICATIONFAILED] x\r\n"})
    async with watching(standin, Counted()) as watcher:
        for _ in range(20):
            with watcher.expect(issue()) as expectation:
                assert isinstance(await expectation.ready, ProbeFailedError)
    assert sum("LOGIN" in line for line in standin.asked) == 1


async def test_imap_hanging_attempt_reports_own_failure_not_earlier_one() -> None:
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [UNAVAILABLE] x\r\n"})
    timeouts = replace(TIMEOUTS, session=timedelta(seconds=30))
    async with listening(standin, server_context()) as port:
        box = mailbox(imap=server(port))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), timeouts=timeouts, polling=POLLING)
        async with running(watcher):
            await until(lambda: watcher.failure is not None)
            standin.tricks = {"LOGIN": hang}
            before = standin.connections
            await until(lambda: standin.connections > before and standin.asked[-1].endswith('rahsia"'))
            failure_now = watcher.not_ready_failure()
    assert (failure_now.outcome, failure_now.failure.phase, failure_now.failure.reason) == (
        Outcome.TIMEOUT,
        Phase.AUTH,
        Reason.NO_ANSWER,
    )


async def test_imap_recovered_mailbox_has_no_failure() -> None:
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [UNAVAILABLE] x\r\n"})
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as expectation:
            assert isinstance(await expectation.ready, ProbeFailedError)
        standin.tricks = {}
        async with asyncio.timeout(HANG_TIMEOUT):
            while watcher.failure is not None:
                with watcher.expect(issue()) as expectation:
                    await expectation.ready
        assert watcher.failure is None


@pytest.mark.pitfall
@pytest.mark.parametrize("trick", [close, "* BYE but semula\r\n", hang])
@pytest.mark.parametrize("command", ["NOOP", "IDLE", "UID FETCH", "UID STORE"])
async def test_imap_lost_connection_loses_no_mail_and_repeats_none(trick: Trick, command: str) -> None:
    """Trap: Work in progress is lost or repeated when a connection breaks.

    Pantau: Each message is handed over once.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks = {}
        if isinstance(trick, str):
            writer.write(trick.encode())
        else:
            await trick(reader, writer)

    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            standin.tricks = {command: once}
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await until_deleted(standin, uid)
    assert counted.arrivals == []
    assert watcher.failure is None


@pytest.mark.pitfall
async def test_imap_changed_uidvalidity_discards_uids() -> None:
    """Trap: UIDs mean other mail when UIDVALIDITY changes.

    Pantau: They are dropped.
    """
    standin, counted, token = ImapStandIn(next_uid=500), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            standin.validity, standin.next_uid = 8, 1
            standin.tricks = {"NOOP": close}
            standin.put(mail(token))
            expectation.request_fast_polling()
            async with asyncio.timeout(HANG_TIMEOUT):
                while standin.connections < 2:
                    standin.tricks = {} if standin.asked[-1].endswith("NOOP") else standin.tricks
                    await asyncio.sleep(0)
            standin.tricks = {}
            assert await expectation.content == mail(token)


@pytest.mark.pitfall
async def test_imap_waiting_run_ends_idle() -> None:
    """Trap: A connection in IDLE is deaf to new runs.

    Pantau: A run that begins to wait ends IDLE.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        await until(lambda: bool(standin.idling))
        standin.mails[standin.next_uid] = mail(token)  # without a notification in IDLE
        standin.next_uid += 1
        with watcher.expect(token) as expectation:
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


async def test_imap_unparsable_mail_does_not_block_others() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(nested)
            standin.put(b"\x00\xff\r\n\r\n")
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


async def test_imap_server_without_folder_list_is_read() -> None:
    standin, counted, token = ImapStandIn(tricks={"LIST": "{tag} NO tidak\r\n"}), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


@pytest.mark.parametrize("command", ["STATUS", "SELECT SARAP"])
async def test_imap_refused_junk_folder_does_not_block_inbox(command: str) -> None:
    standin, counted, token = ImapStandIn(tricks={command: "{tag} NO tidak\r\n"}), Counted(), issue()
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), junk_folders=("Sarap",))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=counted, timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            with watcher.expect(token) as expectation:
                standin.put(mail(token))
                expectation.request_fast_polling()
                assert await expectation.content == mail(token)
            await until(lambda: any(command in line.upper() for line in standin.asked))
            await until(lambda: standin.asked[-1].endswith("IDLE"))
            assert watcher.failure is None
            assert standin.connections == 1


@pytest.mark.falsegreen
async def test_imap_old_session_does_not_hide_refused_sign_in() -> None:
    """Defect: An old connection is served while nobody can sign in.

    Pantau: A connection is renewed every five minutes.
    """
    standin, token = ImapStandIn(), issue()
    async with listening(standin, server_context()) as port:
        short_lived = replace(POLLING, connection_lifetime=timedelta(seconds=0.3))
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=short_lived
        )
        async with running(watcher):
            await until(lambda: standin.connections == 3)
            assert watcher.failure is None
            # Open sessions stay open, as with Dovecot; new ones are refused.
            standin.tricks["LOGIN"] = "{tag} NO [AUTHENTICATIONFAILED] tidak\r\n"
            await until(lambda: watcher.failure is not None)
            with watcher.expect(token) as expectation:
                refused = await expectation.ready
    assert refused is not None
    assert refused.outcome is Outcome.AUTH


async def test_imap_sign_in_followed_by_disconnect_is_not_recovery() -> None:
    standin = ImapStandIn(tricks={"IDLE": "* BYE sibuk\r\n"})
    with capture_logs() as lines:
        async with listening(standin, server_context()) as port:
            watcher = MailboxWatcher(
                mailbox(imap=server(port)),
                SIGNER,
                on_arrival=Counted(),
                timeouts=TIMEOUTS,
                polling=replace(POLLING, stable_after=timedelta(minutes=1)),
            )
            async with running(watcher):
                await until(lambda: standin.connections >= 5)
    assert [line["event"] for line in lines] == ["mailbox cannot be read"]


async def test_imap_renewed_connection_loses_no_mail_and_repeats_none() -> None:
    standin, counted = ImapStandIn(), Counted()
    async with listening(standin, server_context()) as port:
        short_lived = replace(POLLING, connection_lifetime=timedelta(seconds=0.02))
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=counted, timeouts=TIMEOUTS, polling=short_lived
        )
        async with running(watcher):
            async with asyncio.timeout(10):
                while standin.connections < 5:
                    token = issue()
                    with watcher.expect(token) as expectation:
                        standin.put(mail(token))
                        expectation.request_fast_polling()
                        assert await expectation.content == mail(token)
            await watcher.wait_until_deleted()
            assert watcher.failure is None
    assert counted.arrivals == []


async def test_watcher_not_running_is_inconclusive() -> None:
    box: Mailbox = mailbox()
    watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS)
    assert watcher.not_ready_failure().outcome is Outcome.INCONCLUSIVE


async def test_watcher_failing_callback_is_inconclusive_and_watcher_continues() -> None:
    def broken(arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        raise KeyError(token_id)

    standin, token = ImapStandIn(), issue()
    standin.put(mail(token))
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=broken, timeouts=TIMEOUTS, polling=POLLING
        )
        async with running(watcher):
            await until(lambda: watcher.failure is not None)
    assert watcher.failure is not None
    assert watcher.failure.outcome is Outcome.INCONCLUSIVE


@pytest.mark.pitfall
async def test_imap_folder_name_outside_ascii_is_sent_in_modified_utf_7() -> None:
    """Trap: Folder names are in modified UTF-7.

    Pantau: The configuration has plain names, and they are encoded.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), inbox="Kongsi/Pro & Résumé")
        watcher = MailboxWatcher(box, SIGNER, on_arrival=counted, timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            with watcher.expect(token) as expectation:
                standin.put(mail(token))
                expectation.request_fast_polling()
                assert await expectation.content == mail(token)
    selected = {line.partition("SELECT ")[2] for line in standin.asked if "SELECT" in line}
    assert selected == {'"Kongsi/Pro &- R&AOk-sum&AOk-"'}


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("SELECT", f"* OK [UIDNEXT {'9' * 5000}] x\r\n{{tag}} OK\r\n"),
        ("SELECT", "* 1 EXISTS {99999999999}\r\n{tag} OK\r\n"),
        ("UID FETCH", f"* 1 FETCH (UID {'9' * 5000})\r\n{{tag}} OK\r\n"),
    ],
)
async def test_imap_absurd_numbers_are_unexpected_answer(command: str, answer: str) -> None:
    standin = ImapStandIn(tricks={command: answer})
    async with watching(standin, Counted(), polling=replace(POLLING, stable_after=timedelta(minutes=1))) as watcher:
        with watcher.expect(issue()) as expectation:
            error = await expectation.arrival
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)


@pytest.mark.pitfall
async def test_imap_reconnect_after_token_expiry_uses_new_token() -> None:
    """Trap: A token ends after an hour, a connection does not.

    Pantau: The next connection uses another token.
    """
    tokens = fake_tokens("satu", "dua")
    standin = ImapStandIn(capabilities="IMAP4rev1 IDLE UIDPLUS AUTH=XOAUTH2 SASL-IR")
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), login=login(tokens))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            await until(lambda: bool(standin.idling))
            # An hour passes, and then the server restarts.
            del tokens.tokens[0]
            for writer in list(standin.idling):
                writer.transport.abort()
            await until(lambda: standin.connections == 2 and bool(standin.idling))
    assert [token_of_response(line.split()[3]) for line in standin.asked if "AUTHENTICATE" in line] == ["satu", "dua"]


async def test_imap_token_provider_unreachable_is_inconclusive_without_connection() -> None:
    missing = FakeTokens([AccessTokenError("log-masuk.example was not reached")])
    standin = ImapStandIn()
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), login=login(missing))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            with watcher.expect(issue()) as expectation:
                error = await expectation.ready
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_TOKEN)
    assert standin.connections == 0
