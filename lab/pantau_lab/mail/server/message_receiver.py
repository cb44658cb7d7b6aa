"""Common part of the mail exchanger and the submission service: check of recipients, and acceptance of messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.smtp import answer_error, hooks


class MessageReceiver:
    """Handler that accepts messages for an agency's mailboxes.

    aiosmtpd calls the `handle_` methods as hooks; they return the SMTP reply.
    """

    #: Whether messages for other domains are accepted, too.
    relays: ClassVar[bool]

    def __init__(self, *, hostname: str, domain: str, accounts: Accounts, condition: Condition, intake: Intake) -> None:
        self._hostname = hostname
        self._domain = domain
        self._accounts = accounts
        self._condition = condition
        self._intake = intake

    def __dir__(self) -> Sequence[str]:
        """Return only the names that aiosmtpd looks for, because it iterates over all of them in each session."""
        return hooks(type(self))

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse an unknown local recipient, a recipient of another domain unless `relays`, and whom a fault refuses."""
        _, _, domain = address.rpartition("@")
        if domain.lower() == self._domain:
            if reply := self._condition.local_recipient_refusal:
                return str(reply)
            if self._accounts.find(address) is None:
                return "550 5.1.1 User unknown"
        elif not self.relays:
            return "554 5.7.1 Relay access denied"
        if reply := self._condition.gate(envelope.mail_from or "", address, datetime.now(UTC)):
            return str(reply)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Accept the message."""
        return self._intake.take(server, session, envelope)

    async def handle_exception(self, error: Exception) -> str:
        """Answer an error of a handler."""
        return await answer_error(error)
