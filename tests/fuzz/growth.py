"""How the time that a target takes grows with what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fuzz.target import Target

#: What takes less is not looked at: a machine's own noise is larger.
_WORTH_SECONDS = 0.05
#: Four times as much may take so many times as long; what grows with the square takes 16 times.
_RATIO_AT_MOST = 9.0
#: Nothing of the largest size may hold the loop for longer.
_SECONDS_AT_MOST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one input that swells costs, in seconds of CPU."""

    what: str
    quarter: float
    whole: float

    @property
    def is_bounded(self) -> bool:
        slow = self.whole > _WORTH_SECONDS and self.whole > _RATIO_AT_MOST * self.quarter
        return not slow and self.whole <= _SECONDS_AT_MOST


def grown(target: Target) -> Iterator[Growth]:
    """Measure each of a target's swollen inputs, at the most that ever comes and at a quarter of it."""
    for what, make in target.swollen.items():
        quarter, whole = (_cost(target.run, make(size)) for size in (target.largest // 4, target.largest))
        yield Growth(what=what, quarter=quarter, whole=whole)


def _cost(run: Callable[[bytes], None], octets: bytes) -> float:
    began = time.process_time()
    run(octets)
    return time.process_time() - began
