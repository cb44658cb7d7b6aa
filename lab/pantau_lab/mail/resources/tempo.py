"""How long the faults take that take their time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDelays:
    """The spans of a mail system's faults. Tests want them short."""

    #: What `slow`, `warn` and `bounce-late` add to each delivery.
    slow_by: timedelta = timedelta(seconds=5)
    #: The pause after each byte of `tarpit`. A greeting has some fifty.
    drip: timedelta = timedelta(seconds=0.5)
    #: How long `bye-idle` lets a client wait for news.
    idle_for: timedelta = timedelta(seconds=10)
    #: How long after the first attempt a greylisted sender has to come again. Real ones want minutes.
    greylisted_for: timedelta = timedelta(seconds=20)
