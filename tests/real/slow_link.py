"""Link between two network namespaces that delays packets, loses them and can be disconnected.

Each end is a TUN device, and this program passes packets between them. A device that is switched off reports an
error to senders; a disconnected link drops packets silently.

python slow_link.py DESCRIPTOR DEVICE: one end is the TUN device open as DESCRIPTOR. The other, DEVICE, is made in
the current namespace. It reads commands from standard input, one a line ("cut", "mend", "worsen DELAY LOSS SEED"),
answers each with a line, and ends at the end of input. It imports no module of Pantau, so that it starts within
milliseconds.
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
_MAX_PACKET = 1 << 16
#: Packets in one direction: 100 ms at some 200 MB/s.
_MAX_PACKETS = 16_384


@dataclass(slots=True, kw_only=True)
class SlowLink:
    """Link between a device in our namespace and one in another. It starts connected and fast."""

    #: Our end, the other end, and the namespace of that.
    device: str
    far_device: str
    namespace: str
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        near = _open_device(self.device)
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
        self._expect_answer("there")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def disconnect(self) -> None:
        """Drop all packets silently."""
        self._command("cut")

    def reconnect(self) -> None:
        """Pass packets again."""
        self._command("mend")

    def degrade(self, *, delay: float, loss: float, seed: int) -> None:
        """Delay each packet by *delay* seconds each way, and lose a share *loss* of them at random."""
        self._command(f"worsen {delay} {loss} {seed}")

    def _command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._expect_answer(line)

    def _expect_answer(self, line: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().decode().strip()
        if answer != line:
            raise RuntimeError(f"the link {self.device} refused {line!r}: {answer!r}")


def _open_device(name: str) -> int:
    """Create the TUN device *name* in this namespace; return its descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


@dataclass(slots=True)
class _LinkState:
    """Delay and loss of packets."""

    is_cut: bool = False
    #: Delay in seconds and share of lost packets, each way.
    delay: float = 0.0
    loss: float = 0.0
    rng: random.Random = field(default_factory=random.Random)

    def apply(self, line: str) -> None:
        """Apply a command."""
        match line.split():
            case ["cut"]:
                self.is_cut = True
            case ["mend"]:
                self.is_cut = False
            case ["worsen", delay, loss, seed]:
                self.delay, self.loss, self.rng = float(delay), float(loss), random.Random(int(seed))
            case _:
                raise ValueError(line)

    def loses_packet(self) -> bool:
        """Return whether a packet is lost."""
        return self.is_cut or self.rng.random() < self.loss


@dataclass(slots=True)
class _Direction:
    """One direction of the link."""

    source: int
    target: int
    #: Packets with the times of their arrival.
    in_transit: deque[tuple[float, bytes]] = field(default_factory=deque)

    def forward(self, state: _LinkState, now: float) -> None:
        """Read sent packets and deliver those that are due."""
        with suppress(BlockingIOError):
            while packet := os.read(self.source, _MAX_PACKET):
                if not state.loses_packet() and len(self.in_transit) < _MAX_PACKETS:
                    self.in_transit.append((now + state.delay, packet))
        if state.is_cut:
            self.in_transit.clear()
        while self.in_transit and self.in_transit[0][0] <= now:
            # A device that is not up accepts no packets.
            with suppress(OSError):
                os.write(self.target, self.in_transit.popleft()[1])


def main() -> None:
    """Forward packets until the end of standard input."""
    near, far = int(sys.argv[1]), _open_device(sys.argv[2])
    state, directions = _LinkState(), (_Direction(near, far), _Direction(far, near))
    poll = select.poll()
    for descriptor in (0, near, far):
        poll.register(descriptor, select.POLLIN)
    _answer("there")
    while True:
        due = [direction.in_transit[0][0] for direction in directions if direction.in_transit]
        wait = max(0.0, min(due) - time.monotonic()) * 1000 if due else None
        if 0 in dict(poll.poll(wait)):
            commands = os.read(0, _MAX_PACKET).decode()
            if not commands:
                return
            for line in commands.splitlines():
                state.apply(line)
                _answer(line)
        now = time.monotonic()
        for direction in directions:
            direction.forward(state, now)


def _answer(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
