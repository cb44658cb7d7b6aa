"""One run for each outcome, through a real Postfix and Dovecot."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest

from probes.mail.bounce import parse_report
from probes.mail.message import compose
from probes.mail.token import TokenSigner
from probes.model.probe import Timeouts
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Phase, ProbeResult
from tests.integration.probes.round_trips import SHORT_TIMEOUTS, SIGNER, TIMEOUTS, between
from tests.mailbox_parts import smtp_of
from tests.real.mailserver import REFERENCE, UNAVAILABLE_USER, Listener, MailServer, RecipientOutcome
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import until

pytestmark = pytest.mark.real


@pytest.mark.parametrize("smtp", [Listener.SUBMISSION, Listener.SUBMISSIONS])
@pytest.mark.parametrize("imap", [Listener.IMAP, Listener.IMAPS])
async def test_roundtrip_over_each_tls_mode_is_delivered(
    mail_server: MailServer, smtp: Listener, imap: Listener
) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=smtp)
    recipient = mail_server.mailbox(f"penerima-{smtp}-{imap}", imap=imap)
    async with between(sender, recipient) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.DELIVERED, result
    assert result.failure is None
    assert set(result.phases) == set(Phase)
    assert all(span > timedelta(0) for span in result.phases.values())
    assert sum(result.phases.values(), timedelta()) <= result.duration
    assert not result.uncertain
    assert mail_server.mails(recipient.address) == []


async def test_roundtrip_mailbox_to_itself_is_delivered(mail_server: MailServer) -> None:
    mailbox = mail_server.mailbox("sendiri")
    async with between(mailbox, mailbox) as round_trips:
        assert (await round_trips.run()).outcome is Outcome.DELIVERED
    assert round_trips.arrivals == []


async def test_roundtrip_mail_in_junk_folder_ends_as_junk(mail_server: MailServer) -> None:
    recipient = mail_server.mailbox(RecipientOutcome.JUNK)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as round_trips:
        assert (await round_trips.run()).outcome is Outcome.JUNK
        assert (await round_trips.run()).outcome is Outcome.JUNK
    assert mail_server.mails(recipient.address, "Junk") == []


@pytest.mark.blind
async def test_roundtrip_mail_filed_by_rule_is_found_and_folder_named(
    mail_server: MailServer,
) -> None:
    """Defect: Mail in a junk folder that nobody configured was LOST.

    Pantau: The same, at a real Dovecot.
    """
    recipient = mail_server.mailbox("penerima-remeh")
    mail_server.rule(recipient.address, 'require ["fileinto", "mailbox"];\nfileinto :create "E-mel Remeh €";')
    timeouts = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=12))
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient, timeouts) as round_trips:
        result = await round_trips.run()
        assert round_trips.arrivals == []
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.JUNK, Reason.FOLDER_NOT_WATCHED)
    assert result.failure.detail == "E-mel Remeh €"
    assert result.phases[Phase.TRANSIT] < timeouts.final_search, "until it lay there, and not until it was looked for"
    remeh = mail_server.directory / "mail" / recipient.address / "Maildir" / ".E-mel Remeh &IKw-"
    assert remeh.is_dir()
    assert mail_server.mails(recipient.address, remeh.name[1:]) == []


async def test_roundtrip_unknown_recipient_is_rejected_with_server_text(mail_server: MailServer) -> None:
    async with between(
        mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox(RecipientOutcome.REJECTED)
    ) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.REJECTED
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.SUBMIT, Party.SENDER)
    assert (result.failure.code, result.failure.status) == (550, "5.1.1")
    assert "no such mailbox here" in result.failure.detail
    assert Phase.SUBMIT not in result.phases
    assert Phase.AUTH in result.phases


async def test_roundtrip_greylisted_recipient_is_deferred(mail_server: MailServer) -> None:
    async with between(
        mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox(RecipientOutcome.DEFERRED)
    ) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.DEFERRED
    assert result.failure is not None
    assert (result.failure.code, result.failure.status) == (450, "4.2.0")


async def test_roundtrip_bounce_ends_run_early_with_remote_text(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("pengirim-pulang", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(RecipientOutcome.BOUNCED)) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.BOUNCED
    assert result.duration < TIMEOUTS.arrival
    assert result.failure is not None
    assert (result.failure.code, result.failure.status) == (550, "5.2.1")
    assert "ask the directory" in result.failure.detail
    assert Phase.SUBMIT in result.phases
    assert mail_server.mails(sender.address) == []


async def test_roundtrip_foreign_bounce_is_kept(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("pengirim-lain", domain=REFERENCE)
    foreign = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "lain").issue("lain", datetime.now(UTC))
    report = (
        f"From: MAILER-DAEMON@mel.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
        f"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mel\r\n\r\n"
        f"Final-Recipient: rfc822; {mail_server.address('semakan')}\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n"
        f"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: {foreign.text}\r\n\r\n--x--\r\n"
    ).encode()
    assert parse_report(message_from_bytes(report)) is not None
    mail_server.deliver(sender.address, report)
    async with between(sender, mail_server.mailbox("penerima-lain")) as round_trips:
        assert (await round_trips.run()).outcome is Outcome.DELIVERED
    assert len(mail_server.mails(sender.address)) == 1


async def test_roundtrip_accepted_message_that_never_arrives_is_lost(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(RecipientOutcome.LOST), SHORT_TIMEOUTS) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.LOST
    assert result.failure is not None
    assert (result.failure.phase, result.failure.reason) == (Phase.TRANSIT, Reason.NOT_ARRIVED)
    assert not result.uncertain
    assert Phase.TRANSIT not in result.phases


async def test_roundtrip_changed_message_is_corrupted(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=Listener.CORRUPTING)
    recipient = mail_server.mailbox("penerima-rosak")
    async with between(sender, recipient) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.CORRUPTED
    assert result.failure is not None
    assert result.failure.detail == "text changed"
    assert mail_server.mails(recipient.address) == []


async def test_roundtrip_wrong_password_is_auth_failure_of_its_party(mail_server: MailServer) -> None:
    right = mail_server.mailbox("penerima-auth")
    wrong = mail_server.mailbox("pengirim-auth", domain=REFERENCE, secret="salah")
    async with between(wrong, right) as round_trips:
        sending = await round_trips.run()
    async with between(right, wrong) as round_trips:
        receiving = await round_trips.run()
    for result, party, code in ((sending, Party.SENDER, 535), (receiving, Party.RECIPIENT, None)):
        assert result.outcome is Outcome.AUTH
        assert result.failure is not None
        assert (result.failure.phase, result.failure.party) == (Phase.AUTH, party)
        assert result.failure.code == code
        assert result.failure.credentials_refused
        assert "salah" not in repr(result)


async def test_roundtrip_unavailable_password_lookup_is_not_refused_credentials(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(UNAVAILABLE_USER)) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.AUTH
    assert result.failure is not None
    assert result.failure.reason is Reason.SIGN_IN_UNAVAILABLE
    assert not result.failure.credentials_refused


@pytest.mark.parametrize(
    ("door", "reason"), [(Listener.EXPIRED, Reason.CERTIFICATE_EXPIRED), (Listener.CLEAR, Reason.TLS_NOT_OFFERED)]
)
async def test_roundtrip_untrusted_tls_ends_run(mail_server: MailServer, door: Listener, reason: Reason) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=door)
    async with between(sender, mail_server.mailbox("penerima-tls")) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.TLS
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.TLS, Party.SENDER)
    assert result.failure.reason is reason
    assert not any("AUTH" in line for line in round_trips.recorder.dialogue if "C:" in line)


@pytest.mark.parametrize("imap", [Listener.IMAP, Listener.IMAPS])
async def test_roundtrip_mailbox_of_unknown_authority_is_tls_failure(mail_server: MailServer, imap: Listener) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox("penerima-tls", imap=imap, tls=ssl.create_default_context())
    async with between(sender, recipient) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.TLS
    assert result.failure is not None
    assert (result.failure.party, result.failure.reason) == (Party.RECIPIENT, Reason.CERTIFICATE_UNTRUSTED)


async def test_roundtrip_closed_port_is_connect_failure_of_its_party(mail_server: MailServer) -> None:
    working = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(mail_server.mailbox("tutup", smtp=Listener.CLOSED), working) as round_trips:
        sending = await round_trips.run()
    async with between(working, mail_server.mailbox("tutup", imap=Listener.CLOSED)) as round_trips:
        receiving = await round_trips.run()
    assert (sending.outcome, receiving.outcome) == (Outcome.CONNECT, Outcome.CONNECT)
    assert sending.failure is not None
    assert receiving.failure is not None
    assert (sending.failure.party, receiving.failure.party) == (Party.SENDER, Party.RECIPIENT)
    assert receiving.duration < TIMEOUTS.session


async def test_roundtrip_host_without_address_is_dns_failure(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    unresolvable = replace(sender, smtp=replace(smtp_of(sender), host="mel.tiada.invalid"))
    async with between(unresolvable, mail_server.mailbox("penerima-dns")) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.DNS
    assert result.failure is not None
    assert result.failure.phase is Phase.DNS


async def test_roundtrip_imap_outage_is_connect_failure_and_recovers(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox("penerima-turun"), SHORT_TIMEOUTS) as round_trips:
        assert (await round_trips.run()).outcome is Outcome.DELIVERED
        with mail_server.imap_down():
            # An open session may outlive the server, which also authenticates senders.
            async with asyncio.timeout(90):
                while (failed := await round_trips.run()).outcome is not Outcome.CONNECT or failed_party(
                    failed
                ) is not Party.RECIPIENT:
                    transient = {Outcome.DELIVERED, Outcome.LOST, Outcome.TIMEOUT}
                    assert failed.outcome in transient or failed_party(failed) is Party.SENDER, failed
        async with asyncio.timeout(90):
            while round_trips.recipient.failure is not None:
                with round_trips.recipient.expect(round_trips.issue()) as expectation:
                    await expectation.ready
        assert (await round_trips.run()).outcome is Outcome.DELIVERED


def failed_party(result: ProbeResult) -> Party | None:
    """Return the party at which the run failed."""
    return result.failure.party if result.failure else None


async def test_roundtrip_message_delivered_twice_is_one_delivery_and_one_duplicate(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(RecipientOutcome.DOUBLED)
    async with between(sender, recipient) as round_trips:
        token = round_trips.issue()
        assert (await round_trips.run(token)).outcome is Outcome.DELIVERED
        assert await round_trips.arrived(1) == [(Arrival.DUPLICATE, token.id)]
        await round_trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


async def test_roundtrip_late_message_is_counted_late_also_after_restart(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(RecipientOutcome.HELD)
    async with between(sender, recipient, SHORT_TIMEOUTS) as round_trips:
        token = round_trips.issue()
        assert (await round_trips.run(token)).outcome is Outcome.LOST
        mail_server.release()
        assert await round_trips.arrived(1) == [(Arrival.LATE, token.id)]
        second_token = round_trips.issue()
        assert (await round_trips.run(second_token)).outcome is Outcome.LOST
    mail_server.release()
    async with asyncio.timeout(HANG_TIMEOUT):
        while not mail_server.mails(recipient.address):  # noqa: ASYNC110 - a file that another process writes
            await asyncio.sleep(0.05)
    async with between(sender, recipient, SHORT_TIMEOUTS, ended=(second_token.id,)) as round_trips:
        assert await round_trips.arrived(1) == [(Arrival.LATE, second_token.id)]
        await round_trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


async def test_roundtrip_forged_message_is_counted_and_kept(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(RecipientOutcome.LOST, imap=Listener.IMAPS)
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    now = datetime.now(UTC)
    forged_message = compose(forger.issue("ujian", now), sender="x@luar.example", recipient="y@z.example", now=now)
    async with between(sender, recipient, SHORT_TIMEOUTS) as round_trips:
        run = asyncio.ensure_future(round_trips.run())
        mail_server.deliver(recipient.address, forged_message)
        assert await round_trips.arrived(1) == [(Arrival.FORGED, None)]
        assert (await run).outcome is Outcome.LOST
    assert len(mail_server.mails(recipient.address)) == 1


async def test_roundtrip_forty_runs_share_one_mailbox(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox("penerima-ramai")
    async with between(sender, recipient) as round_trips:
        results = await asyncio.gather(*(round_trips.run() for _ in range(40)))
        await round_trips.recipient.wait_until_deleted()
    assert Counter(result.outcome for result in results) == {Outcome.DELIVERED: 40}
    assert round_trips.arrivals == []
    assert mail_server.mails(recipient.address) == []


async def test_roundtrip_hanging_smtp_server_times_out_and_recovers(mail_server: MailServer) -> None:
    sender, recipient = mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox("penerima-gantung")
    async with between(sender, recipient, timeouts=SHORT_TIMEOUTS) as round_trips:
        with mail_server.hung_smtp():
            result = await round_trips.run()
        assert result.outcome is Outcome.TIMEOUT
        assert result.failure is not None
        assert (result.failure.phase, result.failure.party) == (Phase.CONNECT, Party.SENDER)
        assert result.duration < SHORT_TIMEOUTS.total + timedelta(seconds=5)
        assert (await round_trips.run()).outcome is Outcome.DELIVERED, "it works again when it goes on"


async def test_roundtrip_leaves_no_task_and_no_socket(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    tasks, sockets = asyncio.all_tasks(), _sockets()
    for recipient in (mail_server.mailbox("penerima-bersih"), mail_server.mailbox(RecipientOutcome.REJECTED)):
        async with between(sender, recipient) as round_trips:
            await round_trips.run()
    gc.collect()
    assert asyncio.all_tasks() == tasks
    await until(lambda: _sockets() <= sockets)


def _sockets() -> int:
    links = (file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink() and os.path.lexists(file))
    return sum(str(link).startswith("socket:") for link in links)


def test_forger_of_tests_has_same_prober_name() -> None:
    assert SIGNER.prober == TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1").prober
