"""Growth of a target's run time with the size of its input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fuzz.target import Target

#: Shorter times are ignored, as noise of the machine.
_MIN_SECONDS = 0.05
#: Limit of the factor for four times the size; quadratic growth has 16.
_MAX_RATIO = 9.0
#: Limit for the largest size, because it blocks the event loop.
_MAX_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """CPU seconds of a growing input at a quarter and at the whole of the largest size."""

    what: str
    quarter: float
    whole: float

    @property
    def is_bounded(self) -> bool:
        slow = self.whole > _MIN_SECONDS and self.whole > _MAX_RATIO * self.quarter
        return not slow and self.whole <= _MAX_SECONDS


def measure_growth(target: Target) -> Iterator[Growth]:
    """Measure each growing input of a target."""
    for what, make in target.growing.items():
        quarter, whole = (_cost(target.run, make(size)) for size in (target.largest // 4, target.largest))
        yield Growth(what=what, quarter=quarter, whole=whole)


def _cost(run: Callable[[bytes], None], octets: bytes) -> float:
    began = time.process_time()
    run(octets)
    return time.process_time() - began
