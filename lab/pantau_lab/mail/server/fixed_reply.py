"""Session that answers with fixed octets, so that no TLS handshake succeeds."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress

from pantau_lab.mail.server.listener import RegisterSession

_CHUNK_OCTETS = 2**16


def fixed_reply_session(
    register_session: RegisterSession, answer: bytes, tasks: asyncio.TaskGroup
) -> asyncio.BaseProtocol:
    """Return a protocol that answers all input with *answer* until the client closes.

    It runs in a task of *tasks*, which *register_session* reports to the listener.
    """

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        register_session(tasks.create_task(_answer(reader, writer, answer)), writer.transport)

    return asyncio.StreamReaderProtocol(asyncio.StreamReader(), begin)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    # A client that closes the connection during the handshake is normal.
    with closing(writer), suppress(OSError):
        while await reader.read(_CHUNK_OCTETS):
            writer.write(answer)
