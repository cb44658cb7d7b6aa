"""Metrics of the watchdog."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from alerts.decide.auditor import EscalationFailure, MissedAction
from monitor.evaluation.out_of_band import OutOfBandReason
from monitor.metrics import Metrics
from tests.unit.monitor.scrape import NOON, Scrape


def reached(metrics: Metrics) -> dict[tuple[str, str], float | None]:
    scrape = Scrape(metrics)
    name = "contact_reached_timestamp_seconds"
    return {(s["agency"], s["contact"]): scrape.value(name, **s) for s in scrape.labels(name)}


def test_contact_reached_removed_contact_has_no_series(metrics: Metrics) -> None:
    everybody: dict[str, dict[str, datetime | None]] = {"": {"noc": NOON}, "JCM": {"siti": NOON, "ali": None}}
    metrics.watchdog.set_contacts_reached(everybody)
    at = NOON.timestamp()
    assert reached(metrics) == {("", "noc"): at, ("JCM", "siti"): at, ("JCM", "ali"): 0}
    metrics.watchdog.set_contacts_reached({"": {"noc": NOON}, "JCM": {"siti": NOON}})
    assert reached(metrics) == {("", "noc"): at, ("JCM", "siti"): at}
    metrics.watchdog.set_contacts_reached({"": {"noc": NOON}})
    assert reached(metrics) == {("", "noc"): at}


def test_out_of_band_removed_has_no_numbers_and_is_inactive(metrics: Metrics) -> None:
    assert Scrape(metrics).value("out_of_band_numbers") is None
    metrics.watchdog.set_out_of_band_numbers(2)
    metrics.watchdog.set_out_of_band_active({OutOfBandReason.STORE})
    assert Scrape(metrics).value("out_of_band_numbers") == 2
    assert Scrape(metrics).value("out_of_band_active", reason="store") == 1
    metrics.watchdog.remove_out_of_band_numbers()
    assert Scrape(metrics).value("out_of_band_numbers") is None
    assert Scrape(metrics).value("out_of_band_active", reason="store") == 0


def test_record_audit_exports_longest_delay_and_counts_until_resolved(metrics: Metrics) -> None:
    lapses = [(MissedAction.STEP, NOON - timedelta(seconds=90)), (MissedAction.STEP, NOON - timedelta(seconds=30))]
    metrics.watchdog.record_audit(NOON, lapses, [EscalationFailure.NOBODY_ANSWERED])
    found = Scrape(metrics)
    assert found.value("escalation_overdue_seconds") == 90
    assert [found.value("escalation_overdue", action=action) for action in MissedAction] == [2, 0, 0, 0]
    assert found.value("incidents_escalation_failed", reason="nobody_answered") == 1
    assert (metrics.watchdog.audited_at, metrics.watchdog.overdue) == (NOON, timedelta(seconds=90))
    metrics.watchdog.record_audit(NOON, [], [])
    over = Scrape(metrics)
    assert over.value("escalation_overdue_seconds") == 0
    assert over.value("escalation_overdue", action="step") == 0
    assert over.value("incidents_escalation_failed", reason="nobody_answered") == 0


def test_heartbeat_is_zero_until_sent_and_only_for_known_receivers(metrics: Metrics) -> None:
    name = "heartbeat_last_success_timestamp_seconds"
    metrics.watchdog.register_heartbeat("switch")
    assert Scrape(metrics).value(name, receiver="switch") == 0
    metrics.watchdog.record_heartbeat("switch", NOON)
    assert Scrape(metrics).value(name, receiver="switch") == NOON.timestamp()
    metrics.watchdog.unregister_heartbeat("switch")
    assert Scrape(metrics).value(name, receiver="switch") is None
    with pytest.raises(ValueError, match="'jiran' is none of switch, file, systemd"):
        metrics.watchdog.register_heartbeat("jiran")
