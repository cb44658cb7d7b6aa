"""Sums of an agency's runs at one site, by hour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSums:
    """Sums of the conclusive runs."""

    site: str
    runs: int
    delivered: int
    #: Number of runs with a known transit time; sum and maximum in seconds.
    timed: int
    transit: float
    slowest: float
