"""The service, and commands beside it, as processes of their own, started from one that has read their code already.

Reading it takes longer than most stories let them live, and they start hundreds.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

#: In octets, of each number that the cradle tells.
LENGTH = 16
#: In seconds: whoever has the name listens by then, however busy the machine is.
_LISTENS = 30


class Living:
    """A service at work, or dead. It is known by what `asyncio.subprocess.Process` has."""

    def __init__(self, line: socket.socket) -> None:
        """*line*: to the cradle, which says its number now, and in the end what it ended with."""
        self._line = line
        self.pid = int(line.recv(LENGTH))
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        if self._code is None and select.select([self._line], [], [], 0)[0]:
            self._code = int(self._line.recv(LENGTH))
            self._line.close()
        return self._code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return what it ended with; -9 when it was killed."""
        while (code := self.returncode) is None:  # noqa: ASYNC110 - several may wait
            await asyncio.sleep(0.02)
        return code


def bring_to_life(words: Sequence[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})) -> Living:
    """Run a module with its words, as `python -m` does; what it writes is added to *log*.

    *environment*: what it is started with besides; then all that it reads is read anew.
    """
    line = line_to(_cradle())
    line.sendall(json.dumps([list(words), str(log), dict(environment)]).encode())
    return Living(line)


async def bring_to_its_end(words: Sequence[str], said: Path) -> int:
    """Run a module that ends by itself with its words, as a person's command; return what it ended with."""
    return await (await asyncio.to_thread(bring_to_life, words, said)).wait()


@cache
def _cradle() -> str:
    """Return where services of this run are had. The first of its processes that asks sees to it: the name is one's only."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    address = f"\0pantau-cradle-{run}"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(address)
        except OSError:
            return address
        listener.listen(64)
        words = [sys.executable, "-m", "tests.stories.cradle", str(run)]
        os.posix_spawn(sys.executable, words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)])
    return address


def line_to(address: str) -> socket.socket:
    """Return a connection to whoever listens there, or is about to: that has the name a moment before."""
    line, until = socket.socket(socket.AF_UNIX), time.monotonic() + _LISTENS
    while True:
        try:
            line.connect(address)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return line
