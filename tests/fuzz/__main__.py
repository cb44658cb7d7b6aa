"""Fuzz parsers of untrusted input: python -m tests.fuzz --minutes 1 [--target imap_response].

First the growth of the run time is measured. Then atheris searches inputs if it is installed, and hypothesis
otherwise. A failing input is written into .fuzz/, to become a seed of the target, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import subprocess
import sys
import time
from pathlib import Path

import structlog
from hypothesis import HealthCheck, given, settings

from tests.fuzz.growth import measure_growth
from tests.fuzz.registry import targets
from tests.fuzz.target import Target, generated

#: Directory of inputs that reached new code; git ignores it.
OUTPUT = Path(".fuzz")
_EXAMPLES_AT_ONCE = 500


def main() -> int:
    """Fuzz one target or all of them for some minutes each; return 1 if one failed."""
    all_targets = targets()
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", choices=[*all_targets, "all"], default="all")
    wanted = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    guided = importlib.util.find_spec("atheris") is not None
    chosen = all_targets.values() if wanted.target == "all" else [all_targets[wanted.target]]
    broken = [target.name for target in chosen if not _holds(target, wanted.minutes, guided=guided)]
    print(f"broken: {', '.join(broken)}" if broken else f"{len(chosen)} held")
    return 1 if broken else 0


def _holds(target: Target, minutes: float, *, guided: bool) -> bool:
    print(f"{target.name}:", flush=True)
    bounded = True
    for growth in measure_growth(target):
        print(f"  {growth.what}: {growth.quarter:.3f} s, four times as much {growth.whole:.3f} s", flush=True)
        bounded = bounded and growth.is_bounded
    return (_guided if guided else _drawn)(target, minutes * 60) and bounded


def _guided(target: Target, seconds: float) -> bool:
    place = OUTPUT / target.name
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds.values()):
        (corpus / f"seed-{number}").write_bytes(seed[: target.largest])
    options = [
        str(corpus),
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={target.largest}",
        f"-artifact_prefix={place}/",
        *("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1"),
    ]
    ended = subprocess.run([sys.executable, "-m", "tests.fuzz.guided", target.name, *options], check=False)
    return ended.returncode == 0


def _drawn(target: Target, seconds: float) -> bool:
    until = time.monotonic() + seconds

    @settings(max_examples=_EXAMPLES_AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(generated(target))
    def run(octets: bytes) -> None:
        target.run(octets)

    while time.monotonic() < until:
        try:
            run()
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            print(f"  {type(error).__name__}: {error}", *getattr(error, "__notes__", ()), sep="\n  ")
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
