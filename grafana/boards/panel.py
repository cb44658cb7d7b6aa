"""How a panel looks, one function a kind: what differs between two panels is what they ask and in which words they say it.

A title is in English and Malay, a description is a sentence in English. A query is an expression, or a pair of one and of
the name that its series go by. Whatever has a colour asks for the present moment only, and says in words when there
is nothing that it could tell of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
#: An expression, or with the name of its series: `("up", "{{instance}}")`.
Query: TypeAlias = str | tuple[str, str]
#: Columns of 24, rows of 38 pixels.
Size: TypeAlias = tuple[int, int]
#: The colour below the first number, then each number with the colour from there on.
Steps: TypeAlias = tuple[str, *tuple[tuple[float, str], ...]]
#: What a value is called, and its colour.
Words: TypeAlias = Mapping[int, tuple[str, str]]
#: Where a click leads, by what the menu calls it.
Links: TypeAlias = Mapping[str, str]

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
NOTHING: Final = "NO DATA · TIADA DATA"

PLAIN: Final[Steps] = ("blue",)
RED_FROM_ONE: Final[Steps] = ("green", (1, "red"))
ORANGE_FROM_ONE: Final[Steps] = ("green", (1, "orange"))
GREEN_FROM_ONE: Final[Steps] = ("red", (1, "green"))


def stat(
    title: str,
    description: str,
    *queries: Query,
    size: Size,
    unit: str = "short",
    steps: Steps = RED_FROM_ONE,
    words: Words | None = None,
    text: str = "value",
    links: Links | None = None,
) -> Json:
    """Return a number on a coloured ground, that is red when there is none."""
    colours = _coloured(steps, words or {}, "red", links)
    panel = _panel("stat", (title, description), _instant(queries), size=size, unit=unit, defaults=colours)
    panel["options"] = {"colorMode": "background", "graphMode": "none", "textMode": text, "reduceOptions": _last()}
    return panel


def bars(
    title: str,
    description: str,
    *queries: Query,
    size: Size,
    unit: str = "short",
    steps: Steps = PLAIN,
    most: float | None = None,
    links: Links | None = None,
) -> Json:
    """Return a bar for each series as it stands now."""
    colours = _coloured(steps, {}, "text", links)
    spread = {"min": 0} | ({"max": most} if most is not None else {})
    panel = _panel("bargauge", (title, description), _instant(queries), size=size, unit=unit, defaults=colours | spread)
    panel["options"] = {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": _last()}
    return panel


def lines(
    title: str,
    description: str,
    *queries: Query,
    size: Size,
    unit: str = "short",
    stacked: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Json:
    """Return a line for each series over time; stacked columns for what adds up. *colours* is by the series' names."""
    columns = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}
    # What is not there has no line: nothing is drawn over a gap.
    custom = columns if stacked else {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "spanNulls": False}
    defaults = {"custom": custom, "min": 0}
    panel = _panel("timeseries", (title, description), _ranges(queries), size=size, unit=unit, defaults=defaults)
    panel["options"] = {"legend": _legend(), "tooltip": {"mode": "multi", "sort": "desc"}}
    panel["fieldConfig"]["overrides"] = [
        _override(name, {"color": {"mode": "fixed", "fixedColor": colour}}) for name, colour in (colours or {}).items()
    ]
    return panel


def timeline(title: str, description: str, *queries: Query, size: Size, words: Words) -> Json:
    """Return a bar for each series over time, that has the colours of its states; a gap is unknown."""
    defaults = _coloured(("text",), words, "text", None) | {"custom": {"fillOpacity": 80, "lineWidth": 0}}
    panel = _panel("state-timeline", (title, description), _ranges(queries), size=size, unit="none", defaults=defaults)
    panel["options"] = {
        "showValue": "never",
        "rowHeight": 0.9,
        "mergeValues": True,
        "legend": _legend(),
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel


def heatmap(title: str, description: str, query: Query, *, size: Size) -> Json:
    """Return how often some time was taken, over time: Grafana counts them, on a scale of powers of two."""
    panel = _panel("heatmap", (title, description), _ranges((query,)), size=size, unit="s")
    panel["options"] = {
        "calculate": True,
        "calculation": {"yBuckets": {"mode": "size", "scale": {"type": "log", "log": 2}}},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 32},
        "yAxis": {"axisPlacement": "left", "unit": "s"},
        "cellGap": 1,
        "legend": {"show": False},
        "tooltip": {"mode": "single", "yHistogram": False},
    }
    return panel


def table(
    title: str,
    description: str,
    *queries: Query,
    size: Size,
    columns: Mapping[str, str],
    words: Words | None = None,
    whole: bool = True,
    texts: Mapping[str, Mapping[int, str]] | None = None,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, Links] | None = None,
    large: bool = False,
) -> Json:
    """Return a row for each series as it stands now, the greatest value first.

    *columns* are the labels that are shown and what they are called, in their order; the value is `Value`, and with several
    queries `Value #A` and so on: their series are one row where they have the same labels. *units* and *links* are by
    what a column is called.
    """
    value = "Value" if len(queries) == 1 else "Value #A"
    panel = _panel("table", (title, description), _instant(queries, form="table"), size=size, unit="none")
    panel["fieldConfig"]["defaults"]["custom"] = {"cellOptions": {"type": "auto"}}
    coloured: Json = {
        "custom.cellOptions": {"type": "color-background"},
        "mappings": _mappings(words or {}) if whole else _ranges_of(words or {}),
        "noValue": NOTHING,
    }
    panel["fieldConfig"]["overrides"] = [
        _override(columns[value], coloured),
        *(_override(name, {"mappings": _texts(each)}) for name, each in (texts or {}).items()),
        *(_override(name, {"unit": unit}) for name, unit in (units or {}).items()),
        *(_override(name, {"links": _links(each)}) for name, each in (links or {}).items()),
    ]
    panel["options"] = {"showHeader": True, "cellHeight": "lg" if large else "sm"}
    panel["options"]["sortBy"] = [{"displayName": columns[value], "desc": True}]
    places = {label: place for place, label in enumerate(columns)}
    panel["transformations"] = [
        *([{"id": "merge", "options": {}}] if len(queries) > 1 else []),
        {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
        {"id": "organize", "options": {"indexByName": places, "renameByName": dict(columns)}},
    ]
    return panel


def _panel(
    kind: str, texts: tuple[str, str], targets: list[Json], *, size: Size, unit: str, defaults: Json | None = None
) -> Json:
    title, description = texts
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []},
        "targets": targets,
    }


def _coloured(steps: Steps, words: Words, nothing: str, links: Links | None) -> Json:
    first, *others = steps
    return {
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": first, "value": None}, *({"color": c, "value": v} for v, c in others)],
        },
        "color": {"mode": "thresholds"},
        "noValue": NOTHING,
        "mappings": [*_mappings(words), _special(nothing)],
        "links": _links(links or {}),
    }


def _mappings(words: Words) -> list[Json]:
    return [
        {"type": "value", "options": {str(value): {"text": text, "color": colour, "index": place}}}
        for place, (value, (text, colour)) in enumerate(words.items())
    ]


def _ranges_of(words: Words) -> list[Json]:
    return [
        {
            "type": "range",
            "options": {
                "from": value,
                "to": value + 0.999999,
                "result": {"text": text, "color": colour, "index": place},
            },
        }
        for place, (value, (text, colour)) in enumerate(words.items())
    ]


def _texts(words: Mapping[int, str]) -> list[Json]:
    return [
        {"type": "value", "options": {str(value): {"text": text, "index": place}}}
        for place, (value, text) in enumerate(words.items())
    ]


def _special(colour: str) -> Json:
    return {
        "type": "special",
        "options": {"match": "null+nan", "result": {"text": NOTHING, "color": colour, "index": 99}},
    }


def _links(links: Links) -> list[Json]:
    return [{"title": title, "url": url, "targetBlank": url.startswith("${")} for title, url in links.items()]


def _override(name: str, properties: Json) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _instant(queries: Sequence[Query], form: str = "time_series") -> list[Json]:
    return [
        _target(place, query) | {"instant": True, "range": False, "format": form} for place, query in enumerate(queries)
    ]


def _ranges(queries: Sequence[Query]) -> list[Json]:
    return [_target(place, query) | {"instant": False, "range": True} for place, query in enumerate(queries)]


def _target(place: int, query: Query) -> Json:
    expr, legend = (query, "") if isinstance(query, str) else query
    return {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend}


def _last() -> Json:
    return {"calcs": ["lastNotNull"], "fields": "", "values": False}


def _legend() -> Json:
    return {"displayMode": "list", "placement": "bottom", "showLegend": True}
