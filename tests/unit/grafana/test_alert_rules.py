from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.metrics import Metrics
from tests.unit.grafana import promql

GRAFANA = Path(__file__).parents[3] / "grafana"
RULES = GRAFANA / "rules" / "pantau.rules.yml"
STORIES = GRAFANA / "rules" / "pantau.rules.test.yml"

ALL: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDINGS = {rule["record"]: rule for rule in ALL if "record" in rule}
TESTED: list[dict[str, Any]] = [
    test for story in yaml.safe_load(STORIES.read_text())["tests"] for test in story["promql_expr_test"]
]


@pytest.fixture(scope="module")
def defined() -> set[str]:
    text = Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)).render().decode()
    # `up` and `ALERTS` are Prometheus's own.
    return {*re.findall(r"^# TYPE (\S+)", text, re.MULTILINE), *RECORDINGS, "up"}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_promtool_accepts_the_rules() -> None:
    assert not promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)


def test_every_rule_does_what_its_story_tells() -> None:
    assert not promtool("test", "rules", STORIES.name)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    fires = [bool(t["exp_samples"]) for t in TESTED if f'alertname="{alert}"' in t["expr"]]
    # EngineStopped is told apart by instance: at an earlier time fewer stand still.
    assert True in fires
    assert False in fires


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_recording_has_a_story(recording: str) -> None:
    assert any(recording in t["expr"] and t["exp_samples"] for t in TESTED)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_tells_the_operator_what_to_do_in_both_languages(alert: str) -> None:
    rule = ALERTS[alert]
    assert alert.startswith("Pantau")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    texts = rule["annotations"]
    assert set(texts) == {"runbook", "summary", "summary_ms", "description", "description_ms"}
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", texts["runbook"])
    for english, malay in (("summary", "summary_ms"), ("description", "description_ms")):
        assert texts[english] != texts[malay]
        assert variables(texts[english]) == variables(texts[malay])


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_names_only_labels_that_its_expression_leaves(alert: str) -> None:
    rule = ALERTS[alert]
    used = {label for text in rule["annotations"].values() for label in variables(text) if label != "$value"}
    # A plain selector leaves all labels, `instance` among them; an aggregation only those it groups by.
    grouped = promql.labels(rule["expr"])
    assert used <= grouped | ({"instance"} if " by " not in rule["expr"] else set())


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_reads_only_metrics_that_exist(rule: dict[str, Any], defined: set[str]) -> None:
    assert promql.metrics(rule["expr"]) <= defined


def test_every_alert_is_listed_in_the_readme_with_its_severity() -> None:
    listed = re.findall(r"^\| `(Pantau\w+)` \| (\w+) \|", (GRAFANA / "README.md").read_text(), re.MULTILINE)
    assert dict(listed) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def variables(text: str) -> set[str]:
    return set(re.findall(r"\{\{ \$labels\.(\w+)", text)) | set(re.findall(r"\$value", text))


@pytest.mark.parametrize(
    ("expr", "selected"),
    [
        ('up{job="pantau"} == 0', ['up{job="pantau"}']),
        ("sum by (direction, le) (rate(a_bucket[30m]))", ["a_bucket"]),
        ("a unless on (job, instance) b > time() - 180 or vector(0)", ["a", "b"]),
        ('sum by (x) (increase(n_total{state=~"a|b", y!="none"}[5m])) > 2e3', ['n_total{state=~"a|b", y!="none"}']),
        ("histogram_quantile(0.95, direction_le:b:rate30m)", ["direction_le:b:rate30m"]),
    ],
)
def test_the_series_of_an_expression_are_found(expr: str, selected: list[str]) -> None:
    assert promql.selectors(expr) == selected
