"""Trace fields that a mail system adds above a message (RFC 5321 section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Circumstances of a message's acceptance."""

    #: Host name that the client gave in HELO or EHLO.
    helo: str
    #: IP address of the client.
    peer: str
    #: Host name of the accepting mail system.
    hostname: str
    #: Transmission type, such as "ESMTPSA" (RFC 3848).
    protocol: str
    queue_id: str
    accepted_at: datetime


def received(receipt: Receipt, recipient: str) -> bytes:
    """Return the Received field of the copy for one recipient."""
    return (
        f"Received: from {receipt.helo} ([{receipt.peer}])\r\n"
        f"\tby {receipt.hostname} with {receipt.protocol} id {receipt.queue_id}\r\n"
        f"\tfor <{recipient}>; {format_datetime(receipt.accepted_at)}\r\n"
    ).encode()


def return_path(sender: str) -> bytes:
    """Return the Return-Path field, which final delivery adds: the address for delivery status notifications."""
    return f"Return-Path: <{sender}>\r\n".encode()
