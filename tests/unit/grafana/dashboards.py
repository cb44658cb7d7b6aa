"""Contents of the dashboards in grafana/dashboards."""

from __future__ import annotations

import json
import time
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


def query_of(board: str, title: str) -> str:
    """Return the first query of a panel."""
    return str(panel(board, title)["targets"][0]["expr"])


def with_variables(expr: str, values: Mapping[str, str]) -> str:
    """Return a query with values for Grafana's variables."""
    for name, value in values.items():
        expr = expr.replace(f"${name}", value)
    return expr


def displayed_value(value: float, defaults: Mapping[str, Any]) -> tuple[str, str]:
    """Return text and colour of a value in a panel, by its mappings or thresholds, as in Grafana."""
    colour = "text"
    for step in defaults.get("thresholds", {}).get("steps", ()):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    for mapping in defaults.get("mappings", ()):
        options = mapping["options"]
        if mapping["type"] == "range" and options["from"] <= value <= options["to"]:
            return options["result"]["text"], options["result"]["color"]
        # One without a colour of its own takes that of the step.
        if mapping["type"] == "value" and f"{value:g}" in options:
            return options[f"{value:g}"]["text"], options[f"{value:g}"].get("color", colour)
    return format_value(value, defaults.get("unit", "short")), colour


def format_value(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "dateTimeFromNow":
        return f"{format_value(time.time() - value / 1000, 's')} ago"
    if unit == "s":
        size, name = next(
            ((size, name) for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if abs(value) >= size),
            (0.001, "ms"),
        )
        return f"{value / size:.3g} {name}"
    return f"{value:.3g} MB" if unit == "bytes" and (value := value / 1e6) else f"{value:.15g}"
