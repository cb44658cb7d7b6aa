"""Pictures of the dashboards with real data: `python -m tests.dashboard_pictures DIRECTORY`.

The lab simulates an outage, a real Prometheus answers the queries of each panel, and the answers are drawn at the
panel's place without Grafana. The pictures show that there are data, with the right colours and words in a readable
layout.
"""

from __future__ import annotations

import asyncio
import html
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration.test_prometheus import DECLARED, outage, rules_without_interval
from tests.real.browser import take_screenshot
from tests.real.prometheus import Prometheus, prometheus
from tests.stories.running_service import JCM
from tests.unit.grafana.dashboards import BOARDS, displayed_value, format_value, with_variables

Series = dict[str, Any]
CAPTION = (
    "Drawn by tests/dashboard_pictures.py from the answers of a real Prometheus in an outage of the lab. No Grafana drew this: places, colours "
    "and words are the dashboard's, the rest is only like it."
)
#: Pixels of a column and a row of Grafana's grid at a width of 1,920.
COLUMN, ROW = 79, 38
#: Seconds of a time series.
SPAN = 180
COLOURS = {
    "red": "#e02f44",
    "dark-red": "#ad0317",
    "orange": "#ff780a",
    "yellow": "#fade2a",
    "green": "#299c46",
    "blue": "#3274d9",
    "purple": "#8f3bb8",
    "text": "#565b66",
}
LINES = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#c0d8ff")
STYLE = """
body { margin: 0; background: #111217; color: #d8d9da; font: 12px sans-serif; position: relative }
div.p { position: absolute; box-sizing: border-box; background: #1b1e24; border: 1px solid #2c3235; overflow: hidden;
  padding: 26px 4px 4px; } div.p > b { position: absolute; top: 5px; left: 8px; font-weight: 600; white-space: nowrap }
div.row { background: none; border: none; font-size: 15px } .tiles { display: flex; gap: 4px; height: 100%; flex-wrap: wrap }
.tiles > i { flex: 1 1 20%; display: flex; flex-direction: column; align-items: center; justify-content: center; color: #fff;
  font-style: normal; text-align: center; min-width: 60px; overflow: hidden }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid #2c3235 }
.bar { position: relative; margin: 2px 0; height: 16px } .bar > u { position: absolute; left: 0; top: 0; height: 16px }
.bar > s { position: absolute; left: 4px; text-decoration: none; white-space: nowrap } svg { width: 100%; height: calc(100% - 30px) }
.legend { height: 28px; overflow: hidden; font-size: 11px } .empty { color: #ff9830; padding: 8px }
"""


def name_of(sample: Series, legend: str) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda label: sample["metric"].get(label[1], ""), legend)


def panel_html(panel: Mapping[str, Any], answers: Sequence[Sequence[Series]], marks: Sequence[float]) -> str:
    """Return the content of a panel as HTML."""
    if not any(answers):
        return '<div class="empty">NO DATA · TIADA DATA</div>'
    kind, defaults = panel["type"], panel["fieldConfig"]["defaults"]
    if kind == "table":
        return table(panel, answers)
    named = [
        (name_of(sample, target["legendFormat"]), sample)
        for target, samples in zip(panel["targets"], answers, strict=True)
        for sample in samples
    ]
    if kind == "stat":
        tiles = [(name, *displayed_value(float(sample["value"][1]), defaults)) for name, sample in named]
        size = min(64, panel["gridPos"]["h"] * 12, panel["gridPos"]["w"] * COLUMN // (7 * max(1, len(tiles)))) + 8
        return '<div class="tiles">{}</div>'.format(
            "".join(
                f'<i style="background:{COLOURS[colour]}"><span style="font-size:{size}px">{html.escape(text)}</span>'
                f"{html.escape(name) if panel['options']['textMode'] != 'value' else ''}</i>"
                for name, text, colour in tiles
            )
        )
    if kind == "bargauge":
        maximum = defaults.get("max") or max([float(sample["value"][1]) for _, sample in named] + [1])
        return "".join(
            f'<div class="bar"><u style="width:{max(0, min(100, 100 * value / maximum)):.0f}%;background:{COLOURS[colour]}"></u>'
            f"<s>{html.escape(name)}: {text}</s></div>"
            for name, value, text, colour in (
                (name, float(s["value"][1]), *displayed_value(float(s["value"][1]), defaults)) for name, s in named
            )
        )
    return timed(kind, defaults, named, marks)


def table(panel: Mapping[str, Any], answers: Sequence[Sequence[Series]]) -> str:
    organize = panel["transformations"][-1]["options"]
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for place, samples in enumerate(answers):
        value = "Value" if len(answers) == 1 else f"Value #{'ABCD'[place]}"
        shared = set.intersection(*({label for s in each for label in s["metric"]} for each in answers if each))
        for sample in samples:
            key = tuple(sorted((k, v) for k, v in sample["metric"].items() if k in shared))
            rows.setdefault(key, {}).update(sample["metric"] | {value: sample["value"][1]})
    columns = sorted(organize["renameByName"], key=organize["indexByName"].__getitem__)
    styles = {
        each["matcher"]["options"]: {p["id"]: p["value"] for p in each["properties"]}
        for each in panel["fieldConfig"]["overrides"]
    }
    ordered = sorted(rows.values(), key=lambda row: -float(row.get("Value", row.get("Value #A", 0))))
    body = "".join(
        "<tr>{}</tr>".format(
            "".join(cell(row.get(c, ""), c, styles.get(organize["renameByName"][c], {})) for c in columns)
        )
        for row in ordered[: max(1, panel["gridPos"]["h"] * ROW // 26 - 2)]
    )
    heads = "".join(f"<th>{html.escape(organize['renameByName'][column])}</th>" for column in columns)
    return f"<table><tr>{heads}</tr>{body}</table>"


def cell(value: str, column: str, style: Mapping[str, Any]) -> str:
    colour = ""
    if column.startswith("Value") and value:
        value, name = displayed_value(
            float(value), {"mappings": style.get("mappings", ()), "unit": style.get("unit", "short")}
        )
        colour = f'style="background:{COLOURS[name]}"' if "custom.cellOptions" in style else ""
    return f"<td {colour}>{f'<u>{html.escape(value)}</u>' if style.get('links') else html.escape(value)}</td>"


def timed(kind: str, defaults: Mapping[str, Any], named: Sequence[tuple[str, Series]], marks: Sequence[float]) -> str:
    """Return lines, state bars or a heatmap over time, with a legend."""
    end = max(float(at) for _, series in named for at, _ in series["values"])
    points = [
        (name, [(1000 - 1000 * (end - at) / SPAN, float(v)) for at, v in series["values"] if not math.isnan(float(v))])
        for name, series in named
    ]
    maximum = max([value for _, values in points for _, value in values] + [1e-9])
    shapes = list(_shapes(kind, defaults, points, maximum))
    shapes += [
        f'<line x1="{x:.0f}" x2="{x:.0f}" y1="0" y2="100" stroke="#e02f44" stroke-dasharray="2"/>'
        for x in (1000 - 1000 * (end - at) / SPAN for at in marks)
        if 0 <= x <= 1000
    ]
    legend = " ".join(
        f'<span style="color:{LINES[place % len(LINES)]}">▬ {html.escape(name)}</span>'
        for place, (name, _) in enumerate(points)
    )
    top = f'<div style="position:absolute;right:6px;top:6px;color:#8e8e8e">to {format_value(maximum, defaults["unit"])}</div>'
    box = f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none">{"".join(shapes)}</svg>'
    return f'{top}{box}<div class="legend">{legend}</div>'


def _shapes(
    kind: str, defaults: Mapping[str, Any], points: Sequence[tuple[str, list[tuple[float, float]]]], maximum: float
) -> Iterator[str]:
    for place, (_, values) in enumerate(points):
        colour = LINES[place % len(LINES)]
        if kind == "state-timeline":
            high = 100 / len(points)
            for x, value in values:
                state = COLOURS[displayed_value(value, defaults)[1]]
                yield f'<rect x="{x:.0f}" y="{place * high:.1f}" width="8" height="{high * 0.9:.1f}" fill="{state}"/>'
        elif kind == "heatmap":
            for x, value in values:
                y = 50 - 8 * math.log2(max(value, 1e-4))
                yield f'<rect x="{x:.0f}" y="{y // 8 * 8:.0f}" width="8" height="8" fill="#ff780a" opacity="0.4"/>'
        else:
            line = " ".join(f"{x:.0f},{98 - 96 * value / maximum:.1f}" for x, value in values)
            yield f'<polyline points="{line}" fill="none" stroke="{colour}" vector-effect="non-scaling-stroke"/>'


async def dashboard_html(server: Prometheus, board: Mapping[str, Any], chosen: Mapping[str, str]) -> tuple[str, int]:
    """Return a dashboard as HTML, and its height in pixels."""
    now = time.time()

    async def over_time(expr: str) -> list[Series]:
        return await server.query_range(with_variables(expr, chosen), start=now - SPAN, end=now, step=1)

    marks = [
        float(value) / 1000
        for each in board["annotations"]["list"]
        if each["enable"]
        for series in await over_time(each["expr"])
        for _, value in series["values"][-1:]
    ]
    boxes = []
    for panel in board["panels"]:
        at, answers = panel["gridPos"], []
        for target in panel.get("targets", ()):
            ask = server.query if target["instant"] else over_time
            answers.append(await ask(with_variables(target["expr"], chosen)))
        inside = panel_html(panel, answers, marks) if answers else ""
        place = f"left:{at['x'] * COLUMN}px;top:{at['y'] * ROW + 30}px;width:{at['w'] * COLUMN - 6}px;height:{at['h'] * ROW - 6}px"
        boxes.append(
            f'<div class="p {panel["type"]}" style="{place}"><b>{html.escape(with_variables(panel["title"], chosen))}</b>{inside}</div>'
        )
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) * ROW + 40
    head = f"<p style='margin:0;padding:8px'><b>{html.escape(board['title'])}</b> {CAPTION}</p>"
    page = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><body style='height:{height}px'>{head}{''.join(boxes)}"
    return page, height


async def record_outage(scratch: Path) -> Mapping[str, tuple[str, int]]:
    """Record an outage for a minute, and return the pages by name."""
    async with (
        outage(scratch) as url,
        prometheus(scratch / "prometheus", target=url, rules=rules_without_interval(scratch / "prometheus")) as server,
    ):
        await server.wait_for_scrapes(60)
        chosen = {"__rate_interval": "1m", "__range": "1h"}
        pages = {}
        for agency, suffix in ((JCM.code, ""), (DECLARED, "-declared")):
            proved = f'pantau_probe_success_timestamp_seconds{{agency="{agency}"}}'
            chosen |= {"agency": agency, "route": min(await server.label_values("route", proved))}
            for name, board in BOARDS.items():
                if not suffix or name == "pantau-agency":
                    pages[name + suffix] = await dashboard_html(server, board, chosen)
        return pages


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "prometheus").mkdir()
        for name, (page, height) in asyncio.run(record_outage(Path(scratch))).items():
            (directory / f"{name}.html").write_text(page, encoding="utf-8")
            target = (directory / f"{name}.html").resolve().as_uri(), directory / f"{name}.png"
            asyncio.run(take_screenshot(*target, (1900, height), Path(scratch)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
