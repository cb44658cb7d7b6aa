"""What is shown of how Pantau watches itself."""

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


def test_a_contact_that_left_is_shown_no_more_and_neither_are_those_of_an_agency_without_any(metrics: Metrics) -> None:
    everybody: dict[str, dict[str, datetime | None]] = {"": {"noc": NOON}, "JCM": {"siti": NOON, "ali": None}}
    metrics.watchdog.set_contacts_reached(everybody)
    at = NOON.timestamp()
    assert reached(metrics) == {("", "noc"): at, ("JCM", "siti"): at, ("JCM", "ali"): 0}
    metrics.watchdog.set_contacts_reached({"": {"noc": NOON}, "JCM": {"siti": NOON}})
    assert reached(metrics) == {("", "noc"): at, ("JCM", "siti"): at}
    metrics.watchdog.set_contacts_reached({"": {"noc": NOON}})
    assert reached(metrics) == {("", "noc"): at}


def test_a_lifeline_that_was_taken_out_of_the_settings_is_shown_no_more_and_rings_nobody(metrics: Metrics) -> None:
    assert Scrape(metrics).value("out_of_band_numbers") is None
    metrics.watchdog.set_out_of_band_numbers(2)
    metrics.watchdog.set_out_of_band_active({OutOfBandReason.STORE})
    assert Scrape(metrics).value("out_of_band_numbers") == 2
    assert Scrape(metrics).value("out_of_band_active", reason="store") == 1
    metrics.watchdog.remove_out_of_band_numbers()
    assert Scrape(metrics).value("out_of_band_numbers") is None
    assert Scrape(metrics).value("out_of_band_active", reason="store") == 0


def test_the_longest_lapse_and_the_number_of_each_are_shown_until_they_are_made_good(metrics: Metrics) -> None:
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


def test_only_those_who_may_listen_have_a_heartbeat_and_it_begins_at_nothing(metrics: Metrics) -> None:
    name = "heartbeat_last_success_timestamp_seconds"
    metrics.watchdog.register_heartbeat("switch")
    assert Scrape(metrics).value(name, receiver="switch") == 0
    metrics.watchdog.record_heartbeat("switch", NOON)
    assert Scrape(metrics).value(name, receiver="switch") == NOON.timestamp()
    metrics.watchdog.unregister_heartbeat("switch")
    assert Scrape(metrics).value(name, receiver="switch") is None
    with pytest.raises(ValueError, match="'jiran' is none of switch, file, systemd"):
        metrics.watchdog.register_heartbeat("jiran")
