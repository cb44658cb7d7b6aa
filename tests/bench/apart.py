"""Runs a function in a process of its own, whose CPU and memory can be told from everything else's."""

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

#: A child begins with what the parent has loaded (TLS contexts, too), so nothing needs to be pickled on the way in.
_FORK = multiprocessing.get_context("fork")
#: A part under a profiler takes thrice as long.
_PATIENCE = 300.0


def apart(function: Callable[[], T]) -> T:
    """Return what *function* returns in a child process. Raise `RuntimeError` when it breaks or takes too long."""
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_answer, args=(function, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(_PATIENCE):
            raise RuntimeError(f"{function} took longer than {_PATIENCE} s")
        well, answer = ours.recv()
    except EOFError:
        raise RuntimeError(f"{function} died") from None
    finally:
        _end(child)
        ours.close()
    if not well:
        raise RuntimeError(f"{function} broke:\n{answer}")
    result: T = answer
    return result


@contextmanager
def beside(function: Callable[[], None]) -> Iterator[None]:
    """Run *function*, which never ends by itself, in a child process for as long as the block lasts."""
    child = _FORK.Process(target=function)
    child.start()
    try:
        yield
    finally:
        _end(child)


def _answer(function: Callable[[], Any], to: Connection) -> None:
    try:
        to.send((True, function()))
    except BaseException:  # noqa: BLE001 - the parent says what happened
        to.send((False, traceback.format_exc()))


def _end(child: Any) -> None:
    child.join(timeout=1)
    if child.is_alive() and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
