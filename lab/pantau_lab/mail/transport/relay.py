"""Hand a parcel to the mail exchanger of its domain, over SMTP (RFC 5321)."""

from __future__ import annotations

import re

import aiosmtplib

from pantau_lab.mail.transport.directory import Exchanger
from pantau_lab.mail.transport.parcel import QueuedMessage, Refusal, SmtpReply

_SESSION_SECONDS = 10.0
#: "5.7.1 Relaying denied" (RFC 2034); a server that gives none is read by the class of its code.
_ENHANCED = re.compile(r"(?P<status>[245]\.\d{1,3}\.\d{1,3}) +(?P<text>.*)", re.DOTALL)


async def relay(parcel: QueuedMessage, exchange: Exchanger, *, hostname: str) -> Refusal | None:
    """Return `None` when the exchanger took the parcel, otherwise what it said.

    A host that does not answer is a temporary refusal of our own (RFC 3463 code 4.4.1).
    """
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=exchange.port,
        local_hostname=hostname,
        timeout=_SESSION_SECONDS,
        use_tls=False,
        start_tls=False,
    )
    try:
        async with client:
            await client.sendmail(parcel.sender, [parcel.recipient], parcel.content)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        answer = refused.recipients[0]
        return Refusal(reply=_reply(answer.code, answer.message), remote=exchange.hostname)
    except aiosmtplib.SMTPResponseException as refused:
        return Refusal(reply=_reply(refused.code, refused.message), remote=exchange.hostname)
    except (aiosmtplib.SMTPException, OSError) as error:
        text = f"connect to {exchange.hostname}: {error}"
        return Refusal(reply=SmtpReply(code=451, status="4.4.1", text=text))
    return None


def _reply(code: int, message: str) -> SmtpReply:
    text = " ".join(message.split())
    if found := _ENHANCED.match(text):
        return SmtpReply(code=code, status=found["status"], text=found["text"])
    return SmtpReply(code=code, status=f"{code // 100}.0.0", text=text)
