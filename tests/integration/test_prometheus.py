"""A real Prometheus scrapes the running service: every query of every panel and rule returns data."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import pytest_asyncio
import yaml

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES, NOC
from tests.real.prometheus import Prometheus, prometheus
from tests.stories.running_service import JCM, running_service
from tests.unit.grafana import promql
from tests.unit.grafana.dashboards import BOARDS, panels, query_of, with_variables
from tests.unit.grafana.rules import ALL, LOCAL, LOCAL_RULES, RULES

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

QUERIES = [
    pytest.param(target["expr"], id=f"{board}: {panel['title'].partition(' · ')[0]}-{target['refId']}")
    for board in BOARDS
    for panel in panels(board)
    for target in panel["targets"]
]
RULE_LIST = [*ALL, *LOCAL.values()]
#: Without ALERTS, which exists only while an alert is firing.
SERIES = sorted({s for rule in RULE_LIST for s in promql.selectors(rule["expr"]) if not s.startswith("ALERTS{")})
#: Series without data here: mailboxes use passwords and are probed at all hours, no password is stored, no check has
#: findings, no drill was held, and Pantau can be scraped.
WITHOUT_DATA = (
    "pantau_oauth_token_expiry_timestamp_seconds",
    "pantau_mailbox_credential_unavailable",
    "pantau_off_hours",
    "pantau_mailbox_undeleted_messages",
    "pantau_mailbox_used_ratio",
    "pantau_drill_last_timestamp_seconds",
    "pantau_mail_slowest_hop_seconds",  # No relay delays a message.
    "pantau_gateway_receipts_overdue",  # No gateway has enough receipts for a usual delay.
    "pantau_site_fresh",  # There is no other site.
    "pantau_site_lag_seconds",
    "pantau_site_clock_offset_seconds",
    'pantau_site_replication_state{state=~"slot_lost|incomplete"}',
    'pantau_site_replication_state{state=~"stopped|refused|not_joined"}',
    "pantau_quorum_disagreement",
    "pantau_quorum_outage",
    "pantau_alertmanager_up",  # There is no Alertmanager.
    "pantau:build_info:absent5m",
)
#: The panel queries of these series.
EMPTY = {
    "pantau-self: Other sites, age of their reports-A",
    "pantau-self: Other sites, age of their reports-B",
    "pantau-self: Other sites, age of their reports-C",
    "pantau-self: Other sites, replication lag-A",
    "pantau-self: Other sites, replication lag-B",
    "pantau-self: Other sites, replication lag-C",
    "pantau-self: Other sites, replication lag-D",
    "pantau-self: Sites disagree-A",
    "pantau-self: Sites disagree-B",
    "pantau-overview: Access tokens expire in-A",
    "pantau-agency: Access tokens expire in-A",
    "pantau-agency: Not reached in drills for-A",
    "pantau-agency: Time at each relay-A",
    "pantau-notifications: Not reached in drills for-A",
    "pantau-notifications: Gateways-B",
}
#: An agency whose outage is declared and not detected.
DECLARED = next(agency.code for agency in AGENCIES if agency.code != JCM.code)
#: The series that appears last.
LAST_SERIES = "pantau_escalation_overdue_seconds"
RECORDINGS = [rule["record"] for rule in RULE_LIST if "record" in rule]

#: Seconds, with one scrape each.
SCRAPES = 20

T = TypeVar("T")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def metrics_target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with outage(tmp_path_factory.mktemp("pantau")) as url:
        yield url


@asynccontextmanager
async def outage(directory: Path) -> AsyncIterator[str]:
    """Run the real service; yield its base URL when an agency's mail is down and people are notified."""
    async with running_service(directory, agencies=AGENCIES, prepare=fully_equipped) as play:
        await play.wait_until_up()
        play.duty.keys = ["1"]
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.until_notification("letter", "outage", "sent")

        async def down() -> bool:
            return set((await play.health()).values()) == {"down"}

        await play.until(down, "nothing of the broken agency works")
        await play.until(lambda: has_series(play.url, LAST_SERIES), "the drill is over, and the auditor has looked")
        # An outage of another agency, whose probes work.
        declared = await play.control(
            "/declarations", agency=DECLARED, type="receiving", reason="mel web tidak dapat dibuka", by="Siti Contoh"
        )
        assert declared.status_code == 200, declared.text
        await play.until(lambda: has_series(play.url, f'pantau_outage_declared{{agency="{DECLARED}"'), "it is shown")
        yield play.url


async def has_series(url: str, series: str) -> bool:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return any(line.startswith((f"{series} ", f"{series},")) for line in lines)


def fully_equipped(settings: Path) -> None:
    """Add the optional settings that panels and rules need."""
    (settings.parent / "nombor").write_text(f"{NOC.number}\n")
    more = {
        "rotas": {
            "bilik": {
                "layers": [{"days": "workdays", "every": "weekly", "from": date(2026, 1, 5), "people": [NOC.key]}]
            }
        },
        "heartbeat": {"file": "denyut", "interval": "10s"},
        "out_of_band": {"numbers_file": "nombor", "gateways": ["suara", "sms"]},
        "drills": {"when": {"cron": "0 10 * * tue", "for": "4h"}, "contacts": "all"},
    }
    settings.write_text(yaml.safe_dump(yaml.safe_load(settings.read_text()) | more))


def rules_without_interval(directory: Path) -> Sequence[Path]:
    """Write the rules into *directory* without intervals, so that they are evaluated at each scrape."""
    rules = [directory / path.name for path in (RULES, LOCAL_RULES)]
    for written, path in zip(rules, (RULES, LOCAL_RULES), strict=True):
        written.write_text(re.sub(r"^    interval: \d+m\n", "", path.read_text(), flags=re.MULTILINE))
    return rules


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(metrics_target: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    async with prometheus(directory, target=metrics_target, rules=rules_without_interval(directory)) as running:
        await running.wait_for_scrapes(5)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def choices(server: Prometheus) -> list[dict[str, str]]:
    """Choose Grafana variables: the agency that is down and one that is up; a route that had a delivery."""
    success_series = "pantau_probe_success_timestamp_seconds"
    made = []
    for agency in (JCM.code, DECLARED):
        values = {"__range": "1m", "__rate_interval": "1m", "agency": agency}
        for variable in (v for v in BOARDS["pantau-agency"]["templating"]["list"] if v["type"] == "query"):
            selector, _, label = variable["query"]["query"].removeprefix("label_values(").rpartition(", ")
            offered = set(await server.label_values(label.removesuffix(")"), with_variables(selector, values)))
            if variable["name"] == "route":
                offered &= set(await server.label_values("route", f'{success_series}{{agency="{agency}"}}'))
            assert offered, f"nothing to choose for {variable['name']} of {agency}"
            values.setdefault(variable["name"], min(offered))
        made.append(values)
    return made


@pytest.mark.parametrize("expr", QUERIES)
async def test_every_panel_query_returns_data(
    request: pytest.FixtureRequest, server: Prometheus, choices: list[dict[str, str]], expr: str
) -> None:
    wanted = [with_variables(expr, values) for values in choices]
    if request.node.callspec.id in EMPTY:
        for each in wanted:
            await server.query(each)
        return  # The query is valid; the tests of the rules show that it finds something.
    assert await has_a_number(server, *wanted)


@pytest.mark.parametrize("selector", SERIES)
async def test_every_series_in_rules_exists(server: Prometheus, selector: str) -> None:
    assert selector in WITHOUT_DATA or await has_a_number(server, selector)


@pytest.mark.parametrize("recording", [each for each in RECORDINGS if each not in WITHOUT_DATA])
async def test_every_recording_rule_records(server: Prometheus, recording: str) -> None:
    assert await has_a_number(server, recording)


async def has_a_number(server: Prometheus, *wanted: str) -> bool:
    """Return whether one of these has a value; on a busy machine a late scrape leaves all out until the next."""
    for _ in range(SCRAPES):
        samples = [sample for each in wanted for sample in await server.query(each)]
        if any(not math.isnan(float(sample["value"][1])) for sample in samples):
            return True
        await asyncio.sleep(1)
    return False


async def poll(ask: Callable[[], Awaitable[T]], wanted: T) -> T:
    """Poll until the result is *wanted*; return the last result."""
    for _ in range(SCRAPES):
        if (found := await ask()) == wanted:
            break
        await asyncio.sleep(1)
    return found


async def test_every_rule_can_be_evaluated(server: Prometheus) -> None:
    rules = await server.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in RULE_LIST}
    assert not {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}


async def test_mail_down_alert_names_down_directions_and_no_others(server: Prometheus) -> None:
    async def told() -> tuple[list[tuple[str, str]], bool]:
        """Return the alerted agencies with states, and whether the details name each direction that is down."""
        down = await server.query("min by (agency, direction) (pantau_mail_up) == 0")
        found = [alert for alert in await server.alerts() if alert["labels"]["alertname"] == "PantauMailDown"]
        details = "".join(alert["annotations"]["details"] for alert in found)
        words = [f"{sample['metric']['direction']}: down · terganggu; " for sample in down]
        return [(alert["labels"]["agency"], alert["state"]) for alert in found], all(each in details for each in words)

    wanted = ([(JCM.code, "firing")], True)
    assert await poll(told, wanted) == wanted
    for alert in await server.alerts():
        assert not [text for text in alert["annotations"].values() if "no value" in text or "{{" in text]


async def test_declared_outage_is_shown_and_alerted_where_probes_work(
    server: Prometheus,
) -> None:
    async def count() -> list[str]:
        return [sample["value"][1] for sample in await server.query(query_of("pantau-overview", "Down"))]

    async def told() -> set[tuple[str, str, int]]:
        listed = await server.query(query_of("pantau-overview", "Worst first"))
        return {(s["metric"]["agency"], s["metric"]["runbook"], int(float(s["value"][1]))) for s in listed}

    assert await poll(count, ["2"]) == ["2"]
    wanted = {(JCM.code, "mail-down", 6), (DECLARED, "mail-declared-down", 5)}
    assert await poll(told, wanted) == wanted
    found = await server.query('ALERTS{alertname="PantauMailDeclaredDown"}')
    assert [sample["metric"]["agency"] for sample in found] == [DECLARED]
