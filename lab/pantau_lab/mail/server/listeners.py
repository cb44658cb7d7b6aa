"""What serves each port of a mail system, sound or with its TLS broken."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import cache

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.resources.mailbox import Folders
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import INSTEAD, Tls
from pantau_lab.mail.server.imap import ImapService
from pantau_lab.mail.server.inbound import Inbound
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.listener import Attend, Door
from pantau_lab.mail.server.submission import Submission
from pantau_lab.mail.server.unwilling import unwilling_session
from pantau_lab.mail.server.wire import Lay, lay

#: With a certificate of their own; the others differ in what is said, not in what is shown.
_SHOWN = frozenset({Tls.EXPIRED, Tls.OTHER_NAME, Tls.UNTRUSTED})


class Listeners:
    """The ways into one mail system, each made once. `context` makes what a server needs for TLS."""

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
        self._context = cache(lambda tls: context(tls if tls in _SHOWN else Tls.SOUND))
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
        self._made: dict[tuple[Port, Tls], Door] = {}

    def door(self, port: Port, tls: Tls) -> Door:
        """Return the same door for the same port and state of its TLS."""
        if (port, tls) not in self._made:
            self._made[port, tls] = self._make(port, tls)
        return self._made[port, tls]

    def _make(self, port: Port, tls: Tls) -> Door:
        match port:
            case Port.MX:
                return Door(protocol=lambda attend: self._inbound.session(attend, self._lay(port, attend)))
            case Port.SUBMISSION:
                context = self._context(tls)
                return Door(
                    protocol=lambda attend: self._submission.starttls_session(
                        attend, self._lay(port, attend), tls, context
                    )
                )
            case Port.SUBMISSIONS:
                return self._encrypted(
                    lambda attend: self._submission.encrypted_session(attend, self._lay(port, attend)), tls
                )
            case Port.IMAP:
                return self._encrypted(lambda attend: self._imap.session(attend, self._lay(port, attend)), tls)

    def _encrypted(self, session: Callable[[Attend], asyncio.BaseProtocol], tls: Tls) -> Door:
        """Return the door of a port that is encrypted from its first byte."""
        match tls:
            case Tls.PLAIN:
                return Door(protocol=session)
            case Tls.SILENT | Tls.OLD:
                return Door(protocol=lambda attend: unwilling_session(attend, INSTEAD[tls], self._tasks))
            case _:
                return Door(protocol=session, tls=self._context(tls))

    def _lay(self, port: Port, attend: Attend) -> Lay:
        return lay(self._condition.manner(port), attend, self._tasks)
