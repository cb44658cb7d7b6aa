"""Endpoints of a mail system: the service at each port, with working or with broken TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import cache

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.resources.mailbox import Folders
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import HANDSHAKE_REPLIES, Tls
from pantau_lab.mail.server.fixed_reply import fixed_reply_session
from pantau_lab.mail.server.imap import ImapService
from pantau_lab.mail.server.inbound import Inbound
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.listener import Endpoint, RegisterSession
from pantau_lab.mail.server.scripted_transport import TransportWrapper, wrap_transport
from pantau_lab.mail.server.submission import Submission

#: TLS states with a certificate of their own. In all others the server uses the valid certificate.
_CERTIFICATE_FAULTS = frozenset({Tls.EXPIRED, Tls.OTHER_NAME, Tls.UNTRUSTED})


class Endpoints:
    """Factory of the endpoints of one mail system, which are cached.

    *condition*: the present faults. *context* creates a server's TLS context.
    """

    def __init__(
        self,
        *,
        hostname: str,
        domain: str,
        accounts: Accounts,
        folders: Mapping[str, Folders],
        condition: Condition,
        intake: Intake,
        context: Callable[[Tls], ssl.SSLContext],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._condition = condition
        self._tasks = tasks
        self._context = cache(lambda tls: context(tls if tls in _CERTIFICATE_FAULTS else Tls.SOUND))
        self._submission = Submission(
            hostname=hostname, domain=domain, accounts=accounts, condition=condition, intake=intake
        )
        self._inbound = Inbound(hostname=hostname, domain=domain, accounts=accounts, condition=condition, intake=intake)
        self._imap = ImapService(
            hostname=hostname,
            accounts=accounts,
            folders=folders,
            condition=condition,
            tls=self._context(Tls.SOUND),
            tasks=tasks,
        )
        self._cache: dict[tuple[Port, Tls], Endpoint] = {}

    def endpoint(self, port: Port, tls: Tls) -> Endpoint:
        """Return the endpoint for a port and its TLS state; always the same one for the same arguments."""
        if (port, tls) not in self._cache:
            self._cache[port, tls] = self._make(port, tls)
        return self._cache[port, tls]

    def _make(self, port: Port, tls: Tls) -> Endpoint:
        match port:
            case Port.MX:
                return Endpoint(
                    protocol=lambda register_session: self._inbound.session(
                        register_session, self._wrap_transport(port, register_session)
                    )
                )
            case Port.SUBMISSION:
                context = self._context(tls)
                return Endpoint(
                    protocol=lambda register_session: self._submission.starttls_session(
                        register_session, self._wrap_transport(port, register_session), tls, context
                    )
                )
            case Port.SUBMISSIONS:
                return self._encrypted(
                    lambda register_session: self._submission.encrypted_session(
                        register_session, self._wrap_transport(port, register_session)
                    ),
                    tls,
                )
            case Port.IMAP:
                return self._encrypted(
                    lambda register_session: self._imap.session(
                        register_session, self._wrap_transport(port, register_session)
                    ),
                    tls,
                )

    def _encrypted(self, session: Callable[[RegisterSession], asyncio.BaseProtocol], tls: Tls) -> Endpoint:
        """Return the endpoint of a port with implicit TLS."""
        match tls:
            case Tls.PLAIN:
                return Endpoint(protocol=session)
            case Tls.SILENT | Tls.OLD:
                return Endpoint(
                    protocol=lambda register_session: fixed_reply_session(
                        register_session, HANDSHAKE_REPLIES[tls], self._tasks
                    )
                )
            case _:
                return Endpoint(protocol=session, tls=self._context(tls))

    def _wrap_transport(self, port: Port, register_session: RegisterSession) -> TransportWrapper:
        return wrap_transport(self._condition.behavior(port), register_session, self._tasks)
