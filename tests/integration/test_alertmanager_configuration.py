"""The sample configuration for Alertmanager: validity, routing and inhibition."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.real.prometheus import alertmanager
from tests.unit.grafana.rules import ALERTS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"


def amtool(*words: str | Path) -> str:
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_amtool_accepts_sample_and_its_commented_options(tmp_path: Path) -> None:
    amtool("check-config", SHIPPED)
    uncommented = tmp_path / SHIPPED.name
    # Comments have one blank after the mark; commented options begin with a key or are indented further.
    text = re.sub(r"(?m)^    # (?=webhook_configs:|  )", "    ", SHIPPED.read_text())
    uncommented.write_text(text)
    amtool("check-config", uncommented)
    receivers = {each["name"]: each for each in yaml.safe_load(text)["receivers"]}
    assert receivers["dead-mans-switch"]["webhook_configs"][0]["send_resolved"] is False
    assert receivers["pantau"]["webhook_configs"][0]["url"].endswith("/api/v1/alertmanager")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "PantauDown", "severity": "critical", "instance": "127.0.0.1:8080"}, "pantau-is-dead"),
        ({"alertname": "PantauAbsent", "severity": "critical"}, "pantau-is-dead"),
        # Alerts about incidents of Pantau are not sent back to it.
        *(
            ({"alertname": rule["alert"], "severity": rule["labels"]["severity"], "agency": "JCM"}, "screen")
            for rule in ALERTS.values()
            if rule["alert"] not in {"PantauDown", "PantauAbsent", "PantauWatchdog"}
        ),
        ({"alertname": "PantauWatchdog", "severity": "none"}, "dead-mans-switch"),
        ({"alertname": "LinkDown", "severity": "critical"}, "pantau"),
        ({"alertname": "DiskFillsUp", "severity": "warning"}, "screen"),
    ],
    ids=lambda value: value["alertname"] if isinstance(value, dict) else "",
)
def test_alert_is_routed_to_its_receiver(labels: dict[str, str], receiver: str) -> None:
    words = [f"{name}={value}" for name, value in labels.items()]
    assert amtool("config", "routes", "test", f"--config.file={SHIPPED}", *words) == receiver


def test_error_budget_burns_are_grouped_over_agencies() -> None:
    routes = yaml.safe_load(SHIPPED.read_text())["route"]["routes"]
    [burns] = [each for each in routes if "ErrorBudgetBurn" in each["matchers"][0]]
    assert "agency" not in burns["group_by"]
    assert routes.index(burns) < [each["matchers"] for each in routes].index(['alertname=~"Pantau.*"'])


@pytest.mark.real
async def test_mass_outage_inhibits_only_mail_alerts_of_its_installation(
    tmp_path: Path,
) -> None:
    def alert(name: str, agency: str = "", installation: str = "pusat") -> dict[str, str]:
        return {"alertname": name, "installation": installation} | ({"agency": agency} if agency else {})

    alerts_by_name = {
        "mass": alert("PantauMassOutage"),
        "down": alert("PantauMailDown", "JCM"),
        "down elsewhere": alert("PantauMailDown", "JCM", "sabah"),
        "degraded": alert("PantauMailDegraded", "JCM"),
        "degraded, another": alert("PantauMailDegraded", "MDC"),
        "unproven": alert("PantauMailUnknown", "MDC"),
        "declared": alert("PantauMailDeclaredDown", "MPC"),
        "own fault": alert("PantauMonitoringFault") | {"cause": "network"},
        "dead": alert("PantauDown") | {"instance": "a"},
        "of others": {"alertname": "LinkDown", "installation": "pusat"},
    }
    async with alertmanager(tmp_path, SHIPPED) as server:
        await server.post_alerts(*alerts_by_name.values())
        muted: set[str] = set()
        async with asyncio.timeout(60):
            # Alertmanager processes alerts one by one, and an answer may be incomplete.
            while len(found := await server.alerts()) < len(alerts_by_name) or not muted >= {"down", "degraded"}:
                muted = {
                    name for name, labels in alerts_by_name.items() for each in found
                    if each["labels"] == labels and each["status"]["inhibitedBy"]
                }  # fmt: skip
                await asyncio.sleep(0.2)
    assert muted == {"down", "degraded"}
