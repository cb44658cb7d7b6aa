"""The dashboards match Grafana's schema from grafana-foundation-sdk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.unit.grafana.dashboards import BOARDS

#: Prometheus's part of an annotation and of a variable, which the schema leaves to the data source: Grafana reads it in
#: public/app/plugins/datasource/prometheus.
_OF_THE_SOURCE = {"titleFormat", "useValueForTime", "definition"}


def unknown(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Return the paths of *mine* that the schema dropped or changed."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in mine.keys() - _OF_THE_SOURCE:
            yield from unknown(mine[key], theirs[key], f"{path}.{key}") if key in theirs else [f"{path}.{key}"]
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from unknown(one, other, f"{path}[{place}]")
    elif mine != theirs:
        yield f"{path}: {mine!r} is {theirs!r}"


def read_by_grafana(board: dict[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(board)))))


@pytest.mark.parametrize("board", BOARDS)
def test_dashboard_matches_grafana_schema(board: str) -> None:
    assert list(unknown(BOARDS[board], read_by_grafana(BOARDS[board]))) == []


def test_schema_check_finds_unknown_keys() -> None:
    board = json.loads(json.dumps(BOARDS["pantau-overview"]))
    board["panels"][0]["options"]["colourMode"] = "background"
    board["panels"][1]["targets"][0]["instand"] = True
    board["refreshed"] = "15s"
    found = set(unknown(board, read_by_grafana(board)))
    assert found == {".panels[0].options.colourMode", ".panels[1].targets[0].instand", ".refreshed"}
