"""The service, and commands beside it, as processes of their own, started from one that has read their code already.

Reading it takes longer than most stories let them live, and they start hundreds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.stories.already_read"])


class Living:
    """A service at work, or dead. It is known by what `asyncio.subprocess.Process` has."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return what it ended with; -9 when it was killed."""
        while (code := self._process.exitcode) is None:  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0.02)
        return code


def bring_to_life(words: Sequence[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})) -> Living:
    """Run a module with its words, as `python -m` does; what it writes is added to *log*.

    *environment*: what it is started with besides; then all that it reads is read anew.
    """
    process = _CONTEXT.Process(target=_live, args=(list(words), str(log), dict(environment)), daemon=True)
    process.start()
    return Living(process)


async def bring_to_its_end(words: Sequence[str], said: Path) -> int:
    """Run a module that ends by itself with its words, as a person's command; return what it ended with."""
    return await (await asyncio.to_thread(bring_to_life, words, said)).wait()


def _live(words: list[str], log: str, environment: Mapping[str, str]) -> None:
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(ours, standard)
    if environment:
        # The loader of programs reads it, which has long been at work here.
        os.execve(sys.executable, [sys.executable, "-m", *words], os.environ | environment)
    module, *sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
