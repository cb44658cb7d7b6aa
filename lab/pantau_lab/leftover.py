"""Service processes that a killed demo has left running, because each has a session of its own.

A process is identified by its pid and its start time: pids are reused, and no other process may be killed.
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
#: Time to end after each signal, and interval of checks, in seconds.
_GRACE_SECONDS, _POLL_SECONDS = 10.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRunning:
    """Process of a demo. Its fields are the keys of a line of JSON in the state file."""

    pid: int
    #: Start time, in clock ticks since the machine booted.
    started: int
    #: The kernel's boot id at that time.
    boot: str

    def is_alive(self) -> bool:
        """Whether this process still runs, and its pid was not reused."""
        return _running(self.pid) == self


def remember(file: Path, pid: int) -> None:
    """Append a started process to *file*. Do nothing if the system does not report its start time."""
    running = _running(pid)
    if running is not None:
        with file.open("a") as lines:
            lines.write(f"{json.dumps(asdict(running))}\n")


def left_by(file: Path) -> Sequence[LeftRunning]:
    """Return the processes in *file* that still run; none if the file is unreadable."""
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
    """Send SIGTERM, wait, and send SIGKILL if necessary. Raise `OSError` if the process does not end or is not ours."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if not left.is_alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(left.pid, signal_number)
        for _ in range(round(_GRACE_SECONDS / _POLL_SECONDS)):
            if not left.is_alive():
                return
            sleep(_POLL_SECONDS)
    raise OSError(f"process {left.pid}, which a demo that was killed has left here, does not end")


def _running(pid: int) -> LeftRunning | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # The process name is in brackets and may contain anything. After it, the state is field 0, the start
        # time field 19.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended, and only its parent has not waited for it.
    return None if fields[0] == "Z" else LeftRunning(pid=pid, started=int(fields[19]), boot=boot)
