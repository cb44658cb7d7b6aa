"""The fork server of a test run: it has imported the service's code once, and each service is a fork of it.

    python -m tests.stories.fork_server PID

Standard input is a listening socket; PID is the test run's process, with which this ends. Each connection requests one
process, in a line of JSON, and gets its process id and, at the end, its exit code.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

from tests.stories.service_process import NUMBER_LENGTH

#: Octets of the longest request, which arrives in one piece.
_MAX_REQUEST_SIZE = 1 << 16


def _serve(listener: socket.socket, run: int) -> None:
    """*run*: pidfd of the test run's process."""
    living: dict[int, tuple[ForkProcess, socket.socket]] = {}
    while run not in (heard := wait([run, listener, *living])):
        for told in heard:
            if isinstance(told, int):
                process, asker = living.pop(told)
                os.close(told)
                process.join()
                assert process.exitcode is not None
                with asker:
                    tell(asker, process.exitcode)
                continue
            asker, _ = listener.accept()
            # Any local process can connect, and a client that was killed sends nothing.
            user = struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if user != os.getuid() or not (asked := asker.recv(_MAX_REQUEST_SIZE)):
                asker.close()
                continue
            held = (listener, asker, *(each for _, each in living.values()))
            words = json.loads(asked)
            process = ForkProcess(target=_live, args=(held, *words), daemon=True)
            process.start()
            assert process.pid is not None
            # Not its sentinel: a process that executes another program closes it.
            living[os.pidfd_open(process.pid)] = process, asker
            tell(asker, process.pid)


def tell(asker: socket.socket, number: int) -> None:
    """Send a number in fixed length, since the exit code may arrive before the client has read the process id."""
    # A test that did not wait may be over.
    with suppress(BrokenPipeError):
        asker.sendall(f"{number:{NUMBER_LENGTH}}".encode())


def _live(held: Sequence[socket.socket], words: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    """Run a module with its arguments, as `python -m` does."""
    for each in held:
        each.close()
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(ours, standard)
    if environment:
        # The dynamic loader reads the environment at the start of a program only.
        os.execve(sys.executable, [sys.executable, "-m", *words], os.environ | environment)
    module, *sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import_module("tests.stories.preload")
    with socket.socket(fileno=os.dup(0)) as here:
        _serve(here, os.pidfd_open(int(sys.argv[1])))
