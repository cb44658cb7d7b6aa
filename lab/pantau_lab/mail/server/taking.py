"""What the mail exchanger and the submission service have in common: whom a message may be for, and how it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.smtp import answer_error, hooks


class Taking:
    """Take messages for an agency's people. The `handle_` methods are the library's hooks; they return the reply."""

    #: Whether for other systems' people, too.
    relays: ClassVar[bool]

    def __init__(self, *, hostname: str, domain: str, accounts: Accounts, condition: Condition, intake: Intake) -> None:
        self._hostname = hostname
        self._domain = domain
        self._accounts = accounts
        self._condition = condition
        self._intake = intake

    def __dir__(self) -> Sequence[str]:
        """Name what the library looks for."""
        return hooks(type(self))

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take any recipient but a colleague who does not exist; others' only where they are relayed to."""
        _, _, domain = address.rpartition("@")
        if domain.lower() == self._domain:
            if reply := self._condition.own_recipient:
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
        """Take responsibility for the message."""
        return self._intake.take(server, session, envelope)

    async def handle_exception(self, error: Exception) -> str:
        """Answer instead of dying."""
        return await answer_error(error)
