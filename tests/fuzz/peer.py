"""Scripted server: it sends its script in turns, whatever the client sends, and then disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.fuzz.target import TAG, TURN

#: Loop iterations without a client's write after which the client is taken to wait for data.
_QUIET_ITERATIONS = 50


class Peer(asyncio.Transport):
    """In-memory transport between a client protocol and the scripted server. No time passes."""

    def __init__(self, protocol: asyncio.BaseProtocol, script: bytes) -> None:
        super().__init__()
        self.received = bytearray()
        self._protocol: Any = protocol
        self._turns = script.split(TURN)
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._writes = 0
        protocol.connection_made(self)
        self._loop.call_soon(self._send_turn)

    def write(self, data: Any) -> None:
        self.received += data
        self._writes += 1
        self._loop.call_soon(self._send_turn)

    def _send_turn(self) -> None:
        if self._is_closed:
            return
        if not self._turns:
            self.abort()
            return
        # The last line with a tag: DONE, which ends IDLE, has none.
        last_command = next((line for line in reversed(self.received.split(b"\r\n")) if b" " in line), b"")
        self._protocol.data_received(self._turns.pop(0).replace(TAG, bytes(last_command.partition(b" ")[0])))
        self._wait(self._writes, _QUIET_ITERATIONS)

    def _wait(self, last_command: int, rounds: int) -> None:
        """Send the next turn when the client has written nothing for some iterations."""
        if self._writes != last_command:
            return
        if rounds:
            self._loop.call_soon(self._wait, last_command, rounds - 1)
        else:
            self._send_turn()

    def abort(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return self._is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known: Mapping[str, Any] = {"sockname": ("192.0.2.1", 49152), "peername": ("192.0.2.2", 143)}
        return known.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
