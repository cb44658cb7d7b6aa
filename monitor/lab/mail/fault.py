"""The ways to break a mail system on purpose."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Fault(StrEnum):
    """What is wrong with a mail system. Each member's docstring says what an operator would see of it.

    What a fault does is one row of `monitor.lab.mail.effect`.
    """

    REFUSE = "refuse", "Nobody can send from or to the agency: its servers answer 554 5.3.2 to every message."
    AUTH = "auth", "Nobody can sign in to send or to read: every sign-in is answered 'temporary failure, try later'."
    LOSE = "lose", "Messages are accepted, in and out, and never seen again. Nobody is told."
    SLOW = "slow", "Messages arrive whole, but late."
    BOUNCE = "bounce", "Messages are accepted, and a report of failed delivery comes back to the sender at once."
    CORRUPT = "corrupt", "Messages arrive with letters turned into question marks and attachments that do not open."
    IMAP = "imap", "Nobody can read mail: the IMAP port is closed and open sessions are cut. Sending still works."

    def __new__(cls, value: str, seen: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.__doc__ = seen
        return member
