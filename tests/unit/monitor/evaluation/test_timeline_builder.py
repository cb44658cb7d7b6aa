"""Which minutes of an agency are settled by what its runs have proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from monitor.evaluation.timeline_builder import TimelineBuilder
from monitor.model.day import DayTimeline, MinuteState, split_by_day
from probes.model.result import Outcome, Party
from tests.unit.monitor.trial import LOSES, MINUTE, REFUSED, T0, World, on_the_way, slow, world

FIVE = 5 * MINUTE
#: T0 in Malaysia.
NINE = 9 * 60


@dataclass
class Observed:
    """One agency, looked at after each round of runs."""

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
        """Let another process take up what this one knew."""
        before, last = self.world, self.sheet.last_marked()
        self.world = World(before.routes, dict(before.faults), now=before.now + away)
        healths: Mapping[str, tuple[object, datetime]] = before.evaluator.healths()
        self.world.evaluator.restore(healths)  # type: ignore[arg-type]
        self.continuity = TimelineBuilder()
        if resumes and last is not None:
            self.continuity.resume(last[0], T0 + (last[1] - NINE) * MINUTE)


WELL, SLOW, OUT = MinuteState.UP, MinuteState.DEGRADED, MinuteState.NO_MAIL


def test_what_two_runs_prove_is_well_and_nothing_after_the_last() -> None:
    # Judged with the second round, at minute 5; the last proof is of minute 20.
    assert Observed().rounds(5).minutes() == [(WELL, 5, 21)]


def test_an_outage_lasts_from_the_first_failing_run_to_the_first_good_one() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(2)
    assert seen.minutes() == [(WELL, 5, 16)], "nothing is settled until it is clear whether that is an outage"
    seen.rounds(2)
    seen.world.faults.clear()
    seen.rounds(4)
    assert seen.minutes() == [(WELL, 5, 20), (OUT, 20, 40), (WELL, 40, 56)], "as long as it is said to have lasted"


def test_a_failure_that_comes_to_nothing_leaves_no_trace() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(1)
    seen.world.faults.clear()
    assert seen.rounds(4).minutes() == [(WELL, 5, 41)]


def test_each_way_is_out_from_its_own_beginning() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = on_the_way(Outcome.LOST, only=Party.SENDER)
    seen.rounds(6)
    seen.world.faults["JCM/utama"] = LOSES
    seen.rounds(6)
    assert [each for each in seen.minutes() if each[0] is not WELL] == [
        (MinuteState.NO_SENDING, 20, 50),
        (OUT, 50, 76),
    ]


def test_slowness_before_an_outage_is_not_counted_as_outage() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = slow()
    seen.rounds(6)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(5)
    assert seen.minutes() == [(WELL, 5, 20), (SLOW, 20, 50), (OUT, 50, 71)]


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_while_we_cannot_see_nothing_is_proven_be_it_for_one_run(rounds: int) -> None:
    seen = Observed().rounds(4)
    seen.world.cut_off = True
    seen.rounds(rounds)
    seen.world.cut_off = False
    seen.rounds(3)
    again = 20 + 5 * rounds
    assert seen.minutes() == [(WELL, 5, 16), (WELL, again, again + 11)]


def test_an_outage_is_not_carried_over_what_we_could_not_see() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(4)
    seen.world.cut_off = True
    seen.rounds(4)
    seen.world.cut_off = False
    seen.rounds(3)
    # The first run after it waits in vain for a proof that our network works.
    assert seen.minutes() == [(WELL, 5, 20), (OUT, 20, 36), (OUT, 65, 71)]


def test_one_dead_reference_of_two_hides_nothing() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["b"] = REFUSED
    assert seen.rounds(8).minutes() == [(WELL, 5, 56)]


def test_without_runs_nothing_is_carried_on() -> None:
    seen = Observed().rounds(4)
    seen.world.now += timedelta(hours=3)
    seen.rounds(2)
    assert seen.minutes() == [(WELL, 5, 16), (WELL, 200, 206)]


def test_a_restart_between_two_runs_costs_nothing() -> None:
    seen = Observed().rounds(4)
    seen.restart()
    seen.look()
    assert seen.rounds(3).minutes() == [(WELL, 5, 31)]


def test_a_restart_within_an_outage_goes_on_with_it() -> None:
    seen = Observed().rounds(4)
    seen.world.faults["JCM/utama"] = REFUSED
    seen.rounds(4).restart()
    assert seen.rounds(2).minutes() == [(WELL, 5, 20), (OUT, 20, 46)]


@pytest.mark.parametrize("fault", [None, REFUSED])
def test_what_happened_while_nobody_watched_is_not_known(fault: object) -> None:
    seen = Observed().rounds(4)
    if fault:
        seen.world.faults["JCM/utama"] = REFUSED
        seen.rounds(4)
    seen.restart(timedelta(hours=5), resumes=False)
    before = seen.minutes()
    seen.rounds(3)
    begins = 300 + (40 if fault else 20)
    assert seen.minutes() == [*before, (OUT if fault else WELL, begins, begins + 11)]


def test_a_clock_that_is_set_back_or_forward_makes_up_no_time() -> None:
    seen = Observed().rounds(4)
    seen.world.now -= timedelta(hours=2)
    seen.rounds(3)
    seen.world.now += timedelta(hours=4)
    seen.rounds(3)
    watched = sum(end - begin for _, begin, end in seen.minutes())
    assert watched <= 10 * 5 + 3
    assert seen.minutes() == [(WELL, -100, -89), (WELL, 5, 16), (WELL, 155, 166)]


def test_a_direction_that_nobody_has_proven_yet_keeps_the_agency_from_being_well() -> None:
    seen = Observed(world("JCM"))
    seen.world.faults["a"] = seen.world.faults["b"] = REFUSED
    assert seen.rounds(6).minutes() == []


def test_an_agency_that_is_not_watched_is_not_seen() -> None:
    sight = world("JCM").evaluator.mail("MDC").observe()
    assert (sight.proven, sight.is_obstructed) == (None, False)
