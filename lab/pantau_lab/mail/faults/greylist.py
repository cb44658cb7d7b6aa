"""A greylist: who comes for the first time is sent away, because most spammers never come again. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pantau_lab.mail.transport.parcel import SmtpReply

#: What is answered to a sender and a recipient (RFC 5321 RCPT) at a time; `None` lets them pass.
Gate = Callable[[str, str, datetime], SmtpReply | None]

_COME_AGAIN = SmtpReply(code=450, status="4.7.1", text="Greylisted, please come again later")


def greylist(wait: timedelta) -> Gate:
    """Return a gate that lets a pair of sender and recipient pass when it first came *wait* ago or earlier."""
    first_seen: dict[tuple[str, str], datetime] = {}

    def answer(sender: str, recipient: str, now: datetime) -> SmtpReply | None:
        first = first_seen.setdefault((sender.lower(), recipient.lower()), now)
        return None if now - first >= wait else _COME_AGAIN

    return answer
