"""Delivery status notifications (RFC 3464)."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message

from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal, SmtpReply
from pantau_lab.mail.transport.report import ReportedAction, report

T0 = datetime(2026, 1, 1, 8, tzinfo=UTC)
ORIGINAL = b"Subject: Ujian\r\nReferences: <pantau-0123@x>\r\n\r\nSelamat \xc3\xa9\r\n"
MESSAGE = QueuedMessage(sender="pantau@jabatan-contoh.gov.my", recipient="tiada@rujukan-satu.example", content=ORIGINAL)
REPLY = SmtpReply(code=550, status="5.1.1", text="User unknown")


def report_on(refusal: Refusal) -> QueuedMessage:
    return report(MESSAGE, refusal, hostname="mail.jabatan-contoh.gov.my", accepted_at=T0, reported_at=T0)


def parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def test_report_goes_to_sender_from_null_sender() -> None:
    queued_message = report_on(Refusal(reply=REPLY))
    assert queued_message.sender == ""
    assert queued_message.recipient == MESSAGE.sender


def test_report_has_three_parts_of_rfc_3464() -> None:
    message = message_from_bytes(report_on(Refusal(reply=REPLY, remote="mail.rujukan-satu.example")).content)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, status, original = parts(message)
    assert text.get_content_type() == "text/plain"
    assert "said: 550 5.1.1 User unknown" in str(text.get_payload())
    assert original.get_content_type() == "message/rfc822"
    (returned,) = parts(original)
    assert returned["References"] == "<pantau-0123@x>"
    whole, one = parts(status)
    assert whole["Reporting-MTA"] == "dns; mail.jabatan-contoh.gov.my"
    assert one["Final-Recipient"] == "rfc822; tiada@rujukan-satu.example"
    assert one["Action"] == "failed"
    assert one["Status"] == "5.1.1"
    assert one["Remote-MTA"] == "dns; mail.rujukan-satu.example"
    assert one["Diagnostic-Code"] == "smtp; 550 5.1.1 User unknown"


def test_report_contains_original_unchanged() -> None:
    assert ORIGINAL in report_on(Refusal(reply=REPLY)).content


def test_report_of_own_refusal_names_no_remote_mta() -> None:
    assert b"Remote-MTA" not in report_on(Refusal(reply=REPLY)).content


def test_warning_reports_delayed_action() -> None:
    refusal = Refusal(reply=SmtpReply(code=451, status="4.4.1", text="No answer from host"))
    warning = report(
        MESSAGE,
        refusal,
        hostname="mail.jabatan-contoh.gov.my",
        accepted_at=T0,
        reported_at=T0,
        action=ReportedAction.DELAYED,
    )
    message = message_from_bytes(warning.content)
    text, status, _ = parts(message)
    (_, recipient) = parts(status)
    assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.4.1")
    assert "Delayed" in str(message["Subject"])
    assert "could not be delivered" not in str(text.get_payload())
