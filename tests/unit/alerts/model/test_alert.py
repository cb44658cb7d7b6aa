"""Effect of each message of Alertmanager: a table, and every order of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.model.alert import (
    LATE_WINDOW,
    RECORD_INTERVAL,
    UNGROUPED,
    AlertEffect,
    AlertGroup,
    KnownAlert,
    ReceivedAlert,
    apply_alert,
    incident_key,
    overflow_key,
    shared_agency,
    shared_subject,
)
from alerts.wording.lint import errors, lint
from tests.unit.alerts.people import MINUTE, SECOND, T0

FIRES = ReceivedAlert(
    fingerprint="00112233aabbccdd",
    starts_at=T0,
    ended_at=None,
    labels={"alertname": "CakeraPenuh", "instance": "web01:9100"},
)
AHEAD = replace(FIRES, starts_at=T0 + 8 * 60 * MINUTE)
OVER = replace(FIRES, ended_at=T0 + 10 * MINUTE)
AGAIN = replace(FIRES, starts_at=T0 + 20 * MINUTE)
AGAIN_OVER = replace(AGAIN, ended_at=T0 + 30 * MINUTE)
#: One Prometheus of a pair began earlier. Alertmanager merges both and keeps the earlier start.
EARLIER, EARLIER_OVER = (replace(each, starts_at=T0 - 7 * SECOND) for each in (FIRES, OVER))


def known(alert: ReceivedAlert, received_at: datetime = T0) -> KnownAlert:
    return apply_alert(alert, None, received_at)[1]


@pytest.mark.parametrize(
    ("before", "alert", "after", "effect"),
    [
        (None, FIRES, MINUTE, AlertEffect.FIRES),
        (None, OVER, MINUTE, AlertEffect.WAS_OVER),
        (FIRES, FIRES, MINUTE, AlertEffect.GOES_ON),
        (FIRES, FIRES, 30 * 24 * 60 * MINUTE, AlertEffect.GOES_ON),
        (FIRES, EARLIER, MINUTE, AlertEffect.GOES_ON),
        (FIRES, OVER, MINUTE, AlertEffect.IS_OVER),
        (FIRES, EARLIER_OVER, MINUTE, AlertEffect.IS_OVER),
        # The clock of Prometheus was eight hours ahead at the start and has been set back.
        (AHEAD, OVER, 11 * MINUTE, AlertEffect.IS_OVER),
        # The end was lost, or Prometheus restarted: one notification.
        (FIRES, AGAIN, 20 * MINUTE, AlertEffect.GOES_ON),
        (FIRES, AGAIN_OVER, 30 * MINUTE, AlertEffect.IS_OVER),
        (AGAIN, OVER, 21 * MINUTE, AlertEffect.LATE),
        (AGAIN, FIRES, 21 * MINUTE, AlertEffect.GOES_ON),
        # Known to have ended.
        (OVER, OVER, MINUTE, AlertEffect.WAS_OVER),
        (OVER, FIRES, LATE_WINDOW - SECOND, AlertEffect.LATE),
        (OVER, EARLIER, LATE_WINDOW - SECOND, AlertEffect.LATE),
        # Alertmanager ended the alert for lack of updates, but it still fires.
        (OVER, FIRES, LATE_WINDOW, AlertEffect.FIRES),
        (OVER, AGAIN, MINUTE, AlertEffect.FIRES),
        (OVER, AGAIN_OVER, MINUTE, AlertEffect.WAS_OVER),
        # A clock that was set back suppresses no notification.
        (OVER, FIRES, -MINUTE, AlertEffect.FIRES),
    ],
)  # fmt: skip
def test_apply_alert_effect_table(
    before: ReceivedAlert | None, alert: ReceivedAlert, after: timedelta, effect: AlertEffect
) -> None:
    assert apply_alert(alert, known(before) if before else None, T0 + after)[0] is effect


def test_unchanged_alert_is_recorded_once_per_interval() -> None:
    fires, over = known(FIRES), known(OVER)
    assert apply_alert(FIRES, fires, T0 + MINUTE)[1] is fires
    assert apply_alert(OVER, over, T0 + MINUTE)[1] is over
    assert apply_alert(FIRES, over, T0 + MINUTE)[1] is over
    assert apply_alert(FIRES, fires, T0 + RECORD_INTERVAL)[1] == replace(fires, received_at=T0 + RECORD_INTERVAL)


def test_end_received_before_start_makes_start_late() -> None:
    effect, after = apply_alert(OVER, None, T0)
    assert (effect, apply_alert(FIRES, after, T0 + MINUTE)[0]) == (AlertEffect.WAS_OVER, AlertEffect.LATE)


def test_late_message_of_earlier_occurrence_does_not_end_current_one() -> None:
    after = apply_alert(AGAIN, known(OVER), T0 + 20 * MINUTE)[1]
    for late in (OVER, FIRES, EARLIER_OVER):
        assert apply_alert(late, after, T0 + 21 * MINUTE)[1].ended_at is None
    assert apply_alert(AGAIN_OVER, after, T0 + 30 * MINUTE)[0] is AlertEffect.IS_OVER


def reported_effects(alerts: Sequence[ReceivedAlert]) -> list[AlertEffect]:
    """Return the effects that are notified for messages within a minute."""
    latest: KnownAlert | None = None
    effects: list[AlertEffect] = []
    for number, alert in enumerate(alerts):
        effect, latest = apply_alert(alert, latest, T0 + 10 * MINUTE + number * SECOND)
        effects += [effect] if effect in {AlertEffect.FIRES, AlertEffect.IS_OVER} else []
    return effects


def test_duplicates_in_any_order_notify_once_and_leave_none_open() -> None:
    orders = permutations([FIRES, EARLIER, OVER, OVER])
    assert {tuple(reported_effects(order)) for order in orders} == {(), (AlertEffect.FIRES, AlertEffect.IS_OVER)}


@given(st.lists(st.sampled_from([FIRES, EARLIER, OVER, EARLIER_OVER, AGAIN, AGAIN_OVER]), max_size=12))
def test_fires_and_is_over_alternate_for_any_sequence(alerts: list[ReceivedAlert]) -> None:
    effects = reported_effects(alerts)
    assert all(effect is (AlertEffect.FIRES, AlertEffect.IS_OVER)[number % 2] for number, effect in enumerate(effects))


@pytest.mark.parametrize(
    ("labels", "subject"),
    [
        ({"alertname": "CakeraPenuh", "instance": "web01:9100"}, "CakeraPenuh (web01 9100)"),
        ({"alertname": "CakeraPenuh"}, "CakeraPenuh"),
        ({"instance": "web01"}, "web01"),
        ({}, ""),
        ({"alertname": "A" * 5000}, "A" * 30),
        ({"alertname": "{number} [x|y] <b>&amp; \N{RIGHT-TO-LEFT OVERRIDE}\0\x1b[31m\nRuj JCM-99"}, "number x y b amp 31m Ruj JCM-9"),
        ({"alertname": "دیسک", "instance": "(web)"}, "web"),
    ],
)  # fmt: skip
def test_subject_is_sanitized_and_truncated(labels: dict[str, str], subject: str) -> None:
    assert replace(FIRES, labels=labels).subject == subject


@pytest.mark.parametrize(
    ("label", "agency"), [("JCM", "JCM"), ("jcm", "jcm"), ("", ""), ("JCM\n\0" + "x" * 10_000, "JCM " + "x" * 60)]
)
def test_agency_label_is_sanitized_and_truncated(label: str, agency: str) -> None:
    assert replace(FIRES, labels={"agency": label}).agency == agency
    assert not replace(FIRES, labels={}).agency


@given(st.text(), st.text())
def test_subject_and_audit_details_contain_only_safe_characters(name: str, instance: str) -> None:
    alert = replace(FIRES, labels={"alertname": name, "instance": instance}, summary=instance)
    assert set(alert.subject) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- ()")
    assert len(alert.subject) <= 57
    assert not [p for p in errors(lint(f"RM0 JCM {alert.subject}", "JCM")) if p.rule == "characters"]
    assert all(text.isprintable() and len(text) <= 1000 for text in alert.audit_details().values())


def test_audit_details_truncate_labels_and_summary() -> None:
    assert replace(FIRES, summary="Cakera\npenuh").audit_details() == {
        "labels": 'alertname="CakeraPenuh", instance="web01:9100"',
        "summary": "Cakera penuh",
    }
    long = replace(FIRES, labels={"a": "b" * 5000}, summary="c" * 5000).audit_details()
    assert {name: len(text) for name, text in long.items()} == {"labels": 1000, "summary": 300}


# -- incident of an alert ---------------------------------------------------------------------------------------------

SMALL, LARGE = AlertGroup(name="g"), AlertGroup(name="g", shares_incident=True)
OWN, SHARED, REST = FIRES.dedup_key, LARGE.key(""), overflow_key("")
IN_SHARED = replace(known(FIRES), merged_into=SHARED)


@pytest.mark.parametrize(
    ("before", "alert", "group", "open_keys", "may_open", "key"),
    [
        (None, FIRES, UNGROUPED, (), True, OWN),
        (None, FIRES, SMALL, (), True, OWN),
        (None, FIRES, LARGE, (), True, SHARED),
        (None, FIRES, SMALL, {SHARED}, True, SHARED),
        # A firing alert keeps its incident, whatever happens to the group.
        (known(FIRES), FIRES, LARGE, {OWN, SHARED}, True, OWN),
        (known(FIRES), AGAIN, LARGE, (), True, OWN),
        (IN_SHARED, FIRES, SMALL, {SHARED}, True, SHARED),
        (IN_SHARED, FIRES, AlertGroup(name="other"), (), False, SHARED),
        (IN_SHARED, OVER, UNGROUPED, {SHARED}, True, SHARED),
        # An alert that fires again is assigned anew.
        (replace(known(OVER), merged_into=SHARED), AGAIN, SMALL, (), True, OWN),
        (known(OVER), AGAIN, LARGE, (), True, SHARED),
        # The number of open incidents is limited.
        (None, FIRES, UNGROUPED, (), False, REST),
        (None, FIRES, LARGE, (), False, REST),
        (None, FIRES, LARGE, {SHARED}, False, SHARED),
        (None, FIRES, UNGROUPED, {OWN}, False, OWN),
        (None, OVER, LARGE, (), False, OWN),
    ],
)
def test_incident_key_is_own_group_or_overflow(
    before: KnownAlert | None,
    alert: ReceivedAlert,
    group: AlertGroup,
    *,
    open_keys: set[str],
    may_open: bool,
    key: str,
) -> None:
    assert incident_key(alert, before, group, "", open_keys=open_keys, may_open=may_open) == key


def test_group_key_is_unique_per_policy_and_group() -> None:
    keys = [group.key(notified_by) for group in (LARGE, AlertGroup(name="h")) for notified_by in ("", "rangkaian")]
    assert len({*keys, overflow_key(""), overflow_key("rangkaian"), OWN}) == 7
    assert all("/" in key and len(key) <= 200 for key in keys)


@pytest.mark.parametrize(
    ("names", "count", "subject"),
    [
        (["CakeraPenuh", "CakeraPenuh"], 40, ("CakeraPenuh (40 amaran)", "CakeraPenuh (40 alerts)")),
        (["CakeraPenuh", "TalianPutus"], 40, ("40 amaran", "40 alerts")),
        ([""], 21, ("21 amaran", "21 alerts")),
        ([], 7, ("7 amaran", "7 alerts")),
        (["x" * 200], 40_000, (f"{'x' * 30} (40000 amaran)", f"{'x' * 30} (40000 alerts)")),
    ],
)
def test_shared_subject_has_common_name_and_count(names: list[str], count: int, subject: tuple[str, str]) -> None:
    assert shared_subject([replace(FIRES, labels={"alertname": name}) for name in names], count) == subject


@pytest.mark.parametrize(("agencies", "agency"), [(["JCM", "JCM"], "JCM"), (["JCM", "MDC"], ""), (["JCM", ""], "")])
def test_shared_agency_is_common_agency_or_empty(agencies: list[str], agency: str) -> None:
    assert shared_agency([replace(FIRES, labels={"agency": each}) for each in agencies]) == agency
