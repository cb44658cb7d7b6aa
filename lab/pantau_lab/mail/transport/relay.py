"""Relaying of a message to the mail exchanger of its domain over SMTP (RFC 5321)."""

from __future__ import annotations

import re

import aiosmtplib

from pantau_lab.mail.transport.directory import Exchanger
from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal, SmtpReply

_SESSION_SECONDS = 10.0
#: Reply text with an enhanced status code (RFC 2034), such as "5.7.1 Relaying denied".
_ENHANCED = re.compile(r"(?P<status>[245]\.\d{1,3}\.\d{1,3}) +(?P<text>.*)", re.DOTALL)


async def relay(queued_message: QueuedMessage, exchanger: Exchanger, *, hostname: str) -> Refusal | None:
    """Relay a message; return `None` if the exchanger accepted it, else its refusal.

    If the exchanger does not answer, return a temporary refusal of this system (RFC 3463 code 4.4.1).
    """
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=exchanger.port,
        local_hostname=hostname,
        timeout=_SESSION_SECONDS,
        use_tls=False,
        start_tls=False,
    )
    try:
        async with client:
            await client.sendmail(queued_message.sender, [queued_message.recipient], queued_message.content)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        answer = refused.recipients[0]
        return Refusal(reply=_reply(answer.code, answer.message), remote=exchanger.hostname)
    except aiosmtplib.SMTPResponseException as refused:
        return Refusal(reply=_reply(refused.code, refused.message), remote=exchanger.hostname)
    except (aiosmtplib.SMTPException, OSError) as error:
        text = f"connect to {exchanger.hostname}: {error}"
        return Refusal(reply=SmtpReply(code=451, status="4.4.1", text=text))
    return None


def _reply(code: int, message: str) -> SmtpReply:
    text = " ".join(message.split())
    if found := _ENHANCED.match(text):
        return SmtpReply(code=code, status=found["status"], text=found["text"])
    return SmtpReply(code=code, status=f"{code // 100}.0.0", text=text)
