"""Freshness of a site's heartbeats under cut links, bursts, changed clocks and restarts."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.joint.freshness import STALE_AFTER, SiteClock, SiteHeartbeat
from tests.unit.monitor.world import SECOND, T0

#: The hub polls each second and the site beats each second: the newest heartbeat is up to two seconds old.
POLL_DELAY = 2
FRESH = STALE_AFTER // SECOND
#: Learning takes ten seconds of heartbeats. A burst at the end restarts it.
LEARNING_TIME = 15


@dataclass
class Link:
    """Site that beats each second, hub that polls each second, and the link between them."""

    #: Seconds by which the wall clock of the site, and of the hub, is ahead of true time.
    ahead: float = 0
    hub_ahead: float = 0
    #: Heartbeats delivered per second; `None`: all; 0: the link is cut.
    pace: int | None = None
    true_time: int = 0
    life: int = 0
    #: Start of the process that beats; end of the site's downtime.
    began: int = 0
    down_until: int = 0
    #: Undelivered heartbeats with the time at which they were written.
    waiting: deque[tuple[int, SiteHeartbeat]] = field(default_factory=deque)
    #: Time at which the newest received heartbeat was written.
    newest_at: int | None = None
    clock: SiteClock = field(default_factory=SiteClock)
    #: The site may count as fresh although it is behind.
    may_be_stale: bool = False

    def run(self, seconds: int) -> Link:
        for _ in range(seconds):
            self.true_time += 1
            if self.true_time >= self.down_until:
                at = T0 + (self.true_time + self.ahead) * SECOND
                beat = SiteHeartbeat(
                    at=at, monotonic=(self.true_time - self.began) * SECOND, incarnation=f"{self.life}"
                )
                self.waiting.append((self.true_time, beat))
            passes = len(self.waiting) if self.pace is None else min(self.pace, len(self.waiting))
            newest = None
            for _ in range(passes):
                self.newest_at, newest = self.waiting.popleft()
            if newest is not None:
                self.receive(newest)
            if self.is_fresh and not self.may_be_stale:
                assert self.newest_at is not None
                assert self.true_time - self.newest_at <= FRESH + 1, (
                    f"at {self.true_time} it knows what was {self.newest_at}"
                )
        return self

    def receive(self, beat: SiteHeartbeat) -> None:
        self.clock.record(beat, T0 + (self.true_time + self.hub_ahead) * SECOND, self.monotonic)

    @property
    def monotonic(self) -> timedelta:
        return (self.true_time + 1000) * SECOND

    @property
    def is_fresh(self) -> bool:
        return self.clock.is_fresh(self.monotonic)

    def cut(self, seconds: int) -> Link:
        self.pace = 0
        self.run(seconds)
        self.pace = None
        return self

    def restart(self, down: int = 0) -> Link:
        """Restart the process that beats."""
        self.life, self.began, self.down_until = self.life + 1, self.true_time + down, self.true_time + down + 1
        return self

    def restart_hub(self) -> Link:
        self.clock, self.newest_at = SiteClock(), None
        return self


def fresh_link(ahead: float = 0) -> Link:
    """Return the link of a site that has been fresh for long."""
    link = Link(ahead=ahead).run(100)
    assert link.is_fresh
    return link


def test_site_is_fresh_after_some_heartbeats() -> None:
    link = Link()
    assert not link.is_fresh
    assert link.clock.lag(link.monotonic) is None
    assert not link.run(9).is_fresh
    assert link.run(2).is_fresh


@pytest.mark.parametrize("processes", [2, 10, 40])
def test_site_of_many_processes_is_fresh_after_same_time(processes: int) -> None:
    # All processes write the same row: each poll reads the heartbeat of the last writer.
    clock, dice = SiteClock(), random.Random(processes)
    for second in range(30):
        life = dice.randrange(processes)
        clock.record(
            SiteHeartbeat(at=T0, monotonic=(1000 * life + second) * SECOND, incarnation=f"{life}"), T0, second * SECOND
        )
    assert clock.is_fresh(30 * SECOND)


def test_site_of_many_processes_falling_behind_is_not_fresh() -> None:
    clock = SiteClock()
    for burst in range(20):
        for life in range(3):
            # Ten seconds have passed since the previous burst, and one more heartbeat has arrived: the lag grows.
            beat = SiteHeartbeat(at=T0, monotonic=(1000 * life + burst) * SECOND, incarnation=f"{life}")
            clock.record(beat, T0, (10 * burst + life) * SECOND)
        assert not clock.is_fresh((10 * burst + 2) * SECOND)


def test_site_without_heartbeats_becomes_stale() -> None:
    link = fresh_link()
    link.pace = 0
    assert link.run(FRESH).is_fresh
    assert not link.run(1).is_fresh
    assert link.clock.lag(link.monotonic) == 31 * SECOND


def test_repeated_heartbeat_is_ignored() -> None:
    clock, beat = SiteClock(), SiteHeartbeat(at=T0, monotonic=100 * SECOND, incarnation="0")
    for second in range(100):
        clock.record(beat, T0, second * SECOND)
        assert not clock.is_fresh(second * SECOND)


def test_site_catching_up_is_fresh_when_caught_up() -> None:
    link = fresh_link().cut(600)
    assert not link.is_fresh
    link.pace = 11
    assert not link.run(56).is_fresh
    assert link.run(3).is_fresh
    # All heartbeats arrive at once.
    assert link.cut(600).run(1).is_fresh


def test_site_catching_up_at_clock_speed_stays_stale() -> None:
    link = fresh_link().cut(600)
    link.pace = 1
    assert not link.run(5000).is_fresh
    # The same holds for any clock change meanwhile.
    for ahead in (-600, 600, 570, 3600):
        link.ahead = ahead
        assert not link.run(1000).is_fresh
    link.pace = None
    assert link.run(1).is_fresh


@pytest.mark.parametrize("ahead", [-180, 180, -3600, 3600])
def test_site_clock_offset_is_measured_and_site_is_fresh(ahead: int) -> None:
    link = fresh_link(ahead)
    assert link.clock.offset == -ahead * SECOND
    link.cut(600)
    assert not link.is_fresh
    assert link.run(1).is_fresh
    assert link.clock.offset == -ahead * SECOND
    # Late delivery does not change the offset.
    link.cut(20).pace = 1
    assert link.run(20).is_fresh
    assert link.clock.offset is not None
    assert abs(link.clock.offset + ahead * SECOND) < SECOND / 10


@pytest.mark.parametrize("jump", [-86400, -600, -31, -5, 5, 31, 600, 86400])
def test_clock_set_changes_no_freshness(jump: int) -> None:
    link = fresh_link()
    link.ahead += jump
    assert link.run(1).is_fresh
    assert link.clock.offset == -jump * SECOND
    # The hub's clock.
    link.hub_ahead += jump
    assert link.run(1).is_fresh
    assert link.clock.offset == 0 * SECOND
    # While the link is cut, and while the site catches up.
    link.cut(600).ahead += jump
    link.pace = 3
    link.run(30)
    link.ahead += jump
    assert not link.is_fresh
    assert not link.run(100).is_fresh
    assert link.run(300).is_fresh


@pytest.mark.parametrize("ahead", [-180, 0, 180])
def test_hub_restarted_learns_offset_again(ahead: int) -> None:
    link = fresh_link(ahead).restart_hub()
    assert not link.run(9).is_fresh
    assert link.run(3).is_fresh
    assert link.clock.offset == -ahead * SECOND


def test_hub_restarted_while_site_catches_up_waits_until_caught_up() -> None:
    link = fresh_link().cut(600).restart_hub()
    link.pace = 2
    assert not link.run(600).is_fresh
    assert link.run(LEARNING_TIME).is_fresh


def test_site_behind_and_silent_for_a_while_stays_stale() -> None:
    link = fresh_link().cut(600).restart_hub()
    link.pace = 2
    assert not link.run(1).cut(20).is_fresh
    link.pace = 2
    assert not link.run(600).is_fresh


def test_site_wrongly_fresh_becomes_stale_while_catching_up() -> None:
    """A hub that has just started cannot distinguish a lagging site from one with a slow clock."""
    link = fresh_link().cut(600).restart_hub()
    link.may_be_stale, link.pace = True, 1
    assert link.run(20).is_fresh
    # It becomes stale when it catches up.
    link.pace = 2
    assert not link.run(3).is_fresh
    link.may_be_stale = False
    assert not link.run(550).is_fresh
    link.pace = None
    assert link.run(LEARNING_TIME).is_fresh


def test_site_restarted_after_short_silence_is_fresh_at_once() -> None:
    link = fresh_link().restart(down=20)
    assert link.run(22).is_fresh
    # The allowed lag is learnt again, so that a second silence is not added to it.
    assert link.run(20).restart(down=20).run(22).is_fresh


def test_site_restarted_after_long_silence_is_fresh_after_some_heartbeats() -> None:
    link = fresh_link().restart(down=600)
    assert not link.run(605).is_fresh
    assert link.run(LEARNING_TIME).is_fresh


def test_site_restarted_while_behind_is_fresh_when_caught_up() -> None:
    link = fresh_link().cut(300).restart(down=1).cut(300)
    link.pace = 1
    # Neither the earlier process nor the new one is fresh.
    assert not link.run(1000).is_fresh
    link.pace = None
    assert link.run(LEARNING_TIME).is_fresh


def test_site_restarted_lag_is_measured_by_previous_clock() -> None:
    link = fresh_link().cut(20)
    link.pace = 1
    assert link.run(50).is_fresh
    link.restart().cut(25)
    link.pace = 1
    assert not link.run(100).is_fresh


def test_lag_with_occasional_delays_is_measured_by_prompt_heartbeats() -> None:
    clock = SiteClock()
    for second in range(30):
        late = 0 if second % 5 == 4 else 0.9
        clock.record(SiteHeartbeat(at=T0, monotonic=(second - late) * SECOND, incarnation="0"), T0, second * SECOND)
        if second > 15:
            behind = clock.lag(second * SECOND)
            assert behind is not None
            assert abs(behind - late * SECOND) < SECOND / 10


def test_site_down_with_clock_set_back_is_stale_until_clock_is_corrected() -> None:
    """It cannot be distinguished from a site that stays behind."""
    link = fresh_link().restart(down=600)
    link.ahead = -600
    assert not link.run(1000).is_fresh
    link.ahead = 0
    assert link.run(LEARNING_TIME).is_fresh
    # A clock set forward does not look like lag.
    link.restart(down=600).ahead = 600
    assert link.run(601 + LEARNING_TIME).is_fresh


def test_site_with_two_alternating_processes_is_one_site() -> None:
    clock = SiteClock()
    for second in range(200):
        monotonic = second * SECOND
        beat = SiteHeartbeat(
            at=T0 + monotonic, monotonic=monotonic + (second % 2) * 500 * SECOND, incarnation=f"{second % 2}"
        )
        clock.record(beat, T0 + monotonic, monotonic)
        assert clock.is_fresh(monotonic) == (second >= 10)
    # One of them dies; the other continues.
    for second in range(200, 300, 2):
        clock.record(SiteHeartbeat(at=T0, monotonic=second * SECOND, incarnation="0"), T0, second * SECOND)
        assert clock.is_fresh(second * SECOND)


@pytest.mark.parametrize("rate", [0.99985, 1.00015])
def test_clock_drift_does_not_affect_freshness(rate: float) -> None:
    clock = SiteClock(stale_after=3 * SECOND)
    for second in range(0, 40_000, 5):
        clock.record(SiteHeartbeat(at=T0, monotonic=second * rate * SECOND, incarnation="0"), T0, second * SECOND)
        assert clock.is_fresh(second * SECOND) == (second >= 10)


#: Cut and slow links, with other events.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 60)),
        st.tuples(st.just("cut"), st.integers(1, 900)),
        st.tuples(st.just("slow"), st.sampled_from([0, 2, 3, 10])),
        st.tuples(st.just("clock"), st.integers(-900, 900)),
        st.tuples(st.just("hub's clock"), st.integers(-900, 900)),
        st.tuples(st.just("site starts"), st.integers(0, 200)),
        st.tuples(st.just("hub starts"), st.just(0)),
    ),
    max_size=12,
)


@given(st.integers(-900, 900), steps)
def test_any_events_old_heartbeats_are_stale_and_live_site_becomes_fresh(
    ahead: int, events: list[tuple[str, int]]
) -> None:
    link, was_set_back = Link(ahead=ahead), 0
    for what, much in events:
        match what:
            case "run":
                link.run(much)
            case "cut":
                link.cut(much)
            case "slow":
                link.pace = much or None
                link.run(5)
            case "clock":
                link.ahead += much
                was_set_back = min(was_set_back + much, 0)
            case "hub's clock":
                link.hub_ahead += much
            case "site starts":
                link.restart(much)
            case _:
                link.restart_hub()
                was_set_back = 0
    link.pace = None
    link.run(max(link.down_until - link.true_time, 0))
    if was_set_back >= -FRESH:
        assert link.run(LEARNING_TIME + POLL_DELAY).is_fresh


@given(st.lists(st.tuples(st.sampled_from(["cut", "clock", "hub's clock", "run"]), st.integers(-900, 900)), max_size=8))
def test_any_events_learnt_site_is_fresh_once_caught_up(events: list[tuple[str, int]]) -> None:
    link = fresh_link()
    for what, much in events:
        match what:
            case "cut":
                link.cut(abs(much)).pace = 1
            case "clock":
                link.ahead += much
            case "hub's clock":
                link.hub_ahead += much
            case _:
                link.run(abs(much))
    link.pace = None
    assert link.run(1).is_fresh
    assert link.clock.offset == (link.hub_ahead - link.ahead) * SECOND
