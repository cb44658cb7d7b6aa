"""Greylisting: temporary rejection of a new sender and recipient, because most spammers do not retry. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pantau_lab.mail.transport.queued_message import SmtpReply

#: Returns the reply to RCPT for a sender, a recipient and the present time; `None` accepts the recipient.
Gate = Callable[[str, str, datetime], SmtpReply | None]

_TRY_LATER = SmtpReply(code=450, status="4.7.1", text="Greylisted, please come again later")


def greylist(wait: timedelta) -> Gate:
    """Return a gate that accepts a pair of sender and recipient *wait* after its first attempt."""
    first_seen: dict[tuple[str, str], datetime] = {}

    def answer(sender: str, recipient: str, now: datetime) -> SmtpReply | None:
        first = first_seen.setdefault((sender.lower(), recipient.lower()), now)
        return None if now - first >= wait else _TRY_LATER

    return answer
