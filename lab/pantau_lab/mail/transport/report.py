"""Delivery status notification to the sender of an undelivered or delayed message (RFC 3464)."""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime, make_msgid
from enum import StrEnum
from secrets import token_hex

from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal


class ReportedAction(StrEnum):
    """Value of the field Action (RFC 3464 section 2.3.3)."""

    #: The message will not be delivered.
    FAILED = "failed"
    #: Delivery is tried again.
    DELAYED = "delayed"


_SUBJECTS = {
    ReportedAction.FAILED: "Undelivered Mail Returned to Sender",
    ReportedAction.DELAYED: "Delayed Mail (still being retried)",
}
_EXPLANATIONS = {
    ReportedAction.FAILED: "Your message could not be delivered to the recipient below.",
    ReportedAction.DELAYED: "Your message has not been delivered yet. It is tried again; you need not send it again.",
}


def report(
    queued_message: QueuedMessage,
    refusal: Refusal,
    *,
    hostname: str,
    accepted_at: datetime,
    reported_at: datetime,
    action: ReportedAction = ReportedAction.FAILED,
) -> QueuedMessage:
    """Return the notification about an undelivered or delayed message, addressed to its sender.

    It has three parts: text for people, fields for programs, and the unchanged message, so that the sender recognises it.
    """
    domain = hostname.partition(".")[2]
    boundary = f"{token_hex(12)}/{hostname}"
    remote = f"Remote-MTA: dns; {refusal.remote}\n" if refusal.remote else ""
    statement = f"{refusal.remote} said: " if refusal.remote else ""
    encoding = "7bit" if queued_message.content.isascii() else "8bit"
    head = f"""\
From: MAILER-DAEMON@{domain} (Mail Delivery System)
To: {queued_message.sender}
Subject: {_SUBJECTS[action]}
Date: {format_datetime(reported_at)}
Message-ID: {make_msgid(domain=hostname)}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="{boundary}"
Content-Transfer-Encoding: {encoding}

This is a MIME-encapsulated message.

--{boundary}
Content-Type: text/plain; charset=us-ascii

This is the mail system at host {hostname}.

{_EXPLANATIONS[action]}

<{queued_message.recipient}>: {statement}{refusal.reply}

--{boundary}
Content-Type: message/delivery-status

Reporting-MTA: dns; {hostname}
Arrival-Date: {format_datetime(accepted_at)}

Final-Recipient: rfc822; {queued_message.recipient}
Action: {action}
Status: {refusal.reply.status}
{remote}Diagnostic-Code: smtp; {refusal.reply}
Last-Attempt-Date: {format_datetime(reported_at)}

--{boundary}
Content-Type: message/rfc822
Content-Transfer-Encoding: {encoding}

"""
    content = head.replace("\n", "\r\n").encode() + queued_message.content + f"\r\n--{boundary}--\r\n".encode()
    return QueuedMessage(sender="", recipient=queued_message.sender, content=content)
