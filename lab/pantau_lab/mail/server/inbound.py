"""The mail exchanger: mail from other systems for an agency's people (RFC 5321)."""

from __future__ import annotations

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.server.listener import Attend
from pantau_lab.mail.server.smtp import SmtpSession
from pantau_lab.mail.server.taking import Taking
from pantau_lab.mail.server.wire import Lay


class Inbound(Taking):
    """Take mail from anybody, for the agency's own people only. Nobody signs in here."""

    relays = False

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
