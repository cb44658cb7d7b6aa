"""`make bench` keeps the results of all measured parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_bench_part_out_of_time_is_named_and_the_next_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    words = ["scrape", "schedule", "--rounds", "1", "--limit", "0.001", "--output", str(output)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    written = json.loads(output.read_text())
    late = "OutOfTimeError: took longer than 0.001 s"
    assert (ended.returncode, written["failed"]) == (1, {"scrape": late, "schedule": late}), ended.stderr
    assert written["about"]["complete"] is False
    assert ended.stderr.splitlines()[-2:] == [f"{part} failed: {late}" for part in ("scrape", "schedule")]
