"""How large the store becomes by what is configured, and whether there is room for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from monitor.config.files.findings import Findings
from monitor.config.model.settings import Settings
from monitor.model.route import WatchedRoute
from monitor.store.probing.retention import Keep

_HOUR = timedelta(hours=1)
#: On the disk, with indexes: measured on both stores (docs/limits.md), the larger of the two.
_OCTETS_A_RUN = 460
_OCTETS_AN_HOUR = 250
#: One run in so many fails, where nothing much is wrong.
_FAILS = 100
#: A file that is larger is copied, and given back to the file system, in hours.
_LARGEST_FILE = 100 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """What the store holds once everything has been kept for as long as it is to be."""

    runs: int
    hours: int

    @property
    def octets(self) -> int:
        """On the disk. Incidents and the journal come on top: some kilobytes each."""
        return self.runs * _OCTETS_A_RUN + self.hours * _OCTETS_AN_HOUR

    def __str__(self) -> str:
        """Return it as people say it."""
        return f"about {amount(self.octets)}: {self.runs:,} runs, {self.hours:,} hours of routes"


def store_size(intervals: Iterable[timedelta], keep: Keep) -> StoreSize:
    """Return how large the store becomes with routes that are probed at these *intervals*, all day and all night."""
    kept = keep.delivered * (1 - 1 / _FAILS) + keep.failed / _FAILS
    runs = [kept / interval for interval in intervals]
    return StoreSize(runs=round(sum(runs)), hours=round(len(runs) * (keep.hourly / _HOUR)))


def size_of(settings: Settings, routes: Iterable[WatchedRoute]) -> StoreSize:
    """Return how large the store of a configuration becomes."""
    return store_size((route.probing.interval for route in routes), settings.keep_results.build())


def check_storage(settings: Settings, routes: Iterable[WatchedRoute], findings: Findings) -> None:
    """Note a store that becomes larger than what there is room for."""
    if settings.store is not None:
        return  # What its server has room for is not known here.
    size = size_of(settings, routes)
    there = findings["keep_results"] if findings["keep_results"].is_written else findings["state"]
    room = _room_in(settings.state)
    if room is not None and size.octets > room:
        message = f"the store becomes {amount(size.octets)} large, and there is room for {amount(room)} in its place"
        there.warning(message, "keep_results: {delivered: 7d}, longer intervals, or a larger disk")
    elif size.octets > _LARGEST_FILE:
        message = f"the store becomes a file of {amount(size.octets)}"
        there.warning(message, "a PostgreSQL (store:), keep_results: {delivered: 7d}, or longer intervals")


def _room_in(state: Path) -> int | None:
    """Return the octets that a store in *state* may take, what it has included; `None`: there is no such place here."""
    try:
        return shutil.disk_usage(state).free + sum(file.stat().st_size for file in state.glob("pantau.sqlite*"))
    except OSError:
        return None


def amount(octets: int) -> str:
    """Return so many octets as people say it."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets} octets"
