"""A real Prometheus reads the running service, and every query of every panel and rule finds something."""

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
from tests.stories.theatre import JCM, theatre
from tests.unit.grafana import promql
from tests.unit.grafana.rules import ALL, LOCAL, LOCAL_RULES, RULES
from tests.unit.grafana.shown import BOARDS, asked, filled, panels

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

QUERIES = [
    pytest.param(target["expr"], id=f"{board}: {panel['title'].partition(' · ')[0]}-{target['refId']}")
    for board in BOARDS
    for panel in panels(board)
    for target in panel["targets"]
]
RULE_LIST = [*ALL, *LOCAL.values()]
#: What is firing already, which a rule reads to go on, is a series only while it is.
SERIES = sorted({s for rule in RULE_LIST for s in promql.selectors(rule["expr"]) if not s.startswith("ALERTS{")})
#: What the play has none of: its mailboxes sign in with passwords, are probed at all hours, none of those was typed,
#: nothing that the checks look at is wrong, no drill was held, and Pantau can be read.
NOT_PLAYED = (
    "pantau_oauth_token_expiry_timestamp_seconds",
    "pantau_mailbox_credential_unavailable",
    "pantau_off_hours",
    "pantau_mailbox_undeleted_messages",
    "pantau_mailbox_used_ratio",
    "pantau_drill_last_timestamp_seconds",
    "pantau_mail_slowest_hop_seconds",  # No relay keeps a message for long.
    "pantau_gateway_receipts_overdue",  # Nor has any gateway given so many receipts that it has a habit.
    "pantau_site_fresh",  # Nor is there another site.
    "pantau_site_lag_seconds",
    "pantau_site_clock_offset_seconds",
    'pantau_site_replication_state{state=~"slot_lost|incomplete"}',
    'pantau_site_replication_state{state=~"stopped|refused|not_joined"}',
    "pantau_quorum_disagreement",
    "pantau_quorum_outage",
    "pantau_alertmanager_up",  # Nor an Alertmanager to be told.
    "pantau:build_info:absent5m",
)
#: The panels' queries of that, and nothing else.
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
#: An agency whose outage only a person knows of.
DECLARED = next(agency.code for agency in AGENCIES if agency.code != JCM.code)
#: What is there last, when everything else is long there.
LAST_TOLD = "pantau_escalation_overdue_seconds"
RECORDINGS = [rule["record"] for rule in RULE_LIST if "record" in rule]

#: So many seconds, a scrape each.
SCRAPES = 20

T = TypeVar("T")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def metrics_target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with outage(tmp_path_factory.mktemp("pantau")) as url:
        yield url


@asynccontextmanager
async def outage(directory: Path) -> AsyncIterator[str]:
    """Run the real service; give its base URL when an agency's mail is down and people were told."""
    async with theatre(directory, agencies=AGENCIES, prepare=fully_equipped) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"]
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.until_notice("letter", "outage", "sent")

        async def down() -> bool:
            return set((await play.health()).values()) == {"down"}

        await play.until(down, "nothing of the broken agency works")
        await play.until(lambda: tells_of(play.url, LAST_TOLD), "the drill is over, and the auditor has looked")
        # Of another, whose probes are well.
        declared = await play.control(
            "/declarations", agency=DECLARED, type="receiving", reason="mel web tidak dapat dibuka", by="Siti Contoh"
        )
        assert declared.status_code == 200, declared.text
        await play.until(lambda: tells_of(play.url, f'pantau_outage_declared{{agency="{DECLARED}"'), "it is shown")
        yield play.url


async def tells_of(url: str, series: str) -> bool:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return any(line.startswith((f"{series} ", f"{series},")) for line in lines)


def fully_equipped(settings: Path) -> None:
    """Let the service have what a site may do without, and what a panel or a rule is about."""
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


def impatient(directory: Path) -> Sequence[Path]:
    """Write the rules into *directory*, all of them evaluated as often as it is scraped: nobody waits for a turn of minutes."""
    rules = [directory / path.name for path in (RULES, LOCAL_RULES)]
    for written, path in zip(rules, (RULES, LOCAL_RULES), strict=True):
        written.write_text(re.sub(r"^    interval: \d+m\n", "", path.read_text(), flags=re.MULTILINE))
    return rules


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(metrics_target: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    async with prometheus(directory, target=metrics_target, rules=impatient(directory)) as running:
        await running.scraped(5)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def choices(server: Prometheus) -> list[dict[str, str]]:
    """Choose as operators would in Grafana: the agency that is ill, and one that is well; a route that had a delivery."""
    proved = "pantau_probe_success_timestamp_seconds"
    made = []
    for agency in (JCM.code, DECLARED):
        values = {"__range": "1m", "__rate_interval": "1m", "agency": agency}
        for variable in (v for v in BOARDS["pantau-agency"]["templating"]["list"] if v["type"] == "query"):
            selector, _, label = variable["query"]["query"].removeprefix("label_values(").rpartition(", ")
            offered = set(await server.label_values(label.removesuffix(")"), filled(selector, values)))
            if variable["name"] == "route":
                offered &= set(await server.label_values("route", f'{proved}{{agency="{agency}"}}'))
            assert offered, f"nothing to choose for {variable['name']} of {agency}"
            values.setdefault(variable["name"], min(offered))
        made.append(values)
    return made


@pytest.mark.parametrize("expr", QUERIES)
async def test_every_query_of_every_panel_returns_data(
    request: pytest.FixtureRequest, server: Prometheus, choices: list[dict[str, str]], expr: str
) -> None:
    wanted = [filled(expr, values) for values in choices]
    if request.node.callspec.id in EMPTY:
        for each in wanted:
            await server.query(each)
        return  # Prometheus has understood it; whether it finds anything is for the stories of the rules.
    assert await has_a_number(server, *wanted)


@pytest.mark.parametrize("selector", SERIES)
async def test_every_series_that_a_rule_reads_exists(server: Prometheus, selector: str) -> None:
    assert selector in NOT_PLAYED or await has_a_number(server, selector)


@pytest.mark.parametrize("recording", [each for each in RECORDINGS if each not in NOT_PLAYED])
async def test_every_recording_records(server: Prometheus, recording: str) -> None:
    assert await has_a_number(server, recording)


async def has_a_number(server: Prometheus, *wanted: str) -> bool:
    """Whether one of these is measured: a scrape that a busy machine answers too late leaves all out until the next."""
    for _ in range(SCRAPES):
        samples = [sample for each in wanted for sample in await server.query(each)]
        if any(not math.isnan(float(sample["value"][1])) for sample in samples):
            return True
        await asyncio.sleep(1)
    return False


async def in_time(ask: Callable[[], Awaitable[T]], wanted: T) -> T:
    """Return what is asked for once it is *wanted*, else what it is in the end: for the same reason."""
    for _ in range(SCRAPES):
        if (found := await ask()) == wanted:
            break
        await asyncio.sleep(1)
    return found


async def test_every_rule_can_be_evaluated(server: Prometheus) -> None:
    rules = await server.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in RULE_LIST}
    assert not {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}


async def test_what_is_down_is_alerted_in_words_and_what_is_not_is_not(server: Prometheus) -> None:
    async def told() -> tuple[list[tuple[str, str]], bool]:
        """Return of which agencies it is told how that stands, and whether each direction that is down is told of."""
        down = await server.query("min by (agency, direction) (pantau_mail_up) == 0")
        found = [alert for alert in await server.alerts() if alert["labels"]["alertname"] == "PantauMailDown"]
        details = "".join(alert["annotations"]["details"] for alert in found)
        words = [f"{sample['metric']['direction']}: down · terganggu; " for sample in down]
        return [(alert["labels"]["agency"], alert["state"]) for alert in found], all(each in details for each in words)

    wanted = ([(JCM.code, "firing")], True)
    assert await in_time(told, wanted) == wanted
    for alert in await server.alerts():
        assert not [text for text in alert["annotations"].values() if "no value" in text or "{{" in text]


async def test_what_people_have_declared_counts_on_the_wall_and_is_alerted_where_no_probe_sees_it(
    server: Prometheus,
) -> None:
    async def count() -> list[str]:
        return [sample["value"][1] for sample in await server.query(asked("pantau-overview", "Down"))]

    async def told() -> set[tuple[str, str, int]]:
        listed = await server.query(asked("pantau-overview", "Worst first"))
        return {(s["metric"]["agency"], s["metric"]["runbook"], int(float(s["value"][1]))) for s in listed}

    assert await in_time(count, ["2"]) == ["2"]
    wanted = {(JCM.code, "mail-down", 6), (DECLARED, "mail-declared-down", 5)}
    assert await in_time(told, wanted) == wanted
    found = await server.query('ALERTS{alertname="PantauMailDeclaredDown"}')
    assert [sample["metric"]["agency"] for sample in found] == [DECLARED]
