"""How much a server may say in a while. Pure.

What it says has to be read by the one process that reads all others, too: a server that pours, or that pads each of its
answers, must not cost more than a small part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: What reading a line costs beside its octets: the time that a literal of this size takes.
_LINE = 512


def cost(said: bytes) -> int:
    """Return what it costs to read *said*, in octets of a long literal."""
    return len(said) + _LINE * said.count(b"\n")


@dataclass(slots=True, kw_only=True)
class Allowance:
    """So much at once, and so much a second: what is beyond that is waited for."""

    at_once: int
    a_second: int
    #: In seconds; any clock that does not jump.
    clock: Callable[[], float]
    _spent: float = 0.0
    _at: float = field(default=float("-inf"))

    def spend(self, cost: int) -> float:
        """Note that so much was read; return for how many seconds nothing more should be."""
        now = self.clock()
        self._spent = max(0.0, self._spent - (now - self._at) * self.a_second) + cost
        self._at = now
        return max(0.0, (self._spent - self.at_once) / self.a_second)
