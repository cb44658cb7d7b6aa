"""A dashboard: panels put where there is room, and what all four have: data source, links to each other, addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from grafana.boards.panel import SOURCE, Json

_WIDTH: Final = 24
#: All of ours have it; by it they are found in the menu of each other.
_TAG: Final = "pantau"

#: What the operator writes into pantau.local.rules.yml: where Pantau's page is, and where the runbooks are.
_ADDRESSES: Final = ("page", "runbooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels under a heading, from left to right and from top to bottom."""

    #: In English and Malay; None: no heading, it is the first and speaks for itself.
    title: str | None
    panels: Sequence[Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard, before it has become what Grafana reads."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    #: How far back it looks.
    since: str = "now-6h"
    #: Queries whose answers are chosen from, by the name of the variable: `(label, query)`.
    choices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    annotations: Sequence[Json] = ()
    #: Its counterpart among Pantau's own pages.
    page: str = "/"

    def as_grafana_reads_it(self) -> Json:
        """Return the dashboard as Grafana's JSON, version 39 of its schema: that of Grafana 10 and of all after it."""
        return {
            "uid": self.uid,
            "title": f"Pantau: {self.title}",
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": 39,
            # A file is the original: what is changed in a browser would be lost with the next one.
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "15s",
            "time": {"from": self.since, "to": "now"},
            "annotations": {"list": list(self.annotations)},
            "links": [
                _others(),
                _outside("Page · Laman", f"${{page}}{self.page}"),
                # A web server lists no directory.
                _outside("Runbooks · Panduan", "${runbooks}/README.md"),
            ],
            "templating": {"list": [*_variables(self.choices)]},
            "panels": list(placed(self.sections)),
        }


def agency_link(agency: str) -> dict[str, str]:
    """Return the link to the dashboard of one agency; *agency* is where its name is found, as `${__field.labels.agency}`."""
    return {"Agency · Agensi": f"/d/pantau-agency?var-agency={agency}&${{__url_time_range}}"}


def runbook_link(runbook: str) -> dict[str, str]:
    """Return the link to a runbook; *runbook* is where its name is found."""
    return {"Runbook · Panduan": f"${{runbooks}}/{runbook}.md"}


def annotation(
    name: str, expr: str, text: str, colour: str, *, shown: bool = True, when_it_began: bool = False
) -> Json:
    """Return marks on all graphs of a dashboard where *expr* has a value; or, if so told, at the time that is its value."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": shown,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": text,
        "useValueForTime": when_it_began,
    }


def placed(sections: Sequence[Section]) -> Iterator[Json]:
    """Return all panels with their places: each at the highest and then leftmost place that is free in its section."""
    number, top = 0, 0
    for section in sections:
        if section.title is not None:
            number += 1
            heading = {"type": "row", "title": section.title, "collapsed": False, "panels": []}
            yield {"id": number, **heading, "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1}}
            top += 1
        taken: set[tuple[int, int]] = set()
        for panel in section.panels:
            number += 1
            size = panel["gridPos"]
            x, y = next(at for at in _places(top, size["w"]) if not taken & _cells(at, size))
            taken |= _cells((x, y), size)
            yield {"id": number, **panel, "gridPos": {"x": x, "y": y, **size}}
        top = max((y for _, y in taken), default=top - 1) + 1


def _places(top: int, width: int) -> Iterator[tuple[int, int]]:
    y = top
    while True:
        yield from ((x, y) for x in range(_WIDTH - width + 1))
        y += 1


def _cells(at: tuple[int, int], size: Mapping[str, int]) -> set[tuple[int, int]]:
    return {(at[0] + right, at[1] + down) for right in range(size["w"]) for down in range(size["h"])}


def _others() -> Json:
    return {
        "type": "dashboards",
        "title": "Pantau",
        "tags": [_TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _outside(title: str, url: str) -> Json:
    return {
        "type": "link",
        "title": title,
        "url": url,
        "icon": "doc",
        "targetBlank": True,
        "tags": [],
        "tooltip": "",
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
    }


def _variables(choices: Mapping[str, tuple[str, str]]) -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Data source · Sumber data",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }
    for name in _ADDRESSES:
        yield _choice(name, name, f"label_values(pantau:addresses:info, {name})") | {"hide": 2}
    for name, (label, query) in choices.items():
        yield _choice(name, label, query)


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        # When the time changes: who has joined is there, who has left can be looked at where it was.
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
    }
