"""A real Prometheus reads our metrics, and every query of every panel and rule finds something."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import pytest_asyncio
import yaml

from alerts.channel import Channel
from alerts.delivery import NoticeState
from alerts.notice import Purpose
from monitor.metrics import AGENCY_DIRECTIONS, CONTENT_TYPE, NO_AGENCY, Metrics
from probes.result import Arrival, Outcome, Phase, ProbeResult
from tests.real.prometheus import Prometheus, prometheus
from tests.unit.grafana import promql

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES = GRAFANA / "rules" / "pantau.rules.yml"
WALL: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "noc-wall.json").read_text())

QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in WALL["panels"]
    for target in panel.get("targets", ())
]
RULE_LIST: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
SERIES = sorted({selector for rule in RULE_LIST for selector in promql.selectors(rule["expr"])})
RECORDINGS = [rule["record"] for rule in RULE_LIST if "record" in rule]


class World:
    """Three agencies: one whole, one that cannot send, one whose mail lands in junk. Each scrape is a round later."""

    def __init__(self) -> None:
        self.metrics = Metrics(version="0.0.0", now=lambda: datetime.now(UTC))
        self.metrics.watch_agency(NO_AGENCY, routes=["control/a-b"])
        for agency in ("contoh", "rekaan", "misalan"):
            self.metrics.watch_agency(agency, routes=[f"{agency}/{direction}" for direction in AGENCY_DIRECTIONS])
        self.metrics.watch_gateway(Channel.SMS, "sms-satu")
        self.metrics.watch_gateway(Channel.FAX, "faks-satu")
        self.metrics.reload_finished(ok=True, now=datetime.now(UTC))
        self.round = 0

    def outcome(self, agency: str, direction: str) -> Outcome:
        if agency == "rekaan" and direction == "outbound":
            return Outcome.LOST if self.round else Outcome.DELIVERED
        return Outcome.JUNK if agency == "misalan" and direction == "inbound" else Outcome.DELIVERED

    def go_on(self) -> None:
        now = datetime.now(UTC)
        self.run(NO_AGENCY, "control/a-b", "control", Outcome.DELIVERED)
        for agency in ("contoh", "rekaan", "misalan"):
            for direction in AGENCY_DIRECTIONS:
                outcome = self.outcome(agency, direction)
                self.run(agency, f"{agency}/{direction}", direction, outcome)
                up, junk = outcome is not Outcome.LOST, outcome is Outcome.JUNK
                self.metrics.mail_judged(agency, direction, up=up, degraded=junk)
        self.metrics.notice_entered(Channel.SMS, Purpose.OUTAGE, NoticeState.SENT)
        self.metrics.gateway_judged(Channel.SMS, "sms-satu", up=True)
        self.metrics.gateway_judged(Channel.FAX, "faks-satu", up=False)
        self.metrics.callback_refused("sms-satu", "untrusted")
        self.metrics.arrived(Arrival.LATE, direction="inbound", transit=timedelta(minutes=20))
        self.metrics.cycle_finished(now, now - timedelta(seconds=3), {"rekaan": 1})
        self.metrics.loop_lagged(timedelta(milliseconds=2))
        self.round += 1

    def run(self, agency: str, route: str, direction: str, outcome: Outcome) -> None:
        finished = [Phase.CONNECT, Phase.TLS, Phase.AUTH, Phase.SUBMIT]
        if outcome is not Outcome.LOST:
            finished += [Phase.TRANSIT, Phase.RETRIEVE]
        result = ProbeResult(
            route=route,
            token_id="00c0ffee00c0ffee",
            started_at=datetime.now(UTC) - timedelta(seconds=2),
            duration=timedelta(seconds=2),
            outcome=outcome,
            phases={phase: timedelta(seconds=0.3) for phase in finished},
        )
        self.metrics.probe_finished(result, agency=agency, direction=direction, site="putrajaya")


@contextmanager
def served(world: World) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            world.go_on()
            body = world.metrics.render()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def metrics_target() -> Iterator[str]:
    """Return the base URL of a service that has an agency whose mail is down, and has told somebody of it."""
    with served(World()) as base_url:
        yield base_url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(metrics_target: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    async with prometheus(directory, target=metrics_target, rules=[RULES]) as running:
        await running.scraped(5)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def variables(server: Prometheus) -> dict[str, str]:
    """Choose as an operator would in Grafana, an agency and a route that have had a delivery."""
    proved = "pantau_probe_last_success_timestamp_seconds"
    values = {"__range": "1m", "__rate_interval": "1m"}
    for variable in WALL["templating"]["list"]:
        if variable["type"] == "query":
            selector, _, label = variable["query"]["query"].removeprefix("label_values(").rpartition(", ")
            label = label.removesuffix(")")
            offered = await server.label_values(label, filled(selector, values))
            agency = f'{{agency="{values["agency"]}"}}' if "agency" in values else ""
            usable = set(offered) & set(await server.label_values(label, proved + agency))
            assert usable, f"no {variable['name']} has had a delivery"
            values[variable["name"]] = min(usable)
    return values


def filled(expr: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        expr = expr.replace(f"${name}", value)
    return expr


@pytest.mark.parametrize("expr", QUERIES)
async def test_every_query_of_every_panel_returns_data(
    server: Prometheus, variables: dict[str, str], expr: str
) -> None:
    samples = await server.query(filled(expr, variables))
    assert any(not math.isnan(float(sample["value"][1])) for sample in samples)


@pytest.mark.parametrize("selector", SERIES)
async def test_every_series_that_a_rule_reads_exists(server: Prometheus, selector: str) -> None:
    assert await server.query(selector)


@pytest.mark.parametrize("recording", RECORDINGS)
async def test_every_recording_records(server: Prometheus, recording: str) -> None:
    assert any(not math.isnan(float(sample["value"][1])) for sample in await server.query(recording))


async def test_every_rule_can_be_evaluated(server: Prometheus) -> None:
    rules = await server.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in RULE_LIST}
    assert not {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}


async def test_what_is_down_is_alerted_in_words_and_what_is_not_is_not(server: Prometheus) -> None:
    down = await server.query("min by (agency, direction) (pantau_mail_up) == 0")
    alerts = await server.alerts()
    firing = [alert for alert in alerts if alert["labels"]["alertname"] == "PantauMailDown"]
    assert {(a["labels"]["agency"], a["labels"]["direction"], a["state"]) for a in firing} == {
        (sample["metric"]["agency"], sample["metric"]["direction"], "firing") for sample in down
    }
    assert firing
    for alert in alerts:
        assert not [text for text in alert["annotations"].values() if "no value" in text or "{{" in text]
