"""What a demo that was killed has left running: its services, each of which lives in a session of its own.

It is known by its number and by when it started: numbers are given again, and nobody else's process is to be ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")
#: In seconds: what is told to end has so long before it is ended; and how often it is looked.
_PATIENCE, _LOOK = 10.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRunning:
    """A process that was started here."""

    pid: int
    #: In clock ticks since the machine started.
    started: int
    #: Which start of the machine that was.
    boot: str

    def is_alive(self) -> bool:
        """Whether it is this process that has the number now, and not another."""
        return _running(self.pid) == self


def remember(file: Path, pid: int) -> None:
    """Note in *file*, too, that a process was started; nothing where the system does not say when that was."""
    running = _running(pid)
    if running is not None:
        with file.open("a") as lines:
            lines.write(f"{json.dumps(asdict(running))}\n")


def left_by(file: Path) -> Sequence[LeftRunning]:
    """Return what *file* tells of and is alive still; nothing where nobody knows."""
    left = []
    try:
        lines = file.read_text().splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            left.append(LeftRunning(**json.loads(line)))
    return [each for each in left if each.is_alive()]


def end(left: LeftRunning, sleep: Callable[[float], None] = time.sleep) -> None:
    """Tell it to end, wait, and end it if it does not. Raise `OSError` when it is somebody else's."""
    for word in (signal.SIGTERM, signal.SIGKILL):
        if not left.is_alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(left.pid, word)
        for _ in range(round(_PATIENCE / _LOOK)):
            if not left.is_alive():
                return
            sleep(_LOOK)
    raise OSError(f"process {left.pid}, which a demo that was killed has left here, does not end")


def _running(pid: int) -> LeftRunning | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # The name stands in brackets and may hold anything; state is the first field behind it, the start the twentieth.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended; its parent has only not asked yet.
    return None if fields[0] == "Z" else LeftRunning(pid=pid, started=int(fields[19]), boot=boot)
