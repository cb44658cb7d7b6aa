"""The process that the services of all stories of a run come from: it has read their code once, and each is a copy of it.

    python -m tests.stories.cradle PID

Standard input is a socket that listens; PID is the run's, with which this ends. Each connection asks for one life, in a line of
JSON: it hears the number of its process, and in the end what that ended with.
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

from tests.stories.living import LENGTH

#: A question as long as that comes in one piece.
_LONGEST = 1 << 16


def _serve(listener: socket.socket, run: int) -> None:
    """*run*: the open file of its process."""
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
            # Anybody on this machine can ask; and whoever was ended meanwhile asks nothing.
            user = struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if user != os.getuid() or not (asked := asker.recv(_LONGEST)):
                asker.close()
                continue
            held = (listener, asker, *(each for _, each in living.values()))
            words = json.loads(asked)
            process = ForkProcess(target=_live, args=(held, *words), daemon=True)
            process.start()
            assert process.pid is not None
            # Not its sentinel, which one that becomes another program closes.
            living[os.pidfd_open(process.pid)] = process, asker
            tell(asker, process.pid)


def tell(asker: socket.socket, number: int) -> None:
    """Tell a number. What a short life ends with may lie there before its own is read, so each is as long as the other."""
    # A story that did not wait may be over.
    with suppress(BrokenPipeError):
        asker.sendall(f"{number:{LENGTH}}".encode())


def _live(held: Sequence[socket.socket], words: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    """Run a module with its words, as `python -m` does."""
    for each in held:
        each.close()
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(ours, standard)
    if environment:
        # The loader of programs reads it, which has long been at work here.
        os.execve(sys.executable, [sys.executable, "-m", *words], os.environ | environment)
    module, *sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import_module("tests.stories.already_read")
    with socket.socket(fileno=os.dup(0)) as here:
        _serve(here, os.pidfd_open(int(sys.argv[1])))
