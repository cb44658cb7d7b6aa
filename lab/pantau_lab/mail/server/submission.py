"""The submission service: an agency's own people send mail (RFC 6409)."""

from __future__ import annotations

import ssl

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from pantau_lab.mail.resources.account import Account
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.server.listener import Attend
from pantau_lab.mail.server.smtp import SmtpSession
from pantau_lab.mail.server.taking import Taking
from pantau_lab.mail.server.wire import Lay


class Submission(Taking):
    """Take mail from whoever has signed in, under the own address only, to anybody."""

    relays = True

    def starttls_session(self, attend: Attend, lay: Lay, tls: Tls, context: ssl.SSLContext) -> SmtpSession:
        """Serve a connection that begins in the clear; AUTH is refused until it is encrypted (538)."""
        return SmtpSession(
            self,
            attend=attend,
            lay=lay,
            hostname=self._hostname,
            tls=tls,
            tls_context=None if tls is Tls.UNOFFERED else context,
            authenticator=self._authenticate,
        )

    def encrypted_session(self, attend: Attend, lay: Lay) -> SmtpSession:
        """Serve a connection that is encrypted already, which the library does not see: it only knows STARTTLS."""
        return SmtpSession(
            self,
            attend=attend,
            lay=lay,
            hostname=self._hostname,
            auth_require_tls=False,
            authenticator=self._authenticate,
        )

    async def handle_AUTH(self, _server: SMTP, _session: Session, _envelope: Envelope, _args: list[str]) -> object:  # noqa: N802
        """Refuse everybody while sign-in is broken, before anything secret is asked for."""
        reply = self._condition.sign_in(Port.SUBMISSION)
        return MISSING if reply is None else str(reply)

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Let people send under their own address only (RFC 6409 section 6.1)."""
        if reply := self._condition.transaction:
            return str(reply)
        # What `_authenticate` gave; the library's types know only that it begins as None.
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
        # Not handled: the library then answers 535 5.7.8 by itself.
        return AuthResult(success=account is not None, handled=False, auth_data=account)
