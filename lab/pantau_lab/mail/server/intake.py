"""Entry of accepted messages, from all SMTP ports, into the queue of a mail system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.faults.effect import Cut
from pantau_lab.mail.transport.queued_message import QueuedMessage
from pantau_lab.mail.transport.stamp import Receipt, received


class Intake:
    """Queue one copy of a message for each recipient, with a Received field, after applying the system's faults."""

    def __init__(self, *, hostname: str, condition: Condition, put: Callable[[QueuedMessage], None]) -> None:
        self._hostname = hostname
        self._condition = condition
        self._put = put

    def take(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Queue the message of a finished DATA command and return the reply, unsent if a fault cuts the connection."""
        # With `Cut.TAKEN` the message is queued although the client gets no reply; with `Cut.LOST` it is lost.
        cut = self._condition.after_data
        if cut is not None and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        receipt = Receipt(
            helo=session.host_name or "unknown",
            peer=session.peer[0] if session.peer else "unknown",
            hostname=self._hostname,
            protocol=_protocol(server, session),
            queue_id=token_hex(6).upper(),
            accepted_at=datetime.now(UTC),
        )
        content = envelope.original_content or b""
        # aiosmtpd calls the null reverse path "<>".
        sender = (envelope.mail_from or "").removeprefix("<>")
        for recipient in envelope.rcpt_tos:
            queued_message = QueuedMessage(
                sender=sender, recipient=recipient, content=received(receipt, recipient) + content
            )
            for each in () if cut is Cut.LOST else self._condition.transform(queued_message):
                self._put(each)
        return f"250 2.0.0 OK queued as {receipt.queue_id}"


def _protocol(server: SMTP, session: Session) -> str:
    """Return the protocol keyword for the Received field (RFC 3848)."""
    if not session.extended_smtp:
        return "SMTP"
    encrypted = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
    return f"ESMTP{'S' if encrypted else ''}{'A' if session.authenticated else ''}"
