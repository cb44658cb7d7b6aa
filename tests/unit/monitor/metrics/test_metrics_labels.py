"""Lifetime and values of labels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from alerts.decide.gateway.latency import Milestone, NotificationLatency
from alerts.model.channel import Channel
from monitor.evaluation.agency import CurrentCause
from monitor.evaluation.attribution import RunVerdict
from monitor.metrics import AGENCY_DIRECTIONS, NO_AGENCY, Metrics
from probes.model.result import Arrival, Outcome, Party
from tests.unit.monitor.scrape import AGENCY, NOON, ROUTE, SUCCESS, Scrape, finish, opened, run

CAUSE = CurrentCause(Outcome.LOST, Party.SENDER)


def test_unregister_agency_removes_all_its_series_only(metrics: Metrics) -> None:
    metrics.register_agency("lkc", routes=["lkc/internal"])
    for agency, route in ((AGENCY, ROUTE), ("lkc", "lkc/internal")):
        finish(metrics, run(Outcome.DELIVERED, route, transit=1, connect=1), agency=agency)
        finish(metrics, run(Outcome.LOST, route, connect=1), agency=agency)
        metrics.set_mail_health(agency, "outbound", up=False)
        metrics.set_failure_cause(agency, "outbound", CAUSE)
        metrics.count_runs(agency, "outbound", RunVerdict.FAILED, 1)
    metrics.record_cycle(NOON, None, [opened(AGENCY), opened("lkc")])
    before = Scrape(metrics)
    assert len(before.with_label("agency", AGENCY)) == 10
    assert len(before.with_label("route", ROUTE)) == 4
    metrics.unregister_agency(AGENCY)
    after = Scrape(metrics)
    assert not after.with_label("agency", AGENCY)
    assert not after.with_label("route", ROUTE)
    assert after.with_label("agency", "lkc") == before.with_label("agency", "lkc")


def phased(metrics: Metrics) -> set[str]:
    return {each["route"] for each in Scrape(metrics).labels("probe_phase_duration_seconds")}


def test_phase_durations_are_limited_to_routes_in_trouble(
    metrics: Metrics,
) -> None:
    names = [f"{AGENCY}/{number}" for number in range(5)]
    metrics.register_agency(AGENCY, routes=names)

    def ends(outcome: Outcome, *routes: str, is_prompt: bool = True) -> set[str]:
        for route in routes:
            result = run(outcome, route, connect=1)
            metrics.record_run(result, agency=AGENCY, direction="outbound", site="x", is_prompt=is_prompt)
        return phased(metrics)

    assert ends(Outcome.DELIVERED, *names) == {*names}, "there are fewer routes than the limit"
    metrics.limit_phase_routes(2)
    assert ends(Outcome.DELIVERED, *names) == set()
    assert ends(Outcome.LOST, names[0]) == {names[0]}
    assert ends(Outcome.DELIVERED, names[1], is_prompt=False) == {*names[:2]}
    assert ends(Outcome.LOST, *names) == {*names[:2]}, "a mass outage does not lengthen a scrape"
    # An inconclusive run keeps its phases; a good run frees its place.
    assert ends(Outcome.INCONCLUSIVE, *names) == {*names[:2]}
    ends(Outcome.DELIVERED, names[0])
    assert ends(Outcome.LOST, names[4]) == {names[1], names[4]}
    metrics.register_agency(AGENCY, routes=names[:2])
    assert ends(Outcome.DELIVERED, *names[:2]) == {*names[:2]}, "fewer routes are left than the limit"
    metrics.limit_phase_routes(0)
    assert ends(Outcome.LOST, *names[:2]) == set()
    metrics.limit_phase_routes(2)
    ends(Outcome.LOST, *names[:2])
    metrics.unregister_agency(AGENCY)
    metrics.register_agency("lkc", routes=["lkc/1", "lkc/2", "lkc/3"])
    finish(metrics, run(Outcome.LOST, "lkc/3", connect=1), agency="lkc")
    assert phased(metrics) == {"lkc/3"}, "a removed route frees its place"


def test_register_agency_drops_removed_route(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.DELIVERED, transit=1))
    metrics.register_agency(AGENCY, routes=["jpc/internal"])
    assert not Scrape(metrics).with_label("route", ROUTE)
    # A run in progress when its route is removed is counted and adds no series.
    finish(metrics, run(Outcome.LOST))
    scrape = Scrape(metrics)
    assert scrape.value("probe_outcomes_total", direction="outbound", outcome="lost") == 1
    assert not scrape.with_label("route", ROUTE)


def test_register_agency_keeps_values_of_remaining_routes(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.LOST))
    metrics.count_runs(AGENCY, "outbound", RunVerdict.FAILED, 1)
    metrics.record_cycle(NOON, None, [opened(AGENCY)])
    metrics.register_agency(AGENCY, routes=[ROUTE, "jpc/internal"])
    scrape = Scrape(metrics)
    assert scrape.value("probe_success", **SUCCESS) == 0
    assert scrape.value("probe_runs_total", agency=AGENCY, direction="outbound", verdict="failed") == 1
    assert scrape.value("incidents_open", agency=AGENCY) == 1


def test_metrics_unregistered_agency_or_gateway_gets_no_series(metrics: Metrics) -> None:
    metrics.set_mail_health("siapa", "inbound", up=True)
    metrics.set_failure_cause("siapa", "inbound", CAUSE)
    metrics.record_cycle(NOON, None, [opened("siapa")])
    metrics.set_gateway_up(Channel.SMS, "siapa", up=True)
    finish(metrics, run(Outcome.DELIVERED, "siapa/internal"), agency="siapa")
    metrics.count_runs("siapa", "inbound", RunVerdict.GOOD, 1)
    metrics.count_rejected_callback("siapa", "untrusted")
    assert "siapa" not in metrics.render().decode()


def test_metrics_control_routes_have_no_agency(metrics: Metrics) -> None:
    metrics.register_agency(NO_AGENCY, routes=["control/a-b"])
    metrics.count_runs(NO_AGENCY, "control", RunVerdict.FAILED, 1)
    scrape = Scrape(metrics)
    assert scrape.value("probe_runs_total", agency="", direction="control", verdict="failed") == 1
    shown = {(each["agency"], each["direction"]) for each in scrape.labels("probe_runs_total")}
    assert shown == {("", "control"), *((AGENCY, direction) for direction in AGENCY_DIRECTIONS)}


@pytest.mark.parametrize("action", [
    lambda m: finish(m, run(Outcome.DELIVERED), direction="sideways"),
    lambda m: m.set_mail_health(AGENCY, "control", up=True),
    lambda m: m.set_failure_cause(AGENCY, "control", CAUSE),
    lambda m: m.count_runs(AGENCY, "sideways", RunVerdict.GOOD, 1),
    lambda m: m.count_arrival(Arrival.LATE, direction="sideways", transit=timedelta(seconds=1)),
    lambda m: m.set_monitoring_faults({("weather", "")}),
])  # fmt: skip
def test_metrics_value_outside_closed_set_is_refused(metrics: Metrics, action: object) -> None:
    assert callable(action)
    before = len(Scrape(metrics).series)
    with pytest.raises(ValueError, match="is none of"):
        action(metrics)
    assert len(Scrape(metrics).series) == before


def test_monitoring_fault_names_reference_while_registered(metrics: Metrics) -> None:
    def faults() -> set[tuple[str, str]]:
        series = Scrape(metrics).series.items()
        return {
            (dict(labels)["cause"], dict(labels)["reference"])
            for (name, labels), value in series
            if name == "pantau_monitoring_fault" and value
        }

    metrics.register_references(["rujukan-a", "rujukan-b"])
    assert len(list(Scrape(metrics).labels("monitoring_fault"))) == 7 + 2 * 3
    assert faults() == set()
    metrics.set_monitoring_faults({("reference", "rujukan-b"), ("credentials", "")})
    assert faults() == {("reference", "rujukan-b"), ("credentials", "")}
    # The configuration is reloaded.
    metrics.register_references(["rujukan-b"])
    assert faults() == {("reference", "rujukan-b"), ("credentials", "")}
    metrics.register_references(["rujukan-a"])
    assert faults() == {("credentials", "")}
    # It is exported while its incident is open, without a label for the name.
    metrics.set_monitoring_faults({("reference", "rujukan-b")})
    assert faults() == {("reference", "")}
    metrics.register_references(["rujukan-b"])
    metrics.set_monitoring_faults({("reference", "rujukan-b")})
    assert faults() == {("reference", "rujukan-b")}
    metrics.set_monitoring_faults(())
    assert faults() == set()
    assert len(list(Scrape(metrics).labels("monitoring_fault"))) == 7 + 3


def test_monitoring_fault_names_agency_mailbox_while_at_fault(metrics: Metrics) -> None:
    def named() -> dict[str, float | None]:
        labels = [labels["reference"] for labels in Scrape(metrics).labels("monitoring_fault")]
        return {
            name: Scrape(metrics).value("monitoring_fault", cause="mailbox", reference=name)
            for name in labels
            if "/" in name
        }

    metrics.register_references(["rujukan-a"])
    metrics.set_monitoring_faults({("mailbox", "JCM/utama"), ("credentials", "JCM/utama")})
    assert named() == {"JCM/utama": 1}
    metrics.register_references(["rujukan-a", "rujukan-b"])
    metrics.set_monitoring_faults({("mailbox", "JCM/utama")})
    assert named() == {"JCM/utama": 1}
    metrics.set_monitoring_faults(())
    assert named() == {}


def test_gateway_up_is_shown_until_unregistered(metrics: Metrics) -> None:
    metrics.register_gateway(Channel.SMS, "sms-satu")
    labels = {"channel": "sms", "gateway": "sms-satu"}
    shown = []
    for up in (None, True, False):
        metrics.set_gateway_up(Channel.SMS, "sms-satu", up=up)
        shown.append(Scrape(metrics).value("gateway_up", **labels))
    assert shown == [None, 1, 0]
    metrics.unregister_gateway(Channel.SMS, "sms-satu")
    assert not Scrape(metrics).with_label("gateway", "sms-satu")


def test_notification_latency_is_counted_for_registered_gateways(metrics: Metrics) -> None:
    def action(gateway: str, took: float) -> None:
        span = timedelta(seconds=took)
        metrics.record_latency(
            NotificationLatency(
                channel=Channel.SMS, gateway=gateway, milestone=Milestone.ACCEPTED, duration=span, incident="JPC-01"
            )
        )

    metrics.register_gateway(Channel.SMS, "sms-satu")
    labels = {"channel": "sms", "gateway": "sms-satu", "milestone": "accepted"}
    assert Scrape(metrics).value("notification_latency_seconds_count", **labels) == 0
    action("sms-satu", 4)
    action("by hand", 4)
    action("sms-satu", 3 * 24 * 3600 + 1)
    scrape = Scrape(metrics)
    assert scrape.value("notification_latency_seconds_bucket", **labels, le="5.0") == 1
    assert scrape.value("notification_latency_seconds_bucket", **labels, le="+Inf") == 2
    assert {each["gateway"] for each in scrape.labels("notification_latency_seconds_count")} == {"sms-satu"}
    # The configuration is reloaded without the gateway.
    metrics.register_gateway(Channel.SMS, "sms-satu")
    assert Scrape(metrics).value("notification_latency_seconds_count", **labels) == 2
    metrics.unregister_gateway(Channel.SMS, "sms-satu")
    action("sms-satu", 4)
    assert not list(Scrape(metrics).labels("notification_latency_seconds_count"))


def test_gateway_name_shared_by_two_channels_is_kept_until_both_unregister(metrics: Metrics) -> None:
    metrics.register_gateway(Channel.SMS, "penyedia")
    metrics.register_gateway(Channel.VOICE, "penyedia")
    metrics.unregister_gateway(Channel.SMS, "penyedia")
    metrics.count_rejected_callback("penyedia", "malformed")
    assert Scrape(metrics).value("callbacks_refused_total", gateway="penyedia", reason="malformed") == 1


def test_rejected_callbacks_create_no_labels(metrics: Metrics) -> None:
    metrics.register_gateway(Channel.SMS, "sms-satu")
    before = len(Scrape(metrics).series)
    for reason in ("untrusted", "untrusted", "malformed", "too_large", "<script>", "siapa: 7 != 8"):
        for gateway in ("sms-satu", "..%2f..%2fetc", "x" * 999):
            metrics.count_rejected_callback(gateway, reason)
    scrape = Scrape(metrics)
    assert len(scrape.series) == before
    assert scrape.value("callbacks_refused_total", gateway="sms-satu", reason="untrusted") == 2
    assert scrape.value("callbacks_refused_total", gateway="none", reason="other") == 4


def test_render_while_agencies_are_registered_is_safe(metrics: Metrics) -> None:
    with ThreadPoolExecutor(1) as other_thread:
        for round_ in range(20):
            reading = other_thread.submit(metrics.render)
            for n in range(50):
                metrics.register_agency(f"a{n}", routes=[f"a{n}/internal"])
                finish(metrics, run(Outcome.DELIVERED, f"a{n}/internal", transit=1), agency=f"a{n}")
            for n in range(50):
                metrics.unregister_agency(f"a{n}")
            assert reading.result(timeout=10).endswith(b"\n"), round_
