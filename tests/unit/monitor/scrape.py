"""Metrics as Prometheus scrapes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from alerts.engine.processing_result import OpenIncident
from monitor.metrics import Metrics
from probes.model.result import Outcome, Phase, ProbeResult

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
AGENCY = "jpc"
ROUTE = "jpc/outbound/reference-a"
LABELS = {"agency": AGENCY, "route": ROUTE}
SUCCESS = {**LABELS, "direction": "outbound", "site": "putrajaya"}


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **span: float) -> None:
        self.time += timedelta(**span)


class Scrape:
    """Parsed scrape. Only the lines of the requested name are parsed, because parsing all is slow."""

    def __init__(self, metrics: Metrics) -> None:
        self._text = metrics.render().decode()

    @cached_property
    def series(self) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
        """Value of each series."""
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in _samples(self._text)}

    def value(self, name: str, **labels: str) -> float | None:
        found = {frozenset(sample.labels.items()): sample.value for sample in self._of(name)}
        return found.get(frozenset(labels.items()))

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        return (sample.labels for sample in self._of(name))

    def with_label(self, name: str, value: str) -> set[str]:
        return {series for series, labels in self.series if (name, value) in labels}

    def _of(self, name: str) -> Iterator[Sample]:
        return _samples("".join(re.findall(rf"^pantau_{name}[ {{].*\n", self._text, re.MULTILINE)))


def _samples(text: str) -> Iterator[Sample]:
    return (sample for family in text_string_to_metric_families(text) for sample in family.samples)


def run(outcome: Outcome, route: str = ROUTE, at: datetime = NOON, **phases: float) -> ProbeResult:
    return ProbeResult(
        route=route,
        token_id="00c0ffee00c0ffee",
        started_at=at,
        duration=timedelta(seconds=3),
        outcome=outcome,
        phases={Phase(name): timedelta(seconds=span) for name, span in phases.items()},
    )


def finish(metrics: Metrics, result: ProbeResult, agency: str = AGENCY, direction: str = "outbound") -> None:
    metrics.record_run(result, agency=agency, direction=direction, site="putrajaya")


def opened(agency: str, number: int = 1) -> OpenIncident:
    return OpenIncident(agency=agency, number=f"{agency.upper()}-{number:02}", opened_at=NOON)
