"""Metrics of runs, notifications, incidents and the service."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from alerts.engine.observer import Observer
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import IncidentType, Purpose
from monitor.evaluation.attribution import RunVerdict
from monitor.metrics import AGENCY_DIRECTIONS, DIRECTIONS, MONITORING_FAULTS, NO_AGENCY, Metrics
from probes.model.result import Arrival, Outcome
from tests.unit.monitor.scrape import AGENCY, LABELS, NOON, ROUTE, SUCCESS, Clock, Scrape, finish, opened, run


def test_metrics_unknown_values_are_absent(metrics: Metrics) -> None:
    scrape = Scrape(metrics)
    for name in (
        "mail_up",
        "mail_degraded",
        "probe_success",
        "probe_success_timestamp_seconds",
        "probe_run_timestamp_seconds",
        "probe_phase_duration_seconds",
        "gateway_up",
        "config_last_reload_successful",
        "config_last_reload_success_timestamp_seconds",
        "config_restart_needed",
        "engine_last_cycle_timestamp_seconds",
        "event_loop_lag_seconds",
    ):
        assert not list(scrape.labels(name)), name


def test_metrics_counters_start_at_zero(metrics: Metrics) -> None:
    scrape = Scrape(metrics)
    for direction in DIRECTIONS:
        for outcome in Outcome:
            assert scrape.value("probe_outcomes_total", direction=direction, outcome=outcome) == 0
        assert scrape.value("mail_transit_seconds_count", direction=direction) == 0
    for direction in AGENCY_DIRECTIONS:
        for verdict in RunVerdict:
            assert scrape.value("probe_runs_total", agency=AGENCY, direction=direction, verdict=verdict) == 0
    for arrival in Arrival:
        assert scrape.value("probe_arrivals_total", arrival=arrival) == 0
    for state in NotificationState:
        for channel in Channel:
            for purpose in Purpose:
                assert scrape.value("notifications_total", channel=channel, purpose=purpose, state=state) == 0
    for cause in MONITORING_FAULTS:
        assert scrape.value("monitoring_fault", cause=cause, reference="") == 0


@pytest.mark.blind
def test_incidents_open_before_first_cycle_is_nan(metrics: Metrics) -> None:
    """Defect: `pantau_incidents_open` is 0 while the store is locked at a start.

    Pantau: It is NaN until the engine has looked.
    """
    # The series exist nevertheless: alerts find the agencies of a Pantau by them.
    for agency in (AGENCY, NO_AGENCY):
        assert f'pantau_incidents_open{{agency="{agency}"}} NaN' in metrics.render().decode().splitlines()
    metrics.record_cycle(NOON, None, [opened(AGENCY)])
    assert Scrape(metrics).value("incidents_open", agency=AGENCY) == 1
    assert Scrape(metrics).value("incidents_open", agency=NO_AGENCY) == 0


@pytest.mark.blind
def test_oldest_pending_before_first_cycle_is_absent(metrics: Metrics) -> None:
    """Defect: "Oldest pending 0 s" is green before the engine looked.

    Pantau: The gauge is absent until then.
    """
    assert Scrape(metrics).value("notification_oldest_pending_seconds") is None
    metrics.record_cycle(NOON, None, ())
    assert Scrape(metrics).value("notification_oldest_pending_seconds") == 0


@pytest.mark.blind
def test_letters_overdue_is_kept_while_unknown_and_zero_is_dropped(
    metrics: Metrics,
) -> None:
    """Defect: The alert on late letters ends when the store becomes unavailable.

    Pantau: They stay late until a posting can be stored.
    """
    told = []
    for overdue in (2, None, 0, None):
        metrics.set_letters(None if overdue is None else {}, overdue=overdue or 0)
        told.append(Scrape(metrics).value("letters_overdue"))
    assert told == [2, 2, 0, None]


def test_record_run_delivered_sets_success_and_phases(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.DELIVERED, connect=0.25, transit=1.5))
    scrape = Scrape(metrics)
    assert scrape.value("probe_success", **SUCCESS) == 1
    assert scrape.value("probe_success_timestamp_seconds", **LABELS) == NOON.timestamp() + 3
    assert scrape.value("probe_run_timestamp_seconds", **LABELS) == NOON.timestamp() + 3
    assert scrape.value("probe_phase_duration_seconds", route=ROUTE, phase="connect") == 0.25
    assert scrape.value("probe_phase_duration_seconds", route=ROUTE, phase="auth") is None
    assert scrape.value("probe_outcomes_total", direction="outbound", outcome="delivered") == 1


@pytest.mark.parametrize("outcome", [o for o in Outcome if o not in {Outcome.DELIVERED, Outcome.INCONCLUSIVE}])
def test_record_run_other_conclusive_outcome_ends_success(metrics: Metrics, outcome: Outcome) -> None:
    finish(metrics, run(Outcome.DELIVERED))
    finish(metrics, run(outcome, at=NOON + timedelta(minutes=5)))
    scrape = Scrape(metrics)
    assert scrape.value("probe_success", **SUCCESS) == 0
    assert scrape.value("probe_success_timestamp_seconds", **LABELS) == NOON.timestamp() + 3
    assert scrape.value("probe_run_timestamp_seconds", **LABELS) == NOON.timestamp() + 303


@pytest.mark.parametrize("earlier", [Outcome.DELIVERED, Outcome.LOST])
def test_record_run_inconclusive_keeps_known_values(metrics: Metrics, earlier: Outcome) -> None:
    metrics.record_cycle(NOON, None, ())
    finish(metrics, run(earlier, connect=0.25))
    before = Scrape(metrics)
    finish(metrics, run(Outcome.INCONCLUSIVE, at=NOON + timedelta(minutes=5)))
    after = Scrape(metrics)
    changed = {name for (name, labels), value in after.series.items() if before.series[name, labels] != value}
    assert {name for name in changed if name.startswith("pantau_")} == {
        "pantau_probe_outcomes_total",
        "pantau_probe_run_timestamp_seconds",
    }


def test_record_run_inconclusive_first_sets_no_success(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.INCONCLUSIVE))
    assert Scrape(metrics).value("probe_success", **SUCCESS) is None


def test_record_run_failed_drops_phases_of_earlier_run(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.DELIVERED, connect=0.25, transit=1.5))
    finish(metrics, run(Outcome.AUTH, connect=0.75))
    scrape = Scrape(metrics)
    assert scrape.value("probe_phase_duration_seconds", route=ROUTE, phase="connect") == 0.75
    assert scrape.value("probe_phase_duration_seconds", route=ROUTE, phase="transit") is None


def test_mail_transit_histogram_counts_deliveries_only(metrics: Metrics) -> None:
    for outcome in Outcome:
        finish(metrics, run(outcome, transit=1.5))
    # Delivered to the inbox, and to the junk folder.
    assert Scrape(metrics).value("mail_transit_seconds_count", direction="outbound") == 2


@pytest.mark.blind
def test_smtp_data_histogram_counts_by_direction_and_submit_includes_it(
    metrics: Metrics,
) -> None:
    """Defect: The time until a server acknowledges a message is in no metric.

    Pantau: A histogram by direction has it.
    """
    finish(metrics, run(Outcome.CONNECT, submit=1, data=16.5))
    finish(metrics, run(Outcome.DELIVERED, submit=1, data=0.5))
    finish(metrics, run(Outcome.AUTH, connect=1))
    scrape = Scrape(metrics)
    assert scrape.value("smtp_data_duration_seconds_count", direction="outbound") == 2
    assert scrape.value("smtp_data_duration_seconds_bucket", direction="outbound", le="15.0") == 1
    assert scrape.value("probe_phase_duration_seconds", route=ROUTE, phase="submit") is None
    finish(metrics, run(Outcome.DELIVERED, submit=1, data=0.5))
    assert Scrape(metrics).value("probe_phase_duration_seconds", route=ROUTE, phase="submit") == 1.5


def test_histogram_buckets_separate_milliseconds_from_half_second(metrics: Metrics) -> None:
    for took in (0.04, 0.2, 0.4):
        finish(metrics, run(Outcome.DELIVERED, transit=took, data=took))
    scrape = Scrape(metrics)
    for name in ("mail_transit_seconds_bucket", "smtp_data_duration_seconds_bucket"):
        counts = [scrape.value(name, direction="outbound", le=le) for le in ("0.05", "0.1", "0.25", "0.5", "3600.0")]
        assert counts == [1, 1, 2, 3, 3]


def test_count_arrival_late_is_counted_in_transit_histogram(metrics: Metrics) -> None:
    metrics.count_arrival(Arrival.LATE, direction="inbound", transit=timedelta(minutes=40))
    metrics.count_arrival(Arrival.DUPLICATE, direction="inbound", transit=timedelta(minutes=40))
    metrics.count_arrival(Arrival.FORGED)
    metrics.count_arrival(Arrival.PROBER_CONFLICT)
    scrape = Scrape(metrics)
    assert scrape.value("mail_transit_seconds_bucket", direction="inbound", le="1800.0") == 0
    assert scrape.value("mail_transit_seconds_bucket", direction="inbound", le="3600.0") == 1
    assert {a: scrape.value("probe_arrivals_total", arrival=a) for a in Arrival} == dict.fromkeys(Arrival, 1)


def test_set_mail_health_unknown_is_absent(metrics: Metrics) -> None:
    labels = {"agency": AGENCY, "direction": "inbound"}
    shown = []
    for up, degraded in ((True, False), (True, True), (False, False), (None, False)):
        metrics.set_mail_health(AGENCY, "inbound", up=up, degraded=degraded)
        scrape = Scrape(metrics)
        shown.append((scrape.value("mail_up", **labels), scrape.value("mail_degraded", **labels)))
    assert shown == [(1, 0), (1, 1), (0, 0), (None, None)]


def test_count_notification_counts_each_state(metrics: Metrics) -> None:
    for state in (NotificationState.PENDING, NotificationState.SENT, NotificationState.DELIVERED):
        metrics.count_notification(Channel.FAX, Purpose.OUTAGE, state)
    scrape = Scrape(metrics)
    labels = {"channel": "fax", "purpose": "outage"}
    assert [scrape.value("notifications_total", **labels, state=state) for state in NotificationState] == [
        1,
        1,
        1,
        0,
        0,
        0,
    ]


def test_oldest_pending_grows_between_cycles(metrics: Metrics, clock: Clock) -> None:
    metrics.record_cycle(NOON, NOON, ())
    clock.advance(minutes=7)
    assert Scrape(metrics).value("notification_oldest_pending_seconds") == 420
    metrics.record_cycle(NOON, NOON + timedelta(hours=1), ())  # the database's clock may run ahead of ours
    assert Scrape(metrics).value("notification_oldest_pending_seconds") == 0
    metrics.record_cycle(NOON, None, ())
    assert Scrape(metrics).value("notification_oldest_pending_seconds") == 0


def test_incident_opened_timestamp_is_labelled_with_incident_number(metrics: Metrics) -> None:
    assert not list(Scrape(metrics).labels("incident_opened_timestamp_seconds"))
    metrics.record_cycle(NOON, None, [opened(AGENCY), opened(AGENCY, 2), opened(NO_AGENCY)])
    metrics.record_cycle(NOON, None, [opened(AGENCY, 2), opened(NO_AGENCY)])
    scrape = Scrape(metrics)
    since = "incident_opened_timestamp_seconds"
    assert scrape.value(since, agency=AGENCY, incident="JPC-02") == NOON.timestamp()
    assert {each["incident"] for each in scrape.labels(since)} == {"JPC-02", "-01"}
    # The configuration is reloaded before the next engine cycle.
    metrics.register_agency(AGENCY, routes=[ROUTE])
    assert Scrape(metrics).value(since, agency=AGENCY, incident="JPC-02") == NOON.timestamp()


def test_incidents_open_are_counted_per_agency(metrics: Metrics) -> None:
    metrics.record_cycle(NOON, None, [opened(AGENCY), opened(AGENCY, 2), opened(NO_AGENCY)])
    first = Scrape(metrics)
    metrics.record_cycle(NOON, None, [opened(NO_AGENCY)])
    then = Scrape(metrics)
    assert [scrape.value("incidents_open", agency=AGENCY) for scrape in (first, then)] == [2, 0]
    assert [scrape.value("incidents_open", agency=NO_AGENCY) for scrape in (first, then)] == [1, 1]


def declared(metrics: Metrics) -> set[tuple[str, str]]:
    """Return the agencies and directions with a declared outage."""
    scrape = Scrape(metrics)
    found = {(labels["agency"], labels["direction"]) for labels in scrape.labels("outage_declared")}
    assert all(scrape.value("outage_declared", agency=agency, direction=way) == 1 for agency, way in found)
    return found


def test_outage_declared_is_shown_by_direction_while_open(metrics: Metrics) -> None:
    assert declared(metrics) == set()
    shown = []
    for said in ({AGENCY: IncidentType.RECEIVING}, {AGENCY: IncidentType.BOTH}, {AGENCY: IncidentType.SENDING}, {}):
        metrics.set_declared_outages(said, all_known=True)
        shown.append({way for _, way in declared(metrics)})
    assert shown == [{"inbound"}, {"inbound", "outbound"}, {"outbound"}, set()]
    metrics.set_declared_outages({AGENCY: IncidentType.BOTH}, all_known=True)
    assert Scrape(metrics).value("mail_up", agency=AGENCY, direction="inbound") is None, (
        "mail_up shows detected health only"
    )


@pytest.mark.blind
def test_restore_declared_is_shown_until_first_complete_cycle(metrics: Metrics) -> None:
    """Defect: A restart removes a declared outage from the wallboard.

    Pantau: It is read from the store before the first scrape, and ends when the engine sees the end.
    """
    metrics.register_agency("lkc", routes=["lkc/internal"])
    metrics.restore_declared({AGENCY: IncidentType.SENDING, "lkc": IncidentType.RECEIVING})
    both = {(AGENCY, "outbound"), ("lkc", "inbound")}
    assert declared(metrics) == both
    metrics.set_declared_outages({}, all_known=False)
    assert declared(metrics) == both, "an incomplete cycle"
    metrics.set_declared_outages({AGENCY: IncidentType.SENDING}, all_known=False)
    assert declared(metrics) == both
    metrics.set_declared_outages({}, all_known=False)
    assert declared(metrics) == {("lkc", "inbound")}, "an outage seen open and closed is not restored again"
    metrics.set_declared_outages({}, all_known=True)
    assert declared(metrics) == set()


def test_outage_declared_follows_registered_agencies(metrics: Metrics) -> None:
    metrics.set_declared_outages({"lkc": IncidentType.SENDING, AGENCY: IncidentType.SENDING}, all_known=True)
    assert declared(metrics) == {(AGENCY, "outbound")}
    metrics.register_agency("lkc", routes=["lkc/internal"])
    metrics.unregister_agency(AGENCY)
    assert declared(metrics) == {("lkc", "outbound")}
    metrics.set_declared_outages({"lkc": IncidentType.SENDING, AGENCY: IncidentType.BOTH}, all_known=True)
    assert declared(metrics) == {("lkc", "outbound")}
    metrics.register_agency(AGENCY, routes=[ROUTE])
    assert declared(metrics) == {("lkc", "outbound"), (AGENCY, "outbound"), (AGENCY, "inbound")}


def test_off_hours_agency_without_routes_is_set(metrics: Metrics) -> None:
    def off_hours() -> float | None:
        return Scrape(metrics).value("off_hours", agency="lkc")

    metrics.register_agency("lkc", routes=[])
    assert off_hours() == 1
    metrics.register_agency("lkc", routes=["lkc/internal"])
    assert off_hours() is None
    metrics.register_agency("lkc", routes=[])
    assert off_hours() == 1
    assert Scrape(metrics).value("off_hours", agency=AGENCY) is None, "it has a route"


def test_record_reload_refused_keeps_last_success_time(metrics: Metrics) -> None:
    metrics.record_reload(ok=True, now=NOON)
    metrics.record_reload(ok=False, now=NOON + timedelta(hours=1))
    scrape = Scrape(metrics)
    assert scrape.value("config_last_reload_successful") == 0
    assert scrape.value("config_last_reload_success_timestamp_seconds") == NOON.timestamp()


def test_metrics_cycle_loop_lag_faults_and_version_are_shown(metrics: Metrics) -> None:
    metrics.record_cycle(NOON, None, ())
    metrics.set_loop_lag(timedelta(milliseconds=3))
    metrics.set_monitoring_faults({("network", "")})
    scrape = Scrape(metrics)
    assert scrape.value("engine_last_cycle_timestamp_seconds") == NOON.timestamp()
    assert scrape.value("event_loop_lag_seconds") == 0.003
    assert scrape.value("monitoring_fault", cause="network", reference="") == 1
    assert [labels["version"] for labels in scrape.labels("build_info")] == ["1.2.3"]


def test_metrics_two_instances_share_nothing(metrics: Metrics, clock: Clock) -> None:
    other = Metrics(version="1.2.3", now=clock)
    metrics.count_arrival(Arrival.FORGED)
    assert Scrape(other).value("probe_arrivals_total", arrival="forged") == 0


def test_metrics_implements_alerts_observer(metrics: Metrics) -> None:
    observer: Observer = metrics  # the type checker is the test
    observer.set_gateway_up(Channel.SMS, "sms-satu", up=True)


def test_metrics_pass_promtool(metrics: Metrics) -> None:
    finish(metrics, run(Outcome.DELIVERED, dns=1, connect=1, tls=1, auth=1, submit=1, transit=1, retrieve=1))
    metrics.set_mail_health(AGENCY, "outbound", up=True)
    metrics.register_gateway(Channel.SMS, "sms-satu")
    metrics.set_gateway_up(Channel.SMS, "sms-satu", up=True)
    metrics.record_reload(ok=True, now=NOON)
    metrics.record_cycle(NOON, None, ())
    text = metrics.render()
    assert b"_created" not in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=20)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
