"""What Prometheus reads from our metrics, for tests that tell them something and look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from alerts.engine.advance import OpenIncident
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
    """What Prometheus would read."""

    def __init__(self, metrics: Metrics) -> None:
        self.series = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.series.get((f"pantau_{name}", frozenset(labels.items())))

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        return (dict(labels) for found, labels in self.series if found == f"pantau_{name}")

    def with_label(self, name: str, value: str) -> set[str]:
        return {series for series, labels in self.series if (name, value) in labels}


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
    metrics.probe_finished(result, agency=agency, direction=direction, site="putrajaya")


def opened(agency: str, number: int = 1) -> OpenIncident:
    return OpenIncident(agency=agency, number=f"{agency.upper()}-{number:02}", opened_at=NOON)
