"""Run the bench: all of it, or the parts that are named. Writes `bench.json` at the top of the repository.

A part that fails or runs out of time is named in `bench.json`, which keeps the figures of the others; the exit code is 1.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import logging
import os
import platform
import pstats
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

import structlog

from tests.bench import cpu, deaf, memory, overload, ownership, page, reload, schedule, scrape, throughput
from tests.bench.apart import apart
from tests.bench.goal import missed, table

ROOT = Path(__file__).parents[2]
PARTS = {
    "cpu": cpu,
    "throughput": throughput,
    "scrape": scrape,
    "page": page,
    "schedule": schedule,
    "deaf": deaf,
    "overload": overload,
    "reload": reload,
    "ownership": ownership,
    "memory": memory,
}
_ROUNDS = 5
#: Seconds that one part may take. The longest takes two minutes where nothing else runs.
_LIMIT = 600.0
_TOP = 25


def main() -> None:
    """Measure, write, print; a missed goal is followed by the profile that says why."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    asked.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    asked.add_argument("--rounds", type=int, default=_ROUNDS)
    asked.add_argument("--limit", type=float, default=_LIMIT, help="seconds that a part may take; default: %(default)g")
    asked.add_argument("--output", type=Path, default=ROOT / "bench.json", help="where to write the figures")
    asked.add_argument("--profile", action="store_true", help="show where the time goes, whatever comes out")
    wanted = asked.parse_args()
    if unknown := set(wanted.parts) - PARTS.keys():
        asked.error(f"no such part: {', '.join(sorted(unknown))}")
    _be_quiet()
    found: dict[str, float] = {}
    notes: dict[str, float] = {}
    failed: dict[str, str] = {}
    profiles: list[str] = []
    for part in wanted.parts or PARTS:
        began = time.perf_counter()
        try:
            with _time_limit(wanted.limit):
                measured = PARTS[part].measure(wanted.rounds)
            medians = measured.medians()
            found |= medians
            notes |= measured.notes
            if wanted.profile or missed(medians):
                # In a process of its own, or its leavings would be found by the parts that measure memory.
                profiles.append(apart(partial(_profile, part)))
        except (Exception, _OutOfTimeError) as error:  # noqa: BLE001 - whatever a part fails of, the others are measured
            failed[part] = f"{type(error).__name__.lstrip('_')}: {error}"
            traceback.print_exception(error)
        _say(f"{part}: {time.perf_counter() - began:.0f} s{', failed' if part in failed else ''}", to=sys.stderr)
        measured_all = not wanted.parts and not failed and part == [*PARTS][-1]
        about = {"rounds": wanted.rounds, "complete": measured_all}
        wanted.output.write_text(_document(found, notes, failed, about))
    _say(table(found), *(f"  {name}: {value:,.4g}" for name, value in notes.items()), *profiles)
    if failed:
        sys.exit("\n".join(f"{part} failed: {why.splitlines()[0]}" for part, why in failed.items()))


class _OutOfTimeError(BaseException):
    """A part took too long. No `Exception`, so that nothing on the way takes it for a failure of its own."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` in the block once *seconds* have passed."""

    def expire(*_: object) -> None:
        raise _OutOfTimeError(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _say(*lines: str, to: TextIO = sys.stdout) -> None:
    to.write("\n".join(lines) + "\n")
    to.flush()


def _be_quiet() -> None:
    # What the product logs of each mailbox and run is none of the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _document(
    found: dict[str, float], notes: dict[str, float], failed: dict[str, str], about: dict[str, object]
) -> str:
    about |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count()}
    about |= {"python": platform.python_version()}
    rounded = {name: round(value, 4) for name, value in notes.items()}
    return json.dumps({**found, "notes": rounded, "failed": failed, "about": about}, indent=2) + "\n"


def _profile(part: str) -> str:
    # CPU, not time: waiting for a server is none of ours.
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    PARTS[part].profiled()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(_TOP)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([f"where the time of {part} goes:", *lines])


main()
