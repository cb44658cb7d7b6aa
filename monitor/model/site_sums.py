"""What came of an agency's runs at one site, counted by the hour and summed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSums:
    """The sums; runs that say nothing of mail are left out."""

    site: str
    runs: int
    delivered: int
    #: Runs of which it is known how long the message was on its way; in seconds, of all together and of the slowest.
    timed: int
    transit: float
    slowest: float
