"""Run the bench: all of it, or the parts that are named. Writes `bench.json` at the top of the repository."""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import logging
import os
import platform
import pstats
import sys
import time
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
_TOP = 25


def main() -> None:
    """Measure, write, print; a missed goal is followed by the profile that says why."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    asked.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    asked.add_argument("--rounds", type=int, default=_ROUNDS)
    asked.add_argument("--profile", action="store_true", help="show where the time goes, whatever comes out")
    wanted = asked.parse_args()
    if unknown := set(wanted.parts) - PARTS.keys():
        asked.error(f"no such part: {', '.join(sorted(unknown))}")
    _be_quiet()
    found: dict[str, float] = {}
    notes: dict[str, float] = {}
    profiles: list[str] = []
    for part in wanted.parts or PARTS:
        began = time.perf_counter()
        measured = PARTS[part].measure(wanted.rounds)
        medians = measured.medians()
        found |= medians
        notes |= measured.notes
        _say(f"{part}: {time.perf_counter() - began:.0f} s", to=sys.stderr)
        if wanted.profile or missed(medians):
            # In a process of its own, or its leavings would be found by the parts that measure memory.
            profiles.append(apart(partial(_profile, part)))
    _write(found, notes, wanted.rounds, complete=not wanted.parts)
    _say(table(found), *(f"  {name}: {value:,.4g}" for name, value in notes.items()), *profiles)


def _say(*lines: str, to: TextIO = sys.stdout) -> None:
    to.write("\n".join(lines) + "\n")
    to.flush()


def _be_quiet() -> None:
    # What the product logs of each mailbox and run is none of the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _write(found: dict[str, float], notes: dict[str, float], rounds: int, *, complete: bool) -> None:
    about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": rounds, "complete": complete}
    about |= {"python": platform.python_version(), "cores": os.cpu_count()}
    document = found | {"notes": {name: round(value, 4) for name, value in notes.items()}, "about": about}
    (ROOT / "bench.json").write_text(json.dumps(document, indent=2) + "\n")


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
