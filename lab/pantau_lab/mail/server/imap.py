"""The IMAP service: an agency's people read their mail (RFC 9051), served by pymap in the caller's event loop."""

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
from pantau_lab.mail.server.listener import Attend
from pantau_lab.mail.server.reading import Reading
from pantau_lab.mail.server.sign_in import SignIn
from pantau_lab.mail.server.wire import Lay

_log = logging.getLogger(__name__)

#: The longest command line; message literals are read apart from it.
_LINE_LIMIT = 2**16


class LabImapConfig(IMAPConfig):
    """pymap's settings for a server that is encrypted already, in one event loop, with fictional passwords."""

    def __init__(self, *, hostname: str, tls: ssl.SSLContext) -> None:
        # What pymap's defaults would do instead: a pool of threads, slow hashes, and the machine's own
        # certificates. The namespace stands for a command line that nobody typed.
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
        """What the folders can do."""
        return BackendCapability(idle=True, object_id=False, multi_append=True, custom=[b"SPECIAL-USE"])

    @property
    def initial_auth(self) -> SASLAuth:
        """PLAIN and LOGIN; the connection is encrypted from its first byte."""
        return self._mechanisms

    @property
    def tls_auth(self) -> SASLAuth:
        """The same."""
        return self._mechanisms

    @property
    def greeting(self) -> bytes:
        """Say who is there, without asking the DNS for it."""
        return f"{self._hostname} is ready".encode()


class _Connection(IMAPConnection):
    """pymap's connection, which sends an answer in one piece."""

    async def write_response(self, resp: Response) -> None:
        """Send an answer. pymap would encrypt and send each of its words by itself, and spell all of it again for its log."""
        said = BytesIO()
        await resp.async_write(said)
        with suppress(ConnectionError):
            self.writer.write(said.getvalue())
            await self.writer.drain()


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's streams over a line that is laid anew for each connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        begin: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        lay: Lay,
    ) -> None:
        super().__init__(reader, begin)
        self._lay = lay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        super().connection_made(self._lay(transport))


class ImapService:
    """Serve the folders of an agency's accounts."""

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

    def session(self, attend: Attend, lay: Lay) -> asyncio.BaseProtocol:
        """Serve a connection in a task of the mail system's group."""

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            attend(self._tasks.create_task(self._serve(reader, writer)), writer.transport)

        reader = asyncio.StreamReader(limit=_LINE_LIMIT)
        return _Protocol(reader, begin, lay)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._commands, self._config, reader, writer, SocketInfo.get(writer, None))
        try:
            async with AsyncExitStack() as stack:
                connection_exit.set(stack)
                stack.enter_context(closing(connection))
                await connection.run(Reading(self._sign_in, self._config, self._condition))
            # The listener may take this session for ended only when its socket is.
            with suppress(OSError):
                await writer.wait_closed()
        except Exception:  # noqa: BLE001
            # A bug of ours costs this session; pymap has already told the client (BYE [SERVERBUG]).
            _log.exception("an IMAP session of the lab broke")
