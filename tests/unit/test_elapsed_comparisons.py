"""Comparisons of elapsed time have a lower bound, so that a clock set back does not stall them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Modules whose comparisons need no lower bound, and the reason.
_MOVED_BACK = "instants of the store: those that lie ahead are moved back (monitor/store/engine/clock_set_back.py)"
_REWINDS = "runs and judgements: those that lie ahead are moved back (Judge._rewind)"
BOUNDED_OTHERWISE = {
    "alerts/decide/auditor.py": _MOVED_BACK,
    "alerts/decide/bundle.py": "what lies ahead counts as now",
    "alerts/decide/escalation.py": _MOVED_BACK,
    "alerts/persistence/restoration.py": "a store is silent by what it last wrote, which nothing waits for",
    "monitor/access/lockout.py": "a wait that lies ahead is over",
    "monitor/bridge/incident_reporter.py": "what lies ahead begins anew (Consensus._ripe)",
    "monitor/config/files/regular.py": "of the file system",
    "monitor/evaluation/flapping.py": "what lies ahead begins anew (Flapping.rose)",
    "monitor/evaluation/evaluator.py": _REWINDS,
    "monitor/evaluation/out_of_band.py": "what lies ahead is forgotten, or begins now (recall)",
    "monitor/evaluation/monitoring_faults.py": _REWINDS,
    "monitor/planning/ownership.py": "beats that lie ahead are dated anew (Membership._first_seen)",
    "monitor/planning/schedule.py": "all is planned anew (Schedule._hear)",
    "monitor/service/access/authenticator.py": "a session that lies ahead is dated anew when it is used next",
    "monitor/service/alertmanager/sender.py": "what ended in the future is told to be over all the same",
    "monitor/service/declarations.py": "what begins in the future is refused",
    "monitor/service/paper/restore_guard.py": "compared with the uptime",
    "monitor/service/portal/mailbox_setup.py": "what lies ahead is left out before",
    "monitor/service/portal/on_demand_runs.py": "what lies ahead is left out before",
    "monitor/service/reloader.py": "a process whose beat lies ahead may be alive",
    "monitor/store/probing/retention.py": "deletes what is old",
}


def is_now(node: ast.expr) -> bool:
    """Whether the expression is the current time: `now`, `self._now`, `clock.now()`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lstrip("_") == "now"
        case ast.Call(func=ast.Attribute(attr="now")):
            return True
    return False


def is_span(node: ast.expr) -> bool:
    """Whether it is a span since an instant, and not the instant a constant span ago."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and is_now(node.left)):
        return False
    return not (isinstance(node.right, ast.Name) and node.right.id.isupper())


def is_steady(function: ast.AST) -> bool:
    """Whether `now` in a function is monotonic, or seconds in a parameter."""
    for node in ast.walk(function):
        match node:
            case ast.arg(arg="now", annotation=ast.Name(id="float")):
                return True
            case ast.Assign(value=value) if any(map(is_now, names_in(node.targets))):
                calls = (each.func for each in ast.walk(value) if isinstance(each, ast.Call))
                return any(
                    isinstance(f, ast.Attribute) and f.attr in {"monotonic", "time", "_monotonic"} for f in calls
                )
    return False


def names_in(targets: list[ast.expr]) -> list[ast.Name]:
    return [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def unbounded(source: str) -> Iterator[tuple[int, str]]:
    """Yield the one-sided comparisons of `now - x`, each with its line."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    monotonic = {id(node) for function in functions if is_steady(function) for node in ast.walk(function)}
    for node in ast.walk(tree):
        if id(node) in monotonic or not isinstance(node, ast.Compare) or len(node.ops) > 1:
            continue
        if any(map(is_span, (node.left, *node.comparators))):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("now - at < span", True),
        ("span <= self._clock.now() - at", True),
        ("self._now - at >= span", True),
        ("timedelta(0) <= now - at < span", False),
        ("is_recent(at, now, span)", False),
        ("at < now - span", True),
        ("at < now - _SPAN", False),
        ("now < at", False),
        ("later - at < span", False),
        ("def f(now: float): return now - at < span", False),
        ("def f():\n now = time.monotonic()\n return now - at < span", False),
        ("def f(now: datetime): return now - at < span", True),
    ],
)
def test_lint_comparison_of_now_without_lower_bound_is_found(*, source: str, found: bool) -> None:
    assert bool([*unbounded(source)]) is found


def test_product_comparisons_of_now_have_a_lower_bound_or_a_reason() -> None:
    found: dict[str, list[str]] = {}
    for package in ("alerts", "monitor", "probes"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for line, text in unbounded(path.read_text(encoding="utf-8")):
                found.setdefault(path.relative_to(ROOT).as_posix(), []).append(f"line {line}: {text}")
    new = {path: lines for path, lines in found.items() if path not in BOUNDED_OTHERWISE}
    assert new == {}, "compare by alerts.hours.elapsed.is_recent, or say here why not"
    assert BOUNDED_OTHERWISE.keys() - found.keys() == set(), "these have none any more"
