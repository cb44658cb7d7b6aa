"""Mail system of one fictional agency: submission, mail exchanger and mailboxes, which can be broken by faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.faults.effect import effects
from pantau_lab.mail.faults.fault import Fault
from pantau_lab.mail.resources.account import Account, Accounts
from pantau_lab.mail.resources.authority import LabAuthority
from pantau_lab.mail.resources.mailbox import FolderName, Folders
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.mail.server.endpoints import Endpoints
from pantau_lab.mail.server.intake import Intake
from pantau_lab.mail.server.listener import Listener
from pantau_lab.mail.transport.directory import Directory, Exchanger
from pantau_lab.mail.transport.queue import Queue, QueuePolicy
from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal, SmtpReply
from pantau_lab.mail.transport.relay import relay
from pantau_lab.mail.transport.stamp import return_path


class MailSystem:
    """Mail system on loopback, as an asynchronous context manager. It drops queued mail at the end of the context.

    *ports*: fixed port numbers; other ports get free ones. *tempo*: delays of the faults.
    """

    def __init__(
        self,
        *,
        name: str,
        domain: str,
        accounts: Iterable[Account],
        directory: Directory,
        authority: LabAuthority,
        ports: Mapping[Port, int] | None = None,
        tempo: FaultDelays | None = None,
        queue_policy: QueuePolicy | None = None,
    ) -> None:
        self.name = name
        self.domain = domain.lower()
        self.hostname = f"mail.{self.domain}"
        self.accounts = Accounts(accounts)
        self._directory = directory
        self._authority = authority
        self._wanted_ports = ports or {}
        self._queue_policy = queue_policy or QueuePolicy()
        self._condition = Condition(effects(tempo or FaultDelays()))
        self._folders = {account.address: Folders() for account in self.accounts}
        self._listeners: dict[Port, Listener] = {}
        self._endpoints: Endpoints | None = None
        self._queue: Queue | None = None
        self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the ports, and register the system in the directory of mail exchangers."""
        _quieten_libraries()
        self._exit_stack = AsyncExitStack()
        try:
            tasks = await self._exit_stack.enter_async_context(asyncio.TaskGroup())
            queue = Queue(hostname=self.hostname, deliver=self._deliver, policy=self._queue_policy, tasks=tasks)
            self._exit_stack.callback(queue.stop)
            self._build(queue, tasks)
            await self._open_and_shut()
        except BaseException:
            # Close without passing the error to the task group, which would wrap it in an exception group.
            await self._exit_stack.aclose()
            raise
        self._queue = queue
        self._directory.register(self.domain, Exchanger(hostname=self.hostname, port=self.port(Port.MX)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort all sessions, close all ports and drop the queue."""
        # Close without passing the caller's error to the task group, as above.
        await self._exit_stack.aclose()
        self._listeners.clear()
        self._queue = None

    @property
    def faults(self) -> frozenset[Fault]:
        """Present faults."""
        return self._condition.faults

    async def break_(self, fault: Fault) -> None:
        """Add a fault. A fault that the system already has changes nothing."""
        self._condition.add_fault(fault)
        await self._open_and_shut()
        await self._cut(fault)

    async def repair(self, fault: Fault | None = None) -> None:
        """Remove *fault*, or all faults if it is `None`. Effects on earlier messages remain."""
        repaired = self.faults if fault is None else self.faults & {fault}
        self._condition.remove_fault(fault)
        await self._open_and_shut()
        await self._cut(*repaired)

    def port(self, port: Port) -> int:
        """Return the number of a port, which no fault changes."""
        return self._listeners[port].number

    @property
    def submission(self) -> int:
        """Port for submission with STARTTLS."""
        return self.port(Port.SUBMISSION)

    @property
    def submissions(self) -> int:
        """Port for submission with implicit TLS."""
        return self.port(Port.SUBMISSIONS)

    @property
    def mx(self) -> int:
        """The port for mail from other systems."""
        return self.port(Port.MX)

    @property
    def imap(self) -> int:
        """The port for reading mail, with implicit TLS."""
        return self.port(Port.IMAP)

    @property
    def queued(self) -> int:
        """Number of messages in the queue, to other systems or to its own mailboxes."""
        return 0 if self._queue is None else len(self._queue)

    async def wait_until_empty(self) -> None:
        """Wait until every accepted message is delivered, relayed, returned or lost."""
        if self._queue is not None:
            await self._queue.wait_until_empty()

    def message_count(self, address: str, folder: FolderName = FolderName.INBOX) -> int:
        """Return the number of messages in a folder. Raise `KeyError` if no account has *address*."""
        return self._folders_of(address).count(folder)

    async def put(self, address: str, content: bytes, folder: FolderName = FolderName.INBOX) -> None:
        """Put a message (with CRLF line ends) directly into a folder, such as junk, a forgery or old mail.

        Raise `KeyError` if no account has *address*.
        """
        await self._folders_of(address).deliver(content, folder)

    def _folders_of(self, address: str) -> Folders:
        account = self.accounts.find(address)
        if account is None:
            raise KeyError(address)
        return self._folders[account.address]

    def _build(self, queue: Queue, tasks: asyncio.TaskGroup) -> None:
        intake = Intake(hostname=self.hostname, condition=self._condition, put=queue.put)
        self._endpoints = Endpoints(
            hostname=self.hostname,
            domain=self.domain,
            accounts=self.accounts,
            folders=self._folders,
            condition=self._condition,
            intake=intake,
            context=partial(self._authority.server_context, [self.hostname, self.domain]),
            tasks=tasks,
        )
        for port in Port:
            listener = Listener(port=self._wanted_ports.get(port, 0))
            self._exit_stack.callback(listener.close)
            self._exit_stack.push_async_callback(listener.shut)
            self._listeners[port] = listener

    async def _open_and_shut(self) -> None:
        for port, listener in self._listeners.items():
            if self._endpoints is None or port in self._condition.shut:
                await listener.shut()
            else:
                await listener.open(self._endpoints.endpoint(port, self._condition.tls(port)))

    async def _cut(self, *faults: Fault) -> None:
        # Abort open sessions at the ports that notice these faults, or their end, only in a new session.
        for port in frozenset[Port]().union(*map(self._condition.cut_by, faults)):
            await self._listeners[port].cut()

    async def _deliver(self, queued_message: QueuedMessage) -> Refusal | None:
        _, _, domain = queued_message.recipient.rpartition("@")
        if domain.lower() == self.domain:
            return await self._deliver_here(queued_message)
        exchanger = self._directory.find(domain)
        if exchanger is None:
            return Refusal(reply=SmtpReply(code=550, status="5.1.2", text=f"Domain {domain} not found"))
        return await relay(queued_message, exchanger, hostname=self.hostname)

    async def _deliver_here(self, queued_message: QueuedMessage) -> Refusal | None:
        account = self.accounts.find(queued_message.recipient)
        if account is None:
            return Refusal(reply=SmtpReply(code=550, status="5.1.1", text="User unknown"))
        folder = FolderName.JUNK if queued_message.junk else FolderName.INBOX
        await self._folders[account.address].deliver(
            return_path(queued_message.sender) + queued_message.content, folder
        )
        return None


def _quieten_libraries() -> None:
    # aiosmtpd logs its own deprecations at every sign-in, and both libraries log every line of every session. Keep a
    # level that was set explicitly.
    for name in ("mail.log", "pymap"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
