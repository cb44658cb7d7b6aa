"""A run has one end, in time, whatever the peers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from probes.arrival.reader import SearchResult
from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND, RoundTrip
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.probe import Probe, Route, Timeouts, Trace
from probes.model.reply import Reason, probe_failure
from probes.model.result import Outcome, Party, Phase, ProbeResult
from probes.run.runner import loop_time, run_probe
from probes.run.trace import TraceRecorder
from tests.unit.probes.standin import (
    ImapStandIn,
    SmtpStandIn,
    Trick,
    hang,
    listening,
    mailbox,
    server,
    server_context,
    until,
)

SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
PATIENCE = Timeouts(session=timedelta(seconds=1.5), arrival=timedelta(seconds=2))
#: For what is to be said at once, however busy the machine is.
LONG = Timeouts(session=timedelta(seconds=5), arrival=timedelta(seconds=10))
PACE = PollingPolicy(min_interval=timedelta(seconds=0.01), retry_min=timedelta(seconds=0.05), stable_after=timedelta(0))
MARGIN = timedelta(seconds=5)
RECIPIENT = "penerima@jabatan-contoh.gov.my"
PRO = "pro@jabatan-contoh.gov.my"


@dataclass(slots=True)
class World:
    """Two mail systems: what the sender's submission server takes is delivered where `deliver` says."""

    smtp: SmtpStandIn = field(default_factory=SmtpStandIn)
    sender_imap: ImapStandIn = field(default_factory=ImapStandIn)
    recipient_imap: ImapStandIn = field(default_factory=ImapStandIn)
    answers: bool = True
    delivers: bool = True
    bounces_about: str | None = None
    #: Whom it was for, as the report says, before an alias was followed.
    alias: str | None = None
    action: str = "failed"

    def __post_init__(self) -> None:
        self.smtp.tricks.setdefault(".", self._take)

    async def _take(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = self.smtp.taken[-1].replace(b"\r\n..", b"\r\n.")
        if self.delivers:
            self.recipient_imap.put(b"Received: dari sini\r\n" + message)
        if self.bounces_about is not None:
            self.sender_imap.put(bounce(message, self.bounces_about, self.action, self.alias))
        if self.answers:
            writer.write(b"250 2.0.0 diterima\r\n")
        else:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def trip(self) -> AsyncIterator[Trip]:
        tls = server_context()
        async with (
            listening(self.smtp, tls) as smtp,
            listening(self.sender_imap, tls) as sender_imap,
            listening(self.recipient_imap, tls) as recipient_imap,
        ):
            sender = mailbox(smtp=server(smtp), imap=server(sender_imap))
            recipient = replace(mailbox(imap=server(recipient_imap)), name="penerima", address=RECIPIENT)
            watchers = watcher(sender), watcher(recipient)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one.run()) for one in watchers]
                yield Trip(*watchers)
                for task in tasks:
                    task.cancel()

    async def run(self, timeouts: Timeouts = PATIENCE, *, to: str | None = None, unread: bool = False) -> ProbeResult:
        async with self.trip() as trip:
            return await trip.run(timeouts, to=to, unread=unread)


def watcher(box: Mailbox) -> MailboxWatcher:
    return MailboxWatcher(box, SIGNER, on_arrival=lambda *_: None, timeouts=PATIENCE, polling=PACE)


@dataclass(slots=True)
class Trip:
    sender: MailboxWatcher
    recipient: MailboxWatcher

    async def run(
        self,
        timeouts: Timeouts = PATIENCE,
        *,
        to: str | None = None,
        unread: bool = False,
        recorder: TraceRecorder | None = None,
    ) -> ProbeResult:
        token: Token = SIGNER.issue("ujian", datetime.now(UTC))
        route = Route(name="ujian", sender=self.sender.mailbox, recipient=self.recipient.mailbox, to=to)
        sender = None if unread else self.sender
        probe = KIND.build(route=route, token=token, timeouts=timeouts, sender=sender, recipient=self.recipient)
        result = await run_probe(probe, route="ujian", token_id=token.id, timeouts=timeouts, recorder=recorder)
        assert result.token_id == token.id
        assert result.duration < timeouts.total + MARGIN
        return result


def bounce(message: bytes, about: str, action: str, alias: str | None) -> bytes:
    original = f"Original-Recipient: rfc822;{alias}\r\n" if alias else ""
    return (
        b"Return-Path: <>\r\nFrom: MAILER-DAEMON@mel.example\r\nSubject: gagal\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=batas\r\n\r\n"
        b"--batas\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mel.example\r\n\r\n"
        b"Final-Recipient: rfc822; "
        + about.encode()
        + b"\r\n"
        + original.encode()
        + b"Action: "
        + action.encode()
        + b"\r\n"
        b"Status: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 tiada\r\n\r\n"
        b"--batas\r\nContent-Type: message/rfc822\r\n\r\n" + message + b"\r\n--batas--\r\n"
    )


async def test_a_message_that_goes_round() -> None:
    result = await World().run()
    assert result.outcome is Outcome.DELIVERED
    assert set(result.phases) == set(Phase)
    assert result.started_at.tzinfo is UTC


async def test_silence_after_the_message_is_no_failure_when_it_arrives() -> None:
    world = World(answers=False)
    result = await world.run()
    assert result.outcome is Outcome.DELIVERED
    assert result.uncertain
    assert len(world.smtp.taken) == 1


@pytest.mark.blind
async def test_how_long_the_server_took_to_answer_for_a_message_is_known_also_when_it_never_did() -> None:
    """Defect: The time until a server acknowledges a message is unknown.

    Pantau: It is a phase of its own, without an answer too.
    """
    # What was before it takes of the same deadline: on a busy machine more than some tenths of a second.
    unanswered = await World(answers=False).run(LONG)
    assert unanswered.phases[Phase.DATA] > LONG.slow_data
    prompt = await World().run(LONG)
    assert timedelta() < prompt.phases[Phase.DATA] < LONG.slow_data


async def test_silence_after_the_message_keeps_its_cause_when_it_does_not() -> None:
    world = World(answers=False, delivers=False)
    result = await world.run()
    assert result.outcome is Outcome.TIMEOUT
    assert result.uncertain
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.DATA, Party.SENDER)
    assert len(world.smtp.taken) == 1


async def test_silence_after_the_message_keeps_its_cause_though_we_stood_still_over_the_last_look_and_the_end() -> None:
    def stand_still(phase: Phase) -> None:
        if phase is Phase.TRANSIT:
            asyncio.get_running_loop().call_soon(time.sleep, 1.5 * PATIENCE.total.total_seconds())

    async with World(answers=False, delivers=False).trip() as trip:
        result = await trip.run(recorder=TraceRecorder(on_phase=stand_still))
    assert result.outcome is Outcome.TIMEOUT
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.DATA, Party.SENDER)


@pytest.mark.parametrize(
    ("delivers", "about", "outcome"),
    [
        (False, RECIPIENT, Outcome.BOUNCED),
        (False, RECIPIENT.upper(), Outcome.BOUNCED),
        # Another address: a forwarding rule failed, or an alias was followed. What arrives tells.
        (True, "alih@luar.example", Outcome.DELIVERED),
        (False, "alih@luar.example", Outcome.BOUNCED),
        (False, None, Outcome.LOST),
    ],
)
async def test_a_bounce_counts_when_it_is_about_the_recipient(
    *, delivers: bool, about: str | None, outcome: Outcome
) -> None:
    result = await World(delivers=delivers, bounces_about=about).run()
    assert result.outcome is outcome
    if outcome is Outcome.BOUNCED:
        assert result.failure is not None
        assert (result.failure.code, result.failure.status) == (550, "5.1.1")
        assert (result.failure.reason, result.failure.detail) == (Reason.RETURNED, "550 5.1.1 tiada")


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"*")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("trick", [hang, drip])
@pytest.mark.parametrize(
    ("word", "phase"),
    [
        ("EHLO", Phase.CONNECT),
        ("AUTH", Phase.AUTH),
        ("MAIL", Phase.SUBMIT),
        ("RCPT", Phase.SUBMIT),
        ("DATA", Phase.DATA),
    ],
)
async def test_a_submission_server_that_hangs_ends_at_the_deadline(word: str, phase: Phase, trick: Trick) -> None:
    result = await World(smtp=SmtpStandIn(tricks={word: trick})).run()
    assert result.outcome is Outcome.TIMEOUT
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (phase, Party.SENDER)


@pytest.mark.parametrize("trick", [hang, drip])
@pytest.mark.parametrize(
    ("command", "phase"),
    [
        ("CAPABILITY", Phase.AUTH),
        ("LOGIN", Phase.AUTH),
        ("LIST", Phase.RETRIEVE),
        ("SELECT", Phase.RETRIEVE),
        ("NOOP", Phase.RETRIEVE),
        ("UID FETCH", Phase.RETRIEVE),
    ],
)
async def test_a_mailbox_that_hangs_ends_at_the_deadline_and_is_not_lost_mail(
    command: str, phase: Phase, trick: Trick
) -> None:
    result = await World(recipient_imap=ImapStandIn(tricks={command: trick})).run()
    assert result.outcome is Outcome.TIMEOUT, result
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (phase, Party.RECIPIENT)


@pytest.mark.parametrize("command", ["LOGIN", "SELECT", "NOOP", "UID FETCH"])
async def test_a_senders_mailbox_that_hangs_changes_nothing(command: str) -> None:
    assert (await World(sender_imap=ImapStandIn(tricks={command: hang})).run()).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("accepted", "looked_at", "outcome"),
    [
        (-5, -1, Outcome.LOST),
        # Before the message was taken; since, and long ago; never.
        (-5, -10, Outcome.TIMEOUT),
        (-60, -30, Outcome.TIMEOUT),
        (-5, None, Outcome.TIMEOUT),
    ],
)
async def test_what_a_new_sign_in_does_not_find_is_lost_only_if_the_watch_has_looked_since_and_lately(
    accepted: float, looked_at: float | None, outcome: Outcome
) -> None:
    box, now = mailbox(), loop_time()
    recipient = watcher(box)
    recipient.polled_at = None if looked_at is None else now + looked_at
    probe = RoundTrip(
        route=Route(name="ujian", sender=box, recipient=box),
        token=SIGNER.issue("ujian", datetime.now(UTC)),
        timeouts=PATIENCE,
        sender=None,
        recipient=recipient,
    )
    anew = asyncio.get_running_loop().create_future()
    anew.set_result(SearchResult(folders=2, total_folders=2))
    assert probe._missing_failure(now + accepted, anew).outcome is outcome


async def test_a_mailbox_nobody_watches_is_our_own_fault() -> None:
    async with World().trip() as trip:
        trip.recipient = watcher(trip.recipient.mailbox)
        result = await trip.run()
    assert result.outcome is Outcome.INCONCLUSIVE


@dataclass(slots=True)
class Scripted:
    """A probe that ends as it is told."""

    ending: BaseException | Outcome | None
    phase: Phase = Phase.TRANSIT

    async def run(self, trace: Trace) -> Outcome:
        with trace.phase(self.phase, Party.RECIPIENT):
            if self.ending is None:
                await asyncio.Event().wait()
            if isinstance(self.ending, BaseException):
                raise self.ending
        assert isinstance(self.ending, Outcome)
        return self.ending


async def outcome_of(probe: Probe, recorder: TraceRecorder | None = None) -> ProbeResult:
    timeouts = Timeouts(session=timedelta(seconds=0.05), arrival=timedelta(0))
    return await run_probe(probe, route="r", token_id="00", timeouts=timeouts, recorder=recorder)


async def test_a_bug_of_ours_is_inconclusive_and_says_where() -> None:
    result = await outcome_of(Scripted(KeyError("ralat")))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.failure is not None
    assert result.failure.reason is Reason.MONITORING_FAULT
    assert result.failure.detail == "KeyError: 'ralat'"
    assert result.failure.phase is Phase.TRANSIT
    assert result.phases == {}


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [(Phase.DNS, Outcome.DNS), (Phase.AUTH, Outcome.TIMEOUT), (Phase.TRANSIT, Outcome.LOST)],
)
async def test_the_deadline_of_the_whole_is_the_last_word(phase: Phase, outcome: Outcome) -> None:
    assert (await outcome_of(Scripted(None, phase))).outcome is outcome


@dataclass(frozen=True, slots=True)
class Patient:
    """A probe that has a deadline of its own, and can say what it means that it passed."""

    within: float

    async def run(self, trace: Trace) -> Outcome:
        with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=self.within)
            raise probe_failure(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, Phase.RETRIEVE, Party.RECIPIENT, "")


@pytest.mark.parametrize(("within", "outcome"), [(0.04, Outcome.INCONCLUSIVE), (60, Outcome.LOST)])
async def test_a_probe_that_ended_by_its_own_deadline_is_heard_though_we_stood_still_over_the_whole_one(
    within: float, outcome: Outcome
) -> None:
    asyncio.get_running_loop().call_later(0.02, time.sleep, 0.1)
    assert (await outcome_of(Patient(within))).outcome is outcome


async def test_cancellation_passes_through() -> None:
    with pytest.raises(asyncio.CancelledError):
        await outcome_of(Scripted(asyncio.CancelledError()))


async def test_a_phase_that_is_entered_twice_is_the_sum_and_one_that_broke_is_absent() -> None:
    recorder = TraceRecorder(keep_dialogue=True)
    for _ in range(2):
        with recorder.phase(Phase.CONNECT, Party.SENDER):
            pass
    once = recorder.phases[Phase.CONNECT]
    assert once > timedelta(0)
    with pytest.raises(KeyError), recorder.phase(Phase.CONNECT, Party.SENDER):
        raise KeyError
    assert recorder.phases == {}
    for _ in range(1000):
        recorder.add_line(Party.SENDER, "x" * 1000)
    assert len(recorder.dialogue) == 400
    assert max(map(len, recorder.dialogue)) < 520


async def test_a_warning_that_it_is_delayed_does_not_end_a_run() -> None:
    result = await World(bounces_about=RECIPIENT, action="delayed", delivers=False).run()
    assert result.outcome is Outcome.LOST

    assert (await World(bounces_about=RECIPIENT, action="delayed").run()).outcome is Outcome.DELIVERED


async def test_a_message_goes_to_another_address_than_that_of_the_mailbox_it_arrives_in() -> None:
    world = World()
    result = await world.run(to="pro@jabatan-contoh.gov.my")
    assert result.outcome is Outcome.DELIVERED
    assert b"To: pro@jabatan-contoh.gov.my\r\n" in world.smtp.taken[0]
    assert RECIPIENT.encode() not in world.smtp.taken[0]


@pytest.mark.parametrize(
    ("about", "reason"),
    [("pro@jabatan-contoh.gov.my", Reason.RETURNED), (RECIPIENT, Reason.COPY_RETURNED)],
)
async def test_a_report_tells_the_address_from_the_mailbox_behind_it_and_ends_the_run(
    about: str, reason: Reason
) -> None:
    result = await World(bounces_about=about, delivers=False).run(LONG, to="pro@jabatan-contoh.gov.my")
    assert result.outcome is Outcome.BOUNCED
    assert result.failure is not None
    assert (result.failure.reason, result.failure.code, result.failure.status) == (reason, 550, "5.1.1")
    assert result.failure.detail == "550 5.1.1 tiada"
    # At once, and not when the time for the arrival is over.
    assert result.duration < LONG.arrival


async def test_a_copy_that_comes_back_is_told_from_the_mailbox_that_it_was_sent_to_where_both_are_named() -> None:
    result = await World(bounces_about=RECIPIENT, alias=PRO, delivers=False).run(LONG, to=PRO)
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.BOUNCED, Reason.COPY_RETURNED)
    assert result.duration < LONG.arrival


async def test_a_public_address_also_stands_for_others_whose_copies_may_come_back() -> None:
    gone = World(bounces_about="bekas-pegawai@jabatan-contoh.gov.my", alias=PRO, delivers=False)
    async with gone.trip() as trip:
        running = asyncio.create_task(trip.run(to=PRO))
        await until(lambda: gone.sender_imap.next_uid > 1 and not gone.sender_imap.mails)
        gone.recipient_imap.put(b"Received: dari sini\r\n" + gone.smtp.taken[0])
        assert (await running).outcome is Outcome.DELIVERED, "the report was read before the message came"

    result = await gone.run(to=PRO)
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.BOUNCED, Reason.RETURNED)


async def test_an_alias_of_an_ordinary_mailbox_ends_the_run_at_once() -> None:
    result = await World(bounces_about="dalaman@jabatan-contoh.gov.my", alias=RECIPIENT, delivers=False).run(LONG)
    assert result.outcome is Outcome.BOUNCED
    assert result.duration < LONG.arrival


async def test_a_sender_that_nobody_reads_can_send_all_the_same() -> None:
    assert (await World().run(unread=True)).outcome is Outcome.DELIVERED
    assert (await World(bounces_about=RECIPIENT, delivers=False).run(unread=True)).outcome is Outcome.LOST


async def test_a_run_tells_the_way_of_its_message() -> None:
    result = await World().run()
    # The only header on top has no date: the message came, and its way is not known.
    assert result.path is not None
    assert (result.path.hops, result.path.skew) == ((), None)
    assert (await World(delivers=False).run()).path is None
