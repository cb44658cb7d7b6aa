"""Delivery status notifications as several systems write them."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from probes.mail.bounce import DsnAction, DsnReport, parse_report
from probes.mail.observed_message import MailKind, classify
from probes.mail.token import TokenSigner

SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
TOKEN = SIGNER.issue("r", datetime(2026, 3, 2, 8, 30, tzinfo=UTC))


def report(status: str, *, returned: str = "message/rfc822", head: str = "") -> bytes:
    text = f"""\
Return-Path: <>
From: MAILER-DAEMON@mel.jabatan-contoh.gov.my (Mail Delivery System)
To: semakan@rujukan.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
{head}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="batas"

This is a MIME-encapsulated message.

--batas
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--batas
Content-Description: Delivery report
Content-Type: message/delivery-status

{status}
--batas
Content-Type: {returned}

From: semakan@rujukan.example
Subject: Semakan e-mel {TOKEN.text}
X-Pantau-Token: {TOKEN.text}

Salam
--batas--
"""
    return text.replace("\n", "\r\n").encode()


POSTFIX = report(
    """\
Reporting-MTA: dns; mel.jabatan-contoh.gov.my
X-Postfix-Queue-ID: 4WxYz12345
X-Postfix-Sender: rfc822; semakan@rujukan.example
Arrival-Date: Mon,  2 Mar 2026 16:30:00 +0800 (MYT)

Final-Recipient: rfc822; semakan@jabatan-contoh.gov.my
Original-Recipient: rfc822;semakan@jabatan-contoh.gov.my
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.jabatan-contoh.gov.my
Diagnostic-Code: smtp; 550 5.1.1 <semakan@jabatan-contoh.gov.my>: Recipient
    address rejected: User unknown in virtual mailbox table
""",
    returned="text/rfc822-headers",
)

EXCHANGE = report(
    """\
Reporting-MTA: dns;EX01.jabatan-contoh.gov.my
Received-From-MTA: dns;mel.rujukan.example
Arrival-Date: Mon, 2 Mar 2026 08:30:00 +0000

Original-Recipient: rfc822;Semakan@jabatan-contoh.gov.my
Final-Recipient: rfc822;semakan@dalaman.jabatan-contoh.gov.my
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp;554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded
X-Display-Name: Semakan
""",
    head="X-MS-Exchange-Message-Is-Ndr:\nContent-Language: ms-MY\n",
)

DELAYED = report("""\
Reporting-MTA: dns; mel.jabatan-contoh.gov.my

Final-Recipient: rfc822; semakan@jabatan-contoh.gov.my
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to mx.jabatan-contoh.gov.my[192.0.2.1]:25: Connection timed out
Will-Retry-Until: Sat, 7 Mar 2026 08:30:00 +0000
""")

SEVERAL = report("""\
Reporting-MTA: dns; mel.rujukan.example

Final-Recipient: rfc822; satu@jabatan-contoh.gov.my
Action: relayed
Status: 2.0.0

Final-Recipient: rfc822; dua@jabatan-contoh.gov.my
Action: failed
Status: 5.7.1
Diagnostic-Code: smtp; 554-5.7.1 policy
""")

EXIM_PROSE = f"""\
Return-path: <>
X-Failed-Recipients: semakan@jabatan-contoh.gov.my
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mel.rujukan.example>
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

  semakan@jabatan-contoh.gov.my
    host mx.jabatan-contoh.gov.my [192.0.2.1]: 550 No such user

------ This is a copy of the message, including all the headers. ------

Subject: Semakan e-mel {TOKEN.text}
""".replace("\n", "\r\n").encode()

READ_RECEIPT = POSTFIX.replace(b"delivery-status", b"disposition-notification").replace(
    b"Action: failed", b"Disposition: automatic-action/MDN-sent-automatically; displayed"
)


def read(raw: bytes) -> DsnReport | None:
    return parse_report(message_from_bytes(raw, policy=policy.compat32))


def test_dsn_postfix_bounce_is_parsed() -> None:
    found = read(POSTFIX)
    assert found is not None
    assert found.action is DsnAction.FAILED
    assert found.status == "5.1.1"
    assert found.code == 550
    assert found.text.startswith("550 5.1.1 <semakan@jabatan-contoh.gov.my>: Recipient address rejected: User unknown")
    assert found.failure_at("Semakan@jabatan-contoh.gov.my") is found
    assert found.failure_at("orang-lain@jabatan-contoh.gov.my") is None


def test_dsn_exchange_alias_and_original_recipient_are_parsed() -> None:
    found = read(EXCHANGE)
    assert found is not None
    assert (found.action, found.status, found.code) == (DsnAction.FAILED, "5.2.2", 554)
    assert found.failure_at("semakan@jabatan-contoh.gov.my") is None
    assert found.failure_at("semakan@dalaman.jabatan-contoh.gov.my") is found
    assert found.has_failed_for("semakan@jabatan-contoh.gov.my")
    assert found.has_failed_for("semakan@dalaman.jabatan-contoh.gov.my")
    assert not found.has_failed_for("dalaman@jabatan-contoh.gov.my")
    assert found.text.startswith("554 5.2.2 mailbox full")


def test_dsn_delay_is_no_failure_and_has_no_smtp_code() -> None:
    found = read(DELAYED)
    assert found is not None
    assert (found.action, found.status, found.code) == (DsnAction.DELAYED, "4.4.1", None)
    assert not found.has_failed_for("semakan@jabatan-contoh.gov.my")


def test_dsn_several_recipients_reports_worst_action() -> None:
    found = read(SEVERAL)
    assert found is not None
    assert (found.action, found.status, found.code) == (DsnAction.FAILED, "5.7.1", 554)
    assert found.has_failed_for("dua@jabatan-contoh.gov.my")
    assert not found.has_failed_for("satu@jabatan-contoh.gov.my"), "that one was handed on"


def test_dsn_each_failed_recipient_is_found() -> None:
    found = read(SEVERAL.replace(b"relayed", b"failed").replace(b"2.0.0", b"5.2.2"))
    assert found is not None
    failures = [found.failure_at(f"{name}@jabatan-contoh.gov.my") for name in ("satu", "dua")]
    assert [failure and failure.status for failure in failures] == ["5.2.2", "5.7.1"]


def test_dsn_without_recipient_applies_to_any_address() -> None:
    nobody = b"\r\n".join(line for line in POSTFIX.split(b"\r\n") if b"-Recipient:" not in line)
    found = read(nobody)
    assert found is not None
    assert found.failure_at("siapa-siapa@jabatan-contoh.gov.my") is found


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_dsn_positive_action_is_kept(action: str) -> None:
    found = read(POSTFIX.replace(b"failed", action.encode()))
    assert found is not None
    assert found.action == action


@pytest.mark.parametrize(
    "raw",
    [
        EXIM_PROSE,
        READ_RECEIPT,
        b"",
        b"Subject: Undeliverable\r\n\r\n550 5.1.1 no such user",
        POSTFIX.replace(b"Action: failed", b"Action: exploded"),
        POSTFIX.replace(b"Content-Type: message/delivery-status", b"Content-Type: text/plain"),
    ],
)
def test_prose_and_other_reports_are_not_dsn(raw: bytes) -> None:
    assert read(raw) is None


@pytest.mark.parametrize("raw", [POSTFIX, EXCHANGE, DELAYED, SEVERAL])
def test_dsn_is_classified_as_report_of_its_run(raw: bytes) -> None:
    observed = classify(raw, SIGNER)
    assert observed.kind is MailKind.REPORT
    assert observed.token == TOKEN
    assert observed.report == read(raw)


def test_prose_bounce_is_classified_as_answer() -> None:
    assert classify(EXIM_PROSE, SIGNER).kind is MailKind.ANSWER


def test_dsn_about_other_mail_is_foreign() -> None:
    stranger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "x")
    assert classify(POSTFIX, stranger).kind is MailKind.FOREIGN
