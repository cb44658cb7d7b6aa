"""The tables in docs/reference/metrics.md match monitor.metrics."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from alerts.decide.auditor import EscalationFailure, MissedAction
from alerts.decide.drill import DrillState
from alerts.decide.gateway.latency import Milestone
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.decide.paper import PENDING_STEPS
from alerts.model.alert import AlertEffect
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import Purpose
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.out_of_band import OutOfBandReason
from monitor.metrics import DIRECTIONS, MONITORING_FAULTS, OTHER_REFUSAL, REFUSALS, Metrics
from monitor.metrics.definition import HOPS, RECEIVERS
from probes.model.result import Arrival, Outcome, Party, Phase

README = Path(__file__).parents[3] / "docs/reference/metrics.md"


def table(heading: str) -> list[list[str]]:
    section = README.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `|") for cell in row] for row in rows]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", now=lambda: datetime(2026, 3, 2, tzinfo=UTC))


def test_metrics_are_documented_with_type(metrics: Metrics) -> None:
    # HELP and TYPE are rendered for families without a value too.
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", metrics.render().decode(), re.MULTILINE))
    documented = {row[0]: row[1] for row in table("Every metric")}
    assert documented == types


def test_metrics_are_documented_with_labels(metrics: Metrics) -> None:
    defined = {
        f"{family._name}_total" if family._type == "counter" else family._name: family._labelnames
        for family in metrics._definitions.registry._collector_to_names
        if isinstance(family, MetricWrapperBase)
    } | {family.name: family.labels for family in metrics._definitions.families}
    documented = {row[0]: tuple(row[2].split(", ")) for row in table("Every metric") if len(row) == 4 and row[2]}
    assert documented == {name: labels for name, labels in defined.items() if labels}


def test_label_values_are_documented() -> None:
    assert {row[0].replace("`", ""): set(row[1].split(", ")) for row in table("Every label")} == {
        "direction": set(DIRECTIONS),
        "outcome": set(Outcome),
        # It is part of "submit" there, and has a metric of its own.
        "phase": set(Phase) - {Phase.DATA},
        "party": set(Party),
        "verdict": set(RunVerdict),
        "arrival": set(Arrival),
        "channel": set(Channel),
        "hop": set(HOPS),
        "milestone": set(Milestone),
        "purpose": set(Purpose),
        "state": set(NotificationState),
        "cause": set(MONITORING_FAULTS),
        "limit": set(RateLimitScope),
        "step": set(PENDING_STEPS),
        "action": set(MissedAction),
        "reason of pantau_incidents_escalation_failed": set(EscalationFailure),
        "reason of pantau_heartbeat_suppressed": set(LivenessFailure),
        "receiver": set(RECEIVERS),
        "reason of pantau_out_of_band_active": set(OutOfBandReason),
        "result": set(DrillState),
        "effect": set(AlertEffect),
        "reason of the _refused_total": {*REFUSALS.values(), OTHER_REFUSAL},
    }


def test_metrics_have_meaning_and_help(metrics: Metrics) -> None:
    assert all(row[-1] for row in table("Every metric"))
    for name, meaning in re.findall(r"^# HELP (pantau_\S+) (.*)$", metrics.render().decode(), re.MULTILINE):
        assert meaning.endswith("."), name
