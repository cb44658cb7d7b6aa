"""Rules of a mail system without faults, and its shutdown."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import aioimaplib
import aiosmtplib
import pytest

from pantau_lab.mail import (
    Directory,
    Fault,
    FolderName,
    LabAuthority,
    LabNetwork,
    MailSystem,
    Port,
    QueuePolicy,
    SystemPlan,
)
from pantau_lab.mail.transport.directory import Exchanger
from probes.model.mailbox import Mailbox
from tests.mailbox_parts import imap_of, password_of, smtp_of

#: In seconds, for a busy machine.
TIMEOUT = 30.0
#: In seconds. Shorter than any timeout of a session, such as that of the handshake.
STOP_TIMEOUT = 4.0
PLANS = [
    SystemPlan.with_one_mailbox("jabatan-contoh", "jabatan-contoh.gov.my"),
    SystemPlan.with_one_mailbox("rujukan-satu", "rujukan-satu.example"),
]
OUTSIDE = "pantau@rujukan-satu.example"


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    async with LabNetwork(PLANS, folder=tmp_path) as running:
        yield running


@pytest.fixture
def agency(network: LabNetwork) -> MailSystem:
    return network.systems["jabatan-contoh"]


@pytest.fixture
def box(network: LabNetwork) -> Mailbox:
    return network.mailboxes()["jabatan-contoh"]


def client(port: int) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=TIMEOUT, start_tls=False, use_tls=False)


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_sign_in_before_tls_is_refused(agency: MailSystem, box: Mailbox) -> None:
    async with client(agency.submission) as smtp:
        await smtp.ehlo()
        assert not smtp.supports_extension("auth")
        answer = await smtp.execute_command(b"AUTH", b"PLAIN", b"AHgAeA==")
        assert answer.code == 538
        await smtp.starttls(tls_context=smtp_of(box).tls)
        await smtp.ehlo()
        assert smtp.supports_extension("auth")


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
async def test_sign_in_accepts_plain_and_login(agency: MailSystem, box: Mailbox, method: str) -> None:
    async with client(agency.submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)
        await smtp.ehlo()
        answer = await getattr(smtp, method)(password_of(box).username, password_of(box).secret)
        assert answer.code == 235


async def test_sign_in_wrong_credentials_differs_from_unavailable(agency: MailSystem, box: Mailbox) -> None:
    async with client(agency.submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
            await smtp.login(password_of(box).username, "salah")
        assert refused.value.code == 535
    imap = aioimaplib.IMAP4_SSL(imap_of(box).host, imap_of(box).port, timeout=TIMEOUT, ssl_context=imap_of(box).tls)
    await imap.wait_hello_from_server()
    answer = await imap.login(password_of(box).username, "salah")
    assert answer.lines[0].startswith(b"[AUTHENTICATIONFAILED]")
    await imap.logout()


async def test_submission_without_sign_in_is_refused(agency: MailSystem, box: Mailbox) -> None:
    async with client(agency.submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as refused:
            await smtp.mail(box.address)
        assert refused.value.code == 530


async def test_submission_from_foreign_address_is_refused(agency: MailSystem, box: Mailbox) -> None:
    async with client(agency.submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)
        await smtp.login(password_of(box).username, password_of(box).secret)
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as refused:
            await smtp.mail("ketua@jabatan-contoh.gov.my")
        assert refused.value.code == 553


@pytest.mark.parametrize(("recipient", "code"), [(OUTSIDE, 554), ("tiada@jabatan-contoh.gov.my", 550)])
async def test_exchanger_refuses_relay_and_unknown_recipient(agency: MailSystem, recipient: str, code: int) -> None:
    async with client(agency.mx) as smtp:
        await smtp.mail("sesiapa@luar.example")
        with pytest.raises(aiosmtplib.SMTPRecipientRefused) as refused:
            await smtp.rcpt(recipient)
        assert refused.value.code == code


async def test_untrusted_authority_fails_handshake(agency: MailSystem, box: Mailbox) -> None:
    default_trust = ssl.create_default_context()
    async with client(agency.submission) as smtp:
        with pytest.raises(ssl.SSLCertVerificationError):
            await smtp.starttls(tls_context=default_trust)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", agency.imap, ssl=default_trust)
    async with client(agency.submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)


async def test_authority_file_is_trusted_by_other_programs(network: LabNetwork, agency: MailSystem) -> None:
    trusting = ssl.create_default_context(cafile=str(network.authority.ca_file))
    _, writer = await asyncio.open_connection(
        "127.0.0.1", agency.imap, ssl=trusting, server_hostname="mail.jabatan-contoh.gov.my"
    )
    writer.close()
    await writer.wait_closed()


async def test_junk_folder_has_special_use_and_accepts_mail(agency: MailSystem, box: Mailbox) -> None:
    await agency.put(box.address, b"Subject: Ujian\r\n\r\nSelamat\r\n", FolderName.JUNK)
    imap = aioimaplib.IMAP4_SSL(imap_of(box).host, imap_of(box).port, timeout=TIMEOUT, ssl_context=imap_of(box).tls)
    await imap.wait_hello_from_server()
    welcome = await imap.login(password_of(box).username, password_of(box).secret)
    assert b" SPECIAL-USE" in welcome.lines[0]
    assert rb'(\HasNoChildren \Junk) "/" Junk' in (await imap.list('""', "*")).lines
    assert b"1 EXISTS" in (await imap.select("Junk")).lines
    await imap.logout()


async def test_queue_keeps_mail_until_receiver_starts(tmp_path: Path) -> None:
    authority, directory = LabAuthority(tmp_path / "ca.pem"), Directory()
    quick_retries = QueuePolicy(retry_after=timedelta(milliseconds=20), give_up_after=timedelta(seconds=30))
    sender, receiver = (
        MailSystem(
            name=plan.name,
            domain=plan.domain,
            accounts=plan.accounts,
            directory=directory,
            authority=authority,
            queue_policy=quick_retries,
        )
        for plan in PLANS
    )
    with closed_port() as not_listening:
        directory.register(receiver.domain, Exchanger(hostname=receiver.hostname, port=not_listening))
        async with sender, asyncio.timeout(TIMEOUT):
            (account,) = sender.accounts
            async with client(sender.submission) as smtp:
                await smtp.starttls(tls_context=authority.client_context())
                await smtp.login(account.address, account.secret)
                await smtp.sendmail(account.address, [OUTSIDE], b"Subject: Ujian\r\n\r\nSelamat\r\n")
            assert sender.queued == 1
            async with receiver:
                await sender.wait_until_empty()
                await receiver.wait_until_empty()
                assert receiver.message_count(OUTSIDE) == 1


async def test_network_stop_closes_sessions_tasks_and_ports(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    network = LabNetwork(PLANS, folder=tmp_path)
    async with network:
        box = network.mailboxes()["jabatan-contoh"]
        agency = network.systems["jabatan-contoh"]
        await agency.break_(Fault.SLOW)
        numbers = [agency.port(port) for port in Port]
        # Sessions in every state, and a message in the queue.
        async with client(agency.submission) as smtp:
            await smtp.starttls(tls_context=smtp_of(box).tls)
            await smtp.login(password_of(box).username, password_of(box).secret)
            await smtp.sendmail(box.address, [OUTSIDE], b"Subject: Ujian\r\n\r\nSelamat\r\n")
        half_done = client(agency.submission)
        await half_done.connect()
        await half_done.starttls(tls_context=smtp_of(box).tls)
        plain = client(agency.mx)
        await plain.connect()
        reader, writer = await asyncio.open_connection(imap_of(box).host, imap_of(box).port, ssl=imap_of(box).tls)
        for line in (f"a LOGIN {box.address} {password_of(box).secret}", "b SELECT INBOX", "c IDLE"):
            writer.write(f"{line}\r\n".encode())
        await reader.readuntil(b"+ Idling.\r\n")
        # A connection without handshake.
        mute, mute_writer = await asyncio.open_connection(imap_of(box).host, imap_of(box).port)
        assert agency.queued == 1
        began = time.monotonic()
    assert time.monotonic() - began < STOP_TIMEOUT
    assert await reader.read() == b""
    assert await mute.read() == b""
    writer.close()
    mute_writer.close()
    half_done.close()
    plain.close()
    assert asyncio.all_tasks() == before
    for number in numbers:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", number)
    # An unclosed resource warns when it is collected, and warnings are errors here.
    gc.collect()


async def test_network_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    with closed_port() as taken:
        impossible = [PLANS[0], dataclasses.replace(PLANS[1], ports={Port.MX: taken})]
        with pytest.raises(OSError, match="in use"):
            async with LabNetwork(impossible, folder=tmp_path):
                pass
    assert asyncio.all_tasks() == before
    gc.collect()


async def test_network_propagates_error_of_caller(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        async with LabNetwork(PLANS, folder=tmp_path):
            raise LookupError


async def test_lab_prints_and_logs_nothing(
    network: LabNetwork, box: Mailbox, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with client(network.systems["jabatan-contoh"].submission) as smtp:
        await smtp.starttls(tls_context=smtp_of(box).tls)
        await smtp.login(password_of(box).username, password_of(box).secret)
        await smtp.sendmail(box.address, [OUTSIDE], b"Subject: Ujian\r\n\r\nSelamat\r\n")
    await network.wait_until_empty()
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "asyncio"] == []
