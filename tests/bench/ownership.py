"""Distribution of ten thousand agencies among processes, and its cost."""

from __future__ import annotations

import time
from collections import Counter

from monitor.planning.ownership import owners
from tests.bench.goal import Measured

_AGENCIES = 10_000
_PROCESSES = (3, 10)


def measure(rounds: int) -> Measured:
    """Distribute the agencies among few and many processes."""
    codes = [f"AG{number:05d}" for number in range(_AGENCIES)]
    spread: list[float] = []
    seconds: list[float] = []
    for each in range(rounds):
        widest, longest = 0.0, 0.0
        for processes in _PROCESSES:
            names = [f"prober-{each}-{number}" for number in range(processes)]
            began = time.process_time()
            shares = Counter(owners(codes, names).values())
            longest = max(longest, time.process_time() - began)
            widest = max(widest, max(shares.values()) * processes / _AGENCIES)
        spread.append(widest)
        seconds.append(longest)
    return Measured(rounds={"ownership_spread": spread, "ownership_seconds": seconds})


def profiled() -> None:
    """Distribute repeatedly under a profiler."""
    measure(20)
