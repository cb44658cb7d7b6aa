"""A wire between two network namespaces: it takes its time, loses packets, and can be cut as a spade cuts one.

A TUN device at each end, and between them this program, which hands packets over. A device that is switched off tells
whoever sends so at once; here nothing comes through, and nobody is told.

python wire.py DESCRIPTOR DEVICE: one end is the TUN device that is open as DESCRIPTOR; the other, called DEVICE, is made in
the namespace that it runs in. It does as told on its standard input, a line each ("cut", "mend", "worsen DELAY LOSS SEED"),
answers each by a line, and ends when that ends. It imports nothing of ours: a wire is there within milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LONGEST = 1 << 16
#: What a way holds: 100 ms at some 200 MB/s.
_MOST = 16_384


@dataclass(slots=True, kw_only=True)
class SlowWire:
    """A wire between two devices: one in our namespace, one in another. Whole and fast until it is told otherwise."""

    #: Its end here, and the other one, with the namespace that this is in.
    device: str
    far_device: str
    namespace: str
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        near = _end(self.device)
        os.set_inheritable(near, True)
        program = [sys.executable, "-S", "-E", __file__, str(near), self.far_device]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[near],
            bufsize=0,
        )
        os.close(near)
        self._is_told("there")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def cut(self) -> None:
        """Let nothing through, and be silent about it."""
        self._tell("cut")

    def mend(self) -> None:
        """Let it through again."""
        self._tell("mend")

    def worsen(self, *, delay: float, loss: float, seed: int) -> None:
        """Let each packet take *delay* more seconds each way, and lose *loss* of them (0.05: every twentieth) by lot."""
        self._tell(f"worsen {delay} {loss} {seed}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._is_told(line)

    def _is_told(self, line: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().decode().strip()
        if answer != line:
            raise RuntimeError(f"the wire {self.device} did not take {line!r}: {answer!r}")


def _end(name: str) -> int:
    """Make an end of a wire, a device called *name* in this namespace; return by what packets are read and written."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


@dataclass(slots=True)
class _Fate:
    """What becomes of packets."""

    is_cut: bool = False
    #: In seconds, and of all packets; each way.
    delay: float = 0.0
    loss: float = 0.0
    dice: random.Random = field(default_factory=random.Random)

    def obey(self, line: str) -> None:
        """Do as a line says."""
        match line.split():
            case ["cut"]:
                self.is_cut = True
            case ["mend"]:
                self.is_cut = False
            case ["worsen", delay, loss, seed]:
                self.delay, self.loss, self.dice = float(delay), float(loss), random.Random(int(seed))
            case _:
                raise ValueError(line)

    def strikes(self) -> bool:
        """Return whether a packet is lost."""
        return self.is_cut or self.dice.random() < self.loss


@dataclass(slots=True)
class _Way:
    """One direction: from an end to the other."""

    source: int
    target: int
    #: Packets, and when each is there.
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def carry(self, token_state: _Fate, now: float) -> None:
        """Take what was sent, and hand over what is there by now."""
        with suppress(BlockingIOError):
            while packet := os.read(self.source, _LONGEST):
                if not token_state.strikes() and len(self.under_way) < _MOST:
                    self.under_way.append((now + token_state.delay, packet))
        if token_state.is_cut:
            self.under_way.clear()
        while self.under_way and self.under_way[0][0] <= now:
            # A device that is not up takes nothing.
            with suppress(OSError):
                os.write(self.target, self.under_way.popleft()[1])


def main() -> None:
    """Hand packets over until nobody says anything any more."""
    near, far = int(sys.argv[1]), _end(sys.argv[2])
    token_state, ways = _Fate(), (_Way(near, far), _Way(far, near))
    poll = select.poll()
    for descriptor in (0, near, far):
        poll.register(descriptor, select.POLLIN)
    _answer("there")
    while True:
        due = [way.under_way[0][0] for way in ways if way.under_way]
        wait = max(0.0, min(due) - time.monotonic()) * 1000 if due else None
        if 0 in dict(poll.poll(wait)):
            told = os.read(0, _LONGEST).decode()
            if not told:
                return
            for line in told.splitlines():
                token_state.obey(line)
                _answer(line)
        now = time.monotonic()
        for way in ways:
            way.carry(token_state, now)


def _answer(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
