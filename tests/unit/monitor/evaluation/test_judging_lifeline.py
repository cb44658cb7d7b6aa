"""When the NOC is rung without the store: once, then again while it lasts, and when it is over."""

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
PATIENCE = OutOfBandPolicy()
AWAY: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0)}


def rung(
    memory: ActiveReasons, present: ActiveReasons, now: datetime
) -> tuple[ActiveReasons, list[tuple[OutOfBandReason, bool]]]:
    kept, rings = update_reasons(memory, present, PATIENCE, now)
    return kept, [(ring.problem, ring.is_resolved) for ring in rings]


def test_a_store_that_is_away_is_told_after_ten_minutes_and_not_before() -> None:
    memory, rings = rung({}, AWAY, T0 + 10 * MINUTE - SECOND)
    assert rings == []
    memory, rings = rung(memory, AWAY, T0 + 10 * MINUTE)
    assert rings == [(OutOfBandReason.STORE, False)]


def test_it_is_told_again_every_thirty_minutes_and_not_in_between() -> None:
    memory, _ = rung({}, AWAY, T0 + 10 * MINUTE)
    memory, rings = rung(memory, AWAY, T0 + 40 * MINUTE - SECOND)
    assert rings == []
    memory, rings = rung(memory, AWAY, T0 + 40 * MINUTE)
    assert rings == [(OutOfBandReason.STORE, False)]
    assert rung(memory, AWAY, T0 + 69 * MINUTE)[1] == []


def test_when_it_is_over_those_who_were_rung_are_told_and_nobody_is_when_nobody_was_rung() -> None:
    told, _ = rung({}, AWAY, T0 + 10 * MINUTE)
    assert rung(told, {}, T0 + 11 * MINUTE) == ({}, [(OutOfBandReason.STORE, True)])
    untold_yet, _ = rung({}, AWAY, T0 + MINUTE)
    assert rung(untold_yet, {}, T0 + 2 * MINUTE) == ({}, [])


def test_what_is_not_known_now_is_neither_told_nor_over() -> None:
    told, _ = rung({}, AWAY, T0 + 10 * MINUTE)
    assert update_reasons(told, {}, PATIENCE, T0 + 60 * MINUTE, frozenset({OutOfBandReason.STORE})) == (told, ())
    assert update_reasons({}, {}, PATIENCE, T0, frozenset(OutOfBandReason)) == ({}, ())


def test_a_process_that_starts_again_and_again_goes_on_from_what_is_remembered() -> None:
    """Each life sees the store away since its own start only; it dies every minute."""
    memory: ActiveReasons = {}
    times = []
    for minute in range(80):
        now = T0 + minute * MINUTE
        memory, rings = rung(memory, {OutOfBandReason.STORE: ActiveReason(since=now)}, now)
        times += [minute for _ in rings]
    assert times == [10, 40, 70]


def test_what_no_gateway_took_is_tried_again_after_a_minute() -> None:
    now = T0 + 10 * MINUTE
    memory, rings = update_reasons({}, AWAY, PATIENCE, now)
    memory = mark_failed(memory, rings[0], now)
    assert rung(memory, AWAY, now + MINUTE - SECOND)[1] == []
    memory, again = rung(memory, AWAY, now + MINUTE)
    assert again == [(OutOfBandReason.STORE, False)]
    # Heard at last: from now on every thirty minutes.
    assert rung(memory, AWAY, now + 3 * MINUTE)[1] == []


def test_what_is_remembered_from_the_future_does_not_count() -> None:
    ahead = {OutOfBandReason.STORE: ActiveReason(since=T0 + timedelta(days=300), notified_at=T0 + timedelta(days=300))}
    assert rung(ahead, AWAY, T0 + 10 * MINUTE)[1] == [(OutOfBandReason.STORE, False)]
    told_ahead = {OutOfBandReason.STORE: ActiveReason(since=T0, notified_at=T0 + timedelta(days=300))}
    assert rung(told_ahead, AWAY, T0 + 10 * MINUTE)[1] == [(OutOfBandReason.STORE, False)]


@pytest.mark.blind
@pytest.mark.parametrize("trouble", OutOfBandReason)
def test_lifeline_clock_set_back_rings_as_late_as_if_it_had_begun_then(trouble: OutOfBandReason) -> None:
    """Defect: After a clock is set back, the out-of-band alerter calls nobody.

    Pantau: What began in the future begins now.
    """
    present = {trouble: ActiveReason(since=T0, whose="b")}
    failed = {trouble: ActiveReason(since=T0 - 20 * MINUTE, failed_at=T0)}
    for before in ({}, present, failed):
        memory: ActiveReasons = before
        now, rings = T0 - timedelta(hours=8), list[SendOutOfBand]()
        for _ in range(40):
            memory, new = update_reasons(memory, present, PATIENCE, now)
            rings, now = [*rings, *new], now + 30 * SECOND
        assert [each.since <= T0 - timedelta(hours=8) for each in rings] == [True]


@pytest.mark.blind
def test_peer_whose_beat_lies_ahead_is_silent_and_nobody_else_is_to_ring() -> None:
    """Defect: A dead process whose heartbeat lies ahead is the one to call.

    Pantau: It counts as silent.
    """
    ahead = T0 + timedelta(hours=8)
    assert found("b", {"a": (ahead, None)}) == "a"
    assert found("b", {"a": (T0 + 30 * SECOND, None)}) is None


def test_what_was_told_in_this_very_moment_is_not_told_again() -> None:
    at_once = OutOfBandPolicy(store=timedelta(0))
    memory, rings = update_reasons({}, AWAY, at_once, T0)
    assert len(rings) == 1
    assert update_reasons(memory, AWAY, at_once, T0) == (memory, ())


def test_of_what_is_over_by_then_it_is_not_remembered_that_no_gateway_took_it() -> None:
    assert mark_failed({}, SendOutOfBand(problem=OutOfBandReason.STORE, since=T0), T0) == {}


def test_a_peer_that_says_nothing_is_told_after_two_minutes() -> None:
    silent = {OutOfBandReason.PEER: ActiveReason(since=T0, whose="b")}
    assert rung({}, silent, T0 + 2 * MINUTE - SECOND)[1] == []
    _, rings = update_reasons({}, silent, PATIENCE, T0 + 2 * MINUTE)
    assert rings == (SendOutOfBand(problem=OutOfBandReason.PEER, since=T0, peer="b"),)


@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), max_size=60))
def test_nobody_is_rung_about_one_trouble_more_often_than_agreed(steps: list[tuple[int, bool]]) -> None:
    memory: ActiveReasons = {}
    now, since = T0, None
    last: datetime | None = None
    for seconds, away in steps:
        now += timedelta(seconds=seconds)
        since = (since or now) if away else None
        present = {OutOfBandReason.STORE: ActiveReason(since=since)} if since else {}
        memory, rings = update_reasons(memory, present, PATIENCE, now)
        for ring in rings:
            if ring.is_resolved:
                assert last is not None
                last = None
            else:
                assert since is not None
                assert now - since >= PATIENCE.store
                assert last is None or now - last >= PATIENCE.repeat
                last = now


# -- peers -----------------------------------------------------------------------------------------------------------

Beats = dict[str, tuple[datetime, datetime | None]]


def found(me: str, beats: Beats, now: datetime = T0) -> str | None:
    spell = find_silent_peer(me, beats, PATIENCE, now)
    return None if spell is None else spell.whose


def test_a_peer_is_silent_after_two_minutes_and_forgotten_after_a_day() -> None:
    assert found("a", {"b": (T0 - 2 * MINUTE, None)}) is None
    assert found("a", {"b": (T0 - 2 * MINUTE - SECOND, None)}) == "b"
    assert found("a", {"b": (T0 - timedelta(days=1), None)}) is None


def test_a_peer_that_ended_as_it_was_told_to_is_missed_by_nobody() -> None:
    assert found("a", {"b": (T0 - 5 * MINUTE, T0 - 5 * MINUTE)}) is None
    # It was started again after that, and then fell silent.
    assert found("a", {"b": (T0 - 5 * MINUTE, T0 - 9 * MINUTE)}) == "b"


def test_of_those_that_live_one_rings() -> None:
    silent: Beats = {"c": (T0 - 5 * MINUTE, None)}
    assert found("a", {**silent, "b": (T0, None)}) == "c"
    assert found("b", {**silent, "a": (T0, None)}) is None
    # It is silent only after two minutes.
    assert found("b", {**silent, "a": (T0 - 2 * MINUTE, None)}) is None
    # The first has fallen silent too.
    assert found("b", {**silent, "a": (T0 - 6 * MINUTE, None)}) == "a"
    # The first was told to end a moment ago, and rings no more.
    assert found("b", {**silent, "a": (T0 - SECOND, T0)}) == "c"


@dataclass(kw_only=True)
class Seen(ProcessHeartbeat):
    failing_since: datetime | None = None
    peers_observed_since: datetime | None = T0 - 9 * MINUTE
    peers: Sequence[Process] = (Process(name="b", started_at=T0, heartbeat_at=T0 - 5 * MINUTE),)


def heard(seen: Seen, memory: ActiveReasons, now: datetime = T0) -> list[tuple[OutOfBandReason, bool]]:
    """Return what the NOC hears of what was seen, and whether it is that it is over."""
    present, unknown = out_of_band_reasons("a", seen, PATIENCE, now)
    return [(ring.problem, ring.is_resolved) for ring in update_reasons(memory, present, PATIENCE, now, unknown)[1]]


def test_who_comes_back_from_an_outage_of_the_store_misses_no_peer_that_comes_back_too() -> None:
    assert heard(Seen(), {}) == [(OutOfBandReason.PEER, False)]
    for since in (None, T0, T0 - 2 * MINUTE):
        assert heard(Seen(peers_observed_since=since), {}) == []
    assert heard(Seen(peers_observed_since=T0 - 2 * MINUTE - SECOND), {}) == [(OutOfBandReason.PEER, False)]


def test_of_a_silent_peer_it_is_not_said_that_it_is_back_because_the_store_is_away() -> None:
    told: ActiveReasons = {
        OutOfBandReason.PEER: ActiveReason(since=T0 - 5 * MINUTE, notified_at=T0 - 3 * MINUTE, whose="b")
    }
    assert heard(Seen(failing_since=T0), told) == []
    assert heard(Seen(peers_observed_since=T0), told) == []
    assert heard(Seen(), told) == []
    assert heard(Seen(peers=()), told) == [(OutOfBandReason.PEER, True)]
