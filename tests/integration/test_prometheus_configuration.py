"""The shipped scrape configuration, installed as in docs/how-to/operator/install.md."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "prometheus" / "prometheus.yml"
LOCAL = SHIPPED.with_name("pantau.local.rules.yml")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED, tmp_path)
    shutil.copy(LOCAL, tmp_path)
    (tmp_path / "rules").mkdir()
    shutil.copy(ROOT / "grafana" / "rules" / "pantau.rules.yml", tmp_path / "rules")
    return tmp_path / SHIPPED.name


def test_promtool_accepts_configuration_with_rules(installed: Path) -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", "--lint=all", "--lint-fatal", installed],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    # A glob that matches nothing is no error to promtool.
    assert "2 rule files found" in checked.stdout


def test_job_name_matches_rules_and_dashboards(installed: Path) -> None:
    configuration: dict[str, Any] = yaml.safe_load(installed.read_text())
    assert "pantau" in [job["job_name"] for job in configuration["scrape_configs"]]


def test_scrape_interval_matches_data_source(installed: Path) -> None:
    configuration: dict[str, Any] = yaml.safe_load(installed.read_text())
    provisioned = ROOT / "grafana" / "provisioning" / "datasources" / "pantau.yaml"
    source: dict[str, Any] = yaml.safe_load(provisioned.read_text())["datasources"][0]
    assert source["jsonData"]["timeInterval"] == configuration["global"]["scrape_interval"]
