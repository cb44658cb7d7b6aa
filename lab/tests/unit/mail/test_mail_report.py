"""A report of failed delivery can be read by any program that knows RFC 3464."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message

from pantau_lab.mail.transport.parcel import QueuedMessage, Refusal, SmtpReply
from pantau_lab.mail.transport.report import ReportedAction, report

T0 = datetime(2026, 1, 1, 8, tzinfo=UTC)
ORIGINAL = b"Subject: Ujian\r\nReferences: <pantau-0123@x>\r\n\r\nSelamat \xc3\xa9\r\n"
PARCEL = QueuedMessage(sender="pantau@jabatan-contoh.gov.my", recipient="tiada@rujukan-satu.example", content=ORIGINAL)
REPLY = SmtpReply(code=550, status="5.1.1", text="User unknown")


def told(refusal: Refusal) -> QueuedMessage:
    return report(PARCEL, refusal, hostname="mail.jabatan-contoh.gov.my", accepted_at=T0, at=T0)


def parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def test_it_goes_to_the_sender_from_nobody() -> None:
    parcel = told(Refusal(reply=REPLY))
    assert parcel.sender == ""
    assert parcel.recipient == PARCEL.sender


def test_it_has_the_three_parts_of_the_standard() -> None:
    message = message_from_bytes(told(Refusal(reply=REPLY, remote="mail.rujukan-satu.example")).content)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    people, status, original = parts(message)
    assert people.get_content_type() == "text/plain"
    assert "said: 550 5.1.1 User unknown" in str(people.get_payload())
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


def test_the_original_comes_back_byte_for_byte() -> None:
    assert ORIGINAL in told(Refusal(reply=REPLY)).content


def test_our_own_refusal_names_no_other_server() -> None:
    assert b"Remote-MTA" not in told(Refusal(reply=REPLY)).content


def test_a_warning_says_that_it_is_still_tried() -> None:
    refusal = Refusal(reply=SmtpReply(code=451, status="4.4.1", text="No answer from host"))
    warning = report(
        PARCEL, refusal, hostname="mail.jabatan-contoh.gov.my", accepted_at=T0, at=T0, action=ReportedAction.DELAYED
    )
    message = message_from_bytes(warning.content)
    people, status, _ = parts(message)
    (_, recipient) = parts(status)
    assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.4.1")
    assert "Delayed" in str(message["Subject"])
    assert "could not be delivered" not in str(people.get_payload())
