"""Processes of the service and of commands, forked from one that has imported their code.

The import takes longer than most stories run, and they start hundreds of processes.
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

#: Octets of each number that the fork server sends.
NUMBER_LENGTH = 16
#: Seconds until whoever has bound the name listens, on a busy machine.
_LISTEN_TIMEOUT = 30


class ServiceProcess:
    """A process of the service, with the interface of `asyncio.subprocess.Process`."""

    def __init__(self, line: socket.socket) -> None:
        """*line*: connection to the fork server, which sends the process id now and the exit code at the end."""
        self._line = line
        self.pid = int(line.recv(NUMBER_LENGTH))
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        if self._code is None and select.select([self._line], [], [], 0)[0]:
            self._code = int(self._line.recv(NUMBER_LENGTH))
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
        """Return the exit code; -9 after a kill."""
        while (code := self.returncode) is None:  # noqa: ASYNC110 - several may wait
            await asyncio.sleep(0.02)
        return code


def start_process(
    words: Sequence[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> ServiceProcess:
    """Run a module with its words, as `python -m` does; its output is appended to *log*.

    *environment*: additional variables; then the process imports its code itself.
    """
    line = connect_to(_fork_server())
    line.sendall(json.dumps([list(words), str(log), dict(environment)]).encode())
    return ServiceProcess(line)


async def run_process(words: Sequence[str], said: Path) -> int:
    """Run a module that ends by itself, as a command; return its exit code."""
    return await (await asyncio.to_thread(start_process, words, said)).wait()


@cache
def _fork_server() -> str:
    """Return the address of this run's fork server. The first process that binds the name starts it."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    address = f"\0pantau-cradle-{run}"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(address)
        except OSError:
            return address
        listener.listen(64)
        words = [sys.executable, "-m", "tests.stories.fork_server", str(run)]
        os.posix_spawn(sys.executable, words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)])
    return address


def connect_to(address: str) -> socket.socket:
    """Connect to this address, and wait for a process that has bound it and does not listen yet."""
    line, until = socket.socket(socket.AF_UNIX), time.monotonic() + _LISTEN_TIMEOUT
    while True:
        try:
            line.connect(address)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return line
