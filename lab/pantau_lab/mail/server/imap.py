"""IMAP service, at which an agency's users read mail (RFC 9051), served by pymap in the caller's event loop."""

from __future__ import annotations

import asyncio
import logging
import ssl
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from io import BytesIO

from proxyprotocol.sock import SocketInfo
from pymap.concurrent import Subsystem
from pymap.config import BackendCapability, IMAPConfig
from pymap.context import connection_exit
from pymap.imap import IMAPConnection
from pymap.parsing.response import Response
from pysasl import SASLAuth
from pysasl.hashing import Cleartext

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.resources.mailbox import Folders
from pantau_lab.mail.server.imap_state import ImapState
from pantau_lab.mail.server.listener import RegisterSession
from pantau_lab.mail.server.scripted_transport import TransportWrapper
from pantau_lab.mail.server.sign_in import SignIn

_log = logging.getLogger(__name__)

#: Maximum octets of a command line. Message literals are read separately.
_LINE_LIMIT = 2**16


class LabImapConfig(IMAPConfig):
    """pymap's settings for a server with implicit TLS, in one event loop, with fictional passwords."""

    def __init__(self, *, hostname: str, tls: ssl.SSLContext) -> None:
        # pymap's defaults would use a thread pool, slow password hashes and the machine's own certificates. The
        # namespace replaces the parsed arguments of pymap's command line.
        super().__init__(
            Namespace(proxy_protocol=None, passlib_cfg=None),
            host=None,
            port=0,
            ssl_context=tls,
            tls_enabled=False,
            hash_context=Cleartext(),
            subsystem=Subsystem.for_asyncio(),
            cpu_subsystem=Subsystem.for_asyncio(),
        )
        self._hostname = hostname
        # Looked up once: pymap would read the metadata of every installed package for each connection.
        self._mechanisms = SASLAuth.defaults()

    @property
    def backend_capability(self) -> BackendCapability:
        """Capabilities of the folders."""
        return BackendCapability(idle=True, object_id=False, multi_append=True, custom=[b"SPECIAL-USE"])

    @property
    def initial_auth(self) -> SASLAuth:
        """Mechanisms before STARTTLS: PLAIN and LOGIN, because the connection has implicit TLS."""
        return self._mechanisms

    @property
    def tls_auth(self) -> SASLAuth:
        """Mechanisms after STARTTLS: the same."""
        return self._mechanisms

    @property
    def greeting(self) -> bytes:
        """Greeting with the configured host name; pymap's default would query the DNS."""
        return f"{self._hostname} is ready".encode()


class _Connection(IMAPConnection):
    """pymap's connection, which sends each response in one write."""

    async def write_response(self, resp: Response) -> None:
        """Send a response. pymap would encrypt and send each token separately, and format the response again for its log."""
        buffer = BytesIO()
        await resp.async_write(buffer)
        with suppress(ConnectionError):
            self.writer.write(buffer.getvalue())
            await self.writer.drain()


class _Protocol(asyncio.StreamReaderProtocol):
    """Stream protocol that wraps the transport of each connection, so that faults can change what is written."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        begin: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        wrap_transport: TransportWrapper,
    ) -> None:
        super().__init__(reader, begin)
        self._wrap_transport = wrap_transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        super().connection_made(self._wrap_transport(transport))


class ImapService:
    """IMAP server for the folders of an agency's accounts. *condition*: the present faults."""

    def __init__(
        self,
        *,
        hostname: str,
        accounts: Accounts,
        folders: Mapping[str, Folders],
        condition: Condition,
        tls: ssl.SSLContext,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._config = LabImapConfig(hostname=hostname, tls=tls)
        self._commands = self._config.commands
        self._sign_in = SignIn(accounts=accounts, folders=folders, condition=condition, config=self._config)
        self._condition = condition
        self._tasks = tasks

    def session(self, register_session: RegisterSession, wrap_transport: TransportWrapper) -> asyncio.BaseProtocol:
        """Return the protocol that serves a connection, in a task of the mail system's task group."""

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            register_session(self._tasks.create_task(self._serve(reader, writer)), writer.transport)

        reader = asyncio.StreamReader(limit=_LINE_LIMIT)
        return _Protocol(reader, begin, wrap_transport)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._commands, self._config, reader, writer, SocketInfo.get(writer, None))
        try:
            async with AsyncExitStack() as stack:
                connection_exit.set(stack)
                stack.enter_context(closing(connection))
                await connection.run(ImapState(self._sign_in, self._config, self._condition))
            # The session's task must end after the socket is closed, because the listener waits for the task.
            with suppress(OSError):
                await writer.wait_closed()
        except Exception:  # noqa: BLE001
            # A bug ends only this session; pymap has already sent BYE [SERVERBUG] to the client.
            _log.exception("an IMAP session of the lab broke")
