"""Delays of faults that delay mail or responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDelays:
    """Delays of a mail system's faults, which `Fault` describes. Tests use short delays."""

    #: Delay of each message by the faults `slow`, `warn` and `bounce-late`.
    slow_by: timedelta = timedelta(seconds=5)
    #: Pause of `tarpit` after each byte. A greeting has about fifty bytes.
    drip: timedelta = timedelta(seconds=0.5)
    #: Time in IDLE without an update after which `bye-idle` sends BYE.
    idle_limit: timedelta = timedelta(seconds=10)
    #: Time from the first attempt in which `greylist` rejects retries. Real servers use minutes.
    greylisted_for: timedelta = timedelta(seconds=20)
