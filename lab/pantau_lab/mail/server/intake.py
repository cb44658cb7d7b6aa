"""Where accepted messages enter a mail system, whichever port they came through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.faults.effect import Cut
from pantau_lab.mail.transport.parcel import QueuedMessage
from pantau_lab.mail.transport.stamp import Receipt, received


class Intake:
    """Make one parcel for each recipient, with its trace field, and let the system's faults have their turn."""

    def __init__(self, *, hostname: str, condition: Condition, put: Callable[[QueuedMessage], None]) -> None:
        self._hostname = hostname
        self._condition = condition
        self._put = put

    def take(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take the message of a finished DATA command and return the reply, which a cut connection never hears."""
        cut = self._condition.after_data
        if cut is not None and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        receipt = Receipt(
            helo=session.host_name or "unknown",
            peer=session.peer[0] if session.peer else "unknown",
            hostname=self._hostname,
            protocol=_protocol(server, session),
            queue_id=token_hex(6).upper(),
            at=datetime.now(UTC),
        )
        content = envelope.original_content or b""
        # aiosmtpd calls the null reverse path "<>".
        sender = (envelope.mail_from or "").removeprefix("<>")
        for recipient in envelope.rcpt_tos:
            parcel = QueuedMessage(sender=sender, recipient=recipient, content=received(receipt, recipient) + content)
            for each in () if cut is Cut.LOST else self._condition.handling(parcel):
                self._put(each)
        return f"250 2.0.0 OK queued as {receipt.queue_id}"


def _protocol(server: SMTP, session: Session) -> str:
    """Return the name of what was spoken (RFC 3848)."""
    if not session.extended_smtp:
        return "SMTP"
    encrypted = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
    return "ESMTP" + "S" * encrypted + "A" * bool(session.authenticated)
