from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.metrics import Metrics
from tests.unit.grafana import promql, promtool

GRAFANA = Path(__file__).parents[3] / "grafana"
WALL: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "noc-wall.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in WALL["panels"] if panel["type"] != "row"]
#: Those whose colour says how things stand now.
COLOURED = [panel for panel in PANELS if panel["type"] in {"stat", "bargauge"}]


@pytest.fixture(scope="module")
def known() -> set[str]:
    text = Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)).render().decode()
    rules = yaml.safe_load((GRAFANA / "rules" / "pantau.rules.yml").read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    return {*re.findall(r"^# TYPE (\S+)", text, re.MULTILINE), *recorded, "up"}


def title(panel: dict[str, Any]) -> str:
    return str(panel["title"])


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_says_what_it_shows_and_in_what_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_asks_only_for_metrics_that_exist(panel: dict[str, Any], known: set[str]) -> None:
    for target in panel["targets"]:
        assert promql.metrics(target["expr"]) <= known


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_asks_the_data_source_that_is_chosen(panel: dict[str, Any]) -> None:
    for asked in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert asked == {"type": "prometheus", "uid": "${datasource}"}


def test_variables_ask_only_for_metrics_that_exist(known: set[str]) -> None:
    queries = [v["query"]["query"] for v in WALL["templating"]["list"] if v["type"] == "query"]
    asked = [re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, \w+\)", query) for query in queries]
    assert len(asked) == 2
    assert {match and match[1] for match in asked} <= known


def test_only_variables_that_exist_are_used() -> None:
    mine = {v["name"] for v in WALL["templating"]["list"]}
    grafanas = {"__range", "__rate_interval"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(WALL)))
    assert used <= mine | grafanas
    assert mine <= used


@pytest.mark.blind
@pytest.mark.parametrize("panel", COLOURED, ids=title)
def test_a_panel_with_a_colour_says_in_words_that_there_are_no_data_and_never_in_green(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    nothing = [
        mapping["options"]["result"]
        for mapping in defaults["mappings"]
        if mapping["type"] == "special" and mapping["options"]["match"] == "null+nan"
    ]
    assert [result["text"] for result in nothing] == ["NO DATA · TIADA DATA"]
    # The first step of the thresholds is the colour of what has no value, unless a mapping has another.
    assert nothing[0]["color"] == ("red" if panel["type"] == "stat" else "text")
    assert defaults["noValue"] == nothing[0]["text"]
    # The last value that was ever there is no present one.
    assert all(target["instant"] and not target["range"] for target in panel["targets"])


@pytest.mark.blind
def test_a_number_on_the_wall_is_never_made_of_nothing() -> None:
    rules = (GRAFANA / "rules" / "pantau.rules.yml").read_text()
    assert not [expr for expr in expressions() if "vector(" in expr or "absent" in expr]
    assert "vector(" not in rules


@pytest.mark.blind
def test_no_panel_shows_a_number_for_a_dead_pantau_after_seconds_minutes_or_hours(tmp_path: Path) -> None:
    alive = {series: f"{value}x9 stale _x400" for series, value in promtool.scrape()}
    # What is left is a target that cannot be read.
    series = alive | {'up{job="pantau",instance="a"}': "1x9 0x400"}
    # What happened while Pantau lived has happened, until it leaves the range: no state, and no colour that says well.
    states = [(title(p), t["expr"]) for p in COLOURED for t in p["targets"] if "increase(" not in t["expr"]]
    asked = [
        promtool.ask(expr, at, [('{instance="a"}', 0)] if name.startswith("Scraped") else [])
        for name, expr in states
        for at in ("10m20s", "13m", "5h")
    ]
    assert len(states) > 25
    recorded = {"record": "agency_direction:pantau_mail_up:avg1d", "expr": "avg_over_time(pantau_mail_up[1d])"}
    assert not promtool.run(tmp_path, [promtool.story("death", series, asked)], recorded)


@pytest.mark.blind
def test_who_is_declared_down_counts_once_with_those_that_are_measured_and_silence_ends_nothing(
    tmp_path: Path,
) -> None:
    """JCM is declared deaf from the third minute to the seventh, MDC always; the probes see MDC down, from another site."""
    series = {
        'pantau_build_info{instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="JCM",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="MDC",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="MDC",direction="inbound",instance="b"}': "0x8 1x2 stale",
        'pantau_mail_degraded{agency="JCM",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_degraded{agency="MDC",direction="inbound",instance="a"}': "0x11 stale",
        'pantau_outage_declared{agency="JCM",direction="inbound",instance="a"}': "_x3 1x3 stale",
        'pantau_outage_declared{agency="MDC",direction="inbound",instance="a"}': "1x8 stale",
        'pantau_outage_declared{agency="MDC",direction="outbound",instance="a"}': "1x8 stale",
    }
    asked = {title(p): t["expr"] for p in PANELS for t in p["targets"]}
    jcm, mdc = '{agency="JCM",direction="inbound"}', '{agency="MDC",direction="inbound"}'
    half = '{agency="MDC",direction="outbound"}'
    count, now, line = (
        asked[name]
        for name in (
            "Agencies down · Agensi terganggu",
            "Down now · Terganggu sekarang",
            "Mail by agency and direction · E-mel mengikut agensi dan arah",
        )
    )
    story = [
        promtool.ask(count, "2m", [("{}", 1)]),
        promtool.ask(now, "2m", [(mdc, 0), (half, -1)]),
        promtool.ask(line, "2m", [(jcm, 1), (mdc, 0), (half, -1)]),
        promtool.ask(count, "5m", [("{}", 2)]),
        promtool.ask(now, "5m", [(jcm, -1), (mdc, 0), (half, -1)]),
        promtool.ask(line, "5m", [(jcm, -1), (mdc, 0), (half, -1)]),
        promtool.ask(count, "10m", [("{}", 0)]),
        promtool.ask(now, "10m", [('{agency="nobody · tiada"}', 1)]),
        # It is gone, and nobody says that they are well.
        *(promtool.ask(expr, "13m", []) for expr in (count, now, line)),
    ]
    unused = {"record": "agency:unused", "expr": "pantau_build_info"}
    assert not promtool.run(tmp_path, [promtool.story("declared", series, story)], unused)


def test_every_metric_of_ours_that_tells_of_the_world_is_on_the_wall(known: set[str]) -> None:
    rules = yaml.safe_load((GRAFANA / "rules" / "pantau.rules.yml").read_text())
    recorded = [rule["expr"] for group in rules["groups"] for rule in group["rules"] if "record" in rule]
    shown = {m for expr in (*expressions(), *recorded) for m in promql.metrics(expr)}
    assert {metric for metric in known if metric.startswith("pantau_")} <= shown


def test_no_panel_lies_on_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(WALL["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
        assert one["id"] != other["id"]
    assert all(x < 24 for panel in WALL["panels"] for x, _ in cells(panel))


def test_grafana_finds_dashboard_and_data_source() -> None:
    provisioning = GRAFANA / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "pantau.yaml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    provider = yaml.safe_load((provisioning / "dashboards" / "pantau.yaml").read_text())["providers"][0]
    install = (GRAFANA.parent / "deploy" / "README.md").read_text()
    assert provider["type"] == "file"
    assert provider["options"]["path"] in install


def expressions() -> Iterator[str]:
    return (target["expr"] for panel in PANELS for target in panel["targets"])
