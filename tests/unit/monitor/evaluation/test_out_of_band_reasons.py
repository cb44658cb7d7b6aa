"""Reasons for out-of-band alerts: first alert, repetition and resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.out_of_band import (
    ActiveReason,
    ActiveReasons,
    OutOfBandPolicy,
    OutOfBandReason,
    SendOutOfBand,
    find_silent_peer,
    mark_failed,
    update_reasons,
)
from monitor.store.probing.processes import Process
from monitor.watchdog.process_heartbeat import ProcessHeartbeat
from monitor.watchdog.watchdog import out_of_band_reasons

T0 = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
POLICY = OutOfBandPolicy()
STORE_UNAVAILABLE: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0)}


def due_alerts(
    memory: ActiveReasons, present: ActiveReasons, now: datetime
) -> tuple[ActiveReasons, list[tuple[OutOfBandReason, bool]]]:
    kept, alerts = update_reasons(memory, present, POLICY, now)
    return kept, [(alert.reason, alert.is_resolved) for alert in alerts]


def test_store_unavailable_alerts_after_ten_minutes() -> None:
    memory, alerts = due_alerts({}, STORE_UNAVAILABLE, T0 + 10 * MINUTE - SECOND)
    assert alerts == []
    memory, alerts = due_alerts(memory, STORE_UNAVAILABLE, T0 + 10 * MINUTE)
    assert alerts == [(OutOfBandReason.STORE, False)]


def test_store_unavailable_alert_repeats_every_thirty_minutes() -> None:
    memory, _ = due_alerts({}, STORE_UNAVAILABLE, T0 + 10 * MINUTE)
    memory, alerts = due_alerts(memory, STORE_UNAVAILABLE, T0 + 40 * MINUTE - SECOND)
    assert alerts == []
    memory, alerts = due_alerts(memory, STORE_UNAVAILABLE, T0 + 40 * MINUTE)
    assert alerts == [(OutOfBandReason.STORE, False)]
    assert due_alerts(memory, STORE_UNAVAILABLE, T0 + 69 * MINUTE)[1] == []


def test_resolved_is_sent_only_if_alert_was_sent() -> None:
    told, _ = due_alerts({}, STORE_UNAVAILABLE, T0 + 10 * MINUTE)
    assert due_alerts(told, {}, T0 + 11 * MINUTE) == ({}, [(OutOfBandReason.STORE, True)])
    untold_yet, _ = due_alerts({}, STORE_UNAVAILABLE, T0 + MINUTE)
    assert due_alerts(untold_yet, {}, T0 + 2 * MINUTE) == ({}, [])


def test_unknown_reason_is_neither_sent_nor_resolved() -> None:
    told, _ = due_alerts({}, STORE_UNAVAILABLE, T0 + 10 * MINUTE)
    assert update_reasons(told, {}, POLICY, T0 + 60 * MINUTE, frozenset({OutOfBandReason.STORE})) == (told, ())
    assert update_reasons({}, {}, POLICY, T0, frozenset(OutOfBandReason)) == ({}, ())


def test_restarts_continue_from_stored_reasons() -> None:
    """Each process sees the database unavailable since its own start only, and dies every minute."""
    memory: ActiveReasons = {}
    times = []
    for minute in range(80):
        now = T0 + minute * MINUTE
        memory, alerts = due_alerts(memory, {OutOfBandReason.STORE: ActiveReason(since=now)}, now)
        times += [minute for _ in alerts]
    assert times == [10, 40, 70]


def test_failed_alert_is_retried_after_one_minute() -> None:
    now = T0 + 10 * MINUTE
    memory, alerts = update_reasons({}, STORE_UNAVAILABLE, POLICY, now)
    memory = mark_failed(memory, alerts[0], now)
    assert due_alerts(memory, STORE_UNAVAILABLE, now + MINUTE - SECOND)[1] == []
    memory, again = due_alerts(memory, STORE_UNAVAILABLE, now + MINUTE)
    assert again == [(OutOfBandReason.STORE, False)]
    # It was sent: from now on every thirty minutes.
    assert due_alerts(memory, STORE_UNAVAILABLE, now + 3 * MINUTE)[1] == []


def test_stored_reason_in_future_is_ignored() -> None:
    ahead = {OutOfBandReason.STORE: ActiveReason(since=T0 + timedelta(days=300), notified_at=T0 + timedelta(days=300))}
    assert due_alerts(ahead, STORE_UNAVAILABLE, T0 + 10 * MINUTE)[1] == [(OutOfBandReason.STORE, False)]
    told_ahead = {OutOfBandReason.STORE: ActiveReason(since=T0, notified_at=T0 + timedelta(days=300))}
    assert due_alerts(told_ahead, STORE_UNAVAILABLE, T0 + 10 * MINUTE)[1] == [(OutOfBandReason.STORE, False)]


@pytest.mark.blind
@pytest.mark.parametrize("trouble", OutOfBandReason)
def test_clock_set_back_alerts_as_if_reason_began_then(trouble: OutOfBandReason) -> None:
    """Defect: After a clock is set back, the out-of-band alerter calls nobody.

    Pantau: What began in the future begins now.
    """
    present = {trouble: ActiveReason(since=T0, whose="b")}
    failed = {trouble: ActiveReason(since=T0 - 20 * MINUTE, failed_at=T0)}
    for before in ({}, present, failed):
        memory: ActiveReasons = before
        now, alerts = T0 - timedelta(hours=8), list[SendOutOfBand]()
        for _ in range(40):
            memory, new = update_reasons(memory, present, POLICY, now)
            alerts, now = [*alerts, *new], now + 30 * SECOND
        assert [each.since <= T0 - timedelta(hours=8) for each in alerts] == [True]


@pytest.mark.blind
def test_peer_with_heartbeat_in_future_is_silent_and_does_not_alert() -> None:
    """Defect: A dead process whose heartbeat lies ahead is the one to call.

    Pantau: It counts as silent.
    """
    ahead = T0 + timedelta(hours=8)
    assert silent_peer("b", {"a": (ahead, None)}) == "a"
    assert silent_peer("b", {"a": (T0 + 30 * SECOND, None)}) is None


def test_alert_sent_at_same_moment_is_not_repeated() -> None:
    at_once = OutOfBandPolicy(store=timedelta(0))
    memory, alerts = update_reasons({}, STORE_UNAVAILABLE, at_once, T0)
    assert len(alerts) == 1
    assert update_reasons(memory, STORE_UNAVAILABLE, at_once, T0) == (memory, ())


def test_mark_failed_resolved_reason_is_not_kept() -> None:
    assert mark_failed({}, SendOutOfBand(reason=OutOfBandReason.STORE, since=T0), T0) == {}


def test_silent_peer_alerts_after_two_minutes() -> None:
    silent = {OutOfBandReason.PEER: ActiveReason(since=T0, whose="b")}
    assert due_alerts({}, silent, T0 + 2 * MINUTE - SECOND)[1] == []
    _, alerts = update_reasons({}, silent, POLICY, T0 + 2 * MINUTE)
    assert alerts == (SendOutOfBand(reason=OutOfBandReason.PEER, since=T0, peer="b"),)


@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), max_size=60))
def test_any_events_alerts_are_no_more_frequent_than_policy(steps: list[tuple[int, bool]]) -> None:
    memory: ActiveReasons = {}
    now, since = T0, None
    last: datetime | None = None
    for seconds, away in steps:
        now += timedelta(seconds=seconds)
        since = (since or now) if away else None
        present = {OutOfBandReason.STORE: ActiveReason(since=since)} if since else {}
        memory, alerts = update_reasons(memory, present, POLICY, now)
        for alert in alerts:
            if alert.is_resolved:
                assert last is not None
                last = None
            else:
                assert since is not None
                assert now - since >= POLICY.store
                assert last is None or now - last >= POLICY.repeat
                last = now


# -- peers -----------------------------------------------------------------------------------------------------------

Beats = dict[str, tuple[datetime, datetime | None]]


def silent_peer(me: str, beats: Beats, now: datetime = T0) -> str | None:
    spell = find_silent_peer(me, beats, POLICY, now)
    return None if spell is None else spell.whose


def test_find_silent_peer_after_two_minutes_until_one_day() -> None:
    assert silent_peer("a", {"b": (T0 - 2 * MINUTE, None)}) is None
    assert silent_peer("a", {"b": (T0 - 2 * MINUTE - SECOND, None)}) == "b"
    assert silent_peer("a", {"b": (T0 - timedelta(days=1), None)}) is None


def test_find_silent_peer_stopped_peer_is_not_silent() -> None:
    assert silent_peer("a", {"b": (T0 - 5 * MINUTE, T0 - 5 * MINUTE)}) is None
    # It restarted after that, and then fell silent.
    assert silent_peer("a", {"b": (T0 - 5 * MINUTE, T0 - 9 * MINUTE)}) == "b"


def test_find_silent_peer_one_live_process_alerts() -> None:
    silent: Beats = {"c": (T0 - 5 * MINUTE, None)}
    assert silent_peer("a", {**silent, "b": (T0, None)}) == "c"
    assert silent_peer("b", {**silent, "a": (T0, None)}) is None
    # It counts as silent only after two minutes.
    assert silent_peer("b", {**silent, "a": (T0 - 2 * MINUTE, None)}) is None
    # The first is silent as well.
    assert silent_peer("b", {**silent, "a": (T0 - 6 * MINUTE, None)}) == "a"
    # The first was stopped a moment ago and alerts no more.
    assert silent_peer("b", {**silent, "a": (T0 - SECOND, T0)}) == "c"


@dataclass(kw_only=True)
class HeartbeatState(ProcessHeartbeat):
    failing_since: datetime | None = None
    peers_observed_since: datetime | None = T0 - 9 * MINUTE
    peers: Sequence[Process] = (Process(name="b", started_at=T0, heartbeat_at=T0 - 5 * MINUTE),)


def sent(seen: HeartbeatState, memory: ActiveReasons, now: datetime = T0) -> list[tuple[OutOfBandReason, bool]]:
    """Return the alerts that are due for a heartbeat state, and whether each is a resolution."""
    present, unknown = out_of_band_reasons("a", seen, POLICY, now)
    return [(alert.reason, alert.is_resolved) for alert in update_reasons(memory, present, POLICY, now, unknown)[1]]


def test_peers_observed_since_recently_alerts_no_silent_peer() -> None:
    assert sent(HeartbeatState(), {}) == [(OutOfBandReason.PEER, False)]
    for since in (None, T0, T0 - 2 * MINUTE):
        assert sent(HeartbeatState(peers_observed_since=since), {}) == []
    assert sent(HeartbeatState(peers_observed_since=T0 - 2 * MINUTE - SECOND), {}) == [(OutOfBandReason.PEER, False)]


def test_silent_peer_is_not_resolved_while_store_is_unavailable() -> None:
    told: ActiveReasons = {
        OutOfBandReason.PEER: ActiveReason(since=T0 - 5 * MINUTE, notified_at=T0 - 3 * MINUTE, whose="b")
    }
    assert sent(HeartbeatState(failing_since=T0), told) == []
    assert sent(HeartbeatState(peers_observed_since=T0), told) == []
    assert sent(HeartbeatState(), told) == []
    assert sent(HeartbeatState(peers=()), told) == [(OutOfBandReason.PEER, True)]
