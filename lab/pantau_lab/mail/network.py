"""Network of mail systems: of fictional agencies, and of references, from which Pantau probes the agencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from types import MappingProxyType, TracebackType
from typing import Self

from pantau_lab.mail.resources.account import Account
from pantau_lab.mail.resources.authority import LabAuthority
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.mail.system import MailSystem
from pantau_lab.mail.transport.directory import Directory
from pantau_lab.mail.transport.queue import QueuePolicy
from probes.model.mailbox import Mailbox, Password, Security, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPlan:
    """One mail system to build, of an agency or a reference. Both are built alike."""

    #: Unique in the network. Commands to break or repair the system use it.
    name: str
    domain: str
    accounts: tuple[Account, ...]
    #: Fixed port numbers; other ports get free ones at each start.
    ports: Mapping[Port, int] = field(default_factory=dict)
    #: Delays of its faults.
    tempo: FaultDelays = field(default_factory=FaultDelays)
    queue_policy: QueuePolicy = field(default_factory=QueuePolicy)

    @classmethod
    def with_one_mailbox(cls, name: str, domain: str, *, tempo: FaultDelays | None = None) -> Self:
        """Return a plan with one mailbox, `pantau@domain`, that has the system's name and a random password."""
        account = Account(name=name, address=f"pantau@{domain}", secret=token_urlsafe(12))
        return cls(name=name, domain=domain, accounts=(account,), tempo=tempo or FaultDelays())


class LabNetwork:
    """Running mail systems, as an asynchronous context manager. The certificate of their CA is *folder*/ca.pem."""

    def __init__(self, plans: Iterable[SystemPlan], *, folder: Path) -> None:
        self.authority = LabAuthority(folder / "ca.pem")
        self._tls = self.authority.client_context()
        directory = Directory()
        self._systems = {
            plan.name: MailSystem(
                name=plan.name,
                domain=plan.domain,
                accounts=plan.accounts,
                directory=directory,
                authority=self.authority,
                ports=plan.ports,
                tempo=plan.tempo,
                queue_policy=plan.queue_policy,
            )
            for plan in plans
        }
        self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start every system, or none."""
        async with AsyncExitStack() as stack:
            for system in self._systems.values():
                await stack.enter_async_context(system)
            self._exit_stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every system."""
        await self._exit_stack.aclose()

    @property
    def systems(self) -> Mapping[str, MailSystem]:
        """The mail systems by name."""
        return MappingProxyType(self._systems)

    async def wait_until_empty(self) -> None:
        """Wait until all queues are empty. A message that has not arrived by then never will."""
        while any(system.queued for system in self._systems.values()):
            for system in self._systems.values():
                await system.wait_until_empty()

    def mailboxes(self, *, smtp: Security = Security.STARTTLS) -> Mapping[str, Mailbox]:
        """Return the mailbox of every account in the model of the probes, by name. *smtp*: TLS mode of submission.

        The network must be running, because free ports are chosen at the start.
        """
        return {
            account.name: self._mailbox(system, account, smtp)
            for system in self._systems.values()
            for account in system.accounts
        }

    def _mailbox(self, system: MailSystem, account: Account, security: Security) -> Mailbox:
        submission = system.submission if security is Security.STARTTLS else system.submissions
        return Mailbox(
            name=account.name,
            address=account.address,
            smtp=Server(host="127.0.0.1", port=submission, security=security, tls=self._tls),
            imap=Server(host="127.0.0.1", port=system.imap, security=Security.IMPLICIT, tls=self._tls),
            login=Password(username=account.address, secret=account.secret),
        )
