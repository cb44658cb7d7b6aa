"""A server that says what it was told to say, whatever it is asked, and hangs up when it has said everything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.fuzz.target import TAG, TURN

#: No step of a session takes more rounds of the loop before it says something.
_ROUNDS = 50


class Peer(asyncio.Transport):
    """The transport between a protocol of ours and such a server. No socket, and no time passes."""

    def __init__(self, protocol: asyncio.BaseProtocol, script: bytes) -> None:
        super().__init__()
        self.heard = bytearray()
        self._protocol: Any = protocol
        self._turns = script.split(TURN)
        self._loop = asyncio.get_running_loop()
        self._over = False
        self._asked = 0
        protocol.connection_made(self)
        self._loop.call_soon(self._speak)

    def write(self, data: Any) -> None:
        self.heard += data
        self._asked += 1
        self._loop.call_soon(self._speak)

    def _speak(self) -> None:
        if self._over:
            return
        if not self._turns:
            self.abort()
            return
        # The last line that had one: the end of IDLE has none.
        asked = next((line for line in reversed(self.heard.split(b"\r\n")) if b" " in line), b"")
        self._protocol.data_received(self._turns.pop(0).replace(TAG, bytes(asked.partition(b" ")[0])))
        self._wait(self._asked, _ROUNDS)

    def _wait(self, asked: int, rounds: int) -> None:
        """Go on unasked when nothing has been said for so many rounds of the loop: they wait for more."""
        if self._asked != asked:
            return
        if rounds:
            self._loop.call_soon(self._wait, asked, rounds - 1)
        else:
            self._speak()

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return self._over

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known: Mapping[str, Any] = {"sockname": ("192.0.2.1", 49152), "peername": ("192.0.2.2", 143)}
        return known.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
