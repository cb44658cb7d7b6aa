"""Alertmanager's webhook, version 4: parsing and rejection."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.inbound.alertmanager import WebhookRejectedError, read_webhook, webhook_schema
from tests.unit.alerts.people import T0

#: As written by Alertmanager 0.28.
ALERT = {
    "status": "firing",
    "labels": {"alertname": "CakeraPenuh", "instance": "web01:9100", "severity": "critical"},
    "annotations": {"summary": "Cakera penuh pada web01", "runbook_url": "https://buku.contoh.gov.my/cakera"},
    "startsAt": "2026-11-24T06:10:21.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.contoh.gov.my/graph?g0.expr=x",
    "fingerprint": "b2b84fb9b9fd1a6d",
}
WEBHOOK = {
    "receiver": "pantau",
    "status": "firing",
    "alerts": [ALERT],
    "groupLabels": {"alertname": "CakeraPenuh"},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.contoh.gov.my",
    "version": "4",
    "groupKey": '{}:{alertname="CakeraPenuh"}',
    "truncatedAlerts": 0,
}


def octets(**changed: Any) -> bytes:
    return json.dumps({**WEBHOOK, **changed}).encode()


def of_alert(**changed: Any) -> bytes:
    return octets(alerts=[{**ALERT, **changed}])


def test_firing_alert_is_read_with_name_and_summary() -> None:
    webhook = read_webhook(octets(), T0)
    [alert] = webhook.alerts
    assert (alert.fingerprint, alert.ended_at, alert.summary) == ("b2b84fb9b9fd1a6d", None, "Cakera penuh pada web01")
    assert alert.starts_at == datetime(2026, 11, 24, 6, 10, 21, 123456, UTC)
    assert (alert.subject, webhook.omitted) == ("CakeraPenuh (web01 9100)", 0)


def test_webhook_schema_requires_the_fields_read_webhook_requires() -> None:
    schema = webhook_schema()
    alerts, version = schema["properties"]["alerts"], schema["properties"]["version"]
    assert (alerts["type"], version, {*schema["required"]}) == ("array", {"const": "4"}, {"version", "alerts"})
    assert {*alerts["items"]["required"]} == {"status", "labels", "startsAt", "fingerprint"}
    for field in alerts["items"]["required"]:
        with pytest.raises(WebhookRejectedError, match=field):
            read_webhook(octets(alerts=[{name: value for name, value in ALERT.items() if name != field}]), T0)


def test_alert_status_is_independent_of_group_status() -> None:
    over = {**ALERT, "status": "resolved", "endsAt": "2026-11-24T14:14:00+08:00"}
    fires, ended = read_webhook(octets(alerts=[ALERT, over], status="firing"), T0).alerts
    assert (fires.ended_at, ended.ended_at) == (None, datetime(2026, 11, 24, 6, 14, tzinfo=UTC))


def test_unknown_and_missing_optional_fields_are_accepted() -> None:
    newer = read_webhook(octets(notification_reason="x", routeLabels={"a": 1}), T0)
    bare = {key: ALERT[key] for key in ("status", "labels", "startsAt", "fingerprint")}
    older = read_webhook(json.dumps({"version": "4", "alerts": [bare]}).encode(), T0)
    assert [each.fingerprint for each in (*newer.alerts, *older.alerts)] == [ALERT["fingerprint"]] * 2


def test_truncated_alerts_are_counted_as_omitted() -> None:
    webhook = read_webhook(octets(alerts=[], truncatedAlerts=7), T0)
    assert (webhook.alerts, webhook.omitted) == ([], 7)


def test_resolved_alert_without_end_time_ended_now() -> None:
    for end in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+08:00", None):
        assert read_webhook(of_alert(status="resolved", endsAt=end), T0).alerts[0].ended_at == T0


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00", "1999-12-31T00:00:00Z"])
def test_implausible_start_time_is_replaced_by_constant(at: str) -> None:
    assert read_webhook(of_alert(startsAt=at), T0).alerts[0].starts_at == datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"version": "4", "alerts": ["\xff"]}', "not JSON"),
        (b'{"version": "4", "groupKey": "\\ud800", "alerts": []}', "not JSON"),
        (b"[" * 1_000_000, "not JSON"),
        (b'{"a":' * 1_000_000, "not JSON"),
        (b"[]", 'version "4"'),
        (b'"4"', 'version "4"'),
        (b'{"text": "Cakera penuh"}', "leave out `payload`"),
        (octets(version="3"), 'version "4"'),
        (octets(version=4), 'version "4"'),
        (octets(alerts=None), "alerts: Input should be a valid list"),
        (of_alert(status="pending"), "alerts.0.status: Input should be 'firing' or 'resolved'"),
        (of_alert(fingerprint="B2B84FB9B9FD1A6D"), "alerts.0.fingerprint"),
        (of_alert(fingerprint="b2b84fb9b9fd1a6d\n"), "alerts.0.fingerprint"),
        (of_alert(labels={"a": 1}), "alerts.0.labels.a"),
        (of_alert(startsAt="2026-11-24T06:10:21"), "alerts.0.startsAt: Input should have timezone info"),
        (octets(truncatedAlerts="many"), "truncatedAlerts"),
        # Only the first of several errors is reported, and a label name is truncated.
        (octets(alerts=None, truncatedAlerts="many"), "^alerts: "),
        (of_alert(labels={"a" * 500: 1}), f"^alerts.0.labels.{'a' * 64}: "),
    ],
)  # fmt: skip
def test_malformed_webhook_is_rejected_with_reason(body: bytes, why: str) -> None:
    with pytest.raises(WebhookRejectedError, match=why.replace("[", r"\[")):
        read_webhook(body, T0)


def test_rejection_quotes_no_value_and_truncates_name() -> None:
    with pytest.raises(WebhookRejectedError) as refused:
        read_webhook(of_alert(labels={"\x1b]0;" + "n" * 10_000: {"rahsia": "rahsia"}}), T0)
    assert "rahsia" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@given(st.binary())
def test_any_body_is_read_or_rejected(body: bytes) -> None:
    try:
        read_webhook(body, T0)
    except WebhookRejectedError:
        return
