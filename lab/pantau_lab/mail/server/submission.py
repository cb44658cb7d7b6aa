"""SMTP submission service, at which an agency's own users send mail (RFC 6409)."""

from __future__ import annotations

import ssl

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from pantau_lab.mail.resources.account import Account
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.server.listener import RegisterSession
from pantau_lab.mail.server.message_receiver import MessageReceiver
from pantau_lab.mail.server.scripted_transport import TransportWrapper
from pantau_lab.mail.server.smtp import SmtpSession


class Submission(MessageReceiver):
    """Handler that accepts mail to anybody from signed-in users, with their own sender address only."""

    relays = True

    def starttls_session(
        self, register_session: RegisterSession, wrap_transport: TransportWrapper, tls: Tls, context: ssl.SSLContext
    ) -> SmtpSession:
        """Serve a connection that begins in clear text; AUTH is refused until STARTTLS (538)."""
        return SmtpSession(
            self,
            register_session=register_session,
            wrap_transport=wrap_transport,
            hostname=self._hostname,
            tls=tls,
            tls_context=None if tls is Tls.UNOFFERED else context,
            authenticator=self._authenticate,
        )

    def encrypted_session(self, register_session: RegisterSession, wrap_transport: TransportWrapper) -> SmtpSession:
        """Serve a connection with implicit TLS. aiosmtpd knows only STARTTLS, so AUTH must not require TLS here."""
        return SmtpSession(
            self,
            register_session=register_session,
            wrap_transport=wrap_transport,
            hostname=self._hostname,
            auth_require_tls=False,
            authenticator=self._authenticate,
        )

    async def handle_AUTH(self, _server: SMTP, _session: Session, _envelope: Envelope, _args: list[str]) -> object:  # noqa: N802
        """Refuse every sign-in if a fault does so, before the client sends a secret. With `MISSING` aiosmtpd continues."""
        # Each fault of signing in applies to both submission ports, so ask for either.
        reply = self._condition.sign_in_refusal(Port.SUBMISSION)
        return MISSING if reply is None else str(reply)

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept only the signed-in user's own sender address (RFC 6409 section 6.1)."""
        if reply := self._condition.transaction_refusal:
            return str(reply)
        # The account that `_authenticate` returned; aiosmtpd declares the attribute as None.
        account: object = session.auth_data
        if not isinstance(account, Account):
            return "530 5.7.0 Authentication required"
        if address.lower() != account.address.lower():
            return "553 5.7.1 Sender address rejected: not owned by the signed-in user"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
    ) -> AuthResult:
        username, secret = (part.decode(errors="replace") for part in data)
        account = self._accounts.signed_in(username, secret)
        # With handled=False the library itself answers 535 5.7.8.
        return AuthResult(success=account is not None, handled=False, auth_data=account)
