"""Functions in child processes, whose CPU and memory are measured separately."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")

#: A forked child has what the parent has loaded, such as TLS contexts, without pickling.
_FORK = multiprocessing.get_context("fork")
#: In seconds. A profiled part takes three times as long.
_TIMEOUT = 300.0


def run_in_subprocess(function: Callable[[], T]) -> T:
    """Return the result of *function* in a child process. Raise `RuntimeError` if it fails or times out."""
    receiver, sender = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_answer, args=(function, sender))
    child.start()
    sender.close()
    try:
        if not receiver.poll(_TIMEOUT):
            raise RuntimeError(f"{function} took longer than {_TIMEOUT} s")
        succeeded, answer = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{function} died") from None
    finally:
        _end(child)
        receiver.close()
    if not succeeded:
        raise RuntimeError(f"{function} broke:\n{answer}")
    result: T = answer
    return result


@contextmanager
def background_process(function: Callable[[], None]) -> Iterator[None]:
    """Run *function*, which never ends, in a child process for the duration of the block."""
    child = _FORK.Process(target=function)
    child.start()
    try:
        yield
    finally:
        _end(child)


def _answer(function: Callable[[], Any], to: Connection) -> None:
    try:
        to.send((True, function()))
    except BaseException:  # noqa: BLE001 - the parent reports it
        to.send((False, traceback.format_exc()))


def _end(child: Any) -> None:
    child.join(timeout=1)
    if child.is_alive() and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
