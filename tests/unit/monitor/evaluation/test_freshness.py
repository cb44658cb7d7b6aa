"""Whether what a site says is news: whatever is cut, comes late in a burst, is set, or starts again."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.joint.freshness import STALE_AFTER, SiteClock, SiteHeartbeat
from tests.unit.monitor.trial import SECOND, T0

#: A look each second, and a beat each second: what is heard is up to two seconds older than what is true.
LOOKS = 2
FRESH = STALE_AFTER // SECOND
#: It is learnt in ten seconds of beats. Where those of the last moment come in one burst, that is begun again.
LEARNT = 15


@dataclass
class Wire:
    """A site that beats each second, a hub that looks each second, and what is on the way between them."""

    #: How much the site's wall clock is ahead of the true time; the hub's.
    ahead: float = 0
    hub_ahead: float = 0
    #: So many beats pass each second; `None`: all; 0: it is cut.
    pace: int | None = None
    true: int = 0
    life: int = 0
    #: When the process that beats started; when the site is up again.
    began: int = 0
    down_until: int = 0
    #: What waits: when it was written, and the beat.
    waiting: deque[tuple[int, SiteHeartbeat]] = field(default_factory=deque)
    #: When the newest was written that the hub has heard.
    heard: int | None = None
    clock: SiteClock = field(default_factory=SiteClock)
    #: It may be believed though it is behind.
    is_lucky: bool = False

    def run(self, seconds: int) -> Wire:
        for _ in range(seconds):
            self.true += 1
            if self.true >= self.down_until:
                at = T0 + (self.true + self.ahead) * SECOND
                beat = SiteHeartbeat(at=at, monotonic=(self.true - self.began) * SECOND, incarnation=f"{self.life}")
                self.waiting.append((self.true, beat))
            passes = len(self.waiting) if self.pace is None else min(self.pace, len(self.waiting))
            newest = None
            for _ in range(passes):
                self.heard, newest = self.waiting.popleft()
            if newest is not None:
                self.hear(newest)
            if self.is_fresh and not self.is_lucky:
                assert self.heard is not None
                assert self.true - self.heard <= FRESH + 1, f"at {self.true} it knows what was {self.heard}"
        return self

    def hear(self, beat: SiteHeartbeat) -> None:
        self.clock.record(beat, T0 + (self.true + self.hub_ahead) * SECOND, self.monotonic)

    @property
    def monotonic(self) -> timedelta:
        return (self.true + 1000) * SECOND

    @property
    def is_fresh(self) -> bool:
        return self.clock.is_fresh(self.monotonic)

    def cut(self, seconds: int) -> Wire:
        self.pace = 0
        self.run(seconds)
        self.pace = None
        return self

    def restart(self, down: int = 0) -> Wire:
        """Let the process that beats start again."""
        self.life, self.began, self.down_until = self.life + 1, self.true + down, self.true + down + 1
        return self

    def restart_hub(self) -> Wire:
        self.clock, self.heard = SiteClock(), None
        return self


def known(ahead: float = 0) -> Wire:
    """Return a site that has been fresh for long."""
    wire = Wire(ahead=ahead).run(100)
    assert wire.is_fresh
    return wire


def test_a_site_is_fresh_once_its_beats_have_come_for_a_while() -> None:
    wire = Wire()
    assert not wire.is_fresh
    assert wire.clock.lag(wire.monotonic) is None
    assert not wire.run(9).is_fresh
    assert wire.run(2).is_fresh


@pytest.mark.parametrize("processes", [2, 10, 40])
def test_of_a_site_of_many_processes_it_is_learnt_as_soon_whichever_of_them_is_heard(processes: int) -> None:
    # Each writes the same row: at each look the beat is there of the one that was the last to write.
    clock, dice = SiteClock(), random.Random(processes)
    for second in range(30):
        life = dice.randrange(processes)
        clock.record(
            SiteHeartbeat(at=T0, monotonic=(1000 * life + second) * SECOND, incarnation=f"{life}"), T0, second * SECOND
        )
    assert clock.is_fresh(30 * SECOND)


def test_a_site_of_many_processes_that_comes_in_bursts_is_not_believed() -> None:
    clock = SiteClock()
    for burst in range(20):
        for life in range(3):
            # Ten seconds have gone by since the burst before, and one more has been heard of: it falls ever further behind.
            beat = SiteHeartbeat(at=T0, monotonic=(1000 * life + burst) * SECOND, incarnation=f"{life}")
            clock.record(beat, T0, (10 * burst + life) * SECOND)
        assert not clock.is_fresh((10 * burst + 2) * SECOND)


def test_a_site_of_which_nothing_comes_is_not_fresh() -> None:
    wire = known()
    wire.pace = 0
    assert wire.run(FRESH).is_fresh
    assert not wire.run(1).is_fresh
    assert wire.clock.lag(wire.monotonic) == 31 * SECOND


def test_a_beat_that_is_heard_again_is_no_other_one() -> None:
    clock, beat = SiteClock(), SiteHeartbeat(at=T0, monotonic=100 * SECOND, incarnation="0")
    for second in range(100):
        clock.record(beat, T0, second * SECOND)
        assert not clock.is_fresh(second * SECOND)


def test_one_that_catches_up_is_fresh_when_it_has() -> None:
    wire = known().cut(600)
    assert not wire.is_fresh
    wire.pace = 11
    assert not wire.run(56).is_fresh
    assert wire.run(3).is_fresh
    # All of it in one moment.
    assert wire.cut(600).run(1).is_fresh


def test_one_that_catches_up_just_at_the_speed_of_the_clock_stays_behind() -> None:
    wire = known().cut(600)
    wire.pace = 1
    assert not wire.run(5000).is_fresh
    # Whatever its clock is set to meanwhile.
    for ahead in (-600, 600, 570, 3600):
        wire.ahead = ahead
        assert not wire.run(1000).is_fresh
    wire.pace = None
    assert wire.run(1).is_fresh


@pytest.mark.parametrize("ahead", [-180, 180, -3600, 3600])
def test_a_clock_that_is_wrong_is_measured_and_its_site_is_fresh(ahead: int) -> None:
    wire = known(ahead)
    assert wire.clock.offset == -ahead * SECOND
    wire.cut(600)
    assert not wire.is_fresh
    assert wire.run(1).is_fresh
    assert wire.clock.offset == -ahead * SECOND
    # That what comes is late has nothing to do with that.
    wire.cut(20).pace = 1
    assert wire.run(20).is_fresh
    assert wire.clock.offset is not None
    assert abs(wire.clock.offset + ahead * SECOND) < SECOND / 10


@pytest.mark.parametrize("jump", [-86400, -600, -31, -5, 5, 31, 600, 86400])
def test_a_clock_that_is_set_makes_nothing_old_and_nothing_new(jump: int) -> None:
    wire = known()
    wire.ahead += jump
    assert wire.run(1).is_fresh
    assert wire.clock.offset == -jump * SECOND
    # The hub's.
    wire.hub_ahead += jump
    assert wire.run(1).is_fresh
    assert wire.clock.offset == 0 * SECOND
    # While it is cut off, and while it catches up.
    wire.cut(600).ahead += jump
    wire.pace = 3
    wire.run(30)
    wire.ahead += jump
    assert not wire.is_fresh
    assert not wire.run(100).is_fresh
    assert wire.run(300).is_fresh


@pytest.mark.parametrize("ahead", [-180, 0, 180])
def test_a_hub_that_starts_learns_again(ahead: int) -> None:
    wire = known(ahead).restart_hub()
    assert not wire.run(9).is_fresh
    assert wire.run(3).is_fresh
    assert wire.clock.offset == -ahead * SECOND


def test_a_hub_that_starts_while_a_site_catches_up_does_not_believe_it_before_it_has() -> None:
    wire = known().cut(600).restart_hub()
    wire.pace = 2
    assert not wire.run(600).is_fresh
    assert wire.run(LEARNT).is_fresh


def test_a_site_that_is_behind_and_silent_for_a_while_is_not_believed_for_that() -> None:
    wire = known().cut(600).restart_hub()
    wire.pace = 2
    assert not wire.run(1).cut(20).is_fresh
    wire.pace = 2
    assert not wire.run(600).is_fresh


def test_a_site_that_was_believed_too_early_is_found_out_when_it_catches_up() -> None:
    """A hub that has just started cannot know: what it hears is like a site with a slow clock."""
    wire = known().cut(600).restart_hub()
    wire.is_lucky, wire.pace = True, 1
    assert wire.run(20).is_fresh
    # It is no more once it catches up.
    wire.pace = 2
    assert not wire.run(3).is_fresh
    wire.is_lucky = False
    assert not wire.run(550).is_fresh
    wire.pace = None
    assert wire.run(LEARNT).is_fresh


def test_a_site_that_starts_again_is_fresh_at_once_where_it_was_silent_for_a_moment() -> None:
    wire = known().restart(down=20)
    assert wire.run(22).is_fresh
    # How late it may be is learnt, or the next moment of silence would be added.
    assert wire.run(20).restart(down=20).run(22).is_fresh


def test_a_site_that_was_down_is_fresh_once_its_beats_have_come_for_a_while() -> None:
    wire = known().restart(down=600)
    assert not wire.run(605).is_fresh
    assert wire.run(LEARNT).is_fresh


def test_a_site_that_starts_again_while_it_is_behind_is_believed_when_it_has_caught_up() -> None:
    wire = known().cut(300).restart(down=1).cut(300)
    wire.pace = 1
    # Neither its old life nor its new one.
    assert not wire.run(1000).is_fresh
    wire.pace = None
    assert wire.run(LEARNT).is_fresh


def test_how_far_one_is_behind_that_starts_again_is_seen_by_its_clock_of_before() -> None:
    wire = known().cut(20)
    wire.pace = 1
    assert wire.run(50).is_fresh
    wire.restart().cut(25)
    wire.pace = 1
    assert not wire.run(100).is_fresh


def test_beats_that_are_late_now_and_then_are_late_by_those_that_are_not() -> None:
    clock = SiteClock()
    for second in range(30):
        late = 0 if second % 5 == 4 else 0.9
        clock.record(SiteHeartbeat(at=T0, monotonic=(second - late) * SECOND, incarnation="0"), T0, second * SECOND)
        if second > 15:
            behind = clock.lag(second * SECOND)
            assert behind is not None
            assert abs(behind - late * SECOND) < SECOND / 10


def test_one_that_was_down_and_whose_clock_was_set_back_has_no_vote_until_it_is_put_right() -> None:
    """It cannot be told from one that goes on being behind."""
    wire = known().restart(down=600)
    wire.ahead = -600
    assert not wire.run(1000).is_fresh
    wire.ahead = 0
    assert wire.run(LEARNT).is_fresh
    # Set forward is not behind.
    wire.restart(down=600).ahead = 600
    assert wire.run(601 + LEARNT).is_fresh


def test_two_processes_of_a_site_that_beat_by_turns_are_one_site() -> None:
    clock = SiteClock()
    for second in range(200):
        monotonic = second * SECOND
        beat = SiteHeartbeat(
            at=T0 + monotonic, monotonic=monotonic + (second % 2) * 500 * SECOND, incarnation=f"{second % 2}"
        )
        clock.record(beat, T0 + monotonic, monotonic)
        assert clock.is_fresh(monotonic) == (second >= 10)
    # One of them dies; the other goes on.
    for second in range(200, 300, 2):
        clock.record(SiteHeartbeat(at=T0, monotonic=second * SECOND, incarnation="0"), T0, second * SECOND)
        assert clock.is_fresh(second * SECOND)


@pytest.mark.parametrize("rate", [0.99985, 1.00015])
def test_steady_clocks_that_go_apart_do_so_unnoticed(rate: float) -> None:
    clock = SiteClock(stale_after=3 * SECOND)
    for second in range(0, 40_000, 5):
        clock.record(SiteHeartbeat(at=T0, monotonic=second * rate * SECOND, incarnation="0"), T0, second * SECOND)
        assert clock.is_fresh(second * SECOND) == (second >= 10)


#: Cuts and slow wires, with what happens meanwhile.
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
def test_whatever_happens_old_news_has_no_vote_and_a_site_that_beats_has_one_soon(
    ahead: int, happening: list[tuple[str, int]]
) -> None:
    wire, was_set_back = Wire(ahead=ahead), 0
    for what, much in happening:
        match what:
            case "run":
                wire.run(much)
            case "cut":
                wire.cut(much)
            case "slow":
                wire.pace = much or None
                wire.run(5)
            case "clock":
                wire.ahead += much
                was_set_back = min(was_set_back + much, 0)
            case "hub's clock":
                wire.hub_ahead += much
            case "site starts":
                wire.restart(much)
            case _:
                wire.restart_hub()
                was_set_back = 0
    wire.pace = None
    wire.run(max(wire.down_until - wire.true, 0))
    if was_set_back >= -FRESH:
        assert wire.run(LEARNT + LOOKS).is_fresh


@given(st.lists(st.tuples(st.sampled_from(["cut", "clock", "hub's clock", "run"]), st.integers(-900, 900)), max_size=8))
def test_a_site_that_was_learnt_may_catch_up_however_slowly(happening: list[tuple[str, int]]) -> None:
    wire = known()
    for what, much in happening:
        match what:
            case "cut":
                wire.cut(abs(much)).pace = 1
            case "clock":
                wire.ahead += much
            case "hub's clock":
                wire.hub_ahead += much
            case _:
                wire.run(abs(much))
    wire.pace = None
    assert wire.run(1).is_fresh
    assert wire.clock.offset == (wire.hub_ahead - wire.ahead) * SECOND
