"""A real Prometheus reads the metrics in both formats: the older text, and OpenMetrics with exemplars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from alerts.decide.gateway.latency import Milestone, NotificationLatency
from alerts.model.channel import Channel
from monitor.metrics import Metrics
from monitor.service.facade import ServiceFacade
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.bench.fleet import fill, routes
from tests.bench.mail_stub import run_mail_stub
from tests.bench.scrape import _MetricsFacade
from tests.real.prometheus import prometheus

pytestmark = [pytest.mark.real, pytest.mark.asyncio]


@pytest.mark.parametrize(("protocol", "exemplars"), [("PrometheusText0.0.4", False), ("OpenMetricsText1.0.0", True)])
async def test_prometheus_reads_every_series_in_both_formats(tmp_path: Path, protocol: str, *, exemplars: bool) -> None:
    metrics = Metrics(version="1", now=lambda: datetime.now(UTC))
    with run_mail_stub() as server:
        fill(metrics, routes(server, 3))
    metrics.register_gateway(Channel.SMS, "sms")
    took = timedelta(seconds=4)
    telling = NotificationLatency(
        channel=Channel.SMS, gateway="sms", milestone=Milestone.ACCEPTED, duration=took, incident="JCM-01"
    )
    metrics.record_latency(telling)
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(cast(ServiceFacade, _MetricsFacade(metrics)), ["127.0.0.1"]), listener):
        url = listener_url(listener)
        async with prometheus(tmp_path, target=url, protocols=[protocol]) as running:
            await running.wait_for_scrapes(3)
            # On a busy machine some scrapes are too late.
            [scraped] = await running.query("max_over_time(scrape_samples_scraped[1m])")
            [counters] = await running.query("count(last_over_time(pantau_probe_runs_total[1m]))")
            found = await running.exemplars("pantau_notification_latency_seconds_bucket")
            slow = await running.exemplars('pantau_mail_transit_seconds_bucket{direction="inbound"}')
    series = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    assert int(scraped["value"][1]) == len(series)
    assert int(counters["value"][1]) == 3 * 3 * 5 + 5
    assert [exemplar["labels"] for exemplar in found] == ([{"incident": "JCM-01"}] if exemplars else [])
    assert {exemplar["labels"]["run"] for exemplar in slow} == ({"00c0ffee00c0ffee"} if exemplars else set())
