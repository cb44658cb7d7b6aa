"""One run for each outcome, through a real Postfix and a real Dovecot."""

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
from tests.ends import smtp_of
from tests.hanging import HANGS
from tests.integration.probes.trip import HASTY, PATIENCE, SIGNER, between
from tests.real.mailserver import REFERENCE, UNKNOWABLE, Door, MailServer, TokenState
from tests.unit.probes.standin import until

pytestmark = pytest.mark.real


@pytest.mark.parametrize("smtp", [Door.SUBMISSION, Door.SUBMISSIONS])
@pytest.mark.parametrize("imap", [Door.IMAP, Door.IMAPS])
async def test_a_message_goes_round_over_either_kind_of_tls(mail_server: MailServer, smtp: Door, imap: Door) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=smtp)
    recipient = mail_server.mailbox(f"penerima-{smtp}-{imap}", imap=imap)
    async with between(sender, recipient) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.DELIVERED, result
    assert result.failure is None
    assert set(result.phases) == set(Phase)
    assert all(span > timedelta(0) for span in result.phases.values())
    assert sum(result.phases.values(), timedelta()) <= result.duration
    assert not result.uncertain
    assert mail_server.mails(recipient.address) == []


async def test_a_mailbox_may_write_to_itself(mail_server: MailServer) -> None:
    mailbox = mail_server.mailbox("sendiri")
    async with between(mailbox, mailbox) as trips:
        assert (await trips.run()).outcome is Outcome.DELIVERED
    assert trips.arrivals == []


async def test_mail_among_the_junk_is_told_apart(mail_server: MailServer) -> None:
    recipient = mail_server.mailbox(TokenState.JUNK)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as trips:
        assert (await trips.run()).outcome is Outcome.JUNK
        assert (await trips.run()).outcome is Outcome.JUNK
    assert mail_server.mails(recipient.address, "Junk") == []


@pytest.mark.blind
async def test_mail_that_a_rule_puts_into_any_other_folder_is_found_there_and_the_folder_is_named(
    mail_server: MailServer,
) -> None:
    """Defect: Mail in a junk folder that nobody configured was LOST.

    Pantau: The same, at a real Dovecot.
    """
    recipient = mail_server.mailbox("penerima-remeh")
    mail_server.rule(recipient.address, 'require ["fileinto", "mailbox"];\nfileinto :create "E-mel Remeh €";')
    timeouts = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=12))
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient, timeouts) as trips:
        result = await trips.run()
        assert trips.arrivals == []
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.JUNK, Reason.FOLDER_NOT_WATCHED)
    assert result.failure.detail == "E-mel Remeh €"
    assert result.phases[Phase.TRANSIT] < timeouts.final_search, "until it lay there, and not until it was looked for"
    remeh = mail_server.directory / "mail" / recipient.address / "Maildir" / ".E-mel Remeh &IKw-"
    assert remeh.is_dir()
    assert mail_server.mails(recipient.address, remeh.name[1:]) == []


async def test_an_unknown_recipient_is_rejected_with_the_servers_words(mail_server: MailServer) -> None:
    async with between(
        mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox(TokenState.REJECTED)
    ) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.REJECTED
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.SUBMIT, Party.SENDER)
    assert (result.failure.code, result.failure.status) == (550, "5.1.1")
    assert "no such mailbox here" in result.failure.detail
    assert Phase.SUBMIT not in result.phases
    assert Phase.AUTH in result.phases


async def test_a_busy_recipient_is_deferred(mail_server: MailServer) -> None:
    async with between(
        mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox(TokenState.DEFERRED)
    ) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.DEFERRED
    assert result.failure is not None
    assert (result.failure.code, result.failure.status) == (450, "4.2.0")


async def test_a_bounce_ends_the_run_in_seconds_with_the_remote_words(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("pengirim-pulang", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(TokenState.BOUNCED)) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.BOUNCED
    assert result.duration < PATIENCE.arrival
    assert result.failure is not None
    assert (result.failure.code, result.failure.status) == (550, "5.2.1")
    assert "ask the directory" in result.failure.detail
    assert Phase.SUBMIT in result.phases
    assert mail_server.mails(sender.address) == []


async def test_somebody_elses_bounce_is_left_alone(mail_server: MailServer) -> None:
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
    async with between(sender, mail_server.mailbox("penerima-lain")) as trips:
        assert (await trips.run()).outcome is Outcome.DELIVERED
    assert len(mail_server.mails(sender.address)) == 1


async def test_what_was_accepted_and_never_comes_is_lost(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(TokenState.LOST), HASTY) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.LOST
    assert result.failure is not None
    assert (result.failure.phase, result.failure.reason) == (Phase.TRANSIT, Reason.NOT_ARRIVED)
    assert not result.uncertain
    assert Phase.TRANSIT not in result.phases


async def test_a_changed_message_is_corrupted(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=Door.CORRUPTING)
    recipient = mail_server.mailbox("penerima-rosak")
    async with between(sender, recipient) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.CORRUPTED
    assert result.failure is not None
    assert result.failure.detail == "text changed"
    assert mail_server.mails(recipient.address) == []


async def test_a_wrong_password_is_an_auth_failure_of_that_side(mail_server: MailServer) -> None:
    right = mail_server.mailbox("penerima-auth")
    wrong = mail_server.mailbox("pengirim-auth", domain=REFERENCE, secret="salah")
    async with between(wrong, right) as trips:
        sending = await trips.run()
    async with between(right, wrong) as trips:
        receiving = await trips.run()
    for result, party, code in ((sending, Party.SENDER, 535), (receiving, Party.RECIPIENT, None)):
        assert result.outcome is Outcome.AUTH
        assert result.failure is not None
        assert (result.failure.phase, result.failure.party) == (Phase.AUTH, party)
        assert result.failure.code == code
        assert result.failure.credentials_refused
        assert "salah" not in repr(result)


async def test_a_server_that_cannot_look_passwords_up_does_not_refuse_ours(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox(UNKNOWABLE)) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.AUTH
    assert result.failure is not None
    assert result.failure.reason is Reason.SIGN_IN_UNAVAILABLE
    assert not result.failure.credentials_refused


@pytest.mark.parametrize(
    ("door", "reason"), [(Door.EXPIRED, Reason.CERTIFICATE_EXPIRED), (Door.CLEAR, Reason.TLS_NOT_OFFERED)]
)
async def test_tls_that_cannot_be_trusted_ends_the_run(mail_server: MailServer, door: Door, reason: Reason) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE, smtp=door)
    async with between(sender, mail_server.mailbox("penerima-tls")) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.TLS
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.TLS, Party.SENDER)
    assert result.failure.reason is reason
    assert not any("AUTH" in line for line in trips.recorder.dialogue if "C:" in line)


@pytest.mark.parametrize("imap", [Door.IMAP, Door.IMAPS])
async def test_a_mailbox_behind_an_unknown_authority_is_not_signed_in_to(mail_server: MailServer, imap: Door) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox("penerima-tls", imap=imap, tls=ssl.create_default_context())
    async with between(sender, recipient) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.TLS
    assert result.failure is not None
    assert (result.failure.party, result.failure.reason) == (Party.RECIPIENT, Reason.CERTIFICATE_UNTRUSTED)


async def test_a_closed_port_is_a_connect_failure_of_that_side(mail_server: MailServer) -> None:
    open_ = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(mail_server.mailbox("tutup", smtp=Door.CLOSED), open_) as trips:
        sending = await trips.run()
    async with between(open_, mail_server.mailbox("tutup", imap=Door.CLOSED)) as trips:
        receiving = await trips.run()
    assert (sending.outcome, receiving.outcome) == (Outcome.CONNECT, Outcome.CONNECT)
    assert sending.failure is not None
    assert receiving.failure is not None
    assert (sending.failure.party, receiving.failure.party) == (Party.SENDER, Party.RECIPIENT)
    assert receiving.duration < PATIENCE.session


async def test_a_name_without_an_address_is_a_dns_failure(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    nowhere = replace(sender, smtp=replace(smtp_of(sender), host="mel.tiada.invalid"))
    async with between(nowhere, mail_server.mailbox("penerima-dns")) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.DNS
    assert result.failure is not None
    assert result.failure.phase is Phase.DNS


async def test_imap_that_goes_down_and_comes_back(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    async with between(sender, mail_server.mailbox("penerima-turun"), HASTY) as trips:
        assert (await trips.run()).outcome is Outcome.DELIVERED
        with mail_server.imap_down():
            # A session that is open may live a little longer than the server, which also lets senders in.
            async with asyncio.timeout(90):
                while (down := await trips.run()).outcome is not Outcome.CONNECT or at(down) is not Party.RECIPIENT:
                    lasting = {Outcome.DELIVERED, Outcome.LOST, Outcome.TIMEOUT}
                    assert down.outcome in lasting or at(down) is Party.SENDER, down
        async with asyncio.timeout(90):
            while trips.recipient.failure is not None:
                with trips.recipient.expect(trips.issue()) as letter:
                    await letter.ready
        assert (await trips.run()).outcome is Outcome.DELIVERED


def at(result: ProbeResult) -> Party | None:
    """Return on which side it failed."""
    return result.failure.party if result.failure else None


async def test_a_message_delivered_twice_is_one_success_and_one_duplicate(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(TokenState.DOUBLED)
    async with between(sender, recipient) as trips:
        token = trips.issue()
        assert (await trips.run(token)).outcome is Outcome.DELIVERED
        assert await trips.arrived(1) == [(Arrival.DUPLICATE, token.id)]
        await trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


async def test_a_late_message_turns_lost_into_slow_even_after_a_restart(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(TokenState.HELD)
    async with between(sender, recipient, HASTY) as trips:
        token = trips.issue()
        assert (await trips.run(token)).outcome is Outcome.LOST
        mail_server.release()
        assert await trips.arrived(1) == [(Arrival.LATE, token.id)]
        again = trips.issue()
        assert (await trips.run(again)).outcome is Outcome.LOST
    mail_server.release()
    async with asyncio.timeout(HANGS):
        while not mail_server.mails(recipient.address):  # noqa: ASYNC110 - a file that another process writes
            await asyncio.sleep(0.05)
    async with between(sender, recipient, HASTY, ended=(again.id,)) as trips:
        assert await trips.arrived(1) == [(Arrival.LATE, again.id)]
        await trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


async def test_a_forged_message_proves_nothing_and_is_kept(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox(TokenState.LOST, imap=Door.IMAPS)
    forger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1")
    now = datetime.now(UTC)
    fake = compose(forger.issue("ujian", now), sender="x@luar.example", recipient="y@z.example", now=now)
    async with between(sender, recipient, HASTY) as trips:
        run = asyncio.ensure_future(trips.run())
        mail_server.deliver(recipient.address, fake)
        assert await trips.arrived(1) == [(Arrival.FORGED, None)]
        assert (await run).outcome is Outcome.LOST
    assert len(mail_server.mails(recipient.address)) == 1


async def test_many_routes_share_one_mailbox_and_one_connection(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    recipient = mail_server.mailbox("penerima-ramai")
    async with between(sender, recipient) as trips:
        results = await asyncio.gather(*(trips.run() for _ in range(40)))
        await trips.recipient.wait_until_deleted()
    assert Counter(result.outcome for result in results) == {Outcome.DELIVERED: 40}
    assert trips.arrivals == []
    assert mail_server.mails(recipient.address) == []


async def test_a_server_that_hangs_is_a_time_out_by_the_deadline(mail_server: MailServer) -> None:
    sender, recipient = mail_server.mailbox("semakan", domain=REFERENCE), mail_server.mailbox("penerima-gantung")
    async with between(sender, recipient, timeouts=HASTY) as trips:
        with mail_server.hung_smtp():
            result = await trips.run()
        assert result.outcome is Outcome.TIMEOUT
        assert result.failure is not None
        assert (result.failure.phase, result.failure.party) == (Phase.CONNECT, Party.SENDER)
        assert result.duration < HASTY.total + timedelta(seconds=5)
        assert (await trips.run()).outcome is Outcome.DELIVERED, "it works again when it goes on"


async def test_no_task_and_no_socket_is_left_over(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("semakan", domain=REFERENCE)
    tasks, sockets = asyncio.all_tasks(), _sockets()
    for recipient in (mail_server.mailbox("penerima-bersih"), mail_server.mailbox(TokenState.REJECTED)):
        async with between(sender, recipient) as trips:
            await trips.run()
    gc.collect()
    assert asyncio.all_tasks() == tasks
    await until(lambda: _sockets() <= sockets)


def _sockets() -> int:
    links = (file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink() and os.path.lexists(file))
    return sum(str(link).startswith("socket:") for link in links)


def test_the_signer_of_the_tests_is_not_the_forgers() -> None:
    assert SIGNER.prober == TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1").prober
