"""Mail faults as a mail client sees them, and their repair. Real sockets, real TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import aioimaplib
import aiosmtplib
import pytest

from pantau_lab.mail import Fault, FaultDelays, LabNetwork, SystemPlan
from probes.model.mailbox import Mailbox, Security
from tests.mailbox_parts import imap_of, password_of, smtp_of

AGENCY, REFERENCE = "jabatan-contoh", "rujukan-satu"
#: Much longer than a submission takes, also on a busy machine.
SLOW_BY = timedelta(seconds=3)
DELAYS = FaultDelays(slow_by=SLOW_BY)
#: In seconds, for a busy machine.
TIMEOUT = 30.0
TEXT = "Selamat pagi, café\n"
BYTES = bytes(range(256))


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    plans = [
        SystemPlan.with_one_mailbox(AGENCY, "jabatan-contoh.gov.my", tempo=DELAYS),
        SystemPlan.with_one_mailbox(REFERENCE, "rujukan-satu.example", tempo=DELAYS),
    ]
    async with LabNetwork(plans, folder=tmp_path) as running:
        yield running


@pytest.fixture
def boxes(network: LabNetwork) -> Mapping[str, Mailbox]:
    return network.mailboxes()


def message(sender: Mailbox, to: str, subject: str) -> EmailMessage:
    built = EmailMessage()
    built["From"], built["To"], built["Subject"] = sender.address, to, subject
    built.set_content(TEXT)
    built.add_attachment(BYTES, maintype="application", subtype="octet-stream")
    return built


async def submit(sender: Mailbox, to: str, subject: str) -> None:
    await aiosmtplib.send(
        message(sender, to, subject),
        sender=sender.address,
        recipients=[to],
        hostname=smtp_of(sender).host,
        port=smtp_of(sender).port,
        username=password_of(sender).username,
        password=password_of(sender).secret,
        use_tls=smtp_of(sender).security is Security.IMPLICIT,
        start_tls=smtp_of(sender).security is Security.STARTTLS,
        tls_context=smtp_of(sender).tls,
        timeout=TIMEOUT,
    )


@asynccontextmanager
async def reading(box: Mailbox) -> AsyncIterator[aioimaplib.IMAP4_SSL]:
    client = aioimaplib.IMAP4_SSL(imap_of(box).host, imap_of(box).port, timeout=TIMEOUT, ssl_context=imap_of(box).tls)
    await client.wait_hello_from_server()
    await client.login(password_of(box).username, password_of(box).secret)
    await client.select("INBOX")
    yield client
    await client.logout()


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


async def arrival(box: Mailbox, number: int = 1) -> EmailMessage:
    """Return the message with this number in the inbox; wait for it in IDLE."""
    async with asyncio.timeout(TIMEOUT), reading(box) as client:
        while True:
            fetched = await client.fetch(str(number), "(BODY.PEEK[])")
            for line in fetched.lines:
                if isinstance(line, bytearray):
                    return parsed(bytes(line))
            if len(fetched.lines) > 1:
                # It arrived during FETCH; IDLE would wait for the next message.
                continue
            idle = await client.idle_start(timeout=TIMEOUT)
            await client.wait_server_push()
            client.idle_done()
            await idle


def status_of(report: EmailMessage) -> EmailMessage:
    """Return the fields about the one recipient of a delivery status notification."""
    assert report.get_content_type() == "multipart/report"
    _, status, _ = report.iter_parts()
    assert isinstance(status, EmailMessage)
    payload = status.get_payload()
    assert isinstance(payload, list)
    recipient = payload[1]
    assert isinstance(recipient, EmailMessage)
    return recipient


@pytest.mark.parametrize("security", list(Security))
async def test_message_is_delivered_whole_with_trace_headers(network: LabNetwork, security: Security) -> None:
    boxes = network.mailboxes(smtp=security)
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Ujian")
    read = await arrival(boxes[REFERENCE])
    body, attachment = read.iter_parts()
    assert isinstance(body, EmailMessage)
    assert isinstance(attachment, EmailMessage)
    assert body.get_content().strip() == TEXT.strip()
    assert attachment.get_content() == BYTES
    assert read["Return-Path"] == f"<{boxes[AGENCY].address}>"
    by_exchanger, by_submission = read.get_all("Received", [])
    assert "with ESMTP id" in by_exchanger
    assert "with ESMTPSA id" in by_submission
    assert f"for <{boxes[REFERENCE].address}>" in by_submission


async def test_message_within_system_is_delivered_without_relay(boxes: Mapping[str, Mailbox]) -> None:
    await submit(boxes[AGENCY], boxes[AGENCY].address, "Dalaman")
    read = await arrival(boxes[AGENCY])
    assert len(read.get_all("Received", [])) == 1


async def test_refuse_at_submission_is_refused_until_repaired(
    network: LabNetwork, boxes: Mapping[str, Mailbox]
) -> None:
    agency = network.systems[AGENCY]
    await agency.break_(Fault.REFUSE)
    with pytest.raises(aiosmtplib.SMTPSenderRefused) as refused:
        await submit(boxes[AGENCY], boxes[REFERENCE].address, "Ditolak")
    assert refused.value.code == 554
    assert refused.value.message.startswith("5.3.2")
    await agency.repair()
    assert agency.faults == frozenset()
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Diterima")
    assert (await arrival(boxes[REFERENCE]))["Subject"] == "Diterima"


async def test_refuse_at_exchanger_is_reported_to_sender(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    await network.systems[AGENCY].break_(Fault.REFUSE)
    await submit(boxes[REFERENCE], boxes[AGENCY].address, "Ditolak")
    recipient = status_of(await arrival(boxes[REFERENCE]))
    assert recipient["Status"] == "5.3.2"
    assert recipient["Remote-MTA"] == "dns; mail.jabatan-contoh.gov.my"
    assert recipient["Diagnostic-Code"].startswith("smtp; 554 5.3.2")


async def test_auth_fault_refuses_sign_in_until_repaired(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    box = boxes[AGENCY]
    await network.systems[AGENCY].break_(Fault.AUTH)
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
        await submit(box, box.address, "Ujian")
    assert refused.value.code == 454
    client = aioimaplib.IMAP4_SSL(imap_of(box).host, imap_of(box).port, timeout=TIMEOUT, ssl_context=imap_of(box).tls)
    await client.wait_hello_from_server()
    answer = await client.login(password_of(box).username, password_of(box).secret)
    assert answer.result == "NO"
    assert answer.lines[0].startswith(b"[UNAVAILABLE]")
    await client.logout()
    await network.systems[AGENCY].repair(Fault.AUTH)
    await submit(box, box.address, "Ujian")
    assert (await arrival(box))["Subject"] == "Ujian"


@pytest.mark.parametrize("broken", [AGENCY, REFERENCE])
async def test_lose_on_either_side_drops_mail_silently(
    network: LabNetwork, boxes: Mapping[str, Mailbox], broken: str
) -> None:
    await network.systems[broken].break_(Fault.LOSE)
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Hilang")
    await network.wait_until_empty()
    await network.systems[broken].repair()
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Selepas")
    assert (await arrival(boxes[REFERENCE]))["Subject"] == "Selepas"


async def test_slow_mail_is_delivered_late_and_whole(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    await network.systems[AGENCY].break_(Fault.SLOW)
    began = time.monotonic()
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Lambat")
    assert time.monotonic() - began < SLOW_BY.total_seconds()
    assert (await arrival(boxes[REFERENCE]))["Subject"] == "Lambat"
    assert time.monotonic() - began >= SLOW_BY.total_seconds()


@pytest.mark.parametrize("broken", [AGENCY, REFERENCE])
async def test_bounce_on_either_side_is_returned_at_once(
    network: LabNetwork, boxes: Mapping[str, Mailbox], broken: str
) -> None:
    await network.systems[broken].break_(Fault.BOUNCE)
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Melantun")
    report = await arrival(boxes[AGENCY])
    assert report["Return-Path"] == "<>"
    recipient = status_of(report)
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.7.1"
    assert recipient["Final-Recipient"] == f"rfc822; {boxes[REFERENCE].address}"
    _, _, original = report.iter_parts()
    assert "Melantun" in original.as_string()


async def test_corrupted_mail_is_delivered_changed(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    await network.systems[REFERENCE].break_(Fault.CORRUPT)
    await submit(boxes[AGENCY], boxes[REFERENCE].address, "Rosak")
    read = await arrival(boxes[REFERENCE])
    body, attachment = read.iter_parts()
    assert isinstance(body, EmailMessage)
    assert isinstance(attachment, EmailMessage)
    assert read["Subject"] == "Rosak"
    assert body.get_content().strip() == "Selamat pagi, caf?"
    assert attachment.get_content() != BYTES


async def test_imap_fault_cuts_session_and_repair_reopens_same_port(
    network: LabNetwork, boxes: Mapping[str, Mailbox]
) -> None:
    box = boxes[AGENCY]
    reader, writer = await asyncio.open_connection(imap_of(box).host, imap_of(box).port, ssl=imap_of(box).tls)
    assert (await reader.readline()).startswith(b"* OK")
    await network.systems[AGENCY].break_(Fault.IMAP)
    async with asyncio.timeout(TIMEOUT):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(imap_of(box).host, imap_of(box).port, ssl=imap_of(box).tls)
    await submit(boxes[REFERENCE], box.address, "Sementara itu")
    await network.systems[AGENCY].repair()
    assert imap_of(network.mailboxes()[AGENCY]).port == imap_of(box).port
    assert (await arrival(box))["Subject"] == "Sementara itu"


async def test_imap_fault_cuts_idle_session(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    box = boxes[AGENCY]
    reader, writer = await asyncio.open_connection(imap_of(box).host, imap_of(box).port, ssl=imap_of(box).tls)
    for line in (f"a LOGIN {box.address} {password_of(box).secret}", "b SELECT INBOX", "c IDLE"):
        writer.write(f"{line}\r\n".encode())
    async with asyncio.timeout(TIMEOUT):
        await reader.readuntil(b"+ Idling.\r\n")
        await network.systems[AGENCY].break_(Fault.IMAP)
        assert await reader.read() == b""
    writer.close()


async def test_idle_reports_message_that_arrived_before_it(network: LabNetwork, boxes: Mapping[str, Mailbox]) -> None:
    box = boxes[AGENCY]
    async with asyncio.timeout(TIMEOUT), reading(box) as client:
        await network.systems[AGENCY].put(box.address, b"Subject: Ujian\r\n\r\nSelamat\r\n")
        idle = await client.idle_start(timeout=TIMEOUT)
        assert b"1 EXISTS" in await client.wait_server_push()
        client.idle_done()
        await idle


async def test_idle_reports_every_message_of_burst(boxes: Mapping[str, Mailbox]) -> None:
    async with asyncio.timeout(TIMEOUT), reading(boxes[REFERENCE]) as client:
        idle = await client.idle_start(timeout=TIMEOUT)
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(submit(boxes[AGENCY], boxes[REFERENCE].address, str(number)))
        seen = 0
        while seen < 20:
            pushed = await client.wait_server_push()
            seen = max([seen, *(int(line.split()[0]) for line in pushed if line.endswith(b"EXISTS"))])
        client.idle_done()
        await idle


async def test_unknown_recipient_is_reported_to_sender(boxes: Mapping[str, Mailbox]) -> None:
    await submit(boxes[AGENCY], "tiada@rujukan-satu.example", "Siapa")
    recipient = status_of(await arrival(boxes[AGENCY]))
    assert recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"] == "dns; mail.rujukan-satu.example"


async def test_unknown_domain_is_reported_to_sender(boxes: Mapping[str, Mailbox]) -> None:
    await submit(boxes[AGENCY], "pantau@tiada.example", "Di mana")
    assert status_of(await arrival(boxes[AGENCY]))["Status"] == "5.1.2"
