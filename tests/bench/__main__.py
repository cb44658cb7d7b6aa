"""Run all parts of the benchmark, or the named ones, and write `bench.json` at the top of the repository.

A part that fails or times out is named in `bench.json`, which has the figures of the others; the exit code is 1.
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

from tests.bench import cpu, lost_reference, memory, overload, ownership, page, reload, schedule, scrape, throughput
from tests.bench.goal import missed, table
from tests.bench.subprocesses import run_in_subprocess

ROOT = Path(__file__).parents[2]
PARTS = {
    "cpu": cpu,
    "throughput": throughput,
    "scrape": scrape,
    "page": page,
    "schedule": schedule,
    "lost_reference": lost_reference,
    "overload": overload,
    "reload": reload,
    "ownership": ownership,
    "memory": memory,
}
_ROUNDS = 5
#: In seconds for each part. The longest takes two minutes on an idle machine.
_TIME_LIMIT = 600.0
_PROFILE_LINES = 25


def main() -> None:
    """Measure, write and print; a missed goal is followed by its profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument(
        "--limit", type=float, default=_TIME_LIMIT, help="seconds that a part may take; default: %(default)g"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json", help="where to write the figures")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, whatever comes out")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    _limit_logging()
    found: dict[str, float] = {}
    notes: dict[str, float] = {}
    failed: dict[str, str] = {}
    profiles: list[str] = []
    for part in arguments.parts or PARTS:
        began = time.perf_counter()
        try:
            with _time_limit(arguments.limit):
                measured = PARTS[part].measure(arguments.rounds)
            medians = measured.medians()
            found |= medians
            notes |= measured.notes
            if arguments.profile or missed(medians):
                # In a process of its own, so that its memory is not measured by later parts.
                profiles.append(run_in_subprocess(partial(_profile, part)))
        except (Exception, _OutOfTimeError) as error:  # noqa: BLE001 - the other parts are still measured
            failed[part] = f"{type(error).__name__.lstrip('_')}: {error}"
            traceback.print_exception(error)
        _print(f"{part}: {time.perf_counter() - began:.0f} s{', failed' if part in failed else ''}", to=sys.stderr)
        measured_all = not arguments.parts and not failed and part == [*PARTS][-1]
        about = {"rounds": arguments.rounds, "complete": measured_all}
        arguments.output.write_text(_document(found, notes, failed, about))
    _print(table(found), *(f"  {name}: {value:,.4g}" for name, value in notes.items()), *profiles)
    if failed:
        sys.exit("\n".join(f"{part} failed: {why.splitlines()[0]}" for part, why in failed.items()))


class _OutOfTimeError(BaseException):
    """A part timed out. It is no `Exception`, so that no handler in the part catches it."""


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


def _print(*lines: str, to: TextIO = sys.stdout) -> None:
    to.write("\n".join(lines) + "\n")
    to.flush()


def _limit_logging() -> None:
    # The product logs each mailbox and run.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _document(
    found: dict[str, float], notes: dict[str, float], failed: dict[str, str], about: dict[str, object]
) -> str:
    about |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count()}
    about |= {"python": platform.python_version()}
    rounded = {name: round(value, 4) for name, value in notes.items()}
    return json.dumps({**found, "notes": rounded, "failed": failed, "about": about}, indent=2) + "\n"


def _profile(part: str) -> str:
    # CPU time, without waiting for servers.
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    PARTS[part].profiled()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(_PROFILE_LINES)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([f"where the time of {part} goes:", *lines])


main()
