"""What a word of Alertmanager comes to: a table, and every order in which words may come."""

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
#: Of a pair of Prometheus one began a little earlier: Alertmanager joins both, and keeps the earlier beginning.
EARLIER, EARLIER_OVER = (replace(each, starts_at=T0 - 7 * SECOND) for each in (FIRES, OVER))


def known(alert: ReceivedAlert, heard_at: datetime = T0) -> KnownAlert:
    return apply_alert(alert, None, heard_at)[1]


@pytest.mark.parametrize(
    ("before", "alert", "after", "news"),
    [
        (None, FIRES, MINUTE, AlertEffect.FIRES),
        (None, OVER, MINUTE, AlertEffect.WAS_OVER),
        (FIRES, FIRES, MINUTE, AlertEffect.GOES_ON),
        (FIRES, FIRES, 30 * 24 * 60 * MINUTE, AlertEffect.GOES_ON),
        (FIRES, EARLIER, MINUTE, AlertEffect.GOES_ON),
        (FIRES, OVER, MINUTE, AlertEffect.IS_OVER),
        (FIRES, EARLIER_OVER, MINUTE, AlertEffect.IS_OVER),
        # The clock of Prometheus was eight hours ahead when it began, and has been set back since.
        (AHEAD, OVER, 11 * MINUTE, AlertEffect.IS_OVER),
        # Its end was lost, or Prometheus has started anew: told once.
        (FIRES, AGAIN, 20 * MINUTE, AlertEffect.GOES_ON),
        (FIRES, AGAIN_OVER, 30 * MINUTE, AlertEffect.IS_OVER),
        (AGAIN, OVER, 21 * MINUTE, AlertEffect.LATE),
        (AGAIN, FIRES, 21 * MINUTE, AlertEffect.GOES_ON),
        # Known to be over.
        (OVER, OVER, MINUTE, AlertEffect.WAS_OVER),
        (OVER, FIRES, LATE_WINDOW - SECOND, AlertEffect.LATE),
        (OVER, EARLIER, LATE_WINDOW - SECOND, AlertEffect.LATE),
        # Alertmanager had called it over because it heard no more of it, and it fires all the time.
        (OVER, FIRES, LATE_WINDOW, AlertEffect.FIRES),
        (OVER, AGAIN, MINUTE, AlertEffect.FIRES),
        (OVER, AGAIN_OVER, MINUTE, AlertEffect.WAS_OVER),
        # A clock that was set back keeps nobody from hearing.
        (OVER, FIRES, -MINUTE, AlertEffect.FIRES),
    ],
)  # fmt: skip
def test_what_a_word_comes_to(
    before: ReceivedAlert | None, alert: ReceivedAlert, after: timedelta, news: AlertEffect
) -> None:
    assert apply_alert(alert, known(before) if before else None, T0 + after)[0] is news


def test_what_is_no_news_is_nothing_to_be_written_down_either_but_once_a_day() -> None:
    fires, over = known(FIRES), known(OVER)
    assert apply_alert(FIRES, fires, T0 + MINUTE)[1] is fires
    assert apply_alert(OVER, over, T0 + MINUTE)[1] is over
    assert apply_alert(FIRES, over, T0 + MINUTE)[1] is over
    assert apply_alert(FIRES, fires, T0 + RECORD_INTERVAL)[1] == replace(fires, received_at=T0 + RECORD_INTERVAL)


def test_an_end_that_came_before_the_beginning_keeps_the_beginning_from_telling_anybody() -> None:
    news, after = apply_alert(OVER, None, T0)
    assert (news, apply_alert(FIRES, after, T0 + MINUTE)[0]) == (AlertEffect.WAS_OVER, AlertEffect.LATE)


def test_the_time_before_ends_nothing_that_fires_now() -> None:
    after = apply_alert(AGAIN, known(OVER), T0 + 20 * MINUTE)[1]
    for late in (OVER, FIRES, EARLIER_OVER):
        assert apply_alert(late, after, T0 + 21 * MINUTE)[1].ended_at is None
    assert apply_alert(AGAIN_OVER, after, T0 + 30 * MINUTE)[0] is AlertEffect.IS_OVER


def told(words: Sequence[ReceivedAlert]) -> list[AlertEffect]:
    """Return what people hear of words that come within a minute."""
    latest: KnownAlert | None = None
    heard: list[AlertEffect] = []
    for number, word in enumerate(words):
        news, latest = apply_alert(word, latest, T0 + 10 * MINUTE + number * SECOND)
        heard += [news] if news in {AlertEffect.FIRES, AlertEffect.IS_OVER} else []
    return heard


def test_two_of_each_word_in_every_order_tell_nobody_twice_and_leave_nothing_open() -> None:
    orders = permutations([FIRES, EARLIER, OVER, OVER])
    assert {tuple(told(order)) for order in orders} == {(), (AlertEffect.FIRES, AlertEffect.IS_OVER)}


@given(st.lists(st.sampled_from([FIRES, EARLIER, OVER, EARLIER_OVER, AGAIN, AGAIN_OVER]), max_size=12))
def test_whatever_comes_beginnings_and_ends_take_turns(words: list[ReceivedAlert]) -> None:
    heard = told(words)
    assert all(news is (AlertEffect.FIRES, AlertEffect.IS_OVER)[number % 2] for number, news in enumerate(heard))


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
def test_what_strangers_call_it_is_quoted_within_bounds(labels: dict[str, str], subject: str) -> None:
    assert replace(FIRES, labels=labels).subject == subject


@pytest.mark.parametrize(
    ("label", "agency"), [("JCM", "JCM"), ("jcm", "jcm"), ("", ""), ("JCM\n\0" + "x" * 10_000, "JCM " + "x" * 60)]
)
def test_which_agency_it_is_about_is_a_label_within_bounds(label: str, agency: str) -> None:
    assert replace(FIRES, labels={"agency": label}).agency == agency
    assert not replace(FIRES, labels={}).agency


@given(st.text(), st.text())
def test_no_name_holds_what_a_text_or_a_page_would_take_for_its_own(name: str, instance: str) -> None:
    alert = replace(FIRES, labels={"alertname": name, "instance": instance}, summary=instance)
    assert set(alert.subject) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- ()")
    assert len(alert.subject) <= 57
    assert not [p for p in errors(lint(f"RM0 JCM {alert.subject}", "JCM")) if p.rule == "characters"]
    assert all(text.isprintable() and len(text) <= 1000 for text in alert.audit_details().values())


def test_the_journal_keeps_labels_and_summary_within_bounds() -> None:
    assert replace(FIRES, summary="Cakera\npenuh").audit_details() == {
        "labels": 'alertname="CakeraPenuh", instance="web01:9100"',
        "summary": "Cakera penuh",
    }
    long = replace(FIRES, labels={"a": "b" * 5000}, summary="c" * 5000).audit_details()
    assert {name: len(text) for name, text in long.items()} == {"labels": 1000, "summary": 300}


# -- which incident an alert belongs to -------------------------------------------------------------------------------

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
        # What has an incident keeps it for as long as it fires, whatever becomes of the group.
        (known(FIRES), FIRES, LARGE, {OWN, SHARED}, True, OWN),
        (known(FIRES), AGAIN, LARGE, (), True, OWN),
        (IN_SHARED, FIRES, SMALL, {SHARED}, True, SHARED),
        (IN_SHARED, FIRES, AlertGroup(name="other"), (), False, SHARED),
        (IN_SHARED, OVER, UNGROUPED, {SHARED}, True, SHARED),
        # What fires again is decided anew.
        (replace(known(OVER), merged_into=SHARED), AGAIN, SMALL, (), True, OWN),
        (known(OVER), AGAIN, LARGE, (), True, SHARED),
        # No more are open than there is room for.
        (None, FIRES, UNGROUPED, (), False, REST),
        (None, FIRES, LARGE, (), False, REST),
        (None, FIRES, LARGE, {SHARED}, False, SHARED),
        (None, FIRES, UNGROUPED, {OWN}, False, OWN),
        (None, OVER, LARGE, (), False, OWN),
    ],
)
def test_incident_key_is_its_own_its_groups_or_that_of_the_rest(
    before: KnownAlert | None,
    alert: ReceivedAlert,
    group: AlertGroup,
    *,
    open_keys: set[str],
    may_open: bool,
    key: str,
) -> None:
    assert incident_key(alert, before, group, "", open_keys=open_keys, may_open=may_open) == key


def test_alert_group_key_is_another_for_each_plan_and_group_and_no_agency() -> None:
    keys = [group.key(told_by) for group in (LARGE, AlertGroup(name="h")) for told_by in ("", "rangkaian")]
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
def test_folded_subject_has_the_name_that_all_share_and_the_count(
    names: list[str], count: int, subject: tuple[str, str]
) -> None:
    assert shared_subject([replace(FIRES, labels={"alertname": name}) for name in names], count) == subject


@pytest.mark.parametrize(("agencies", "agency"), [(["JCM", "JCM"], "JCM"), (["JCM", "MDC"], ""), (["JCM", ""], "")])
def test_folded_agency_is_the_one_that_all_are_about(agencies: list[str], agency: str) -> None:
    assert shared_agency([replace(FIRES, labels={"agency": each}) for each in agencies]) == agency
