"""What the dashboards of grafana/dashboards show, for the tests that ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[3] / "grafana"
#: By the names of their files.
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}


def panels(board: str | None = None) -> Iterator[dict[str, Any]]:
    """Return the panels of one dashboard, or of all."""
    for name, each in BOARDS.items():
        if board in {None, name}:
            yield from (one for one in each["panels"] if one["type"] != "row")


def panel(board: str, title: str) -> dict[str, Any]:
    """Return the panel of a dashboard that has this title in English."""
    [found] = [each for each in panels(board) if each["title"].partition(" · ")[0] == title]
    return found


def asked(board: str, title: str) -> str:
    """Return what a panel asks first."""
    return str(panel(board, title)["targets"][0]["expr"])


def filled(expr: str, values: Mapping[str, str]) -> str:
    """Return a query with the variables that Grafana would put in."""
    for name, value in values.items():
        expr = expr.replace(f"${name}", value)
    return expr
