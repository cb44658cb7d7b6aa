"""A session in which no handshake comes about."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress

from pantau_lab.mail.server.listener import Attend

_PIECE = 2**16


def unwilling_session(attend: Attend, answer: bytes, tasks: asyncio.TaskGroup) -> asyncio.BaseProtocol:
    """Answer whatever a client says with *answer*, in a task of the mail system's group, until it has had enough."""

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attend(tasks.create_task(_answer(reader, writer, answer)), writer.transport)

    return asyncio.StreamReaderProtocol(asyncio.StreamReader(), begin)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    # A client that hangs up in the middle of a handshake is everyday.
    with closing(writer), suppress(OSError):
        while await reader.read(_PIECE):
            writer.write(answer)
