"""The sample for Alertmanager: what it accepts, where an alert goes, and what mutes what."""

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


def test_amtool_accepts_it_and_what_is_commented_out_when_it_is_wanted(tmp_path: Path) -> None:
    amtool("check-config", SHIPPED)
    wanted = tmp_path / SHIPPED.name
    # Prose begins one blank after the mark, what is commented out with a key of Alertmanager's or further in.
    text = re.sub(r"(?m)^    # (?=webhook_configs:|  )", "    ", SHIPPED.read_text())
    wanted.write_text(text)
    amtool("check-config", wanted)
    receivers = {each["name"]: each for each in yaml.safe_load(text)["receivers"]}
    assert receivers["dead-mans-switch"]["webhook_configs"][0]["send_resolved"] is False
    assert receivers["pantau"]["webhook_configs"][0]["url"].endswith("/api/v1/alertmanager")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "PantauDown", "severity": "critical", "instance": "127.0.0.1:8080"}, "pantau-is-dead"),
        ({"alertname": "PantauAbsent", "severity": "critical"}, "pantau-is-dead"),
        # What Pantau tells people of is not told back to it.
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
def test_an_alert_goes_where_it_should(labels: dict[str, str], receiver: str) -> None:
    words = [f"{name}={value}" for name, value in labels.items()]
    assert amtool("config", "routes", "test", f"--config.file={SHIPPED}", *words) == receiver


def test_budgets_that_burn_at_many_agencies_at_once_are_one_notice() -> None:
    routes = yaml.safe_load(SHIPPED.read_text())["route"]["routes"]
    [burns] = [each for each in routes if "ErrorBudgetBurn" in each["matchers"][0]]
    assert "agency" not in burns["group_by"]
    assert routes.index(burns) < [each["matchers"] for each in routes].index(['alertname=~"Pantau.*"'])


@pytest.mark.real
async def test_a_mass_outage_mutes_the_single_ones_of_its_installation_and_faults_of_our_own_mute_nothing(
    tmp_path: Path,
) -> None:
    def alert(name: str, agency: str = "", installation: str = "pusat") -> dict[str, str]:
        return {"alertname": name, "installation": installation} | ({"agency": agency} if agency else {})

    told = {
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
        await server.take(*told.values())
        muted: set[str] = set()
        async with asyncio.timeout(60):
            # It learns of one after another, and an answer is put together meanwhile.
            while len(found := await server.alerts()) < len(told) or not muted >= {"down", "degraded"}:
                muted = {
                    name for name, labels in told.items() for each in found
                    if each["labels"] == labels and each["status"]["inhibitedBy"]
                }  # fmt: skip
                await asyncio.sleep(0.2)
    assert muted == {"down", "degraded"}
