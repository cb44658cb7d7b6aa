"""Metrics of checks, message paths, access tokens and plans."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.metrics import NO_AGENCY, Metrics
from monitor.metrics.checks import MAX_FINDINGS
from probes.model.check import Finding, Verdict
from probes.model.result import Hop, Path
from tests.unit.monitor.scrape import AGENCY, NOON, ROUTE, Clock, Scrape

IMAPS = "imap.jpc.gov.my:993"


def found(aspect: str, verdict: Verdict, subject: str = "jpc.gov.my", days: float | None = None) -> Finding:
    expires_at = None if days is None else NOON + timedelta(days=days)
    return Finding(aspect=aspect, subject=subject, verdict=verdict, expires_at=expires_at)


def path(*delays: float, skew: float | None = None) -> Path:
    hops = tuple(Hop(by="relay.contoh.example", delay=timedelta(seconds=delay)) for delay in delays)
    return Path(hops=hops, skew=None if skew is None else timedelta(seconds=skew))


def state(metrics: Metrics, aspect: str, subject: str = "jpc.gov.my", check: str = "domain") -> float | None:
    return Scrape(metrics).value("check_state", agency=AGENCY, check=check, aspect=aspect, subject=subject)


def expiry(metrics: Metrics, server: str = IMAPS) -> float | None:
    return Scrape(metrics).value("certificate_expiry_timestamp_seconds", agency=AGENCY, server=server)


# -- checks ---------------------------------------------------------------------------------------------------------


def test_check_state_maps_verdict_and_unknown_is_absent(metrics: Metrics) -> None:
    aspects = {verdict: f"aspect-{verdict}" for verdict in Verdict}
    metrics.record_check_run(AGENCY, "domain", [found(aspect, verdict) for verdict, aspect in aspects.items()], NOON)
    shown = {verdict: state(metrics, aspect) for verdict, aspect in aspects.items()}
    assert shown == {Verdict.PASS: 0, Verdict.WARN: 1, Verdict.FAIL: 2, Verdict.UNKNOWN: None}
    scrape, labels = Scrape(metrics), {"agency": AGENCY, "check": "domain"}
    assert scrape.value("check_unknown_findings", **labels) == 1
    assert scrape.value("check_run_timestamp_seconds", **labels) == NOON.timestamp()


def test_record_check_run_replaces_previous_run(metrics: Metrics) -> None:
    metrics.record_check_run(AGENCY, "domain", [found("spf", Verdict.FAIL), found("dmarc", Verdict.PASS)], NOON)
    metrics.record_check_run(AGENCY, "domain", [found("dmarc", Verdict.UNKNOWN)], NOON)
    assert (state(metrics, "spf"), state(metrics, "dmarc")) == (None, None)
    metrics.record_check_run(AGENCY, "mx", [found("spf", Verdict.PASS)], NOON)
    metrics.record_check_run(AGENCY, "domain", [found("spf", Verdict.WARN)], NOON)
    assert (state(metrics, "spf"), state(metrics, "spf", check="mx")) == (1, 0)


def test_check_state_two_findings_shows_worse(metrics: Metrics) -> None:
    verdicts = (Verdict.WARN, Verdict.FAIL, Verdict.PASS, Verdict.UNKNOWN)
    metrics.record_check_run(AGENCY, "domain", [found("spf", verdict) for verdict in verdicts], NOON)
    assert state(metrics, "spf") == 2


def test_record_check_run_thousand_servers_keeps_hundred_worst(metrics: Metrics) -> None:
    servers = [found("name", Verdict.PASS, f"mx{n}.jpc.gov.my:25", days=400 - n / 10) for n in range(1000)]
    servers[777] = found("name", Verdict.FAIL, "mx777.jpc.gov.my:25", days=1)
    metrics.record_check_run(AGENCY, "mx", servers, NOON)
    scrape = Scrape(metrics)
    for name in ("check_state", "certificate_expiry_timestamp_seconds"):
        assert len(list(scrape.labels(name))) == MAX_FINDINGS
    assert state(metrics, "name", "mx777.jpc.gov.my:25", check="mx") == 2
    assert expiry(metrics, "mx777.jpc.gov.my:25") == (NOON + timedelta(days=1)).timestamp()


def test_certificate_expiry_of_two_check_kinds_is_sooner(metrics: Metrics) -> None:
    metrics.record_check_run(AGENCY, "certificate", [found("expiry", Verdict.PASS, IMAPS, days=30)], NOON)
    metrics.record_check_run(AGENCY, "retrieval", [found("tls", Verdict.PASS, IMAPS, days=7)], NOON)
    assert expiry(metrics) == (NOON + timedelta(days=7)).timestamp()
    metrics.record_check_run(AGENCY, "retrieval", [found("tls", Verdict.UNKNOWN, IMAPS)], NOON)
    assert expiry(metrics) == (NOON + timedelta(days=30)).timestamp()


def test_check_subject_with_control_characters_is_escaped(metrics: Metrics) -> None:
    hostile = 'mx"} 1\npantau_mail_up{agency="\\'
    metrics.record_check_run(AGENCY, "mx", [found("name", Verdict.PASS, hostile, days=1)], NOON)
    assert state(metrics, "name", hostile, check="mx") == 0
    assert not list(Scrape(metrics).labels("mail_up"))


def test_register_agency_drops_removed_check_kinds_only(metrics: Metrics) -> None:
    for kind, days in (("certificate", 30), ("retrieval", 7)):
        metrics.record_check_run(AGENCY, kind, [found("tls", Verdict.PASS, IMAPS, days=days)], NOON)
    metrics.register_agency(AGENCY, routes=[ROUTE])
    assert len(Scrape(metrics).with_label("check", "retrieval")) == 3
    metrics.register_agency(AGENCY, routes=[ROUTE], checks=["certificate"])
    scrape = Scrape(metrics)
    assert not scrape.with_label("check", "retrieval")
    assert len(scrape.with_label("check", "certificate")) == 3
    assert expiry(metrics) == (NOON + timedelta(days=30)).timestamp()


# -- the way of a message -------------------------------------------------------------------------------------------


def test_mail_hop_delay_far_relays_share_last_hop(metrics: Metrics) -> None:
    metrics.record_path(AGENCY, "inbound", path(*range(1, 11)))
    scrape = Scrape(metrics)
    sums = {
        hop: scrape.value("mail_hop_delay_seconds_sum", direction="inbound", hop=hop)
        for hop in ("1", "7", "8", "9", "10")
    }
    assert sums == {"1": 1, "7": 7, "8": 8 + 9 + 10, "9": None, "10": None}
    assert scrape.value("mail_hop_delay_seconds_count", direction="inbound", hop="8") == 3


def test_mail_slowest_hop_is_shown_for_latest_slow_message(
    metrics: Metrics,
) -> None:
    told = []
    for way in (path(1, 2), path(3, 90, 40), path(12, 3), path(*range(1, 30)), path(), path(9)):
        metrics.record_path(AGENCY, "inbound", way)
        scrape = Scrape(metrics)
        told.append(
            {
                labels["hop"]: scrape.value("mail_slowest_hop_seconds", **labels)
                for labels in scrape.labels("mail_slowest_hop_seconds")
            }
        )
    # Headers without data change nothing.
    assert told == [{}, {"2": 90}, {"1": 12}, {"8": 29}, {"8": 29}, {}]
    metrics.record_path("siapa", "inbound", path(60))
    metrics.record_path(AGENCY, "inbound", path(60))
    metrics.unregister_agency(AGENCY)
    assert list(Scrape(metrics).labels("mail_slowest_hop_seconds")) == []


def test_relay_clock_skew_unknown_is_kept_and_none_is_zero(metrics: Metrics) -> None:
    shown = []
    for way in (path(), path(1, skew=-90), path(), path(1)):
        metrics.record_path(AGENCY, "inbound", way)
        shown.append(Scrape(metrics).value("relay_clock_skew_seconds", agency=AGENCY, direction="inbound"))
    # Absent until known, and kept while headers have no data.
    assert shown == [None, -90, -90, 0]


# -- access tokens --------------------------------------------------------------------------------------------------


def test_token_expiry_is_shown_while_known(metrics: Metrics) -> None:
    shown = []
    for expires_at in (NOON, NOON + timedelta(hours=1), None):
        for mailbox in (f"{AGENCY}/utama", "rujukan-a"):
            metrics.set_token_expiry(mailbox, expires_at)
        scrape, name = Scrape(metrics), "oauth_token_expiry_timestamp_seconds"
        of_agency = scrape.value(name, agency=AGENCY, mailbox=f"{AGENCY}/utama")
        shown.append((of_agency, scrape.value(name, agency=NO_AGENCY, mailbox="rujukan-a")))
    assert shown == [(NOON.timestamp(),) * 2, (NOON.timestamp() + 3600,) * 2, (None, None)]


def test_register_agency_drops_its_token_expiry_only(metrics: Metrics) -> None:
    metrics.set_token_expiry(f"{AGENCY}/utama", NOON)
    metrics.set_token_expiry("rujukan-a", NOON)
    metrics.register_agency(AGENCY, routes=[ROUTE])
    assert not Scrape(metrics).with_label("mailbox", f"{AGENCY}/utama")
    assert Scrape(metrics).with_label("mailbox", "rujukan-a")


# -- plans ----------------------------------------------------------------------------------------------------------


def test_maintenance_is_absent_until_set(metrics: Metrics) -> None:
    shown = [Scrape(metrics).value("maintenance", agency=AGENCY)]
    for active in (True, False):
        metrics.set_maintenance(AGENCY, active=active)
        shown.append(Scrape(metrics).value("maintenance", agency=AGENCY))
    assert shown == [None, 1, 0]


@pytest.mark.falsegreen
def test_config_routes_counts_registered_routes() -> None:
    """Defect: A service without routes looks healthy.

    Pantau: The number of routes is a metric with an alert.
    """
    metrics = Metrics(version="1.2.3", now=Clock())
    shown = [Scrape(metrics).value("config_routes")]
    metrics.register_agency(AGENCY, routes=[ROUTE, "jpc/internal"])
    metrics.register_agency(NO_AGENCY, routes=["control/a-b"])
    shown.append(Scrape(metrics).value("config_routes"))
    metrics.remove_route(AGENCY, ROUTE)
    shown.append(Scrape(metrics).value("config_routes"))
    metrics.unregister_agency(AGENCY)
    shown.append(Scrape(metrics).value("config_routes"))
    assert shown == [0, 3, 2, 1]


def test_probe_schedule_lag_is_counted_in_buckets(metrics: Metrics) -> None:
    for lag in (0.002, 0.03, 40, 90):
        metrics.record_schedule_lag(timedelta(seconds=lag))
    scrape = Scrape(metrics)
    buckets = {le: scrape.value("probe_schedule_lag_seconds_bucket", le=le) for le in ("0.005", "0.05", "60.0", "+Inf")}
    assert buckets == {"0.005": 1, "0.05": 2, "60.0": 3, "+Inf": 4}


def test_unregister_agency_drops_checks_paths_tokens_and_maintenance(metrics: Metrics) -> None:
    for agency in (AGENCY, "siapa"):
        metrics.record_check_run(agency, "domain", [found("spf", Verdict.PASS, days=1)], NOON)
        metrics.record_path(agency, "inbound", path(1))
        metrics.set_token_expiry(f"{agency}/utama", NOON)
        metrics.set_maintenance(agency, active=True)
    scrape = Scrape(metrics)
    assert not scrape.with_label("agency", "siapa")
    assert len(scrape.with_label("agency", AGENCY)) == 3 + 7
    metrics.unregister_agency(AGENCY)
    assert not Scrape(metrics).with_label("agency", AGENCY)


def test_record_path_unknown_direction_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="is none of"):
        metrics.record_path(AGENCY, "sideways", path(1))
