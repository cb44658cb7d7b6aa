"""Test stories for `promtool test rules`, and its findings."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.metrics import Metrics
from tests.bench.fleet import NOON, delivered

#: Less garbage collection: a quarter less CPU time for 200 MB more memory.
_ROOMY = {"GOGC": "400"}

_ITEM = re.compile(r"(-?[\d.]+(?:e[+-]?\d+)?)?(?:([+-][\d.]+))?x(\d+)|_x(\d+)")


def run(directory: Path, stories: Sequence[Mapping[str, Any]], *rules: Mapping[str, Any], every: str = "1m") -> str:
    """Return promtool's errors for *stories* with *rules*, evaluated at this interval; empty when all hold."""
    return run_all(directory, [(stories, rules)], every=every)


def run_all(
    directory: Path, parts: Iterable[tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]], *, every: str
) -> str:
    """Run several pairs of stories and rules at once: a start of promtool costs a third of a story."""
    names = []
    for number, (stories, rules) in enumerate(parts):
        read, name = f"rules-{number}.yml", f"stories-{number}.yml"
        told = {"rule_files": [read], "evaluation_interval": every, "tests": stories}
        # JSON is YAML.
        (directory / read).write_text(json.dumps({"groups": [{"name": "one", "rules": rules}]}))
        (directory / name).write_text(json.dumps(told))
        names.append(name)
    return errors(directory, "test", "rules", *names)


def errors(directory: Path, *arguments: str) -> str:
    """Return promtool's errors for files of *directory*; empty when there are none."""
    words = ("promtool", *arguments)
    roomy = os.environ | _ROOMY
    done = subprocess.run(words, cwd=directory, env=roomy, capture_output=True, text=True, check=False, timeout=900)
    return done.stdout + done.stderr if done.returncode else ""


def story(
    name: str, series: Mapping[str, str], asked: Sequence[Mapping[str, Any]], *, every: str = "1m"
) -> Mapping[str, Any]:
    """Return a story with the values of *series*, one at each interval."""
    inputs = [{"series": each, "values": values} for each, values in series.items()]
    return {"name": name, "interval": every, "input_series": inputs, "promql_expr_test": asked}


def ask(expr: str, at: str, samples: Iterable[tuple[str, float]]) -> Mapping[str, Any]:
    """Return a question of a story, and its answer."""
    return {
        "expr": expr,
        "eval_time": at,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
    }


def expand_values(values: str) -> list[str]:
    """Expand promtool's notation of values: "1x2" is 1, 1, 1."""
    out: list[str] = []
    for item in values.split():
        if (match := _ITEM.fullmatch(item)) is None:
            out.append(item)
        elif match[4] is not None:
            out += ["_"] * int(match[4])
        else:
            first, step = float(match[1]), float(match[2] or 0)
            out += [f"{first + step * n:.15g}" for n in range(int(match[3]) + 1)]
    return out


def scrape() -> Iterator[tuple[str, str]]:
    """Return series and values of a service with a delivered run of one agency."""
    metrics = Metrics(version="1", now=lambda: NOON)
    metrics.register_agency("JCM", routes=["JCM/internal"])
    metrics.record_run(delivered("JCM/internal"), agency="JCM", direction="internal", site="putrajaya")
    metrics.set_overdue_times("JCM", run_by=NOON, success_by=NOON)
    metrics.set_mail_health("JCM", "internal", up=True)
    metrics.record_cycle(NOON, None, ())
    metrics.record_reload(ok=True, now=datetime(2026, 3, 2, tzinfo=UTC))
    metrics.set_store_up(available=True)
    metrics.set_audit_violations(0)
    metrics.on_call.export("JCM", {}, 0)
    for line in metrics.render().decode().splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, brace, labels = series.partition("{")
            yield f'{name}{{instance="a",job="pantau"{"," if brace else ""}{labels or "}"}', value
