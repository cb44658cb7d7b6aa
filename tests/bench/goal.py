"""Goals of the benchmark and measured figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and its limit."""

    key: str
    meaning: str
    limit: float
    #: Whether a lower or a higher value is better.
    best: Literal["least", "most"] = "least"

    def is_met(self, value: float) -> bool:
        """Return whether *value* is within the limit."""
        return value <= self.limit if self.best == "least" else value >= self.limit


GOALS: Final = (
    Goal(key="cpu_vs_bare", meaning="CPU of a fresh round trip / that of the bare libraries", limit=1.15),
    Goal(key="cpu_vs_checks", meaning="CPU of a fresh round trip / check_smtp -S and check_simap", limit=0.85),
    Goal(key="throughput_vs_bare", meaning="round trips a second / with the bare libraries", limit=0.9, best="most"),
    Goal(key="scrape_bytes", meaning="/metrics of 10,000 routes of 1,000 agencies, in octets", limit=8_000_000),
    Goal(key="scrape_seconds", meaning="the same, seconds from the request to the last octet", limit=0.1),
    Goal(key="loop_stall_ms", meaning="the same, the longest that the loop stood still, ms", limit=20),
    Goal(
        key="page_held_ms",
        meaning="the status page of 1,000 agencies, the longest that the loop stood still, ms",
        limit=20,
    ),
    Goal(key="page_bytes_gzip", meaning="the same, what a viewer is sent when it changed, in octets", limit=100_000),
    Goal(key="lag_p99_ms", meaning="10,000 routes, how late 99 of 100 runs start at most, ms", limit=50),
    Goal(key="lag_load", meaning="the same, runs a second / what the bare libraries reach", limit=0.78, best="most"),
    Goal(key="scheduler_core", meaning="the same, cores in use", limit=1),
    Goal(
        key="lost_reference_stall_ms",
        meaning="a reference loses all mail, the longest that the loop stood still",
        limit=20,
    ),
    Goal(
        key="lost_reference_runs_ratio",
        meaning="the same, runs that ended / runs that were due",
        limit=0.95,
        best="most",
    ),
    Goal(
        key="overload_delivered_ratio",
        meaning="twice what the bare libraries reach, runs delivered / runs made",
        limit=0.98,
        best="most",
    ),
    Goal(key="overload_down", meaning="the same, routes that are held to be down", limit=0),
    Goal(key="start_cpu_seconds", meaning="CPU of a start with 2,000 agencies, s", limit=10),
    Goal(key="reload_cpu_seconds", meaning="CPU of a reload after one of them was edited, s", limit=0.5),
    Goal(
        key="ownership_spread",
        meaning="10,000 agencies among 3 and 10 processes, the largest share / the mean",
        limit=1.15,
    ),
    Goal(key="ownership_seconds", meaning="the same, CPU to say whose each is, s", limit=0.1),
    Goal(key="idle_route_kib", meaning="memory for one more route, KiB", limit=4),
    Goal(
        key="mailbox_kib_vs_stock", meaning="memory of a watched mailbox / an open aioimaplib connection", limit=0.333
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of a part of the benchmark."""

    #: Values of the rounds by key.
    rounds: Mapping[str, Sequence[float]]
    #: Absolute figures for readers, which differ between machines.
    notes: Mapping[str, float] = field(default_factory=dict)

    def medians(self) -> dict[str, float]:
        """Return the median of each figure."""
        return {key: round(median(values), 4) for key, values in self.rounds.items()}


def table(found: Mapping[str, float]) -> str:
    """Return the found figures as a table, with a line for each goal."""
    lines = [
        f"{'':26}{'found':>12}{'goal':>12}",
        *(_line(goal, found[goal.key]) for goal in GOALS if goal.key in found),
    ]
    return "\n".join(lines)


def missed(found: Mapping[str, float]) -> list[str]:
    """Return the keys of the goals that are not met."""
    return [goal.key for goal in GOALS if goal.key in found and not goal.is_met(found[goal.key])]


def _line(goal: Goal, value: float) -> str:
    sign = "<=" if goal.best == "least" else ">="
    verdict = "" if goal.is_met(value) else "  MISSED"
    return f"{goal.key:26}{value:>12,.4g}{f'{sign} {goal.limit:,.4g}':>12}  {goal.meaning}{verdict}"
