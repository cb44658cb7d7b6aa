"""One watcher for each mailbox: hands over, counts, deletes, and says why it cannot read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from probes.expectation import Folder, Seen
from probes.mailbox import Mailbox
from probes.message import compose, wire_form
from probes.pace import Pace
from probes.probe import Patience, ProbeFailure
from probes.reply import Reason
from probes.result import Arrival, Outcome, Party, Phase
from probes.token import Token, TokenSigner
from probes.watcher import MailboxWatcher
from tests.unit.probes.standin import ImapStandIn, Trick, hang, listening, mailbox, server, server_context, until

KEY = b"kunci-untuk-ujian-sahaja"
SIGNER = TokenSigner(KEY, "putrajaya-1")
PATIENCE = Patience(session=timedelta(seconds=0.3), arrival=timedelta(seconds=2))
PACE = Pace(quickest=timedelta(seconds=0.01), retry=timedelta(seconds=0.05), settled=timedelta(0))
FOREIGN = b"From: bos@jabatan-contoh.gov.my\r\nSubject: mesyuarat\r\n\r\nPukul 9.\r\n"


def issue(at: datetime | None = None, signer: TokenSigner = SIGNER) -> Token:
    return signer.issue("jabatan-contoh/inbound/reference-a", at or datetime.now(UTC))


def mail(token: Token) -> bytes:
    return wire_form(
        compose(token, sender="a@rujukan.example", recipient="semakan@jabatan-contoh.gov.my", now=token.sent_at)
    )


@dataclass
class Counted:
    arrivals: list[tuple[Arrival, str | None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        assert seen_at.tzinfo is UTC
        self.arrivals.append((arrival, token_id))
        self.changed.set()

    async def until(self, count: int) -> list[tuple[Arrival, str | None]]:
        async with asyncio.timeout(3):
            while len(self.arrivals) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.arrivals


@asynccontextmanager
async def running(watcher: MailboxWatcher) -> AsyncIterator[None]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(watcher.run())
        yield
        task.cancel()


@asynccontextmanager
async def watching(
    standin: ImapStandIn,
    counted: Counted,
    *,
    pace: Pace = PACE,
    ended: tuple[str, ...] = (),
    arrived: tuple[str, ...] = (),
) -> AsyncIterator[MailboxWatcher]:
    async with listening(standin, server_context()) as port:
        box = mailbox(imap=server(port))
        watcher = MailboxWatcher(
            box, SIGNER, on_arrival=counted, patience=PATIENCE, pace=pace, ended=ended, arrived=arrived
        )
        async with running(watcher):
            yield watcher


async def gone(standin: ImapStandIn, uid: int) -> None:
    await until(lambda: uid not in standin.mails)


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 IDLE UIDPLUS", "IMAP4rev1 UIDPLUS"])
async def test_the_run_that_waits_gets_its_message_and_it_is_deleted(capabilities: str) -> None:
    standin, counted, token = ImapStandIn(capabilities=capabilities), Counted(), issue()
    kept = standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            assert await letter.ready is None
            uid = standin.put(mail(token))
            letter.hurry()
            seen = await letter.seen
            assert isinstance(seen, Seen)
            assert seen.folder is Folder.INBOX
            assert await letter.content == mail(token)
        await gone(standin, uid)
        await watcher.tidy()
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


async def test_every_run_gets_its_own() -> None:
    standin, counted = ImapStandIn(), Counted()
    tokens = [issue() for _ in range(40)]
    async with watching(standin, counted) as watcher:
        letters = [watcher.expect(token) for token in tokens]
        for token in reversed(tokens):
            standin.put(mail(token))
        for letter, token in zip(letters, tokens, strict=True):
            letter.hurry()
            assert await letter.content == mail(token)
        assert standin.connections == 1


async def test_foreign_mail_survives_many_rounds() -> None:
    standin, counted = ImapStandIn(capabilities="IMAP4rev1 IDLE"), Counted()
    kept = [standin.put(FOREIGN) for _ in range(30)]
    async with watching(standin, counted) as watcher:
        for _ in range(50):
            token = issue()
            with watcher.expect(token) as letter:
                uid = standin.put(mail(token))
                letter.hurry()
                await letter.content
            kept.append(standin.put(FOREIGN))
            await watcher.tidy()
            assert uid not in standin.mails
    assert set(kept) <= set(standin.mails)
    assert not set(kept) & standin.deleted


async def test_what_stays_marked_as_deleted_is_not_found_again() -> None:
    late, token = issue(), issue()
    standin, counted = ImapStandIn(capabilities="IMAP4rev1 IDLE"), Counted()
    marked = {standin.put(FOREIGN), standin.put(mail(late))}
    standin.deleted = set(marked)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.hurry()
            await letter.content
        await watcher.tidy()
    assert counted.arrivals == []
    assert marked <= set(standin.mails)


async def test_a_second_copy_is_a_duplicate() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            uid = standin.put(mail(token))
            letter.hurry()
            await letter.content
            assert await counted.until(1) == [(Arrival.DUPLICATE, token.id)]
        await gone(standin, uid)
        standin.put(mail(token))
        assert await counted.until(2) == [(Arrival.DUPLICATE, token.id)] * 2


async def test_what_comes_after_its_run_is_late_once() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
        uid = standin.put(mail(token))
        assert await counted.until(1) == [(Arrival.LATE, token.id)]
        standin.put(mail(token))
        assert await counted.until(2) == [(Arrival.LATE, token.id), (Arrival.DUPLICATE, token.id)]
        await gone(standin, uid)


async def test_leftovers_of_an_earlier_life_are_counted_and_taken_away() -> None:
    late, crashed, unknown = issue(), issue(), issue()
    standin, counted = ImapStandIn(), Counted()
    kept = [standin.put(FOREIGN) for _ in range(60)]
    for token in (late, crashed, unknown):
        standin.put(mail(token))
        kept += [standin.put(FOREIGN) for _ in range(30)]
    async with watching(standin, counted, ended=(late.id,), arrived=(crashed.id,)):
        found = await counted.until(3)
        await gone(standin, 123)
        await until(lambda: len(standin.mails) <= len(kept))
    assert set(found) == {
        (Arrival.LATE, late.id),
        (Arrival.DUPLICATE, crashed.id),
        (Arrival.LATE, unknown.id),
    }
    assert sorted(standin.mails) == kept


async def test_mail_that_came_before_the_watch_does_not_miss_its_run() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    standin.put(mail(token))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            letter.hurry()
            assert await letter.content == mail(token)
    assert counted.arrivals == []


async def test_a_forgery_is_counted_and_kept() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            uid = standin.put(mail(issue(signer=forger)))
            letter.hurry()
            assert await counted.until(1) == [(Arrival.FORGED, None)]
            assert not letter.seen.done()
    assert uid in standin.mails


@pytest.mark.parametrize(("age", "kept"), [(timedelta(hours=1), True), (timedelta(hours=25), False)])
async def test_another_probers_mail_is_its_own_for_a_day(*, age: timedelta, kept: bool) -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    other = TokenSigner(KEY, "kuching-1")
    uid = standin.put(mail(issue(datetime.now(UTC) - age, signer=other)))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.hurry()
            await letter.content
        await until(lambda: len(standin.mails) <= kept)
    assert (uid in standin.mails) is kept
    assert counted.arrivals == []


async def test_the_junk_folder_is_looked_into_while_somebody_waits() -> None:
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
        with watcher.expect(token) as letter:
            await letter.ready
            uid = junk.put(mail(token))
            letter.hurry()
            seen = await letter.seen
            assert isinstance(seen, Seen)
            assert seen.folder is Folder.JUNK
            assert await letter.content == mail(token)
        await until(lambda: uid not in junk.mails)
    assert '(SPECIAL-USE) "" "*"' in " ".join(standin.asked)


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


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
async def test_a_run_learns_at_once_why_the_mailbox_cannot_be_read(
    tricks: dict[str, Trick], outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    async with watching(ImapStandIn(tricks=tricks), Counted()) as watcher:
        with watcher.expect(issue()) as letter:
            trouble = await letter.ready
    assert isinstance(trouble, ProbeFailure)
    assert (trouble.outcome, trouble.failure.phase, trouble.failure.reason) == (outcome, phase, reason)
    assert trouble.failure.party is Party.RECIPIENT
    assert watcher.trouble is not None


async def test_refused_credentials_are_not_tried_again_for_every_run() -> None:
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [AUTHENTICATIONFAILED] x\r\n"})
    async with watching(standin, Counted()) as watcher:
        for _ in range(20):
            with watcher.expect(issue()) as letter:
                assert isinstance(await letter.ready, ProbeFailure)
    assert sum("LOGIN" in line for line in standin.asked) == 1


async def test_a_mailbox_that_can_be_read_again_is_no_trouble_any_more() -> None:
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [UNAVAILABLE] x\r\n"})
    async with watching(standin, Counted()) as watcher:
        with watcher.expect(issue()) as letter:
            assert isinstance(await letter.ready, ProbeFailure)
        standin.tricks = {}
        async with asyncio.timeout(3):
            while watcher.trouble is not None:
                with watcher.expect(issue()) as letter:
                    await letter.ready
        assert watcher.trouble is None


@pytest.mark.parametrize("trick", [close, "* BYE but semula\r\n", hang])
@pytest.mark.parametrize("command", ["NOOP", "IDLE", "UID FETCH", "UID STORE"])
async def test_a_lost_connection_loses_no_mail_and_hands_nothing_over_twice(trick: Trick, command: str) -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.tricks = {}
        if isinstance(trick, str):
            writer.write(trick.encode())
        else:
            await trick(reader, writer)

    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            standin.tricks = {command: once}
            uid = standin.put(mail(token))
            letter.hurry()
            assert await letter.content == mail(token)
        await gone(standin, uid)
    assert counted.arrivals == []
    assert watcher.trouble is None


async def test_another_uidvalidity_is_another_folder() -> None:
    standin, counted, token = ImapStandIn(next_uid=500), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            standin.validity, standin.next_uid = 8, 1
            standin.tricks = {"NOOP": close}
            standin.put(mail(token))
            letter.hurry()
            async with asyncio.timeout(3):
                while standin.connections < 2:
                    standin.tricks = {} if standin.asked[-1].endswith("NOOP") else standin.tricks
                    await asyncio.sleep(0)
            standin.tricks = {}
            assert await letter.content == mail(token)


async def test_a_waiting_run_does_not_wait_for_the_end_of_a_long_idle() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        await until(lambda: bool(standin.idling))
        standin.mails[standin.next_uid] = mail(token)  # without a word to who listens
        standin.next_uid += 1
        with watcher.expect(token) as letter:
            letter.hurry()
            assert await letter.content == mail(token)


async def test_mail_that_cannot_be_parsed_stops_nobody() -> None:
    standin, counted, token = ImapStandIn(), Counted(), issue()
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            standin.put(nested)
            standin.put(b"\x00\xff\r\n\r\n")
            standin.put(mail(token))
            letter.hurry()
            assert await letter.content == mail(token)


async def test_a_server_without_a_list_of_folders_is_read_all_the_same() -> None:
    standin, counted, token = ImapStandIn(tricks={"LIST": "{tag} NO tidak\r\n"}), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            standin.put(mail(token))
            letter.hurry()
            assert await letter.content == mail(token)


@pytest.mark.parametrize("command", ["STATUS", "SELECT SARAP"])
async def test_a_junk_folder_that_is_refused_does_not_keep_the_inbox_from_being_read(command: str) -> None:
    standin, counted, token = ImapStandIn(tricks={command: "{tag} NO tidak\r\n"}), Counted(), issue()
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), junk_folders=("Sarap",))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=counted, patience=PATIENCE, pace=PACE)
        async with running(watcher):
            with watcher.expect(token) as letter:
                standin.put(mail(token))
                letter.hurry()
                assert await letter.content == mail(token)
            await until(lambda: any(command in line.upper() for line in standin.asked))
            await until(lambda: standin.asked[-1].endswith("IDLE"))
            assert watcher.trouble is None
            assert standin.connections == 1


async def test_nobody_watching_is_our_own_fault() -> None:
    box: Mailbox = mailbox()
    watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), patience=PATIENCE)
    assert watcher.overdue().outcome is Outcome.INCONCLUSIVE


async def test_a_broken_callback_is_our_own_fault_and_the_watch_goes_on() -> None:
    def broken(arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        raise KeyError(token_id)

    standin, token = ImapStandIn(), issue()
    standin.put(mail(token))
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(mailbox(imap=server(port)), SIGNER, on_arrival=broken, patience=PATIENCE, pace=PACE)
        async with running(watcher):
            await until(lambda: watcher.trouble is not None)
    assert watcher.trouble is not None
    assert watcher.trouble.outcome is Outcome.INCONCLUSIVE
