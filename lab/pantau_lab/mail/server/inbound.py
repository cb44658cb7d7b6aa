"""Mail exchanger, which receives mail from other systems for an agency's mailboxes (RFC 5321)."""

from __future__ import annotations

from aiosmtpd.smtp import SMTP, Envelope, Session

from pantau_lab.mail.server.listener import RegisterSession
from pantau_lab.mail.server.message_receiver import MessageReceiver
from pantau_lab.mail.server.scripted_transport import TransportWrapper
from pantau_lab.mail.server.smtp import SmtpSession


class Inbound(MessageReceiver):
    """Handler that accepts mail from anybody, for the agency's own mailboxes only, without sign-in."""

    relays = False

    def session(self, register_session: RegisterSession, wrap_transport: TransportWrapper) -> SmtpSession:
        """Serve a connection from another system."""
        return SmtpSession(
            self, register_session=register_session, wrap_transport=wrap_transport, hostname=self._hostname
        )

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept any sender, also the null reverse path of a status notification, unless a fault refuses all."""
        if reply := self._condition.transaction_refusal:
            return str(reply)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"
