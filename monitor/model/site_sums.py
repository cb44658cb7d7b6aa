"""Sums of an agency's runs at one site (a location that probes), from hourly counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSums:
    """Sums over the conclusive runs in a span of time that the caller's query chooses."""

    site: str
    runs: int
    delivered: int
    #: Number of runs with a known transit time.
    timed: int
    #: Sum of the transit times, in seconds.
    transit: float
    #: Longest transit time, in seconds.
    slowest: float
