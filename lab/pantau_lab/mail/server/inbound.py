"""The mail exchanger: mail from other systems for an agency's people (RFC 5321)."""

from __future__ import annotations

from datetime import UTC, datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.estate.account import Accounts
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.listener import Attend
from pantau_lab.mail.server.smtp import SmtpSession, answer_error
from pantau_lab.mail.server.wire import Lay
from pantau_lab.mail.trouble.condition import Condition


class Inbound:
    """Take mail from anybody, for the agency's own people only. Nobody signs in here."""

    def __init__(self, *, hostname: str, domain: str, accounts: Accounts, condition: Condition, intake: Intake) -> None:
        self._hostname = hostname
        self._domain = domain
        self._accounts = accounts
        self._condition = condition
        self._intake = intake

    def session(self, attend: Attend, lay: Lay) -> SmtpSession:
        """Serve a connection from another system."""
        return SmtpSession(self, attend=attend, lay=lay, hostname=self._hostname)

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take any sender, the null one of a report included."""
        if reply := self._condition.transaction:
            return str(reply)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take own recipients. For others this would be an open relay."""
        _, _, domain = address.rpartition("@")
        if domain.lower() != self._domain:
            return "554 5.7.1 Relay access denied"
        if reply := self._condition.own_recipient:
            return str(reply)
        if self._accounts.find(address) is None:
            return "550 5.1.1 User unknown"
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
