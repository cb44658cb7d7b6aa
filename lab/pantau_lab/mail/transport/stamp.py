"""The trace fields a mail system puts on top of a message (RFC 5321 section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How and when a message was taken in."""

    #: What the client called itself, and where it came from.
    helo: str
    peer: str
    hostname: str
    #: "ESMTPSA" and its kin (RFC 3848).
    protocol: str
    queue_id: str
    at: datetime


def received(receipt: Receipt, recipient: str) -> bytes:
    """Return the Received field for a copy that goes to one recipient."""
    return (
        f"Received: from {receipt.helo} ([{receipt.peer}])\r\n"
        f"\tby {receipt.hostname} with {receipt.protocol} id {receipt.queue_id}\r\n"
        f"\tfor <{recipient}>; {format_datetime(receipt.at)}\r\n"
    ).encode()


def return_path(sender: str) -> bytes:
    """Return the field that final delivery adds: where a report about this message would go."""
    return f"Return-Path: <{sender}>\r\n".encode()
