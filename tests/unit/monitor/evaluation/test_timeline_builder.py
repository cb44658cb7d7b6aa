"""Minutes of the timeline that runs of an agency prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from monitor.evaluation.timeline_builder import TimelineBuilder
from monitor.model.day import DayTimeline, MinuteState, split_by_day
from probes.model.result import Outcome, Party
from tests.unit.monitor.world import LOSES, MINUTE, REFUSED, T0, World, on_the_way, slow, world

FIVE = 5 * MINUTE
#: T0 in Malaysia.
NINE = 9 * 60


@dataclass
class Observed:
    """Timeline of one agency, advanced after each round of runs."""

    world: World = field(default_factory=lambda: world("JCM"))
    continuity: TimelineBuilder = field(default_factory=TimelineBuilder)
    sheet: DayTimeline = field(default_factory=DayTimeline)

    def rounds(self, count: int) -> Observed:
        for _ in range(count):
            self.world.rounds(1)
            self.look()
        return self

    def look(self) -> None:
        mail = self.world.evaluator.mail("JCM")
        for _, state, begin, end in split_by_day(self.continuity.advance(mail.observe(), mail.longest_proven_gap())):
            self.sheet.mark(state, begin, end)

    def minutes(self) -> list[tuple[MinuteState, int, int]]:
        """Return the states with their minutes since `T0`."""
        return [(s, b - NINE, e - NINE) for s, b, e in self.sheet.runs() if s is not MinuteState.NO_DATA]

    def restart(self, away: timedelta = timedelta(0), *, resumes: bool = True) -> None:
        """Let another process resume from the stored state."""
        before, last = self.world, self.sheet.last_marked()
        self.world = World(before.routes, dict(before.faults), now=before.now + away)
        healths: Mapping[str, tuple[object, datetime]] = before.evaluator.healths()
        self.world.evaluator.restore(healths)  # type: ignore[arg-type]
        self.continuity = TimelineBuilder()
        if resumes and last is not None:
            self.continuity.resume(last[0], T0 + (last[1] - NINE) * MINUTE)


WELL, SLOW, OUT = MinuteState.UP, MinuteState.DEGRADED, MinuteState.NO_MAIL


def test_minutes_between_two_good_runs_are_up() -> None:
    # The second round at minute 5 makes it up; the last evidence is of minute 20.
    assert Observed().rounds(5).minutes() == [(WELL, 5, 21)]


def test_outage_lasts_from_first_failing_to_first_good_run() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(2)
    assert seen.minutes() == [(WELL, 5, 16)], "minutes stay open until the outage is decided"
    seen.rounds(2)
    seen.world.faults.clear()
    seen.rounds(4)
    assert seen.minutes() == [(WELL, 5, 20), (OUT, 20, 40), (WELL, 40, 56)], "the reported duration"


def test_failure_not_confirmed_is_not_marked() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(1)
    seen.world.faults.clear()
    assert seen.rounds(4).minutes() == [(WELL, 5, 41)]


def test_each_direction_is_out_from_its_own_start() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = on_the_way(Outcome.LOST, only=Party.SENDER)
    seen.rounds(6)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(6)
    assert [each for each in seen.minutes() if each[0] is not WELL] == [
        (MinuteState.NO_SENDING, 20, 50),
        (OUT, 50, 76),
    ]


def test_degraded_minutes_before_outage_are_not_outage() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = slow()
    seen.rounds(6)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(5)
    assert seen.minutes() == [(WELL, 5, 20), (SLOW, 20, 50), (OUT, 50, 71)]


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_unobserved_runs_leave_no_data(rounds: int) -> None:
    seen = Observed().rounds(4)
    seen.world.cut_off = True
    seen.rounds(rounds)
    seen.world.cut_off = False
    seen.rounds(3)
    again = 20 + 5 * rounds
    assert seen.minutes() == [(WELL, 5, 16), (WELL, again, again + 11)]


def test_outage_is_not_extended_over_unobserved_minutes() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(4)
    seen.world.cut_off = True
    seen.rounds(4)
    seen.world.cut_off = False
    seen.rounds(3)
    # The first run after it gets no evidence for our network.
    assert seen.minutes() == [(WELL, 5, 20), (OUT, 20, 36), (OUT, 65, 71)]


def test_one_dead_reference_of_two_hides_nothing() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["b"] = REFUSED
    assert seen.rounds(8).minutes() == [(WELL, 5, 56)]


def test_minutes_without_runs_have_no_data() -> None:
    seen = Observed().rounds(4)
    seen.world.now += timedelta(hours=3)
    seen.rounds(2)
    assert seen.minutes() == [(WELL, 5, 16), (WELL, 200, 206)]


def test_restart_between_two_runs_leaves_no_gap() -> None:
    seen = Observed().rounds(4)
    seen.restart()
    seen.look()
    assert seen.rounds(3).minutes() == [(WELL, 5, 31)]


def test_restart_during_outage_continues_it() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(4).restart()
    assert seen.rounds(2).minutes() == [(WELL, 5, 20), (OUT, 20, 46)]


@pytest.mark.parametrize("fault", [None, REFUSED])
def test_minutes_of_long_stop_have_no_data(fault: object) -> None:
    seen = Observed().rounds(4)
    if fault:
        seen.world.faults["JCM/utama"] = REFUSED
        seen.rounds(4)
    seen.restart(timedelta(hours=5), resumes=False)
    before = seen.minutes()
    seen.rounds(3)
    begins = 300 + (40 if fault else 20)
    assert seen.minutes() == [*before, (OUT if fault else WELL, begins, begins + 11)]


def test_clock_set_back_or_forward_adds_no_minutes() -> None:
    seen = Observed().rounds(4)
    seen.world.now -= timedelta(hours=2)
    seen.rounds(3)
    seen.world.now += timedelta(hours=4)
    seen.rounds(3)
    watched = sum(end - begin for _, begin, end in seen.minutes())
    assert watched <= 10 * 5 + 3
    assert seen.minutes() == [(WELL, -100, -89), (WELL, 5, 16), (WELL, 155, 166)]


def test_direction_never_proven_keeps_agency_from_up() -> None:
    seen = Observed(world("JCM"))
    seen.world.faults["a"] = seen.world.faults["b"] = REFUSED
    assert seen.rounds(6).minutes() == []


def test_agency_not_monitored_has_no_observation() -> None:
    sight = world("JCM").evaluator.mail("MDC").observe()
    assert (sight.proven, sight.is_obstructed) == (None, False)
